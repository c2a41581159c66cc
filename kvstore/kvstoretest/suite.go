// Package kvstoretest holds every driver of package kvstore to the same promises. Run is the conformance suite, Benchmark
// measures what drivers are compared by. A driver's tests call both:
//
//	func TestStores(t *testing.T) { kvstoretest.Run(t, open, kvstoretest.Traits{}) }
//	func BenchmarkStores(b *testing.B) { kvstoretest.Benchmark(b, open) }
//
// Nothing is asserted about how long something takes, except that what expired is gone from that moment on and was there
// before it.
package kvstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// Traits tells what the suite has to know of a driver. The zero value is right for one that is in memory and fast.
type Traits struct {
	// MaxValue is the most bytes of a value that the stores under test take; 0 means kvstore.DefaultMaxValue. The suite
	// stores several values of that size.
	MaxValue int64
	// Reopen is set for durable drivers: it gives new Stores over what closed, which the same test got from open or Reopen
	// and has closed, held.
	Reopen func(t testing.TB, closed kvstore.Stores) kvstore.Stores
	// Writes is about how many writes each of the longer tests does; 0 means 4000. Drivers whose writes take a millisecond
	// want fewer.
	Writes int
	// Lag is how long after a write a List with Eventual may still answer without it, at the very worst.
	Lag time.Duration
}

// Run runs the suite. Each test calls open once for empty Stores of its own, and closes them; what lies below is open's to clean up, by
// t.Cleanup.
func Run(t *testing.T, open func(t testing.TB) kvstore.Stores, traits Traits) {
	if traits.MaxValue == 0 {
		traits.MaxValue = kvstore.DefaultMaxValue
	}
	if traits.Writes == 0 {
		traits.Writes = 4000
	}
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"every insert mode meets every state of the key", testInsert},
		{"every delete meets every state of the key", testDelete},
		{"an insert with a mode that there is not is refused", testBadMode},
		{"generations grow, over deletes and expiry and drops", testGenerations},
		{"metadata and time to live are replaced by each insert", testReplaced},
		{"a key is absent from the moment it expires", testExpiry},
		{"a time to live may be very long or negative", testExtremeTTL},
		{"every legal key can be used", testKeys},
		{"every other key is refused", testBadKeys},
		{"metadata has a limit", testMetadataLimit},
		{"stores are created, opened, named and dropped", testStores},
		{"store names have rules", testNames},
		{"stores do not share keys", testSeparate},
		{"a dropped store stays dropped", testDrop},
		{"a listing has pages", testList},
		{"a listing takes its own cursors only", testCursors},
		{"a listing survives changes between its pages", testListChanges},
		{"an eventual listing catches up", testListEventual},
		{"values of every size come back", testValues},
		{"values have a limit", testValueLimit},
		{"a value that cannot be read changes nothing", testBrokenValue},
		{"a value that is appended to or prepended to is joined", testJoin},
		{"readers keep the value they began with", testStableReads},
		{"of many adds one wins", testAddRace},
		{"of many creates one wins", testCreateRace},
		{"compare-and-swap loses no update", testSwapRace},
		{"no append is lost or torn", testAppendRace},
		{"readers see whole values", testWholeValues},
		{"a listing during writes shows the rest exactly once", testListRace},
		{"drops and closes race with everything", testEndRace},
		{"random operations do what a map does", testModel},
		{"closed stores say so", testClose},
		{"an ended context ends calls", testContext},
		{"errors hold no value", testErrorTexts},
		{"everything is there after closing and opening", testReopen},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, &suite{open: open, Traits: traits}) })
	}
}

// suite is what one test works with.
type suite struct {
	Traits
	open func(t testing.TB) kvstore.Stores
}

// stores opens Stores for the test.
func (s *suite) stores(t testing.TB) kvstore.Stores {
	t.Helper()
	all := s.open(t)
	t.Cleanup(func() { _ = all.Close() })
	return all
}

// store opens Stores with one store in it.
func (s *suite) store(t testing.TB) kvstore.Store {
	t.Helper()
	return create(t, s.stores(t), "store")
}

func create(t testing.TB, all kvstore.Stores, name string) kvstore.Store {
	t.Helper()
	st, err := all.Create(ctx(t), name)
	if err != nil {
		t.Fatalf("Create(%.40q): %v", name, err)
	}
	return st
}

// ctx is the context of calls that should succeed: one that hangs fails the test with a stack of its own. It outlives the test
// so that cleanups may use it.
func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return c
}

// item is a value with all that belongs to it, read.
type item struct {
	value      string
	metadata   []byte
	generation uint64
	expires    time.Time
}

