package cache

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"
)

func TestTheCacheStaysWithinItsBound(t *testing.T) {
	const limit = 1 << 20
	sp, _ := open(t, Options{MaxBytes: limit})
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		put(t, sp, fmt.Sprint(i), string(make([]byte, rnd.IntN(4000))), nil, long)
		if b := sp.Stats().Bytes; b > limit {
			t.Fatalf("%d bytes are charged", b)
		}
	}
	if st := sp.Stats(); st.Evictions == 0 || st.Bytes < limit*9/10 || st.Objects+int64(st.Evictions) != 5000 {
		t.Errorf("%+v", st)
	}
}

func TestObjectsThatAreAskedForSurviveAScan(t *testing.T) {
	sp, _ := open(t, Options{MaxBytes: 1 << 20})
	const hot = 100
	for i := range hot {
		put(t, sp, fmt.Sprint("hot", i), "x", nil, long)
		for range 3 {
			sp.Lookup(fmt.Append(nil, "hot", i), nil)
		}
	}
	for i := range 20_000 {
		put(t, sp, fmt.Sprint("scan", i), "x", nil, long)
	}
	left := 0
	for i := range hot {
		if sp.Lookup(fmt.Append(nil, "hot", i), nil) != nil {
			left++
		}
	}
	if left != hot {
		t.Errorf("%d of %d are left", left, hot)
	}
}

func TestWhatIsBeingWrittenOrRenewedIsNotEvicted(t *testing.T) {
	const limit = 1 << 20
	sp, ck := open(t, Options{MaxBytes: limit})
	w, err := sp.Insert([]byte("written"), nil, long)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "begin")
	put(t, sp, "renewed", "old", nil, WriteOptions{MaxAge: 1, StaleWhileRevalidate: time.Hour})
	ck.add(1)
	tx := begin(t, sp, "renewed", nil)
	want(t, tx, "found usable stale must", "old")
	for i := range 5000 {
		put(t, sp, fmt.Sprint(i), string(make([]byte, 2000)), nil, long)
	}
	want(t, begin(t, sp, "renewed", nil), "found usable stale", "old")
	e := sp.Lookup([]byte("written"), nil)
	finish(t, w, nil, "end")
	if got := text(e); got != "beginend" {
		t.Errorf("got %q", got)
	}
	// What cannot be evicted leaves no room for more.
	var ws []*Writer
	for i := range 100 {
		w, err := sp.Insert(fmt.Append(nil, "big", i), nil, long)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
		if _, err := w.Write(make([]byte, limit/10)); err != nil {
			if !errors.Is(err, ErrNoRoom) || i < 5 || i > 11 {
				t.Errorf("writer %d: %v", i, err)
			}
			break
		}
		if b := sp.Stats().Bytes; b > limit {
			t.Fatalf("%d bytes are charged", b)
		}
	}
	for _, w := range ws {
		w.Abandon()
	}
}

func TestAServiceCannotPushOutWhatAnotherUses(t *testing.T) {
	c, err := New(Options{MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	small, large, quota := c.Space("small", SpaceOptions{}), c.Space("large", SpaceOptions{}), c.Space("quota", SpaceOptions{MaxBytes: 1 << 20})
	for i := range 100 {
		put(t, small, fmt.Sprint(i), string(make([]byte, 1000)), nil, long)
	}
	for i := range 10_000 {
		put(t, large, fmt.Sprint(i), string(make([]byte, 1000)), nil, long)
		put(t, quota, fmt.Sprint(i), string(make([]byte, 1000)), nil, long)
		if b := c.Bytes(); b > 4<<20 {
			t.Fatalf("%d bytes are charged", b)
		}
	}
	if n := small.Stats().Objects; n != 100 {
		t.Errorf("%d objects of the small service are left", n)
	}
	if n := quota.Stats().Bytes; n > 1<<20 || n < 1<<19 {
		t.Errorf("%d bytes under the quota", n)
	}
	if n := large.Stats().Bytes; n < 2<<20 {
		t.Errorf("%d bytes of the large service", n)
	}
	if small.Lookup([]byte("1"), nil).o == large.Lookup([]byte("9999"), nil).o || small.Lookup([]byte("9999"), nil) != nil {
		t.Error("services see each other's keys")
	}
	if n := large.PurgeAll(false); n == 0 || small.Stats().Objects != 100 {
		t.Errorf("a purge hit %d, and another service", n)
	}
	// A lower quota holds at once.
	if c.Space("small", SpaceOptions{MaxBytes: 50_000}) != small || small.Stats().Bytes > 50_000 || small.Stats().Objects == 0 {
		t.Errorf("%+v", small.Stats())
	}
}

// A trace gives the key that is asked for next.
type trace func() uint64

func zipf(seed uint64, keys uint64, s float64) trace {
	z := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), s, 1, keys-1)
	return z.Uint64
}

