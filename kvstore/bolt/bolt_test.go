package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

var ctx = context.Background()

// openAt opens a file, and checks when the test ends that nothing of it is left behind: goroutines, read transactions, holds, or
// damage.
func openAt(t testing.TB, path string, o Options) *Stores {
	t.Helper()
	o.stats = true
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeWell(t, s) })
	return s
}

func closeWell(t testing.TB, s *Stores) {
	t.Helper()
	if s.ctx.Err() != nil {
		return
	}
	if n := s.db.Stats().OpenTxN; n != 0 {
		// The janitor may be looking around.
		time.Sleep(50 * time.Millisecond)
		if n = s.db.Stats().OpenTxN; n != 0 {
			t.Errorf("%d read transactions are open", n)
		}
	}
	if n := len(s.blobs.refs); n != 0 {
		t.Errorf("%d blobs are held", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkFile(t, s.path)
}

func checkFile(t testing.TB, path string) {
	t.Helper()
	if err := Check(ctx, path, func(p error) { t.Errorf("%s: %v", filepath.Base(path), p) }, nil); err != nil {
		t.Error(err)
	}
}

func makeStore(t testing.TB, s *Stores, name string) kvstore.Store {
	t.Helper()
	st, err := s.Create(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func tempPath(t testing.TB) string { return filepath.Join(t.TempDir(), "kv.db") }

// content gives bytes that tell where they are from.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

func insert(t testing.TB, st kvstore.Store, key string, value []byte, o kvstore.InsertOptions) uint64 {
	t.Helper()
	g, err := st.Insert(ctx, key, bytes.NewReader(value), o)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	return g
}

func get(t testing.TB, st kvstore.Store, key string) []byte {
	t.Helper()
	v, err := st.Lookup(ctx, key)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	defer v.Body.Close()
	b, err := io.ReadAll(v.Body)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	return b
}

var sizes = []int{0, 1, inlineMax, inlineMax + 1, partMax - 1, partMax, partMax + 1, 10 * chunkSize, batchMax, batchMax + 1, batchMax + chunkSize, 3*batchMax + 17}

func TestValuesOfEverySizeComeBackAfterARestart(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{})
	st := makeStore(t, s, "a")
	for i, n := range sizes {
		value := content(uint64(i), n)
		meta := content(99, i*100)
		insert(t, st, fmt.Sprint("reader", n), value, kvstore.InsertOptions{Metadata: meta})
		if _, err := st.Insert(ctx, fmt.Sprint("body", n), kvstore.BytesBody(value), kvstore.InsertOptions{}); err != nil {
			t.Fatal(err)
		}
		// In pieces, of a length that is not known.
		if _, err := st.Insert(ctx, fmt.Sprint("slow", n), io.MultiReader(bytes.NewReader(value[:n/2]), bytes.NewReader(value[n/2:])), kvstore.InsertOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		for i, n := range sizes {
			for _, kind := range []string{"reader", "body", "slow"} {
				key := fmt.Sprint(kind, n)
				v, err := st.Lookup(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				if v.Body.Size() != int64(n) {
					t.Errorf("%s has size %d", key, v.Body.Size())
				}
				var buf bytes.Buffer
				if i%2 == 0 {
					_, err = v.Body.WriteTo(&buf)
				} else {
					_, err = buf.ReadFrom(struct{ io.Reader }{v.Body})
				}
				v.Body.Close()
				if err != nil || !bytes.Equal(buf.Bytes(), content(uint64(i), n)) {
					t.Errorf("%s: %v, %d bytes, or wrong ones", key, err, buf.Len())
				}
				if kind == "reader" && !bytes.Equal(v.Metadata, content(99, i*100)) || kind == "body" && v.Metadata != nil {
					t.Errorf("%s has metadata %x", key, v.Metadata)
				}
			}
		}
		if round == 0 {
			closeWell(t, s)
			s = openAt(t, path, Options{})
			var err error
			if st, err = func() (kvstore.Store, error) { return s.Open(ctx, "a") }(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAppendAndPrependAcrossAllSizes(t *testing.T) {
	s := openAt(t, tempPath(t), Options{})
	st := makeStore(t, s, "a")
	sizes := []int{0, 1, inlineMax, partMax + 1, batchMax, batchMax + 1}
	for _, a := range sizes {
		for _, b := range sizes {
			x, y := content(1, a), content(2, b)
			insert(t, st, "k", x, kvstore.InsertOptions{})
			insert(t, st, "k", y, kvstore.InsertOptions{Mode: kvstore.Append})
			if got := get(t, st, "k"); !bytes.Equal(got, append(bytes.Clone(x), y...)) {
				t.Fatalf("append of %d to %d bytes: %d, or wrong ones", b, a, len(got))
			}
			insert(t, st, "k", x, kvstore.InsertOptions{})
			insert(t, st, "k", y, kvstore.InsertOptions{Mode: kvstore.Prepend})
			if got := get(t, st, "k"); !bytes.Equal(got, append(bytes.Clone(y), x...)) {
				t.Fatalf("prepend of %d to %d bytes: %d, or wrong ones", b, a, len(got))
			}
		}
	}
}

func TestConcurrentAppendsLoseNothing(t *testing.T) {
	s := openAt(t, tempPath(t), Options{})
	st := makeStore(t, s, "a")
	const writers, each, size = 4, 6, 30_000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				if _, err := st.Insert(ctx, "k", bytes.NewReader(bytes.Repeat([]byte{byte('a' + w)}, size)), kvstore.InsertOptions{Mode: kvstore.Append}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := get(t, st, "k")
	if len(got) != writers*each*size {
		t.Fatalf("%d bytes", len(got))
	}
	for w := range writers {
		if n := bytes.Count(got, []byte{byte('a' + w)}); n != each*size {
			t.Errorf("writer %d has %d bytes", w, n)
		}
	}
	for i := 0; i < len(got); i += size {
		if bytes.Count(got[i:i+size], got[i:i+1]) != size {
			t.Errorf("part %d is mixed", i/size)
		}
	}
}

// waitUntil waits for what the janitor does in the background.
func waitUntil(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for ", what)
		}
	}
}

// entries counts what a bucket holds.
func entries(t testing.TB, s *Stores, bucket []byte) (n int) {
	t.Helper()
	tx, err := s.begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	c := tx.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

func TestAReaderKeepsItsValueAndItsSpaceIsReclaimedAfterwards(t *testing.T) {
	s := openAt(t, tempPath(t), Options{})
	st := makeStore(t, s, "a")
	old := content(1, 2<<20)
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"overwrite", func() { insert(t, st, "k", content(2, 1<<20), kvstore.InsertOptions{}) }},
		{"append", func() { insert(t, st, "k", content(2, 1<<20), kvstore.InsertOptions{Mode: kvstore.Append}) }},
		{"delete", func() {
			if err := st.Delete(ctx, "k", kvstore.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(change.name, func(t *testing.T) {
			insert(t, st, "k", old, kvstore.InsertOptions{})
			v, err := st.Lookup(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 100_000)
			if _, err := io.ReadFull(v.Body, head); err != nil {
				t.Fatal(err)
			}
			change.do()
			for range 3 {
				s.wake()
				time.Sleep(10 * time.Millisecond)
			}
			if n := s.db.Stats().OpenTxN; n > 1 {
				t.Errorf("%d read transactions are open", n)
			}
			rest, err := io.ReadAll(v.Body)
			if err != nil || !bytes.Equal(append(head, rest...), old) {
				t.Fatalf("%d bytes, %v", len(head)+len(rest), err)
			}
			v.Body.Close()
			if _, err := v.Body.Read(head); err == nil {
				t.Error("a closed body is read")
			}
			waitUntil(t, "the old value's removal", func() bool { return entries(t, s, bucketLoose) == 0 })
		})
	}
	if n := entries(t, s, bucketBlobs); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
}

func TestAStalledUploadBlocksNobodyAndADeadOneIsReclaimed(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{})
	st := makeStore(t, s, "a")
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := st.Insert(ctx, "big", r, kvstore.InsertOptions{})
		done <- err
	}()
	w.Write(content(1, 3*batchMax+1000))
	insert(t, st, "small", []byte("x"), kvstore.InsertOptions{})
	insert(t, st, "large", content(3, 1<<20), kvstore.InsertOptions{})
	if entries(t, s, bucketLoose) != 1 || entries(t, s, bucketBlobs) < int(chunks(1<<20))+3*batchMax/chunkSize {
		t.Errorf("%d loose, %d chunks", entries(t, s, bucketLoose), entries(t, s, bucketBlobs))
	}
	if _, err := st.Lookup(ctx, "big"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("half a value is there: %v", err)
	}
	s.wake()
	boom := errors.New("boom")
	w.CloseWithError(boom)
	if err := <-done; !errors.Is(err, boom) {
		t.Fatal(err)
	}
	waitUntil(t, "the dead upload's removal", func() bool { return entries(t, s, bucketLoose) == 0 })
	if n := entries(t, s, bucketBlobs); n != int(chunks(1<<20)) {
		t.Errorf("%d chunks are left", n)
	}

	// One that the process did not live to finish: the file is copied under it, as it would be found.
	r, w = io.Pipe()
	go func() {
		_, err := st.Insert(ctx, "big", r, kvstore.InsertOptions{})
		done <- err
	}()
	w.Write(content(1, 3*batchMax+1000))
	copied := copyFile(t, path)
	w.CloseWithError(boom)
	<-done
	again := openAt(t, copied, Options{})
	waitUntil(t, "the removal of an upload that a crash ended", func() bool { return entries(t, again, bucketLoose) == 0 })
	if n := entries(t, again, bucketBlobs); n != int(chunks(1<<20)) {
		t.Errorf("%d chunks are left", n)
	}
}

func copyFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := tempPath(t)
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func TestExpiredKeysAreAbsentAtOnceAndReclaimed(t *testing.T) {
	c := &clock{t: time.Unix(1_700_000_000, 0)}
	s := openAt(t, tempPath(t), Options{Now: c.now, SweepInterval: time.Hour})
	st := makeStore(t, s, "a")
	const n = listExpired + 1500
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				if _, err := st.Insert(ctx, fmt.Sprintf("e%05d", i), nil, kvstore.InsertOptions{TTL: time.Minute}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	insert(t, st, "e", []byte("first"), kvstore.InsertOptions{})
	insert(t, st, "eternal", content(1, 100_000), kvstore.InsertOptions{TTL: 2 * time.Minute})
	insert(t, st, "f", content(1, 100_000), kvstore.InsertOptions{TTL: time.Minute})
	insert(t, st, "f", nil, kvstore.InsertOptions{}) // it does not expire any more
	c.add(time.Minute)
	if _, err := st.Lookup(ctx, "e00000"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Error(err)
	}
	if err := st.Delete(ctx, "e00000", kvstore.DeleteOptions{}); !errors.Is(err, kvstore.ErrNotFound) {
		t.Error(err)
	}
	var keys []string
	pages := 0
	for cursor := ""; ; pages++ {
		p, err := st.List(ctx, kvstore.ListOptions{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, p.Keys...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	if fmt.Sprint(keys) != "[e eternal f]" || pages != 1 {
		t.Errorf("%d pages of %q", pages+1, keys)
	}
	s.wake()
	waitUntil(t, "the sweep", func() bool { return entries(t, s, bucketRecords) == 3 })
	if n := entries(t, s, bucketExpiry); n != 1 {
		t.Errorf("%d entries of expiry", n)
	}
	insert(t, st, "e00001", []byte("again"), kvstore.InsertOptions{Mode: kvstore.Add})
	c.add(time.Minute)
	s.wake()
	waitUntil(t, "the last one's end", func() bool { return entries(t, s, bucketRecords) == 3 && entries(t, s, bucketBlobs) == 0 })
}

func TestADroppedStoreIsGoneAndReclaimed(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{})
	st, keep := makeStore(t, s, "a"), makeStore(t, s, "b")
	insert(t, keep, "k", []byte("kept"), kvstore.InsertOptions{})
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				st.Insert(ctx, fmt.Sprint(w, "-", i), bytes.NewReader(make([]byte, i*50)), kvstore.InsertOptions{TTL: time.Duration(i) * time.Hour})
			}
		})
	}
	wg.Wait()
	if err := s.Drop(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Lookup(ctx, "1-1"); !errors.Is(err, kvstore.ErrNoStore) {
		t.Error(err)
	}
	if _, err := st.Insert(ctx, "k", nil, kvstore.InsertOptions{}); !errors.Is(err, kvstore.ErrNoStore) {
		t.Error(err)
	}
	again := makeStore(t, s, "a")
	if p, err := again.List(ctx, kvstore.ListOptions{}); err != nil || len(p.Keys) != 0 {
		t.Errorf("%v, %v", p, err)
	}
	insert(t, again, "1-1", []byte("new"), kvstore.InsertOptions{})
	waitUntil(t, "the store's end", func() bool { return entries(t, s, bucketRecords) == 2 && entries(t, s, bucketBlobs) == 0 })
	if entries(t, s, bucketExpiry)+entries(t, s, bucketDropped) != 0 {
		t.Error("something of it is left")
	}
	if _, err := st.Insert(ctx, "k", nil, kvstore.InsertOptions{}); !errors.Is(err, kvstore.ErrNoStore) {
		t.Error("the old handle writes to the new store")
	}
}

func TestGenerationsGrowAcrossDeletesAndRestarts(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{})
	st := makeStore(t, s, "a")
	last := insert(t, st, "k", nil, kvstore.InsertOptions{})
	for range 3 {
		if err := st.Delete(ctx, "k", kvstore.DeleteOptions{IfGeneration: last, HasIfGeneration: true}); err != nil {
			t.Fatal(err)
		}
		closeWell(t, s)
		s = openAt(t, path, Options{})
		st, _ = s.Open(ctx, "a")
		g := insert(t, st, "k", nil, kvstore.InsertOptions{HasIfGeneration: true})
		if g <= last {
			t.Fatalf("%d after %d", g, last)
		}
		last = g
	}
}

// TestOneFailureOfAGroupIsItsOwn puts writes into the queue while the writer is held up, so that they share a transaction.
func TestOneFailureOfAGroupIsItsOwn(t *testing.T) {
	s := openAt(t, tempPath(t), Options{})
	st := makeStore(t, s, "a")
	insert(t, st, "there", nil, kvstore.InsertOptions{})
	hold, held := make(chan struct{}), make(chan struct{})
	go s.do(ctx, &write{apply: func(*txn) error { close(held); <-hold; return nil }})
	<-held
	type outcome struct {
		name string
		err  error
	}
	results := make(chan outcome, 8)
	launch := func(name string, f func() error) {
		before := len(s.queue)
		go func() { results <- outcome{name, f()} }()
		waitUntil(t, "the queue", func() bool { return len(s.queue) > before })
	}
	add := func(key string) func() error {
		return func() error {
			_, err := st.Insert(ctx, key, nil, kvstore.InsertOptions{Mode: kvstore.Add})
			return err
		}
	}
	launch("first", add("x"))
	launch("exists", add("there"))
	launch("second", add("x"))
	boom := errors.New("boom")
	launch("culprit", func() error {
		return s.do(ctx, &write{apply: func(t *txn) error {
			t.put(t.records, storeKey(1, "half"), []byte("half"))
			panic(fatal{boom})
		}})
	})
	launch("delete", func() error { return st.Delete(ctx, "x", kvstore.DeleteOptions{}) })
	launch("third", add("x"))
	canceled, cancel := context.WithCancel(ctx)
	launch("withdrawn", func() error {
		_, err := st.Insert(canceled, "withdrawn", nil, kvstore.InsertOptions{})
		return err
	})
	cancel()
	if r := <-results; r.name != "withdrawn" || !errors.Is(r.err, context.Canceled) {
		t.Error(r)
	}
	transactions := s.db.Stats().TxStats.Write
	close(hold)
	want := map[string]error{"first": nil, "exists": kvstore.ErrPrecondition, "second": kvstore.ErrPrecondition, "culprit": boom, "delete": nil, "third": nil}
	for range want {
		r := <-results
		if !errors.Is(r.err, want[r.name]) {
			t.Errorf("%s: %v", r.name, r.err)
		}
	}
	_ = transactions
	if _, err := st.Lookup(ctx, "withdrawn"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Error("a withdrawn write took effect: ", err)
	}
	p, err := st.List(ctx, kvstore.ListOptions{})
	if err != nil || fmt.Sprint(p.Keys) != "[there x]" {
		t.Errorf("%q, %v", p.Keys, err)
	}
}

func TestNothingIsLeftRunningAfterClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		s, err := Open(tempPath(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		st := makeStore(t, s, "a")
		insert(t, st, "k", content(1, 1<<20), kvstore.InsertOptions{})
		v, err := st.Lookup(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(v.Body); !errors.Is(err, kvstore.ErrClosed) {
			t.Error(err)
		}
		v.Body.Close()
		if _, err := st.Lookup(ctx, "k"); !errors.Is(err, kvstore.ErrClosed) {
			t.Error(err)
		}
		if _, err := st.Insert(ctx, "k", nil, kvstore.InsertOptions{}); !errors.Is(err, kvstore.ErrClosed) {
			t.Error(err)
		}
	}
	waitUntil(t, "goroutines", func() bool { return runtime.NumGoroutine() <= before })
}
