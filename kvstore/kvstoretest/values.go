package kvstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

func testValues(t *testing.T, s *suite) {
	st := s.store(t)
	sizes := []int64{0, 1, 2, 511, 512, 4095, 4096, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1,
		1<<20 - 1, 1 << 20, 1<<20 + 1, s.MaxValue - 1, s.MaxValue}
	for i, size := range sizes {
		if size > s.MaxValue || size < 0 {
			continue
		}
		want := noise(int(size), uint64(i))
		sources := map[string]func() io.Reader{
			"bytes in memory": func() io.Reader { return kvstore.BytesBody(bytes.Clone(want)) },
			"a reader":        func() io.Reader { return bytes.NewReader(want) },
		}
		if size <= 1<<20+1 {
			sources["a stream"] = func() io.Reader { return kvstore.StreamBody(io.NopCloser(bytes.NewReader(want)), size) }
			sources["a reader that ends with its data"] = func() io.Reader { return iotest.DataErrReader(bytes.NewReader(want)) }
			sources["a reader of halves"] = func() io.Reader { return iotest.HalfReader(bytes.NewReader(want)) }
			sources["bytes read in part"] = func() io.Reader {
				b := kvstore.BytesBody(append([]byte("head"), want...))
				_, _ = io.CopyN(io.Discard, b, 4)
				return b
			}
		}
		if size <= 16<<10+1 {
			sources["a reader of single bytes"] = func() io.Reader { return iotest.OneByteReader(bytes.NewReader(want)) }
			sources["a reader that gives nothing at times"] = func() io.Reader { return &hesitant{r: bytes.NewReader(want)} }
		}
		if size == 0 {
			sources["nil"] = func() io.Reader { return nil }
		}
		for from, source := range sources {
			key := fmt.Sprintf("%d/%s", size, from)
			if _, err := st.Insert(ctx(t), key, source(), kvstore.InsertOptions{Metadata: []byte("m")}); err != nil {
				t.Errorf("%d bytes from %s: %v", size, from, err)
				continue
			}
			for how, readAll := range map[string]func(b *kvstore.Body) ([]byte, error){
				"Read": func(b *kvstore.Body) ([]byte, error) { return io.ReadAll(onlyReader{b}) },
				"WriteTo": func(b *kvstore.Body) ([]byte, error) {
					var buf bytes.Buffer
					n, err := b.WriteTo(&buf)
					if err == nil && n != int64(buf.Len()) {
						err = fmt.Errorf("WriteTo gave %d", n)
					}
					return buf.Bytes(), err
				},
				"Bytes": func(b *kvstore.Body) ([]byte, error) {
					if whole, ok := b.Bytes(); ok {
						return whole, nil
					}
					return io.ReadAll(b)
				},
				"Take": func(b *kvstore.Body) ([]byte, error) {
					head := make([]byte, min(size, 3))
					if _, err := io.ReadFull(b, head); err != nil {
						return nil, err
					}
					rest, ok := b.Take()
					if !ok {
						return bytes.Join([][]byte{head, must(io.ReadAll(b))}, nil), nil
					}
					if left := must(io.ReadAll(b)); len(left) != 0 {
						return nil, fmt.Errorf("%d bytes are left", len(left))
					}
					return bytes.Join([][]byte{head, rest}, nil), nil
				},
			} {
				v, err := st.Lookup(ctx(t), key)
				if err != nil {
					t.Errorf("%d bytes from %s: Lookup: %v", size, from, err)
					continue
				}
				got, err := readAll(v.Body)
				if err != nil || !bytes.Equal(got, want) || v.Body.Size() != size {
					t.Errorf("%d bytes from %s, by %s: got %d bytes, equal %v, Size %d, %v", size, from, how, len(got), bytes.Equal(got, want), v.Body.Size(), err)
				}
				if n, err := v.Body.Read(make([]byte, 1)); n != 0 && how != "Bytes" {
					t.Errorf("%d bytes from %s, by %s: %d bytes and %v after the end", size, from, how, n, err)
				}
				for range 2 {
					if err := v.Body.Close(); err != nil {
						t.Errorf("%d bytes from %s: Close: %v", size, from, err)
					}
				}
			}
			if err := st.Delete(ctx(t), key, kvstore.DeleteOptions{}); err != nil {
				t.Errorf("Delete(%s): %v", key, err)
			}
		}
	}
	if stat, err := st.Stat(ctx(t)); err != nil || stat != (kvstore.Stat{}) {
		t.Errorf("Stat gave %+v, %v after all was deleted", stat, err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

type onlyReader struct{ io.Reader }

// hesitant gives nothing with every second Read, as io.Reader allows.
type hesitant struct {
	r    io.Reader
	turn int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.turn++; h.turn%2 == 1 {
		return 0, nil
	}
	return h.r.Read(p)
}

// unchanged runs an insert that must fail, on keys in several states and in every mode, and checks that nothing changed.
// source makes a value; wantFor gives the error.
func unchanged(t *testing.T, st kvstore.Store, what string, source func() io.Reader, want error) {
	t.Helper()
	put(t, st, "there", "old", kvstore.InsertOptions{Metadata: []byte("old"), TTL: time.Hour})
	old := mustGet(t, st, "there")
	before := keys(t, st, "", 0)
	stat, err := st.Stat(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
		for _, key := range []string{"there", "not there"} {
			if mode == kvstore.Add && key == "there" {
				continue
			}
			g, err := st.Insert(ctx(t), key, source(), kvstore.InsertOptions{Mode: mode, Metadata: []byte("new")})
			if !errors.Is(err, want) || g != 0 {
				t.Errorf("%s, mode %d of the key %q: got %d, %v; want %v", what, mode, key, g, err, want)
			}
		}
	}
	if got := mustGet(t, st, "there"); !got.equal(old) {
		t.Errorf("%s: the key is now %v", what, got)
	}
	mustMiss(t, st, "not there")
	if after := keys(t, st, "", 0); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("%s: there are %q now", what, after)
	}
	if after, err := st.Stat(ctx(t)); err != nil || after != stat {
		t.Errorf("%s: Stat gave %+v, %v; before %+v", what, after, err, stat)
	}
}

func testValueLimit(t *testing.T, s *suite) {
	st := s.store(t)
	large := noise(int(s.MaxValue)+1, 4)
	unchanged(t, st, "a byte too many", func() io.Reader { return kvstore.BytesBody(large) }, kvstore.ErrTooLarge)
	unchanged(t, st, "a byte too many, read", func() io.Reader { return bytes.NewReader(large) }, kvstore.ErrTooLarge)
	unchanged(t, st, "a byte too many, announced", func() io.Reader {
		return kvstore.StreamBody(io.NopCloser(bytes.NewReader(large)), int64(len(large)))
	}, kvstore.ErrTooLarge)
	if s.MaxValue <= kvstore.DefaultMaxValue {
		unchanged(t, st, "without an end", func() io.Reader { return endless{} }, kvstore.ErrTooLarge)
	}
	if err := st.Delete(ctx(t), "there", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Appending and prepending reach the limit, and no further.
	most, half := large[:s.MaxValue], s.MaxValue/2
	for mode, parts := range map[kvstore.InsertMode][2][]byte{
		kvstore.Append:  {most[:half], most[half:]},
		kvstore.Prepend: {most[half:], most[:half]},
	} {
		key := fmt.Sprintf("mode %d", mode)
		for _, part := range parts {
			if _, err := st.Insert(ctx(t), key, bytes.NewReader(part), kvstore.InsertOptions{Mode: mode}); err != nil {
				t.Fatal(err)
			}
		}
		old := mustGet(t, st, key)
		if old.value != string(most) {
			t.Errorf("mode %d: the parts were not joined", mode)
		}
		_, err := st.Insert(ctx(t), key, body("x"), kvstore.InsertOptions{Mode: mode, Metadata: []byte("new")})
		wantErr(t, fmt.Sprintf("mode %d of a byte too many", mode), err, kvstore.ErrTooLarge)
		if got := mustGet(t, st, key); !got.equal(old) {
			t.Errorf("mode %d: the key is now %v", mode, got)
		}
		put(t, st, key, "", kvstore.InsertOptions{Mode: mode})
		if err := st.Delete(ctx(t), key, kvstore.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// endless is a reader without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func testBrokenValue(t *testing.T, s *suite) {
	st := s.store(t)
	broken := errors.New("the source broke")
	for _, size := range []int{0, 1, 16 << 10, 200 << 10, 1<<20 + 1} {
		if int64(size)+100 > s.MaxValue {
			continue
		}
		unchanged(t, st, fmt.Sprintf("an error after %d bytes", size), func() io.Reader {
			return io.MultiReader(bytes.NewReader(noise(size, 5)), iotest.ErrReader(broken))
		}, broken)
		unchanged(t, st, fmt.Sprintf("a stream's error after %d bytes", size), func() io.Reader {
			return kvstore.StreamBody(io.NopCloser(io.MultiReader(bytes.NewReader(noise(size, 5)), iotest.ErrReader(broken))), int64(size)+100)
		}, broken)
		unchanged(t, st, fmt.Sprintf("a stream of %d bytes that ends early", size), func() io.Reader {
			return kvstore.StreamBody(io.NopCloser(bytes.NewReader(noise(size, 5))), int64(size)+1)
		}, io.ErrUnexpectedEOF)
	}

	// A source that waits until the context ends: whatever it answers then, the insert has failed.
	old := mustGet(t, st, "there")
	for _, answer := range []error{io.EOF, context.Canceled, broken} {
		for _, key := range []string{"there", "not there"} {
			cctx, cancel := context.WithCancel(ctx(t))
			waits := make(chan struct{})
			r := io.MultiReader(strings.NewReader("new"), readerFunc(func([]byte) (int, error) {
				close(waits)
				<-cctx.Done()
				return 0, answer
			}))
			done := make(chan error, 1)
			go func() {
				_, err := st.Insert(cctx, key, r, kvstore.InsertOptions{})
				done <- err
			}()
			<-waits
			// Others are not held up meanwhile.
			put(t, st, "another", "v", kvstore.InsertOptions{})
			if got := mustGet(t, st, "there"); !got.equal(old) {
				t.Errorf("during the insert the key is %v", got)
			}
			cancel()
			wantErr(t, fmt.Sprintf("%s, the source answers %v", key, answer), <-done, context.Canceled)
		}
	}
	if got := mustGet(t, st, "there"); !got.equal(old) {
		t.Errorf("the key is now %v", got)
	}
	mustMiss(t, st, "not there")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testJoin(t *testing.T, s *suite) {
	st := s.store(t)
	want := ""
	for i := range 60 {
		part := string(noise([]int{0, 1, 7, 100, 4096, 16<<10 + 1, 70 << 10}[i%7], uint64(i)))
		if int64(len(want)+len(part)) > s.MaxValue {
			break
		}
		mode := kvstore.Append
		if i%3 == 2 {
			mode = kvstore.Prepend
			want = part + want
		} else {
			want += part
		}
		g := put(t, st, "k", part, kvstore.InsertOptions{Mode: mode, Metadata: []byte{byte(i)}})
		got := mustGet(t, st, "k")
		if got.value != want || got.generation != g || string(got.metadata) != string([]byte{byte(i)}) {
			t.Fatalf("after %d parts: got %d bytes, want %d; generation %d, want %d", i+1, len(got.value), len(want), got.generation, g)
		}
	}
	// A value that was read goes into another key, and each goes on by itself.
	v, err := st.Lookup(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Insert(ctx(t), "copy", v.Body, kvstore.InsertOptions{}); err != nil {
		t.Fatal(err)
	}
	_ = v.Body.Close()
	room := min(s.MaxValue-int64(len(want)), 10)
	one, two := strings.Repeat("1", int(room)), strings.Repeat("2", int(room))
	put(t, st, "k", one, kvstore.InsertOptions{Mode: kvstore.Append})
	put(t, st, "copy", two, kvstore.InsertOptions{Mode: kvstore.Append})
	if mustGet(t, st, "k").value != want+one || mustGet(t, st, "copy").value != want+two {
		t.Error("a copy and its original share bytes")
	}
}

func testStableReads(t *testing.T, s *suite) {
	for _, size := range []int{100, int(min(3<<20, s.MaxValue/2))} {
		want := noise(size, 6)
		for _, tt := range []struct {
			name   string
			may    error // that the reader may get
			change func(t *testing.T, all kvstore.Stores, st kvstore.Store)
		}{
			{name: "overwritten", change: func(t *testing.T, _ kvstore.Stores, st kvstore.Store) {
				put(t, st, "k", string(noise(size, 7)), kvstore.InsertOptions{})
				put(t, st, "k", "short", kvstore.InsertOptions{})
			}},
			{name: "appended to", change: func(t *testing.T, _ kvstore.Stores, st kvstore.Store) {
				put(t, st, "k", "more", kvstore.InsertOptions{Mode: kvstore.Append})
				put(t, st, "k", "less", kvstore.InsertOptions{Mode: kvstore.Prepend})
			}},
			{name: "deleted", change: func(t *testing.T, _ kvstore.Stores, st kvstore.Store) {
				if err := st.Delete(ctx(t), "k", kvstore.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				for i := range 5 { // what takes its space
					put(t, st, fmt.Sprint(i), string(noise(size, 8)), kvstore.InsertOptions{})
				}
			}},
			{name: "expired", change: func(t *testing.T, _ kvstore.Stores, st kvstore.Store) {
				put(t, st, "k", string(want), kvstore.InsertOptions{TTL: 1})
				sleepPast(time.Now().Add(250 * time.Millisecond))
			}},
			{name: "dropped", may: kvstore.ErrNoStore, change: func(t *testing.T, all kvstore.Stores, st kvstore.Store) {
				if err := all.Drop(ctx(t), "store"); err != nil {
					t.Fatal(err)
				}
			}},
			{name: "closed", may: kvstore.ErrClosed, change: func(t *testing.T, all kvstore.Stores, st kvstore.Store) {
				if err := all.Close(); err != nil {
					t.Fatal(err)
				}
			}},
		} {
			t.Run(fmt.Sprintf("%d bytes %s", size, tt.name), func(t *testing.T) {
				all := s.stores(t)
				st := create(t, all, "store")
				put(t, st, "k", string(want), kvstore.InsertOptions{Metadata: []byte("m")})
				var began [4]kvstore.Value
				for i := range began {
					v, err := st.Lookup(ctx(t), "k")
					if err != nil {
						t.Fatal(err)
					}
					defer v.Body.Close()
					head := make([]byte, []int{0, 1, size / 2, size}[i])
					if _, err := io.ReadFull(v.Body, head); err != nil || !bytes.Equal(head, want[:len(head)]) {
						t.Fatalf("the first %d bytes: equal %v, %v", len(head), bytes.Equal(head, want[:len(head)]), err)
					}
					began[i] = v
				}
				tt.change(t, all, st)
				for i, v := range began {
					at := []int{0, 1, size / 2, size}[i]
					rest, err := io.ReadAll(v.Body)
					if err != nil && (tt.may == nil || !errors.Is(err, tt.may)) {
						t.Errorf("from byte %d on: %v", at, err)
					}
					if !bytes.HasPrefix(want[at:], rest) || err == nil && len(rest) != size-at {
						t.Errorf("from byte %d on: %d bytes are not the value that was looked up; %v", at, len(rest), err)
					}
					if string(v.Metadata) != "m" {
						t.Errorf("the metadata is %q", v.Metadata)
					}
				}
			})
		}
	}
}