// mixed is mostly the one trace, and between that scans of keys that come once.
func mixed(t trace, seed uint64) trace {
	rnd := rand.New(rand.NewPCG(seed, 2))
	next, left := uint64(1<<40), 0
	return func() uint64 {
		if left == 0 && rnd.IntN(2000) == 0 {
			left = 2000
		}
		if left > 0 {
			left--
			next++
			return next
		}
		return t()
	}
}

// drifting moves the popular keys on as time goes by.
func drifting(t trace) trace {
	n := uint64(0)
	return func() uint64 {
		n++
		return t() + n/50
	}
}

func looping(keys uint64) trace {
	n := uint64(0)
	return func() uint64 {
		n++
		return n % keys
	}
}

// hitRatio plays a trace against the policy, with objects of the same weight.
func hitRatio(next trace, room int64, n int) float64 {
	var p policy
	index := map[uint64]*object{}
	hits := 0
	for range n {
		k := next()
		if o := index[k]; o != nil {
			o.touch()
			hits++
			continue
		}
		for p.small.bytes+p.main.bytes >= room {
			delete(index, p.victim(room).rec.slot.hash)
		}
		o := &object{rec: &record{slot: &slot{hash: k}}}
		index[k] = o
		p.add(o, 1)
	}
	return float64(hits) / float64(n)
}

func otterRatio(next trace, room, n int) float64 {
	c := otter.Must(&otter.Options[uint64, struct{}]{MaximumSize: room, Executor: func(f func()) { f() }})
	hits := 0
	for range n {
		k := next()
		if _, ok := c.GetIfPresent(k); ok {
			hits++
			continue
		}
		c.Set(k, struct{}{})
	}
	return float64(hits) / float64(n)
}

func lruRatio(next trace, room int64, n int) float64 {
	var q queue
	index := map[uint64]*object{}
	hits := 0
	for range n {
		k := next()
		if o := index[k]; o != nil {
			q.remove(o)
			q.push(o, inMain)
			hits++
			continue
		}
		if q.bytes >= room {
			o := q.last
			q.remove(o)
			delete(index, o.rec.slot.hash)
		}
		o := &object{rec: &record{slot: &slot{hash: k}}, weight: 1}
		index[k] = o
		q.push(o, inMain)
	}
	return float64(hits) / float64(n)
}

// TestEvictionCompares plays the same requests against this policy, a maintained library of high repute, and LRU.
func TestEvictionCompares(t *testing.T) {
	const keys, n = 20_000, 50_000
	for _, tt := range []struct {
		name string
		t    func() trace
	}{
		{"zipf 1.01", func() trace { return zipf(1, keys, 1.01) }},
		{"zipf 1.2", func() trace { return zipf(2, keys, 1.2) }},
		{"zipf 1.01 with scans", func() trace { return mixed(zipf(3, keys, 1.01), 3) }},
		{"drifting zipf 1.1", func() trace { return drifting(zipf(4, keys, 1.1)) }},
		{"a loop of 400", func() trace { return looping(400) }},
	} {
		for _, room := range []int{200, 2000} {
			ours, theirs, lru := hitRatio(tt.t(), int64(room), n), otterRatio(tt.t(), room, n), lruRatio(tt.t(), int64(room), n)
			t.Logf("%-22s room for %6d: ours %.3f, otter %.3f, LRU %.3f", tt.name, room, ours, theirs, lru)
			if ours < lru-0.01 || tt.name != "a loop of 400" && ours < theirs-0.02 {
				t.Errorf("%s, room for %d: ours is worse", tt.name, room)
			}
		}
	}
}
