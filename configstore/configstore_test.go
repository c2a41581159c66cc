package configstore_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgewasm/wasmedge/configstore"
)

func Example() {
	store, err := configstore.New(map[string]string{"colour": "green"}, configstore.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var set configstore.Set
	set.Put("settings", store)

	opened, err := set.Open("settings")
	if err != nil {
		fmt.Println(err)
		return
	}
	value, ok := opened.Lookup("colour")
	fmt.Println(value, ok)
	_, err = set.Open("other")
	fmt.Println(err)
	// Output:
	// green true
	// no such config store: "other"
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits configstore.Limits
		key    string
		value  string
		want   string // part of the error, "" for none
	}{
		{"a key at the limit, in characters", configstore.Limits{}, strings.Repeat("é", 256), "", ""},
		{"a key over the limit", configstore.Limits{}, strings.Repeat("é", 257), "", "257 characters, over the limit of 256"},
		{"a value at the limit, in characters", configstore.Limits{}, "k", strings.Repeat("é", 8000), ""},
		{"a value over the limit", configstore.Limits{}, "k", strings.Repeat("v", 8001), `value of key "k" has 8001 characters, over the limit of 8000`},
		{"a lower limit of keys", configstore.Limits{KeyChars: 1}, "kk", "", "over the limit of 1"},
		{"a lower limit of values", configstore.Limits{ValueChars: 1}, "kk", "vv", "over the limit of 1"},
		{"no limits", configstore.Limits{KeyChars: -1, ValueChars: -1}, strings.Repeat("k", 9000), strings.Repeat("v", 9000), ""},
		{"an empty key and value", configstore.Limits{}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, err := configstore.New(map[string]string{test.key: test.value}, test.limits)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if value, ok := store.Lookup(test.key); !ok || value != test.value {
					t.Errorf("looked up %.40q, %v", value, ok)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, configstore.ErrLimit) {
				t.Errorf("got %v, want an ErrLimit with %q", err, test.want)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAStoreIsApartFromItsMaps(t *testing.T) {
	m := map[string]string{"a": "1"}
	store, err := configstore.New(m, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m["a"], m["b"] = "2", "2"
	if value, _ := store.Lookup("a"); value != "1" || store.Len() != 1 {
		t.Errorf("the store changed with the map: %q, %d entries", value, store.Len())
	}
	m = map[string]string{"c": "3"}
	if err := store.Replace(m); err != nil {
		t.Fatal(err)
	}
	delete(m, "c")
	if value, _ := store.Lookup("c"); value != "3" {
		t.Errorf("the store changed with the map: %q", value)
	}
	if _, ok := store.Lookup("a"); ok {
		t.Error("an entry outlived Replace")
	}
}

func TestARefusedReplaceChangesNothing(t *testing.T) {
	store, err := configstore.New(map[string]string{"a": "1"}, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Replace(map[string]string{"a": "2", "b": strings.Repeat("x", 8001)}); err == nil {
		t.Fatal("no error")
	}
	if value, ok := store.Lookup("a"); value != "1" || !ok || store.Len() != 1 {
		t.Errorf("looked up %q, %v of %d", value, ok, store.Len())
	}
}

func TestTheZeroStoreIsEmpty(t *testing.T) {
	var store configstore.Store
	if _, ok := store.Lookup("a"); ok || store.Len() != 0 {
		t.Error("not empty")
	}
	if err := store.Refresh(); err != nil {
		t.Error(err)
	}
	if err := store.Replace(map[string]string{"a": "1"}); err != nil {
		t.Error(err)
	}
	if value, _ := store.Lookup("a"); value != "1" {
		t.Errorf("looked up %q", value)
	}
	if err := store.Replace(nil); err != nil || store.Len() != 0 {
		t.Errorf("after Replace(nil): %v, %d entries", err, store.Len())
	}
}

func TestSet(t *testing.T) {
	var set configstore.Set
	if _, err := set.Open("a"); !errors.Is(err, configstore.ErrNotFound) {
		t.Errorf("in an empty set: %v", err)
	}
	if set.Names() != nil {
		t.Errorf("names of an empty set: %v", set.Names())
	}
	one, err := configstore.New(map[string]string{"k": "1"}, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := configstore.New(map[string]string{"k": "2"}, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	set.Put("b", one)
	set.Put("a", one)
	if names := set.Names(); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("names %v", names)
	}
	opened, err := set.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	set.Put("a", two)
	if value, _ := opened.Lookup("k"); value != "1" {
		t.Error("an opened store was replaced")
	}
	opened, err = set.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	if value, _ := opened.Lookup("k"); value != "2" {
		t.Error("Put did not replace the store")
	}
	set.Remove("a")
	set.Remove("none")
	if _, err := set.Open("a"); !errors.Is(err, configstore.ErrNotFound) {
		t.Errorf("after Remove: %v", err)
	}
}

// memory is a Source that a test steers.
type memory struct {
	changed  atomic.Bool
	loads    atomic.Int64
	running  atomic.Int64
	overlaps atomic.Int64
	mu       sync.Mutex
	contents map[string]string
	err      error
}

func (m *memory) set(contents map[string]string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contents, m.err = contents, err
	m.changed.Store(true)
}

func (m *memory) Changed() bool { return m.changed.Load() }

func (m *memory) Load() (map[string]string, error) {
	if m.running.Add(1) > 1 {
		m.overlaps.Add(1)
	}
	defer m.running.Add(-1)
	m.loads.Add(1)
	m.changed.Store(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.contents), m.err
}

func TestRefreshLoadsOnlyWhatHasChanged(t *testing.T) {
	source := &memory{}
	source.set(map[string]string{"k": "1"}, nil)
	store, err := configstore.Open(source, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := store.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if n := source.loads.Load(); n != 1 {
		t.Errorf("%d loads without a change, want 1", n)
	}
	source.set(map[string]string{"k": "2"}, nil)
	if value, _ := store.Lookup("k"); value != "1" {
		t.Errorf("Lookup alone gives %q, want the old value", value)
	}
	if err := store.Refresh(); err != nil {
		t.Fatal(err)
	}
	if value, _ := store.Lookup("k"); value != "2" {
		t.Errorf("after Refresh %q", value)
	}
}

func TestASourceGoneBadFailsEachOpenUntilItIsMended(t *testing.T) {
	source := &memory{}
	source.set(map[string]string{"k": "1"}, nil)
	store, err := configstore.Open(source, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var set configstore.Set
	set.Put("s", store)
	errBad := errors.New("bad")
	for _, step := range []struct {
		name     string
		contents map[string]string
		err      error
		want     error
		value    string
	}{
		{"the source fails", nil, errBad, errBad, "1"},
		{"an entry is over the limits", map[string]string{"k": strings.Repeat("x", 8001)}, nil, configstore.ErrLimit, "1"},
		{"the source is good again", map[string]string{"k": "2"}, nil, nil, "2"},
	} {
		source.set(step.contents, step.err)
		loads := source.loads.Load()
		for range 3 {
			if _, err := set.Open("s"); !errors.Is(err, step.want) {
				t.Errorf("%s: open gives %v, want %v", step.name, err, step.want)
			} else if err != nil && !strings.HasPrefix(err.Error(), `config store "s": `) {
				t.Errorf("%s: %v does not name the store", step.name, err)
			}
		}
		if n := source.loads.Load() - loads; n != 1 {
			t.Errorf("%s: loaded %d times, want 1", step.name, n)
		}
		if value, _ := store.Lookup("k"); value != step.value {
			t.Errorf("%s: looked up %q, want %q", step.name, value, step.value)
		}
	}
	source.set(nil, errBad)
	if _, err := configstore.Open(source, configstore.Limits{}); !errors.Is(err, errBad) {
		t.Errorf("a store over a bad source: %v", err)
	}
}

// slow is a Source that always may have changed, and whose loading waits once it is told to.
type slow struct {
	asked, loads atomic.Int64
	gate         chan struct{}
	hold         atomic.Bool
}

func (s *slow) Changed() bool { s.asked.Add(1); return true }

func (s *slow) Load() (map[string]string, error) {
	s.loads.Add(1)
	if s.hold.Load() {
		<-s.gate
	}
	return map[string]string{}, nil
}

func TestThoseWhoWaitForALoadingShareTheNext(t *testing.T) {
	source := &slow{gate: make(chan struct{})}
	store, err := configstore.Open(source, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	source.hold.Store(true)
	var wg sync.WaitGroup
	refresh := func() {
		if err := store.Refresh(); err != nil {
			t.Error(err)
		}
	}
	wg.Go(refresh)
	for source.loads.Load() < 2 { // until it is inside
		runtime.Gosched()
	}
	const waiting = 20
	for range waiting {
		wg.Go(refresh)
	}
	for source.asked.Load() < 1+waiting {
		runtime.Gosched()
	}
	source.hold.Store(false)
	close(source.gate)
	wg.Wait()
	if n := source.loads.Load(); n != 3 { // Open, the first, and one for all who came while it ran
		t.Errorf("%d loads, want 3", n)
	}
}

// TestReadersSeeWholeUpdates hammers a store: each version of its contents has the same value under every
// key, and versions only go up.
func TestReadersSeeWholeUpdates(t *testing.T) {
	const keys, rounds = 8, 300
	version := func(n int) map[string]string {
		m := map[string]string{}
		for i := range keys {
			m[fmt.Sprint("k", i)] = fmt.Sprintf("%08d", n)
		}
		return m
	}
	source := &memory{}
	source.set(version(0), nil)
	store, err := configstore.Open(source, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var set configstore.Set
	set.Put("s", store)
	var readers, writers sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		readers.Go(func() {
			last := ""
			for !done.Load() {
				opened, err := set.Open("s")
				if err != nil {
					t.Error(err)
					return
				}
				for i := range keys {
					value, ok := opened.Lookup(fmt.Sprint("k", i))
					if !ok || value < last {
						t.Errorf("looked up %q after %q", value, last)
						return
					}
					last = value
				}
			}
		})
	}
	writers.Go(func() {
		for n := range rounds {
			source.set(version(n+1), nil)
		}
	})
	writers.Go(func() {
		other, err := configstore.New(nil, configstore.Limits{})
		if err != nil {
			t.Error(err)
			return
		}
		for n := range rounds {
			name := fmt.Sprint("other", n%7)
			set.Put(name, other)
			set.Remove(name)
			set.Names()
		}
	})
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if err := store.Refresh(); err != nil {
		t.Fatal(err)
	}
	if value, _ := store.Lookup("k0"); value != fmt.Sprintf("%08d", rounds) {
		t.Errorf("at last %q", value)
	}
	if n := source.overlaps.Load(); n != 0 {
		t.Errorf("%d loadings overlapped", n)
	}
	if names := set.Names(); !slices.Equal(names, []string{"s"}) {
		t.Errorf("names at last: %v", names)
	}
}

func TestReplaceIsAtomicForReaders(t *testing.T) {
	store, err := configstore.New(map[string]string{"a": "0", "b": "0"}, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for n := range 500 {
				v := fmt.Sprint(w, n)
				if err := store.Replace(map[string]string{"a": v, "b": v}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 2000 {
				if _, ok := store.Lookup("a"); !ok || store.Len() != 2 {
					t.Error("an update was seen in part")
					return
				}
			}
		})
	}
	wg.Wait()
	a, _ := store.Lookup("a")
	if b, _ := store.Lookup("b"); a != b {
		t.Errorf("a is %q, b is %q", a, b)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	store := benchmarkStore(t)
	if n := testing.AllocsPerRun(1000, func() {
		store.Lookup("key-500")
		store.Lookup("missing")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func benchmarkStore(t testing.TB) *configstore.Store {
	m := map[string]string{}
	for i := range 1000 {
		m[fmt.Sprint("key-", i)] = strings.Repeat("v", 100)
	}
	store, err := configstore.New(m, configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func BenchmarkLookup(b *testing.B) {
	store := benchmarkStore(b)
	for name, key := range map[string]string{"present": "key-500", "missing": "key-5000"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				store.Lookup(key)
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				store.Lookup("key-500")
			}
		})
	})
}

func BenchmarkOpen(b *testing.B) {
	var set configstore.Set
	set.Put("s", benchmarkStore(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Open("s"); err != nil {
			b.Fatal(err)
		}
	}
}