func (i item) equal(j item) bool {
	return i.value == j.value && bytes.Equal(i.metadata, j.metadata) && i.generation == j.generation &&
		i.expires.Sub(j.expires).Abs() < time.Millisecond
}

func (i item) String() string {
	return fmt.Sprintf("%s, metadata %s, generation %d, expires %v", short(i.value), short(string(i.metadata)), i.generation, i.expires)
}

// short makes a text of a value.
func short(value string) string {
	if len(value) <= 40 {
		return fmt.Sprintf("%q", value)
	}
	return fmt.Sprintf("%q... (%d bytes)", value[:40], len(value))
}

// get looks key up and reads its value. The error is kvstore.ErrNotFound or nil; every other fails the test.
func get(t testing.TB, st kvstore.Store, key string) (item, error) {
	t.Helper()
	v, err := st.Lookup(ctx(t), key)
	if err != nil {
		if !errors.Is(err, kvstore.ErrNotFound) {
			t.Fatalf("Lookup(%.40q): %v", key, err)
		}
		if v.Body != nil || v.Metadata != nil || v.Generation != 0 || !v.Expires.IsZero() {
			t.Errorf("Lookup(%.40q) gave %+v with %v", key, v, err)
		}
		return item{}, err
	}
	i, err := read(v)
	if err != nil {
		t.Fatalf("reading %.40q: %v", key, err)
	}
	if i.generation == 0 {
		t.Errorf("Lookup(%.40q) gave generation 0", key)
	}
	if i.metadata != nil && len(i.metadata) == 0 {
		t.Errorf("Lookup(%.40q) gave metadata that is empty and not nil", key)
	}
	return i, nil
}

// read reads a value to its end and closes it.
func read(v kvstore.Value) (item, error) {
	b, err := io.ReadAll(v.Body)
	if err == nil && int64(len(b)) != v.Body.Size() {
		err = fmt.Errorf("%d bytes, of which Size says %d", len(b), v.Body.Size())
	}
	if err == nil {
		err = v.Body.Close()
	} else {
		_ = v.Body.Close()
	}
	return item{string(b), v.Metadata, v.Generation, v.Expires}, err
}

// mustGet is get of a key that is there.
func mustGet(t testing.TB, st kvstore.Store, key string) item {
	t.Helper()
	i, err := get(t, st, key)
	if err != nil {
		t.Fatalf("Lookup(%.40q): %v", key, err)
	}
	return i
}

// mustMiss checks that a key is not there.
func mustMiss(t testing.TB, st kvstore.Store, key string) {
	t.Helper()
	if i, err := get(t, st, key); err == nil {
		t.Errorf("Lookup(%.40q) gave %v", key, i)
	}
}

// put inserts a value that must be taken, and returns its generation.
func put(t testing.TB, st kvstore.Store, key, value string, o kvstore.InsertOptions) uint64 {
	t.Helper()
	g, err := st.Insert(ctx(t), key, body(value), o)
	if err != nil {
		t.Fatalf("Insert(%.40q): %v", key, err)
	}
	if g == 0 {
		t.Errorf("Insert(%.40q) gave generation 0", key)
	}
	return g
}

func body(value string) io.Reader { return kvstore.BytesBody([]byte(value)) }

// keys lists everything below prefix, page by page.
func keys(t testing.TB, st kvstore.Store, prefix string, limit int) []string {
	t.Helper()
	all, err := pages(ctx(t), st, kvstore.ListOptions{Prefix: prefix, Limit: limit}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pages lists page by page from o on, and checks the order. between is called after each page.
func pages(ctx context.Context, st kvstore.Store, o kvstore.ListOptions, between func()) ([]string, error) {
	var all []string
	for {
		page, err := st.List(ctx, o)
		if err != nil {
			return all, fmt.Errorf("List(%+v): %w", o, err)
		}
		if len(page.Keys) > o.PageSize() {
			return all, fmt.Errorf("List(%+v) gave %d keys", o, len(page.Keys))
		}
		all = append(all, page.Keys...)
		if !slices.IsSorted(all) {
			return all, fmt.Errorf("List(%+v) gave keys out of order: %.200q", o, page.Keys)
		}
		if page.NextCursor == "" {
			return all, nil
		}
		if page.NextCursor == o.Cursor && len(page.Keys) == 0 {
			return all, fmt.Errorf("List(%+v) does not go on", o)
		}
		o.Cursor = page.NextCursor
		if between != nil {
			between()
		}
	}
}

// noise is a value of n bytes that look random, the same for each seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

// wantErr checks that err is what is wanted.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// sleepPast returns when the moment is past.
func sleepPast(moment time.Time) {
	for d := time.Until(moment); d >= 0; d = time.Until(moment) {
		time.Sleep(d + time.Millisecond)
	}
}
