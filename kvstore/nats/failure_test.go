package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/edgewasm/wasmedge/kvstore"
)

func newTestStore(t *testing.T, all *Stores) *store {
	t.Helper()
	st, err := all.Create(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	return st.(*store)
}

func insert(t *testing.T, st kvstore.Store, key string, value []byte, o kvstore.InsertOptions) uint64 {
	t.Helper()
	g, err := st.Insert(t.Context(), key, kvstore.BytesBody(value), o)
	if err != nil {
		t.Fatalf("Insert(%q): %v", key, err)
	}
	return g
}

func lookup(st kvstore.Store, key string) ([]byte, error) {
	v, err := st.Lookup(context.Background(), key)
	if err != nil {
		return nil, err
	}
	defer v.Body.Close()
	return io.ReadAll(v.Body)
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// TestAcknowledgedWritesOutliveTheServer stops the server again and again in the middle of many writes. What was acknowledged is
// there, what failed is not, and what is unknown is either.
func TestAcknowledgedWritesOutliveTheServer(t *testing.T) {
	ts := startServer(t, true)
	all := connect(t, ts, Options{Timeout: 20 * time.Second, ReadGrace: time.Minute})
	st := newTestStore(t, all)
	type write struct {
		key, value string
		err        error
		generation uint64
	}
	const writers = 8
	var results [writers][]write
	var stop atomic.Bool
	var wg sync.WaitGroup
	large := strings.Repeat("large", 40_000)
	for i := range writers {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				w := write{key: fmt.Sprintf("%d/%d", i, n), value: fmt.Sprintf("value %d of %d", n, i)}
				if n%10 == 9 {
					w.value += large
				}
				mode := kvstore.Overwrite
				if n%2 == 1 {
					mode = kvstore.Add // which a repeated message must not refuse
				}
				ctx := context.Background()
				cancel := context.CancelFunc(func() {})
				if n%5 == 4 { // some give up while the server is away
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
				}
				w.generation, w.err = st.Insert(ctx, w.key, strings.NewReader(w.value), kvstore.InsertOptions{Mode: mode})
				cancel()
				results[i] = append(results[i], w)
				_, err := st.Insert(context.Background(), fmt.Sprintf("log/%d", i), strings.NewReader(strconv.Itoa(n)+","), kvstore.InsertOptions{Mode: kvstore.Append})
				results[i] = append(results[i], write{key: "log", value: strconv.Itoa(n) + ",", err: err})
			}
		})
	}
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		ts.stop()
		time.Sleep(150 * time.Millisecond)
		ts.start(t)
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()

	acknowledged, unknown := 0, 0
	var there []string
	for i := range results {
		log, err := lookup(st, fmt.Sprintf("log/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		rest := string(log)
		for _, w := range results[i] {
			if w.key == "log" {
				cut, ok := strings.CutPrefix(rest, w.value)
				if ok != (w.err == nil) && !errors.Is(w.err, kvstore.ErrUnknown) {
					t.Errorf("appending %q: %v, but the log goes on with %.40q", w.value, w.err, rest)
				}
				rest = cut
				continue
			}
			got, err := lookup(st, w.key)
			switch {
			case w.err == nil:
				acknowledged++
				if err != nil || string(got) != w.value {
					t.Errorf("%s was acknowledged, but is %.40q, %v", w.key, got, err)
				}
			case errors.Is(w.err, kvstore.ErrUnknown):
				unknown++
				if err == nil && string(got) != w.value {
					t.Errorf("%s is half there: %.40q", w.key, got)
				}
			case !errors.Is(w.err, context.DeadlineExceeded):
				t.Errorf("%s failed with %v", w.key, w.err)
			default:
				if !errors.Is(err, kvstore.ErrNotFound) {
					t.Errorf("%s failed with %v, but is %.40q, %v", w.key, w.err, got, err)
				}
			}
			if err == nil {
				there = append(there, w.key)
			}
		}
		if rest != "" {
			t.Errorf("the log of %d has more than was written: %.40q", i, rest)
		}
		there = append(there, fmt.Sprintf("log/%d", i))
	}
	t.Logf("%d writes were acknowledged, of %d it is not known", acknowledged, unknown)
	if acknowledged < 20 {
		t.Errorf("only %d writes were acknowledged", acknowledged)
	}
	slices.Sort(there)
	var listed []string
	for o := (kvstore.ListOptions{}); ; {
		page, err := st.List(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.Keys...)
		if o.Cursor = page.NextCursor; o.Cursor == "" {
			break
		}
	}
	if !slices.Equal(listed, there) {
		t.Errorf("List gives %d keys, of which %d can be looked up", len(listed), len(there))
	}
}

func TestCallsEndWhileTheServerIsAway(t *testing.T) {
	ts := startServer(t, false)
	all := connect(t, ts, Options{Timeout: 200 * time.Millisecond})
	st := newTestStore(t, all)
	insert(t, st, "k", []byte("v"), kvstore.InsertOptions{})
	large := bytes.Repeat([]byte("large"), 100_000)
	insert(t, st, "large", large, kvstore.InsertOptions{})
	if _, err := st.List(t.Context(), kvstore.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	reading, err := st.Lookup(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	ts.stop()
	for _, within := range []time.Duration{50 * time.Millisecond, time.Hour} { // the context's deadline, and Timeout
		ctx, cancel := context.WithTimeout(t.Context(), within)
		errs := map[string]error{}
		_, errs["Lookup"] = st.Lookup(ctx, "k")
		_, errs["Insert"] = st.Insert(ctx, "k", strings.NewReader("w"), kvstore.InsertOptions{})
		_, errs["large Insert"] = st.Insert(ctx, "k", bytes.NewReader(large), kvstore.InsertOptions{})
		_, errs["Add"] = st.Insert(ctx, "new", strings.NewReader("w"), kvstore.InsertOptions{Mode: kvstore.Add})
		errs["Delete"] = st.Delete(ctx, "k", kvstore.DeleteOptions{})
		_, errs["List"] = st.List(ctx, kvstore.ListOptions{})
		_, errs["Stat"] = st.Stat(ctx)
		_, errs["Open"] = all.Open(ctx, "store")
		_, errs["Create"] = all.Create(ctx, "new")
		errs["Drop"] = all.Drop(ctx, "store")
		_, errs["Names"] = all.Names(ctx)
		cancel()
		for what, err := range errs {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if b, err := io.ReadAll(reading.Body); err == nil || !bytes.HasPrefix(large, b) {
		t.Errorf("the value's rest: %d bytes, %v", len(b), err)
	}
	ts.start(t)
	eventually(t, "the value can be looked up again", func() bool {
		b, err := lookup(st, "k")
		return err == nil && string(b) == "v"
	})
	if b, err := lookup(st, "large"); err != nil || !bytes.Equal(b, large) {
		t.Errorf("the large value: %d bytes, %v", len(b), err)
	}
	insert(t, st, "k", []byte("w"), kvstore.InsertOptions{})
	page, err := st.List(t.Context(), kvstore.ListOptions{})
	if err != nil || !slices.Equal(page.Keys, []string{"k", "large"}) {
		t.Errorf("List gives %+v, %v", page, err)
	}
}

// relay stands between client and server, and can swallow what the server says.
type relay struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn
	deaf *atomic.Bool // of the connections that are open
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, deaf: new(atomic.Bool)}
	t.Cleanup(func() { _ = l.Close(); r.cut() })
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = down.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, down, up)
			deaf := r.deaf
			r.mu.Unlock()
			go func() { _, _ = io.Copy(up, down); _ = up.Close() }()
			go func() {
				b := make([]byte, 64<<10)
				for {
					n, err := up.Read(b)
					if err != nil {
						break
					}
					if !deaf.Load() {
						_, _ = down.Write(b[:n])
					}
				}
				_ = down.Close()
			}()
		}
	}()
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		_ = c.Close()
	}
	r.open, r.deaf = nil, new(atomic.Bool)
}

