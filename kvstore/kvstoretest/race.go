package kvstoretest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

// together runs f n times at once, and fails with the first error.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := f(i); err != nil {
				errs <- err
			}
		})
	}
	close(start)
	wg.Wait()
	select {
	case err := <-errs:
		t.Error(err)
	default:
	}
}

// permutation shuffles 0..n-1, the same for each seed.
func permutation(n int, seed uint64) []int { return rand.New(rand.NewPCG(seed, 0)).Perm(n) }

const writers = 16

func testAddRace(t *testing.T, s *suite) {
	st := s.store(t)
	c := ctx(t)
	for round := range max(s.Writes/(writers*20), 3) {
		key := fmt.Sprintf("k%d", round)
		o := kvstore.InsertOptions{Mode: kvstore.Add}
		if round%2 == 1 { // the same said with a generation
			o = kvstore.InsertOptions{HasIfGeneration: true}
		}
		if round%3 == 2 { // an expired key is free
			put(t, st, key, "expired", kvstore.InsertOptions{TTL: -1})
		}
		var winner atomic.Int64
		var generation atomic.Uint64
		winner.Store(-1)
		together(t, writers, func(i int) error {
			g, err := st.Insert(c, key, body(strconv.Itoa(i)), o)
			if errors.Is(err, kvstore.ErrPrecondition) {
				return nil
			}
			if err != nil {
				return err
			}
			if !winner.CompareAndSwap(-1, int64(i)) {
				return fmt.Errorf("%s was added by %d and by %d", key, winner.Load(), i)
			}
			generation.Store(g)
			return nil
		})
		if got := mustGet(t, st, key); got.value != strconv.FormatInt(winner.Load(), 10) || got.generation != generation.Load() {
			t.Errorf("%d won with generation %d, but the key is %v", winner.Load(), generation.Load(), got)
		}
	}
}

