package abi

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

func source(r io.Reader, length int64, trailers ...string) *Source {
	return NewSource(io.NopCloser(r), length, func(l *httpfield.List) {
		for i := 0; i < len(trailers); i += 2 {
			l.Add(trailers[i], trailers[i+1])
		}
	})
}

func TestPlainBodyIsAQueue(t *testing.T) {
	g := newGuest(t, nil)
	b := g.newBody()
	g.write(b, "middle ")
	p, n := g.put(textA, "start ")
	g.ok("http_body.write", b, p, n, 1, outA)
	g.write(b, "end")
	g.want(Inval, "http_body.write", b, p, n, 2, outA)
	g.ok("http_body.known_length", b, outB)
	if g.u64(outB) != 16 {
		t.Errorf("length %d", g.u64(outB))
	}
	var got strings.Builder
	for {
		part := g.read(b, 5)
		if part == "" {
			break
		}
		got.WriteString(part)
		if got.Len() == 5 { // bytes read are gone, the front is where reading stands
			p, n := g.put(textA, "<>")
			g.ok("http_body.write", b, p, n, 1, outA)
		}
	}
	if got.String() != "start<> middle end" {
		t.Errorf("got %q", got.String())
	}
	g.ok("http_body.close", b)
	g.want(BadF, "http_body.read", b, room, 5, outA)
}

func TestAppendMovesContentAndTrailers(t *testing.T) {
	g := newGuest(t, NewBody(source(strings.NewReader("from the network"), -1, "x-sum", "7")))
	g.ok("http_req.body_downstream_get", outA, outB)
	src := g.u32(outB)
	g.want(None, "http_body.known_length", src, outB)
	g.want(Again, "http_body.trailer_names_get", src, room, 100, 0, outB, outA)
	dest := g.newBody()
	g.write(dest, "before, ")
	g.ok("http_body.append", dest, src)
	g.want(BadF, "http_body.read", src, room, 10, outA)
	g.write(dest, ", after")
	np, nl := g.put(textA, "X-Own")
	vp, vl := g.put(textB, "8")
	g.ok("http_body.trailer_append", dest, np, nl, vp, vl)
	var got strings.Builder
	for {
		part := g.read(dest, 100)
		if part == "" {
			break
		}
		got.WriteString(part)
	}
	if got.String() != "before, from the network, after" {
		t.Errorf("got %q", got.String())
	}
	if got := g.list("http_body.trailer_names_get", 100, dest); strings.Join(got, ",") != "x-own,x-sum" {
		t.Errorf("trailers %q", got)
	}
	np, nl = g.put(textA, "X-Sum")
	g.ok("http_body.trailer_value_get", dest, np, nl, room, 100, outA)
	if got := g.str(room, g.u32(outA)); got != "7" {
		t.Errorf("trailer value %q", got)
	}
	if got := g.list("http_body.trailer_values_get", 100, dest, np, nl); strings.Join(got, ",") != "7" {
		t.Errorf("trailer values %q", got)
	}
	np, nl = g.put(textA, "nope")
	g.want(None, "http_body.trailer_value_get", dest, np, nl, room, 100, outA)

	same := g.newBody()
	g.want(BadF, "http_body.append", same, same)
	g.want(BadF, "http_body.close", same)
}

func TestBodyFailures(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want Status
	}{
		{"a message that ends early", io.ErrUnexpectedEOF, HTTPIncomplete},
		{"another failure", errors.New("boom"), Error},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, NewBody(source(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(tt.err)), 10)))
			g.ok("http_req.body_downstream_get", outA, outB)
			b := g.u32(outB)
			g.ok("http_body.known_length", b, outB)
			if g.u64(outB) != 10 {
				t.Errorf("length %d", g.u64(outB))
			}
			if got := g.read(b, 100); got != "half" {
				t.Errorf("read %q", got)
			}
			g.ok("http_body.known_length", b, outB)
			if g.u64(outB) != 6 {
				t.Errorf("left %d", g.u64(outB))
			}
			g.want(tt.want, "http_body.read", b, room, 100, outA)
		})
	}
}

func TestBufferedBodiesAreBounded(t *testing.T) {
	g := newGuest(t, nil)
	g.sandbox.buffered = 100_000
	a, b := g.newBody(), g.newBody()
	g.ok("http_body.write", a, 0, 60_000, 0, outA)
	g.want(LimitExceeded, "http_body.write", b, 0, 60_000, 0, outA)
	g.ok("http_body.close", a)
	g.ok("http_body.write", b, 0, 60_000, 0, outA)
	g.ok("http_body.append", g.newBody(), b)
	if g.sandbox.buffered != 40_000 {
		t.Errorf("%d bytes left, want 40000", g.sandbox.buffered)
	}
}