// deafen swallows what the server says from now on, to those who are connected.
func (r *relay) deafen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf.Store(true)
}

// TestLostAnswers: a write that the server did, and whose acknowledgement is lost, is found to be done once the server can be heard again;
// it is unknown if that takes too long.
func TestLostAnswers(t *testing.T) {
	ts := startServer(t, false)
	r := startRelay(t, strings.TrimPrefix(ts.url(), "nats://"))
	direct := connect(t, ts, Options{Bucket: "lost"})
	all, err := New(t.Context(), Options{URL: "nats://" + r.Addr().String(), Bucket: "lost", Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	st := newTestStore(t, all)
	other, err := direct.Open(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	g := insert(t, st, "k", []byte("0"), kvstore.InsertOptions{})
	for i, o := range []kvstore.InsertOptions{
		{}, {Mode: kvstore.Append}, {Mode: kvstore.Prepend}, {HasIfGeneration: true},
	} {
		key := fmt.Sprint("k", i)
		if !o.HasIfGeneration {
			insert(t, st, key, []byte("old"), kvstore.InsertOptions{})
		}
		// The answers are lost from when the value is read: then nothing is left but to write it.
		deaf := make(chan struct{})
		value := readerFunc(func() { r.deafen(); close(deaf) })
		var wrote uint64
		done := make(chan error)
		go func() {
			g, err := st.Insert(t.Context(), key, io.MultiReader(strings.NewReader("new"), value), o)
			wrote = g
			done <- err
		}()
		<-deaf
		if o.Mode == kvstore.Overwrite { // an append looks at the value first
			eventually(t, "the write is done", func() bool {
				b, err := lookup(other, key)
				return err == nil && string(b) == "new"
			})
		}
		r.cut()
		if err := <-done; err != nil {
			t.Errorf("%+v: %v", o, err)
		}
		want := map[kvstore.InsertMode]string{kvstore.Append: "oldnew", kvstore.Prepend: "newold"}[o.Mode]
		if want == "" {
			want = "new"
		}
		v, err := other.Lookup(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(v.Body); err != nil || string(b) != want || v.Generation != wrote {
			t.Errorf("%+v: the value is %q at generation %d, %v; Insert gave %d", o, b, v.Generation, err, wrote)
		}
	}

	// Now the key is written by another before the server can be heard.
	value := readerFunc(r.deafen)
	done := make(chan error)
	go func() {
		_, err := st.Insert(t.Context(), "k", io.MultiReader(strings.NewReader("1"), value), kvstore.InsertOptions{HasIfGeneration: true, IfGeneration: g})
		done <- err
	}()
	eventually(t, "the write is done", func() bool {
		b, err := lookup(other, "k")
		return err == nil && string(b) == "1"
	})
	insert(t, other, "k", []byte("2"), kvstore.InsertOptions{})
	r.cut()
	if err := <-done; !errors.Is(err, kvstore.ErrUnknown) {
		t.Errorf("written again since: %v", err)
	}

	// And now it is not heard in time.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	value = readerFunc(r.deafen)
	_, err = st.Insert(ctx, "k", io.MultiReader(strings.NewReader("3"), value), kvstore.InsertOptions{})
	if !errors.Is(err, kvstore.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not heard in time: %v", err)
	}
}

// readerFunc is an empty value that calls a function when it is read.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

func TestDamageIsFound(t *testing.T) {
	ts := startServer(t, false)
	all := connect(t, ts, Options{})
	st := newTestStore(t, all)
	large := bytes.Repeat([]byte("large"), 100_000)
	publish := func(subject string, data []byte) {
		t.Helper()
		if _, _, err := all.publish(t.Context(), &client.Msg{Subject: subject, Header: client.Header{}, Data: data}, st.stream); err != nil {
			t.Fatal(err)
		}
	}
	rec := record{kind: inline, size: 5, data: []byte("value")}
	good := rec.encode("k")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		publish(st.subject("k"), bad)
		if b, err := lookup(st, "k"); !errors.Is(err, kvstore.ErrCorrupt) {
			t.Errorf("byte %d is wrong: %q, %v", i, b, err)
		}
	}
	publish(st.subject("other"), good)
	if b, err := lookup(st, "other"); !errors.Is(err, kvstore.ErrCorrupt) {
		t.Errorf("another key's message: %q, %v", b, err)
	}
	_, err := st.Insert(t.Context(), "other", strings.NewReader("x"), kvstore.InsertOptions{Mode: kvstore.Append})
	if !errors.Is(err, kvstore.ErrCorrupt) {
		t.Errorf("appending to it: %v", err)
	}
	insert(t, st, "other", []byte("mended"), kvstore.InsertOptions{})
	if b, err := lookup(st, "other"); err != nil || string(b) != "mended" {
		t.Errorf("after overwriting it: %q, %v", b, err)
	}

	for what, change := range map[string]func(part func(n int) string, parts [][]byte){
		"a bit":           func(part func(n int) string, parts [][]byte) { parts[1][100] ^= 1; publish(part(1), parts[1]) },
		"the order":       func(part func(n int) string, parts [][]byte) { publish(part(1), parts[2]) },
		"cut short":       func(part func(n int) string, parts [][]byte) { publish(part(1), parts[1][:100]) },
		"emptied":         func(part func(n int) string, parts [][]byte) { publish(part(1), nil) },
		"the last longer": func(part func(n int) string, parts [][]byte) { publish(part(3), append(parts[3], 0)) },
		"missing": func(part func(n int) string, parts [][]byte) {
			if err := all.js.Conn().Publish("x", nil); err != nil {
				t.Fatal(err)
			}
			if err := all.ask(t.Context(), "STREAM.PURGE."+st.stream, map[string]string{"filter": part(1)}, &struct{}{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		insert(t, st, "large", large, kvstore.InsertOptions{})
		c, err := st.load(t.Context(), "large")
		if err != nil || c.kind != inParts || c.count() != 4 {
			t.Fatalf("%+v, %v", c.record, err)
		}
		part := func(n int) string { return st.partsSubject(c.parts) + "." + strconv.Itoa(n) }
		var parts [][]byte
		for n := range 4 {
			size := min(int64(c.partSize), c.size-int64(n)*int64(c.partSize))
			b, err := st.part(t.Context(), c.parts, uint32(n), size)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, append(make([]byte, 4), b...))
			copy(parts[n], []byte{0, 0, 0, 0})
			sum := partSum(c.parts, uint32(n), b)
			parts[n][0], parts[n][1], parts[n][2], parts[n][3] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		change(part, parts)
		b, err := lookup(st, "large")
		if !errors.Is(err, kvstore.ErrCorrupt) || !bytes.HasPrefix(large, b) {
			t.Errorf("%s: %d bytes, right %v, %v", what, len(b), bytes.HasPrefix(large, b), err)
		}
	}
}

// TestUnusedPartsAreRemoved counts the messages of a store in which large values were replaced, deleted, expired, refused and left behind
// half written.
func TestUnusedPartsAreRemoved(t *testing.T) {
	ts := startServer(t, false)
	all := connect(t, ts, Options{Timeout: 500 * time.Millisecond, ReadGrace: time.Second})
	st := newTestStore(t, all)
	large := bytes.Repeat([]byte("large"), 100_000) // 4 parts
	for range 3 {
		insert(t, st, "replaced", large, kvstore.InsertOptions{})
	}
	insert(t, st, "replaced", []byte("small"), kvstore.InsertOptions{})
	insert(t, st, "deleted", large, kvstore.InsertOptions{})
	if err := st.Delete(t.Context(), "deleted", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	insert(t, st, "expired", large, kvstore.InsertOptions{TTL: 100 * time.Millisecond})
	broken := errors.New("broken")
	if _, err := st.Insert(t.Context(), "broken", io.MultiReader(bytes.NewReader(large), errReader{broken}), kvstore.InsertOptions{}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	orphan := record{kind: inParts, parts: strings.Repeat("o", partsName)}
	if _, err := st.writeParts(t.Context(), orphan.parts, large, eof{}); err != nil {
		t.Fatal(err)
	}
	insert(t, st, "stays", large, kvstore.InsertOptions{})
	insert(t, st, "stays", []byte("appended"), kvstore.InsertOptions{Mode: kvstore.Append})
	reading, err := st.Lookup(t.Context(), "stays")
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Body.Close()
	messages := func() uint64 {
		var info streamInfo
		if err := all.ask(t.Context(), "STREAM.INFO."+st.stream, struct{}{}, &info); err != nil {
			t.Fatal(err)
		}
		return info.State.Messages
	}
	// Of every key one message is left, and the parts of one value; and the mark of a listing perhaps.
	eventually(t, "the parts are gone", func() bool { return messages() <= 4+4+1 })
	time.Sleep(300 * time.Millisecond)
	if b, err := lookup(st, "stays"); err != nil || len(b) != len(large)+8 {
		t.Errorf("the value that stays has %d bytes, %v", len(b), err)
	}
	if stat, err := st.Stat(t.Context()); err != nil || stat.Keys != 2 || stat.Bytes != int64(len(large)+8+5) {
		t.Errorf("Stat gives %+v, %v", stat, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestMaxBytesIsNamedWhenItIsReached(t *testing.T) {
	ts := startServer(t, false)
	st := newTestStore(t, connect(t, ts, Options{MaxBytes: 200_000}))
	var err error
	n := 0
	for ; err == nil && n < 10; n++ {
		_, err = st.Insert(t.Context(), fmt.Sprint(n), bytes.NewReader(make([]byte, 50_000)), kvstore.InsertOptions{})
	}
	if !errors.Is(err, kvstore.ErrReadOnly) || !strings.Contains(err.Error(), "MaxBytes") || n < 3 {
		t.Errorf("after %d inserts: %v", n, err)
	}
	if _, err := lookup(st, fmt.Sprint(n-1)); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("the refused value: %v", err)
	}
}

func TestMaxKeysBoundsListings(t *testing.T) {
	ts := startServer(t, false)
	st := newTestStore(t, connect(t, ts, Options{MaxKeys: 10}))
	for i := range 10 {
		insert(t, st, fmt.Sprint(i), nil, kvstore.InsertOptions{})
	}
	if page, err := st.List(t.Context(), kvstore.ListOptions{}); err != nil || len(page.Keys) != 10 {
		t.Errorf("%+v, %v", page, err)
	}
	insert(t, st, "one more", nil, kvstore.InsertOptions{})
	for range 2 {
		if _, err := st.List(t.Context(), kvstore.ListOptions{}); !errors.Is(err, kvstore.ErrBusy) || !strings.Contains(err.Error(), "MaxKeys") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := lookup(st, "one more"); err != nil {
		t.Error(err)
	}
}

// TestTwoProcesses: what one writes the other sees, in Lookup and in a strong List, at once; also that a store was dropped.
func TestTwoProcesses(t *testing.T) {
	ts := startServer(t, false)
	one := connect(t, ts, Options{Bucket: "shared"})
	two := connect(t, ts, Options{Bucket: "shared"})
	a := newTestStore(t, one)
	b, err := two.Open(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		key := fmt.Sprintf("%02d", i)
		insert(t, a, key, []byte(key), kvstore.InsertOptions{})
		if i%3 == 0 {
			if err := a.Delete(t.Context(), key, kvstore.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		page, err := b.List(t.Context(), kvstore.ListOptions{Prefix: key})
		if err != nil || (len(page.Keys) == 1) != (i%3 != 0) {
			t.Errorf("after writing %s, the other lists %+v, %v", key, page, err)
		}
		if _, err := lookup(b, key); (err == nil) != (i%3 != 0) {
			t.Errorf("after writing %s, the other looks up %v", key, err)
		}
	}
	if names, err := two.Names(t.Context()); err != nil || !slices.Equal(names, []string{"store"}) {
		t.Errorf("Names gives %q, %v", names, err)
	}
	if err := one.Drop(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Create(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Insert(t.Context(), "k", nil, kvstore.InsertOptions{}); !errors.Is(err, kvstore.ErrNoStore) {
		t.Errorf("writing to the dropped store: %v", err)
	}
	if _, err := lookup(b, "k"); !errors.Is(err, kvstore.ErrNoStore) {
		t.Errorf("looking up in the dropped store: %v", err)
	}
	if fresh, err := two.Open(t.Context(), "store"); err != nil {
		t.Error(err)
	} else if page, err := fresh.List(t.Context(), kvstore.ListOptions{}); err != nil || len(page.Keys) != 0 {
		t.Errorf("the new store lists %+v, %v", page, err)
	}
	// A store whose stream somebody removed is absent, and can be created again.
	st, err := one.Create(t.Context(), "removed")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.js.DeleteStream(t.Context(), st.(*store).stream); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Open(t.Context(), "removed"); !errors.Is(err, kvstore.ErrNoStore) {
		t.Errorf("opening it: %v", err)
	}
	if err := two.Drop(t.Context(), "removed"); !errors.Is(err, kvstore.ErrNoStore) {
		t.Errorf("dropping it: %v", err)
	}
	if names, err := two.Names(t.Context()); err != nil || !slices.Equal(names, []string{"store"}) {
		t.Errorf("Names gives %q, %v", names, err)
	}
	if _, err := two.Create(t.Context(), "removed"); err != nil {
		t.Errorf("creating it: %v", err)
	}
}

// TestListAfterItsLastMessageWasRemoved: the newest message of a stream may be gone before it is delivered.
func TestListAfterItsLastMessageWasRemoved(t *testing.T) {
	ts := startServer(t, false)
	all := connect(t, ts, Options{})
	st := newTestStore(t, all)
	insert(t, st, "k", nil, kvstore.InsertOptions{})
	if _, err := st.writeParts(t.Context(), strings.Repeat("o", partsName), []byte("part"), eof{}); err != nil {
		t.Fatal(err)
	}
	if err := st.purge(t.Context(), strings.Repeat("o", partsName)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		page, err := st.List(t.Context(), kvstore.ListOptions{})
		if err != nil || !slices.Equal(page.Keys, []string{"k"}) {
			t.Errorf("%+v, %v", page, err)
		}
	}
}