func testCreateRace(t *testing.T, s *suite) {
	all := s.stores(t)
	c := ctx(t)
	for round := range 5 {
		name := fmt.Sprintf("store %d", round)
		var won atomic.Int64
		together(t, writers, func(i int) error {
			st, err := all.Create(c, name)
			switch {
			case errors.Is(err, kvstore.ErrStoreExists):
				st, err = all.Open(c, name)
			case err == nil:
				won.Add(1)
			}
			if err != nil {
				return err
			}
			_, err = st.Insert(c, strconv.Itoa(i), body("v"), kvstore.InsertOptions{Mode: kvstore.Add})
			return err
		})
		if won.Load() != 1 {
			t.Errorf("%d created the store", won.Load())
		}
		st, err := all.Open(c, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := keys(t, st, "", 0); len(got) != writers {
			t.Errorf("%q are in the store", got)
		}
	}
}

func testSwapRace(t *testing.T, s *suite) {
	st := s.store(t)
	c := ctx(t)
	each := max(s.Writes/(writers*8), 4)
	counters := []string{"a", "b"}
	together(t, writers, func(i int) error {
		key := counters[i%len(counters)]
		for range each {
			for {
				have, generation := 0, uint64(0)
				v, err := st.Lookup(c, key)
				switch {
				case errors.Is(err, kvstore.ErrNotFound):
				case err != nil:
					return err
				default:
					i, err := read(v)
					if err != nil {
						return err
					}
					if have, err = strconv.Atoi(i.value); err != nil {
						return err
					}
					generation = i.generation
				}
				g, err := st.Insert(c, key, body(strconv.Itoa(have+1)), kvstore.InsertOptions{HasIfGeneration: true, IfGeneration: generation})
				if errors.Is(err, kvstore.ErrPrecondition) {
					continue
				}
				if err != nil {
					return err
				}
				if g <= generation {
					return fmt.Errorf("generation %d after %d", g, generation)
				}
				break
			}
		}
		return nil
	})
	for _, key := range counters {
		if got := mustGet(t, st, key); got.value != strconv.Itoa(each*writers/len(counters)) {
			t.Errorf("%s counted to %v, want %d", key, got, each*writers/len(counters))
		}
	}
}

func testAppendRace(t *testing.T, s *suite) {
	for _, scale := range []int{20, 800} {
		each := min(max(s.Writes/(writers*8), 4), int(s.MaxValue/int64(writers*(50*scale+20))))
		if each < 2 {
			continue
		}
		t.Run(fmt.Sprintf("parts of up to %d bytes", 50*scale), func(t *testing.T) { testAppends(t, s, each, scale) })
	}
}

// padding is that of part n.
func padding(n, scale int) string { return strings.Repeat("x", n*7%50*scale) }

// testAppends lets every writer append, or prepend, its parts in order.
func testAppends(t *testing.T, s *suite, each, scale int) {
	st := s.store(t)
	c := ctx(t)
	together(t, writers, func(i int) error {
		for n := range each {
			part := fmt.Sprintf("<%02d:%04d:%s>", i, n, padding(n, scale))
			mode := kvstore.Append
			if i%4 == 0 {
				mode = kvstore.Prepend
			}
			if _, err := st.Insert(c, "k", strings.NewReader(part), kvstore.InsertOptions{Mode: mode}); err != nil {
				return err
			}
		}
		return nil
	})
	next := map[string]int{} // by writer
	rest := mustGet(t, st, "k").value
	var prepended, appended []string
	for rest != "" {
		end := strings.IndexByte(rest, '>')
		if rest[0] != '<' || end < 9 || len(rest) > end+1 && rest[end+1] != '<' {
			t.Fatalf("a part is torn: %.60q", rest)
		}
		if writer := must2(strconv.Atoi(rest[1:3])); writer%4 == 0 {
			prepended = append(prepended, rest[:end])
		} else {
			appended = append(appended, rest[:end])
		}
		rest = rest[end+1:]
	}
	slices.Reverse(prepended)
	for _, part := range append(prepended, appended...) {
		writer, n := part[1:3], must2(strconv.Atoi(part[4:8]))
		if n != next[writer] {
			t.Errorf("writer %s: part %d comes after %d", writer, n, next[writer]-1)
		}
		next[writer] = n + 1
		if pad := part[9:]; pad != padding(n, scale) {
			t.Errorf("writer %s: part %d has %d bytes of padding", writer, n, len(pad))
		}
	}
	for i := range writers {
		if n := next[fmt.Sprintf("%02d", i)]; n != each {
			t.Errorf("of writer %d there are %d parts, want %d", i, n, each)
		}
	}
}

func must2(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

func testWholeValues(t *testing.T, s *suite) {
	st := s.store(t)
	c, stop := context.WithCancel(ctx(t))
	defer stop()
	sizes := []int{8, 100, 16<<10 + 1, int(min(300<<10, s.MaxValue))}
	const cells = 3
	// A value is a number, repeated; its metadata is the number as well.
	value := func(n, size int) string {
		return strings.Repeat(string(binary.BigEndian.AppendUint64(nil, uint64(n))), size/8)
	}
	var wg sync.WaitGroup
	fail := make(chan error, 100)
	report := func(err error) {
		select {
		case fail <- err:
		default:
		}
	}
	for range 4 {
		wg.Go(func() {
			last := [cells]uint64{}
			for turn := 0; c.Err() == nil; turn++ {
				cell := turn % cells
				v, err := st.Lookup(c, strconv.Itoa(cell))
				if errors.Is(err, kvstore.ErrNotFound) {
					continue
				}
				var i item
				if err == nil {
					i, err = read(v)
				}
				if err != nil {
					if c.Err() == nil {
						report(err)
					}
					return
				}
				if len(i.value) < 8 || len(i.metadata) != 8 || i.value[:8] != string(i.metadata) || i.value != strings.Repeat(i.value[:8], len(i.value)/8) {
					report(fmt.Errorf("a value is not whole: %s with metadata %q", short(i.value), i.metadata))
					return
				}
				if i.generation < last[cell] {
					report(fmt.Errorf("generation %d was seen after %d", i.generation, last[cell]))
					return
				}
				last[cell] = i.generation
			}
		})
	}
	together(t, 4, func(i int) error {
		for n := range max(s.Writes/16, 20) {
			size := sizes[(n+i)%len(sizes)]
			n = n*10 + i
			number := binary.BigEndian.AppendUint64(nil, uint64(n))
			if _, err := st.Insert(c, strconv.Itoa(n%cells), body(value(n, size)), kvstore.InsertOptions{Metadata: number}); err != nil {
				return err
			}
			if n%7 == 0 {
				if err := st.Delete(c, strconv.Itoa(n%cells), kvstore.DeleteOptions{}); err != nil && !errors.Is(err, kvstore.ErrNotFound) {
					return err
				}
			}
		}
		return nil
	})
	stop()
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
}

func testListRace(t *testing.T, s *suite) {
	st := s.store(t)
	var stay []string
	for i := range 100 {
		key := fmt.Sprintf("k%02d", i)
		put(t, st, key, "v", kvstore.InsertOptions{})
		stay = append(stay, key)
	}
	c, stop := context.WithCancel(ctx(t))
	defer stop()
	var wg sync.WaitGroup
	var writes atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			for n := 0; c.Err() == nil && writes.Load() < int64(s.Writes); n++ {
				key := fmt.Sprintf("k%02d+%d", (n*37+i)%100, i)
				_, err := st.Insert(c, key, body("v"), kvstore.InsertOptions{})
				if err == nil {
					err = st.Delete(c, key, kvstore.DeleteOptions{})
				}
				if err == nil { // one that stays is replaced
					_, err = st.Insert(c, stay[(n*11+i)%100], body("w"), kvstore.InsertOptions{})
				}
				if err != nil && c.Err() == nil {
					t.Error(err)
					return
				}
				writes.Add(3)
			}
		})
	}
	for turn := 0; turn < 5 || turn < 50 && writes.Load() < int64(s.Writes); turn++ {
		got, err := pages(c, st, kvstore.ListOptions{Prefix: "k", Limit: 1 + turn*7%23}, nil)
		if err != nil {
			t.Error(err)
			break
		}
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("List gave a key twice: %q", got)
		}
		got = slices.DeleteFunc(got, func(key string) bool { return strings.Contains(key, "+") })
		if !slices.Equal(got, stay) {
			t.Errorf("of the keys that stay, List differs: %s", difference(got, stay))
		}
	}
	stop()
	wg.Wait()
}