func TestAStreamHoldsItsWriterBack(t *testing.T) {
	g := newGuest(t, nil)
	r, b := g.newResponse(), g.newBody()
	g.ok("http_resp.send_downstream", r, b, 1)
	out := g.client.body
	var got countingWriter
	done := make(chan error, 1)
	release := make(chan struct{})
	go func() {
		<-release
		done <- out.CopyTo(context.Background(), &got, func() error { return nil })
	}()
	g.ok("http_body.write", b, 0, guestMemory, 0, outA)
	g.ok("http_body.write", b, 0, guestMemory, 0, outA)
	if out.writable() {
		t.Error("the stream has room for more than its bound")
	}
	// Timed out waiting for room: index 0xFFFFFFFF.
	copy(g.mem[textA:], []byte{byte(b), 0, 0, 0})
	g.ok("async_io.select", textA, 1, 1, outA)
	if g.u32(outA) != selectTimedOut {
		t.Errorf("select gave %#x", g.u32(outA))
	}
	g.ok("async_io.is_ready", b, outA)
	if g.u32(outA) != 0 {
		t.Error("a full stream is ready")
	}
	close(release)
	g.ok("async_io.select", textA, 1, 0, outA)
	if g.u32(outA) != 0 {
		t.Errorf("select gave %#x", g.u32(outA))
	}
	for range 50 {
		g.ok("http_body.write", b, 0, guestMemory, 0, outA)
	}
	g.ok("http_body.close", b)
	if err := <-done; err != nil || int(got) != 52*guestMemory {
		t.Errorf("the reader saw %d bytes, %v", got, err)
	}
}

func TestWritingToAGoneReaderFails(t *testing.T) {
	g := newGuest(t, nil)
	r, b := g.newResponse(), g.newBody()
	g.ok("http_resp.send_downstream", r, b, 1)
	g.client.body.Abandon(ErrReaderGone)
	p, n := g.put(textA, "x")
	g.want(Error, "http_body.write", b, p, n, 0, outA)
	g.ok("async_io.is_ready", b, outA)
	if g.u32(outA) != 1 {
		t.Error("a broken stream is not ready")
	}
}

func TestAStoppedGuestDoesNotWaitOn(t *testing.T) {
	pr, _ := io.Pipe()
	g := newGuest(t, NewBody(source(pr, -1)))
	ctx, cancel := context.WithCancelCause(context.Background())
	g.caller.Context = ctx
	g.ok("http_req.body_downstream_get", outA, outB)
	copy(g.mem[textA:], []byte{byte(g.u32(outB)), 0, 0, 0})
	cause := errors.New("stop")
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	c := g.calls["async_io.select"]
	if err := c.Fn(g.caller, []uint64{textA, 1, 0, outA}); err != cause {
		t.Errorf("select gave %v", err)
	}
	pr.Close()
}

func TestSelectOverTheClientsBody(t *testing.T) {
	pr, pw := io.Pipe()
	g := newGuest(t, NewBody(source(pr, -1)))
	g.ok("http_req.body_downstream_get", outA, outB)
	b := g.u32(outB)
	plain := g.newBody()
	handles := func(hs ...uint32) (uint32, uint32) {
		for i, h := range hs {
			copy(g.mem[textA+4*i:], []byte{byte(h), 0, 0, 0})
		}
		return textA, uint32(len(hs))
	}
	p, n := handles(b, plain)
	g.ok("async_io.select", p, n, 0, outA)
	if g.u32(outA) != 1 {
		t.Errorf("select gave %#x, want the empty body, which is at its end", g.u32(outA))
	}
	p, n = handles(b)
	go func() {
		io.WriteString(pw, "now")
		pw.Close()
	}()
	g.ok("async_io.select", p, n, 0, outA)
	if got := g.read(b, 100); got != "now" {
		t.Errorf("read %q", got)
	}
	if got := g.read(b, 100); got != "" {
		t.Errorf("read %q at the end", got)
	}
	g.want(Inval, "async_io.select", p, 0, 0, outA)
	g.want(BadF, "async_io.select", textB, 1, 5, outA)
	g.ok("async_io.select", p, 0, 1, outA) // a sleep
	if g.u32(outA) != selectTimedOut {
		t.Errorf("a sleep gave %#x", g.u32(outA))
	}
}

type countingWriter int

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// givenUp is content whose body is given up while it is read.
type givenUp struct{ body **Body }

func (g givenUp) Read([]byte) (int, error) {
	(*g.body).Abandon(ErrReaderGone)
	return 0, io.EOF
}

func (givenUp) Close() error { return nil }

func TestABodyThatIsGivenUpWhileItIsReadHasNoEnd(t *testing.T) {
	var b *Body
	b = NewBody(NewSource(givenUp{&b}, -1, nil))
	if n, err := b.Read(t.Context(), make([]byte, 10)); n != 0 || err != ErrReaderGone {
		t.Errorf("got %d, %v", n, err)
	}
	b = NewBody(NewSource(givenUp{&b}, -1, nil))
	if err := b.CopyTo(t.Context(), io.Discard, func() error { return nil }); err != ErrReaderGone {
		t.Errorf("got %v", err)
	}
}
