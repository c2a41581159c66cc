package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var long = WriteOptions{MaxAge: time.Hour}

func known(n int64) WriteOptions {
	o := long
	o.KnownLength, o.Length = true, n
	return o
}

// step gives what a reader has now: bytes, "..." if it has to wait, or the error.
func step(r *Reader) string {
	p, ready, err := r.Next()
	switch {
	case !ready:
		return "..."
	case err != nil:
		return "<" + err.Error() + ">"
	}
	r.Skip(len(p))
	return string(p)
}

func steps(t *testing.T, r *Reader, want ...string) {
	t.Helper()
	for i, w := range want {
		if got := step(r); got != w {
			t.Errorf("step %d: %q, want %q", i, got, w)
		}
	}
}

func TestRangesOfAWholeBody(t *testing.T) {
	const body = "0123456789"
	for _, tt := range []struct {
		name     string
		from, to int64
		want     string
	}{
		{"none is the whole", -1, -1, body},
		{"both ends are inclusive", 2, 4, "234"},
		{"one byte", 9, 9, "9"},
		{"to the end", 7, -1, "789"},
		{"the last bytes", -1, 3, "789"},
		{"all of them as the last", -1, 10, body},
		{"more than all of them", -1, 11, body},
		{"none at the end", -1, 0, body},
		{"backwards", 4, 3, body},
		{"it begins after the end", 10, -1, body},
		{"it ends after the end", 4, 10, body},
		{"far out", 1 << 62, 1<<63 - 1, body},
	} {
		for _, wait := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				sp, _ := open(t, Options{})
				put(t, sp, "k", body, nil, long)
				if got := part(sp.Lookup([]byte("k"), nil), Range{tt.from, tt.to, wait}); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestRangesOfABodyThatArrives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		r     Range
		known bool
		want  []string // before the first bytes, after 01234, after 56789, after the end
	}{
		{"the whole of unknown length", Whole, false, []string{"...", "01234", "56789", "<EOF>"}},
		{"a range of it is the whole", Range{2, 3, false}, false, []string{"...", "01234", "56789", "<EOF>"}},
		{"unless the reader waits", Range{2, 3, true}, false, []string{"...", "23", "<EOF>", "<EOF>"}},
		{"into the second half", Range{4, 6, true}, false, []string{"...", "4", "56", "<EOF>"}},
		{"beginning there", Range{6, -1, true}, false, []string{"...", "...", "6789", "<EOF>"}},
		{"beyond the end", Range{6, 99, true}, false, []string{"...", "...", "6789", "<EOF>"}},
		{"beginning beyond the end", Range{10, 99, true}, false, []string{"...", "...", "...", "0123456789"}},
		{"the last bytes", Range{-1, 3, true}, false, []string{"...", "...", "...", "789"}},
		{"the whole of known length", Whole, true, []string{"...", "01234", "56789", "<EOF>"}},
		{"a range of known length", Range{2, 3, false}, true, []string{"...", "23", "<EOF>", "<EOF>"}},
		{"the last bytes of known length", Range{-1, 3, false}, true, []string{"...", "...", "789", "<EOF>"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp, _ := open(t, Options{})
			o := long
			if tt.known {
				o = known(10)
			}
			w, err := sp.Insert([]byte("k"), nil, o)
			if err != nil {
				t.Fatal(err)
			}
			e := sp.Lookup([]byte("k"), nil)
			if n, ok := e.Length(); ok != tt.known || ok && n != 10 {
				t.Errorf("length %d, %v", n, ok)
			}
			r, err := e.Open(tt.r)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			steps(t, r, tt.want[0])
			for i, p := range []string{"01234", "56789"} {
				if _, err := io.WriteString(w, p); err != nil {
					t.Fatal(err)
				}
				steps(t, r, tt.want[1+i])
			}
			if tt.want[2] == "56789" { // the reader of the whole does not know yet that all is well
				steps(t, r, "...")
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			steps(t, r, tt.want[3])
		})
	}
}

func TestReadersOfABrokenBodyGetAnError(t *testing.T) {
	abandon := func(w *Writer) error { w.Abandon(); return nil }
	for _, tt := range []struct {
		name string
		o    WriteOptions
		end  func(*Writer) error
		err  error // of end
		want error // of readers
	}{
		{"abandoned", long, abandon, nil, ErrAbandoned},
		{"abandoned with a length", known(5), abandon, nil, ErrAbandoned},
		{"too short", known(6), (*Writer).Close, ErrLength, ErrLength},
		{"too long", known(5), func(w *Writer) error { _, err := w.Write([]byte("6")); return err }, ErrLength, ErrLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp, _ := open(t, Options{})
			w, err := sp.Insert([]byte("k"), nil, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			e := sp.Lookup([]byte("k"), nil)
			r, _ := e.Open(Whole)
			io.WriteString(w, "12345")
			steps(t, r, "12345", "...")
			woken := false
			if r.Ready(func() { woken = true }) {
				t.Error("ready too soon")
			}
			if err := tt.end(w); !errors.Is(err, tt.err) {
				t.Errorf("the end gives %v, want %v", err, tt.err)
			}
			if !woken {
				t.Error("the reader was not woken")
			}
			for range 2 {
				if _, _, err := r.Next(); !errors.Is(err, tt.want) {
					t.Errorf("the reader got %v, want %v", err, tt.want)
				}
			}
			if sp.Lookup([]byte("k"), nil) != nil {
				t.Error("the broken object is found")
			}
			if _, err := e.Open(Whole); !errors.Is(err, tt.want) {
				t.Errorf("opening again: %v", err)
			}
			if _, err := w.Write([]byte("more")); !errors.Is(err, tt.want) {
				t.Errorf("writing more: %v", err)
			}
			if err := w.Close(); !errors.Is(err, tt.want) {
				t.Errorf("closing: %v", err)
			}
			w.Abandon()
			if st := sp.Stats(); st.Objects != 0 || st.Bytes != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestAPurgedObjectFlowsOnToItsReaders(t *testing.T) {
	sp, _ := open(t, Options{})
	o := long
	o.SurrogateKeys = []string{"a"}
	w, err := sp.Insert([]byte("k"), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := sp.Lookup([]byte("k"), nil).Open(Whole)
	io.WriteString(w, "one")
	if n := sp.PurgeKey("a", false); n != 1 {
		t.Errorf("purged %d", n)
	}
	io.WriteString(w, "two")
	steps(t, r, "onetwo", "...")
	finish(t, w, nil, "three")
	steps(t, r, "three", "<EOF>")
	if sp.Lookup([]byte("k"), nil) != nil {
		t.Error("the purged object is found")
	}
	if n := sp.Stats().Bytes; n != 0 {
		t.Errorf("%d bytes are charged", n)
	}
}

func TestAnUpdateWhileTheBodyArrivesKeepsBoth(t *testing.T) {
	sp, ck := open(t, Options{})
	w, err := sp.Insert([]byte("k"), nil, WriteOptions{MaxAge: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "one")
	ck.add(time.Minute)
	tx := begin(t, sp, "k", nil)
	if err := tx.Update(long); err != nil {
		t.Fatal(err)
	}
	finish(t, w, nil, "two")
	if got := text(sp.Lookup([]byte("k"), nil)); got != "onetwo" {
		t.Errorf("got %q", got)
	}
	if st := sp.Stats(); st.Objects != 1 || sp.policy.small.n+sp.policy.main.n != 1 {
		t.Errorf("%+v, %d queued", st, sp.policy.small.n+sp.policy.main.n)
	}
}

func TestWhatOutgrowsTheCacheFlowsToItsReaders(t *testing.T) {
	const limit = 2 << 20
	sp, _ := open(t, Options{MaxObject: limit, MaxBytes: 4 * limit})
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10) // 64 KiB
	w, err := sp.Insert([]byte("k"), nil, long)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sp.Lookup([]byte("k"), nil).Open(Whole)
	if err != nil {
		t.Fatal(err)
	}
	e := sp.Lookup([]byte("k"), nil)
	sent := 0
	for {
		n, err := w.Append(piece)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		if n < len(piece) {
			break
		}
	}
	if sent < limit || sent > limit+passWindow+len(piece) {
		t.Errorf("%d bytes were taken before the writer had to wait", sent)
	}
	if w.Stored() || sp.Lookup([]byte("k"), nil) != nil {
		t.Error("it is still in the cache")
	}
	woken := 0
	if w.Ready(func() { woken++ }) {
		t.Error("the writer need not wait")
	}
	done := make(chan int)
	go func() {
		defer r.Close()
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); err != nil {
			t.Error(err)
		}
		whole := bytes.Repeat([]byte("0123456789abcdef"), got.Len()/16)
		if !bytes.Equal(whole, got.Bytes()) {
			t.Error("the bytes are not those that were written")
		}
		done <- got.Len()
	}()
	for sent < 8*limit {
		n, err := w.Append(piece[sent%len(piece):])
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; n == 0 {
			if err := w.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if b := sp.Stats().Bytes; b > limit+2*passWindow {
			t.Fatalf("%d bytes are charged", b)
		}
	}
	if woken > 1 {
		t.Errorf("woken %d times", woken)
	}
	if _, err := e.Open(Whole); !errors.Is(err, ErrGone) {
		t.Errorf("opening it late: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := <-done; n != sent {
		t.Errorf("%d bytes of %d arrived", n, sent)
	}
	if b := sp.Stats().Bytes; b != 0 {
		t.Errorf("%d bytes are charged", b)
	}
}

func TestWhatOutgrowsTheCacheWithoutReadersBreaks(t *testing.T) {
	sp, _ := open(t, Options{MaxObject: 100})
	w, err := sp.Insert([]byte("k"), nil, long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("x")); n != 0 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := sp.Insert([]byte("k"), nil, known(101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("declared: %v", err)
	}
}

func TestTheReaderOfItsWriterGetsWhatIsTooLarge(t *testing.T) {
	const size = 3 << 20
	sp, _ := open(t, Options{MaxObject: 1 << 20})
	a, b := begin(t, sp, "k", nil), begin(t, sp, "k", nil)
	if _, err := a.Insert(known(size)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("insert: %v", err)
	}
	w, e, err := a.InsertAndStreamBack(known(size))
	if err != nil {
		t.Fatal(err)
	}
	want(t, b, "must", none)
	if !b.Pass() {
		t.Error("those who wait do not go on by themselves")
	}
	b.Close()
	if n, err := w.Append([]byte("begin")); n != 5 || err != nil { // before it is opened
		t.Fatal(n, err)
	}
	r, err := e.Open(Whole)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		got <- string(b)
	}()
	finish(t, w, nil, strings.Repeat("x", size-5))
	if s := <-got; len(s) != size || s[:6] != "beginx" {
		t.Errorf("got %d bytes", len(s))
	}
	if sp.Lookup([]byte("k"), nil) != nil {
		t.Error("it was stored")
	}
	// One that nobody opens ends once the window is full.
	w, _, err = begin(t, sp, "k", nil).InsertAndStreamBack(known(size))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, size)); !errors.Is(err, ErrTooLarge) || n != passWindow {
		t.Errorf("%d, %v", n, err)
	}
}

func TestBytesStayAsTheyAre(t *testing.T) {
	sp, _ := open(t, Options{})
	put(t, sp, "k", "body", nil, long)
	r, _ := sp.Lookup([]byte("k"), nil).Open(Whole)
	p, _, _ := r.Next()
	r.Close()
	put(t, sp, "k", "another", nil, long)
	sp.PurgeAll(false)
	if string(p) != "body" || cap(p) != 4 {
		t.Errorf("%q of capacity %d", p, cap(p))
	}
}

func TestSmallBodiesWasteLittle(t *testing.T) {
	for _, n := range []int{1, 100, 511, 513, 5000, 300 << 10, 1 << 20} {
		for _, piece := range []int{n, 100} {
			for _, o := range []WriteOptions{long, known(int64(n))} {
				sp, _ := open(t, Options{})
				w, err := sp.Insert([]byte("k"), nil, o)
				if err != nil {
					t.Fatal(err)
				}
				for left := n; left > 0; left -= piece {
					w.Write(make([]byte, min(left, piece)))
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				held := sp.Lookup([]byte("k"), nil).o.body.held
				if held < int64(n) || held > int64(n+n/8) {
					t.Errorf("%d bytes in pieces of %d take %d", n, piece, held)
				}
			}
		}
	}
}

func TestAbandonEndsAWriteThatWaitsForReaders(t *testing.T) {
	sp, _ := open(t, Options{MaxObject: 1 << 20})
	w, err := sp.Insert([]byte("k"), nil, long)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sp.Lookup([]byte("k"), nil).Open(Whole)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ended := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 8<<20))
		ended <- err
	}()
	for w.Ready(nil) { // until it waits
		time.Sleep(time.Millisecond)
	}
	w.Abandon()
	if err := <-ended; !errors.Is(err, ErrAbandoned) {
		t.Errorf("got %v", err)
	}
}