// testEndRace drops, creates and at last closes while everything else is used.
func testEndRace(t *testing.T, s *suite) {
	all := s.stores(t)
	c := ctx(t)
	create(t, all, "store")
	var wg sync.WaitGroup
	allowed := func(err error) bool {
		return err == nil || errors.Is(err, kvstore.ErrNoStore) || errors.Is(err, kvstore.ErrClosed) || errors.Is(err, kvstore.ErrNotFound)
	}
	for i := range 6 {
		wg.Go(func() {
			for n := 0; ; n++ {
				st, err := all.Open(c, "store")
				if errors.Is(err, kvstore.ErrClosed) {
					return
				}
				if !allowed(err) {
					t.Error("Open:", err)
					return
				}
				if err != nil {
					continue
				}
				key := strconv.Itoa((n + i) % 5)
				if _, err := st.Insert(c, key, body(strings.Repeat("v", 20<<10)), kvstore.InsertOptions{Mode: kvstore.InsertMode(n % 2 * 2), TTL: shortTTL}); !allowed(err) {
					t.Error("Insert:", err)
				}
				v, err := st.Lookup(c, key)
				if err == nil {
					if _, err = io.Copy(io.Discard, v.Body); !allowed(err) {
						t.Error("reading:", err)
					}
					_ = v.Body.Close()
				} else if !allowed(err) {
					t.Error("Lookup:", err)
				}
				if _, err := st.List(c, kvstore.ListOptions{Limit: 3}); !allowed(err) {
					t.Error("List:", err)
				}
				if _, err := st.Stat(c); !allowed(err) {
					t.Error("Stat:", err)
				}
				if err := st.Delete(c, key, kvstore.DeleteOptions{}); !allowed(err) {
					t.Error("Delete:", err)
				}
			}
		})
	}
	for range max(s.Writes/400, 3) {
		if err := all.Drop(c, "store"); err != nil {
			t.Error("Drop:", err)
		}
		if _, err := all.Create(c, "store"); err != nil {
			t.Error("Create:", err)
		}
	}
	if err := all.Close(); err != nil {
		t.Error("Close:", err)
	}
	wg.Wait()
}
