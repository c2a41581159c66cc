package wire_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/edgewasm/wasmedge/host/wire"
	_ "github.com/edgewasm/wasmedge/host/wire/xconnect"
)

// frameClient speaks HTTP/2 frame by frame.
type frameClient struct {
	t      *testing.T
	framer *http2.Framer
	next   uint32
}

func newFrameClient(t *testing.T, addr string) *frameClient {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, http2.ClientPreface)
	c := &frameClient{t, http2.NewFramer(nc, nc), 1}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.WriteSettings()
	return c
}

// open begins a request with fields given as name and value.
func (c *frameClient) open(end bool, fields ...string) uint32 {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	id := c.next
	c.next += 2
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	return id
}

// read describes what comes on a stream until it has sent a body of n bytes, has ended, or was reset.
func (c *frameClient) read(id uint32, n int) (text string) {
	c.t.Helper()
	got := 0
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatalf("after %q: %v", text, err)
		}
		if f.Header().StreamID != id {
			continue
		}
		ended := false
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			text += f.PseudoValue("status") + " "
			ended = f.StreamEnded()
		case *http2.DataFrame:
			text += string(f.Data())
			got += len(f.Data())
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			return text + "reset " + f.ErrCode.String()
		}
		if ended {
			return text + "."
		}
		if got >= n && n > 0 {
			return text
		}
	}
}

var connect = []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat?x", ":authority", "a.example"}

func TestExtendedConnectReachesTheHandlerAsAnUpgrade(t *testing.T) {
	requests := make(chan *http.Request, 10)
	addr := serveTunnels(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		s := wire.StreamOf(r)
		if s == nil {
			fmt.Fprint(w, "no stream")
			return
		}
		w.Header().Set("Sec-Websocket-Protocol", "chat")
		s.Accept()
		io.Copy(s, s)
		io.WriteString(s, " end")
	})
	c := newFrameClient(t, addr)
	id := c.open(false, append(connect[:len(connect):len(connect)], "sec-websocket-version", "13", "origin", "o", "content-length", "77")...)
	c.framer.WriteData(id, false, []byte("hello"))
	if got := c.read(id, 5); got != "200 hello" {
		t.Errorf("the stream gave %q", got)
	}
	c.framer.WriteData(id, true, nil)
	if got := c.read(id, 0); got != " end." {
		t.Errorf("its end was %q", got)
	}
	r := <-requests
	key := r.Header.Get("Sec-Websocket-Key")
	if r.Method != "GET" || r.RequestURI != "/chat?x" || r.Host != "a.example" || r.ContentLength != 0 || r.Body != http.NoBody ||
		r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" || len(key) != 24 || r.Header.Get("Sec-Websocket-Version") != "13" ||
		r.Header.Get("Content-Length") != "" || r.Header[":protocol"] != nil {
		t.Errorf("the handler got %s %s %s %d %v", r.Method, r.RequestURI, r.Host, r.ContentLength, r.Header)
	}
	if names, ok := wire.FromRequest(r).OriginalHeaderNames(); !ok || strings.Join(names, ",") != "sec-websocket-version,origin,content-length" {
		t.Errorf("the names as sent are %q", names)
	}
	// Not even the version needs to be there, and the next key is another one.
	c.framer.WriteRSTStream(c.open(false, connect...), http2.ErrCodeCancel)
	if r := <-requests; r.Header.Get("Sec-Websocket-Key") == key || r.Header.Get("Sec-Websocket-Version") != "13" {
		t.Errorf("the next request has %v", r.Header)
	}
	if got := c.read(c.open(true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"), 0); got != "200 no stream." {
		t.Errorf("a plain request got %q", got)
	}
}

func TestExtendedConnectsThatAreRefused(t *testing.T) {
	addr := serveTunnels(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "tea")
			if wire.StreamOf(r).Accept() == nil {
				t.Error("accepted after an answer")
			}
		case "/flush":
			w.Header().Set("Set-Cookie", "secret")
			http.NewResponseController(w).Flush()
		case "/write":
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "12345")
		}
	})
	c := newFrameClient(t, addr)
	change := func(pairs ...string) []string {
		fields := append([]string(nil), connect...)
		for i := 0; i < len(pairs); i += 2 {
			for j := 0; j < len(fields); j += 2 {
				if fields[j] == pairs[i] {
					fields[j+1] = pairs[i+1]
				}
			}
		}
		return fields
	}
	const noSocket = "502 this is no WebSocket\n."
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"another protocol", change(":protocol", "connect-udp"), "501 extended CONNECT serves WebSockets alone\n."},
		{"another method with a protocol", change(":method", "GET"), "400 malformed request line\n."},
		{"no path", append(append([]string(nil), connect[:6]...), connect[8:]...), "reset PROTOCOL_ERROR"},
		{"a path with a space", change(":path", "/a b"), "400 malformed request line\n."},
		{"a bad host", change(":authority", "a/b"), "400 malformed host\n."},
		{"an answer that is none", change(":path", "/nothing"), noSocket},
		{"a flush before the head", change(":path", "/flush"), noSocket},
		{"a body that is written", change(":path", "/write"), noSocket},
		{"another status", change(":path", "/early"), "103 418 tea."},
	} {
		if got := c.read(c.open(true, tt.fields...), 0); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAnAbortedStreamEndsItsReadsAndWrites(t *testing.T) {
	ended := make(chan error, 2)
	addr := serveTunnels(t, func(w http.ResponseWriter, r *http.Request) {
		s := wire.StreamOf(r)
		s.Accept()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := s.Read(make([]byte, 1))
			ended <- err
		}()
		time.AfterFunc(100*time.Millisecond, s.Abort)
		var err error
		for err == nil { // until the window is used up
			_, err = s.Write(make([]byte, 10_000))
		}
		ended <- err
		<-done
	})
	c := newFrameClient(t, addr)
	c.open(false, connect...)
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("still going on")
		}
	}
}

func serveTunnels(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	return start(t, &wire.Server{Handler: handler})
}
