package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ now atomic.Int64 }

func (c *clock) time() time.Duration { return time.Duration(c.now.Load()) }
func (c *clock) set(t time.Duration) { c.now.Store(int64(t)) }
func (c *clock) add(d time.Duration) { c.now.Add(int64(d)) }
func newLimiter(o Options) (*Limiter, *clock) {
	c := new(clock)
	c.set(1000 * time.Second)
	o.Now = c.time
	return New(o), c
}

// model keeps every event and every penalty there ever was, and answers by going through them.
type model struct {
	events  []event
	penalty map[[2]string]time.Duration // until when
}

type event struct {
	counter, entry string
	at             time.Duration
	n              uint64
}

func (m *model) sum(counter, entry string, now, window time.Duration) (n uint64) {
	second := now / time.Second
	for _, e := range m.events {
		if e.counter == counter && e.entry == entry && e.at/time.Second > second-window/time.Second {
			n += e.n
		}
	}
	return n
}

func (m *model) penalised(box, entry string, now time.Duration) bool {
	return now < m.penalty[[2]string{box, entry}]
}

func TestEveryAnswerIsThatOfAModel(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 99))
		l, now := newLimiter(Options{})
		m := &model{penalty: map[[2]string]time.Duration{}}
		pick := func(kind string, n int) string { return fmt.Sprint(kind, r.IntN(n)) }
		deltas := []uint32{0, 1, 1, 1, 2, 50, 1000, 100_000}
		windows := []time.Duration{time.Second, 10 * time.Second, time.Minute}
		pace := []time.Duration{time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 40 * time.Second}[seed%4]
		for step := range 1500 {
			switch r.IntN(10) {
			case 0:
				now.add(time.Duration(r.Int64N(int64(10 * pace))))
			default:
				now.add(time.Duration(r.Int64N(int64(pace))))
			}
			at := now.time()
			counter, box, entry := pick("counter", 2), pick("box", 2), pick("entry", 4)
			window, delta := windows[r.IntN(3)], deltas[r.IntN(len(deltas))]
			fail := func(what string, got, want any, err error) {
				t.Helper()
				if got != want || err != nil {
					t.Fatalf("seed %d, step %d, at %s: %s(%s, %s, %s, %s): %v, %v, want %v", seed, step, at, what, counter, box, entry, window, got, err, want)
				}
			}
			switch r.IntN(6) {
			case 0, 1:
				p := Policy{Window: window, Limit: uint32(r.IntN(200)), TTL: MinPenalty + time.Duration(r.Int64N(int64(5*time.Minute)))}
				m.events = append(m.events, event{counter, entry, at, uint64(delta)})
				if m.sum(counter, entry, at, window) > uint64(p.Limit)*uint64(window/time.Second) {
					m.penalty[[2]string{box, entry}] = at + p.TTL/time.Minute*time.Minute
				}
				got, err := l.CheckRate(counter, box, entry, delta, p)
				fail("CheckRate", got, m.penalised(box, entry, at), err)
			case 2:
				m.events = append(m.events, event{counter, entry, at, uint64(delta)})
				fail("Increment", nil, nil, l.Increment(counter, entry, delta))
			case 3:
				got, err := l.Rate(counter, entry, window)
				fail("Rate", got, uint32(m.sum(counter, entry, at, window)/uint64(window/time.Second)), err)
			case 4:
				window = time.Duration(1+r.IntN(6)) * 10 * time.Second
				got, err := l.Count(counter, entry, window)
				fail("Count", got, uint32(m.sum(counter, entry, at, window)), err)
			case 5:
				if r.IntN(8) == 0 {
					m.penalty[[2]string{box, entry}] = at + 2*time.Minute
					fail("Penalise", nil, nil, l.Penalise(box, entry, 2*time.Minute+59*time.Second))
				}
				got, err := l.Penalised(box, entry)
				fail("Penalised", got, m.penalised(box, entry, at), err)
			}
		}
		if st := l.Stats(); st.Evicted+st.EvictedPenalties != 0 {
			t.Errorf("seed %d: %+v: something was evicted", seed, st)
		}
	}
}

func TestWindowsAreOfWholeSeconds(t *testing.T) {
	l, now := newLimiter(Options{})
	now.set(1000*time.Second + 400*time.Millisecond)
	if err := l.Increment("c", "e", 100); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at               time.Duration
		one, ten, sixty  uint32 // rates
		count10, count60 uint32
	}{
		{1000*time.Second + 999*time.Millisecond, 100, 10, 1, 100, 100},
		{1001 * time.Second, 0, 10, 1, 100, 100},
		{1009*time.Second + 999*time.Millisecond, 0, 10, 1, 100, 100},
		{1010 * time.Second, 0, 0, 1, 0, 100},
		{1059*time.Second + 999*time.Millisecond, 0, 0, 1, 0, 100},
		{1060 * time.Second, 0, 0, 0, 0, 0},
	} {
		now.set(tt.at)
		one, _ := l.Rate("c", "e", time.Second)
		ten, _ := l.Rate("c", "e", 10*time.Second)
		sixty, _ := l.Rate("c", "e", time.Minute)
		count10, _ := l.Count("c", "e", 10*time.Second)
		count60, _ := l.Count("c", "e", time.Minute)
		if one != tt.one || ten != tt.ten || sixty != tt.sixty || count10 != tt.count10 || count60 != tt.count60 {
			t.Errorf("at %s: rates %d %d %d, counts %d %d, want %+v", tt.at, one, ten, sixty, count10, count60, tt)
		}
	}
	if st := l.Stats(); st.Entries != 0 || st.Bytes != 0 || st.Counters != 1 {
		t.Errorf("%+v: what is void is still there", st)
	}
}

func TestALimitIsExceededByMoreThanItself(t *testing.T) {
	p := Policy{Window: 10 * time.Second, Limit: 10, TTL: time.Minute}
	l, now := newLimiter(Options{})
	for i := range 100 {
		if over, err := l.CheckRate("c", "b", "e", 1, p); over || err != nil {
			t.Fatalf("after %d of 100: %v %v", i+1, over, err)
		}
	}
	// The rate as a whole number is still 10.
	if over, err := l.CheckRate("c", "b", "e", 1, p); !over || err != nil {
		t.Fatalf("after 101 of 100: %v %v", over, err)
	}
	if rate, _ := l.Rate("c", "e", 10*time.Second); rate != 10 {
		t.Errorf("rate %d", rate)
	}
	if boxed, _ := l.Penalised("b", "e"); !boxed {
		t.Error("not in the box")
	}
	now.add(59*time.Second + 999*time.Millisecond)
	if over, _ := l.CheckRate("c", "b", "e", 0, p); !over {
		t.Error("left before its time")
	}
	if over, _ := l.CheckRate("c", "other", "e", 0, p); over {
		t.Error("another box has it")
	}
	now.add(time.Millisecond)
	if over, _ := l.CheckRate("c", "b", "e", 1, p); over {
		t.Error("still in the box after its time")
	}
}

func TestCountsDoNotOverflow(t *testing.T) {
	l, now := newLimiter(Options{})
	for range 3 {
		for range 60 {
			if err := l.Increment("c", "e", math.MaxUint32); err != nil {
				t.Fatal(err)
			}
			now.add(time.Second)
		}
	}
	now.add(-time.Second)
	if n, _ := l.Count("c", "e", time.Minute); n != math.MaxUint32 {
		t.Errorf("count %d", n)
	}
	if n, _ := l.Rate("c", "e", time.Minute); n != math.MaxUint32 {
		t.Errorf("rate %d", n)
	}
	if over, _ := l.CheckRate("c", "b", "e", 0, Policy{time.Minute, math.MaxUint32, time.Minute}); over {
		t.Error("over the highest limit")
	}
	if over, _ := l.CheckRate("c", "b", "e", 0, Policy{time.Minute, math.MaxUint32 - 1, time.Minute}); !over {
		t.Error("not over the limit below it")
	}
}

func TestArgumentsOutsideTheirBounds(t *testing.T) {
	l, _ := newLimiter(Options{MaxNames: 2})
	good := Policy{Window: time.Second, Limit: 1, TTL: time.Minute}
	long, longest := strings.Repeat("n", MaxNameBytes+1), strings.Repeat("n", MaxNameBytes)
	policy := func(change func(*Policy)) error {
		p := good
		change(&p)
		_, err := l.CheckRate("c", "b", "e", 1, p)
		return err
	}
	for name, err := range map[string]error{
		"no window":          policy(func(p *Policy) { p.Window = 0 }),
		"a window of 2 s":    policy(func(p *Policy) { p.Window = 2 * time.Second }),
		"a window below 1 s": policy(func(p *Policy) { p.Window = time.Second - 1 }),
		"no time":            policy(func(p *Policy) { p.TTL = 0 }),
		"59 seconds":         policy(func(p *Policy) { p.TTL = time.Minute - 1 }),
		"more than an hour":  policy(func(p *Policy) { p.TTL = time.Hour + 1 }),
		"long counter":       second(l.CheckRate(long, "b", "e", 1, good)),
		"long box":           second(l.CheckRate("c", long, "e", 1, good)),
		"long entry":         second(l.CheckRate("c", "b", long, 1, good)),
		"increment long":     l.Increment("c", long, 1),
		"increment long c":   l.Increment(long, "e", 1),
		"rate window":        second(l.Rate("c", "e", 20*time.Second)),
		"rate long":          second(l.Rate("c", long, time.Second)),
		"count of 0":         second(l.Count("c", "e", 0)),
		"count of 1 s":       second(l.Count("c", "e", time.Second)),
		"count of 15 s":      second(l.Count("c", "e", 15*time.Second)),
		"count of 70 s":      second(l.Count("c", "e", 70*time.Second)),
		"count of less":      second(l.Count("c", "e", -10*time.Second)),
		"count long":         second(l.Count(long, "e", 10*time.Second)),
		"penalise 59 s":      l.Penalise("b", "e", 59*time.Second),
		"penalise 61 min":    l.Penalise("b", "e", 61*time.Minute),
		"penalise long":      l.Penalise(long, "e", time.Minute),
		"penalised long":     second(l.Penalised("b", long)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if st := l.Stats(); st != (Stats{MaxBytes: DefaultMaxBytes}) {
		t.Errorf("%+v: calls that failed had an effect", st)
	}
	if over, err := l.CheckRate(longest, longest, longest, 2, Policy{time.Second, 1, time.Hour}); !over || err != nil {
		t.Errorf("the longest names: %v %v", over, err)
	}
	if err := l.Increment("", "", 1); err != nil {
		t.Errorf("empty names: %v", err)
	}
	if n, err := l.Count("", "", 10*time.Second); n != 1 || err != nil {
		t.Errorf("empty names: %d %v", n, err)
	}
	// There may be two counters, and two boxes.
	if err := l.Increment("third", "e", 1); !errors.Is(err, ErrTooManyNames) {
		t.Errorf("a third counter: %v", err)
	}
	if _, err := l.CheckRate("third", "b", "e", 1, good); !errors.Is(err, ErrTooManyNames) {
		t.Errorf("a third counter: %v", err)
	}
	if err := l.Penalise("second", "e", time.Minute); err != nil {
		t.Errorf("a second box: %v", err)
	}
	if err := l.Penalise("third", "e", time.Minute); !errors.Is(err, ErrTooManyNames) {
		t.Errorf("a third box: %v", err)
	}
	for name, got := range map[string]any{"rate": first(l.Rate("third", "e", time.Second)), "count": first(l.Count("third", "e", time.Minute))} {
		if got != uint32(0) {
			t.Errorf("%s of a counter that is not there: %v", name, got)
		}
	}
	if boxed, err := l.Penalised("third", "e"); boxed || err != nil {
		t.Errorf("a box that is not there: %v %v", boxed, err)
	}
}

func first[T any](v T, _ error) any      { return v }
func second[T any](_ T, err error) error { return err }

func TestNothingIsLostBetweenGoroutines(t *testing.T) {
	l := New(Options{MaxBytes: 4 << 20})
	const workers, each = 8, 5000
	var wg sync.WaitGroup
	var over atomic.Int64
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				entry := fmt.Sprint("e", i%7)
				if i%2 == 0 {
					if err := l.Increment("c", entry, 3); err != nil {
						t.Error(err)
					}
				} else {
					penalised, err := l.CheckRate("c", "b", entry, 3, Policy{time.Minute, 100, time.Minute})
					if err != nil {
						t.Error(err)
					}
					if penalised {
						over.Add(1)
					}
				}
				if i%100 == 0 {
					l.Penalised("b", entry)
					l.Rate("c", entry, time.Second)
					l.Increment(fmt.Sprint("c", w, i), entry, 1)
					l.Stats()
				}
			}
		})
	}
	wg.Wait()
	total := uint64(0)
	for i := range 7 {
		n, err := l.Count("c", fmt.Sprint("e", i), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		total += uint64(n)
	}
	if time.Since(start) < 50*time.Second && total != 3*workers*each {
		t.Errorf("%d events, want %d", total, 3*workers*each)
	}
	if over.Load() == 0 {
		t.Error("nobody was over the limit")
	}
}

func TestTimeDoesNotGoBack(t *testing.T) {
	l, now := newLimiter(Options{})
	l.Increment("c", "e", 1)
	now.set(500 * time.Second) // a caller that was held up
	l.Increment("c", "e", 1)
	now.set(1000 * time.Second)
	if n, _ := l.Rate("c", "e", time.Second); n != 2 {
		t.Errorf("%d events in the present second, want 2", n)
	}
}

// flood increments entries that nobody uses again.
func flood(l *Limiter, r *rand.Rand, n int) {
	for range n {
		l.Increment("c", fmt.Sprintf("flood-%x", r.Uint64()), 1)
	}
}

func TestAFloodDoesNotPushOutWhatCounts(t *testing.T) {
	const room = 1 << 20
	r := rand.New(rand.NewPCG(1, 1))
	l, now := newLimiter(Options{MaxBytes: room})
	flood(l, r, 20_000) // the memory is full already
	var regulars []string
	for i := range 500 {
		regulars = append(regulars, fmt.Sprint("regular-", i))
	}
	p := Policy{Window: time.Minute, Limit: 100, TTL: 5 * time.Minute}
	for range 2 {
		for _, name := range regulars {
			l.Increment("c", name, 7)
		}
	}
	if over, err := l.CheckRate("c", "b", "attacker", 6001, p); !over || err != nil {
		t.Fatal(over, err)
	}
	for range 10 {
		flood(l, r, 10_000)
		now.add(time.Second)
	}
	for _, name := range regulars {
		if n, _ := l.Count("c", name, time.Minute); n != 14 {
			t.Fatalf("%s has %d events, want 14", name, n)
		}
	}
	if over, _ := l.CheckRate("c", "b", "attacker", 0, p); !over {
		t.Error("the attacker has left the box")
	}
	st := l.Stats()
	if st.Evicted < 100_000 || st.EvictedPenalties != 0 || st.Bytes > room || st.MaxBytes != room {
		t.Errorf("%+v", st)
	}

	// Those of the flood that come back are regulars as well; the oldest regulars give way to them.
	for i := range 20_000 {
		l.Increment("c", fmt.Sprint("twice-", i), 1)
		l.Increment("c", fmt.Sprint("twice-", i), 1)
	}
	if n, _ := l.Count("c", "twice-19999", time.Minute); n != 2 {
		t.Error("the latest is gone")
	}
	if n, _ := l.Count("c", regulars[0], time.Minute); n != 0 {
		t.Error("the oldest is still there")
	}
}

func TestAFullBoxLosesWhoWouldLeaveSoonest(t *testing.T) {
	l, now := newLimiter(Options{MaxBytes: 64 << 10})
	l.Penalise("b", "long", time.Hour)
	l.Penalise("b", "longer", time.Minute)
	l.Penalise("b", "longer", time.Hour) // its time is set anew
	for i := range 10_000 {
		l.Penalise("b", fmt.Sprint("short-", i), 2*time.Minute)
		now.add(time.Millisecond)
	}
	for name, want := range map[string]bool{"long": true, "longer": true, "short-9999": true, "short-0": false} {
		if got, _ := l.Penalised("b", name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	st := l.Stats()
	if st.EvictedPenalties == 0 || st.Penalised < 50 || st.Bytes > 16<<10 || st.Penalties != 10_003 {
		t.Errorf("%+v", st)
	}
	now.add(2 * time.Minute)
	if st := l.Stats(); st.Penalised != 2 {
		t.Errorf("%+v: want the two that stay for an hour", st)
	}
	l.Penalise("b", "long", time.Minute) // shorter than what was left
	now.add(time.Minute)
	if got, _ := l.Penalised("b", "long"); got {
		t.Error("its time was not set anew")
	}
}

// The bound is on real memory.
func TestMemoryStaysWithinItsBound(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates 16 MiB")
	}
	const room = 16 << 20
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	r := rand.New(rand.NewPCG(2, 2))
	l, now := newLimiter(Options{MaxBytes: room})
	for round := range 6 {
		flood(l, r, 50_000)
		for i := range 5000 { // entries with a history
			l.CheckRate("c", "b", fmt.Sprint("e", i), 1, Policy{time.Second, 0, time.Duration(1+round) * time.Minute})
		}
		for i := range 30_000 {
			l.Penalise("b", fmt.Sprintf("boxed-%d-%d", round, i), time.Hour)
		}
		now.add(time.Second)
	}
	used := heap() - before
	st := l.Stats()
	if used > room || st.Bytes > room || st.Bytes < room*9/10 || used < room/3 {
		t.Errorf("%d bytes are in use, %d are counted, of %d: %+v", used, st.Bytes, room, st)
	}
	t.Logf("%d bytes in use, %d counted: %+v", used, st.Bytes, st)
	runtime.KeepAlive(l)
}

func TestDefaultHoldsAsManyEntriesAsThePlatform(t *testing.T) {
	per := entryBytes + int64(len("2001:db8:1234:5678:90ab:cdef:1234:5678"))
	if n := DefaultMaxBytes * 3 / 4 / per; n < 190_000 {
		t.Errorf("%d entries of %d bytes", n, per)
	}
}

func BenchmarkCheckRate(b *testing.B) {
	l := New(Options{})
	names := make([]string, 1024)
	for i := range names {
		names[i] = fmt.Sprintf("192.0.2.%d", i)
	}
	p := Policy{Window: 10 * time.Second, Limit: math.MaxUint32, TTL: time.Minute}
	b.Run("one entry", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.CheckRate("counter", "box", names[0], 1, p)
		}
	})
	b.Run("1024 entries", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.CheckRate("counter", "box", names[i%1024], 1, p)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		var start atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			i := int(start.Add(511))
			for pb.Next() {
				l.CheckRate("counter", "box", names[i%1024], 1, p)
				i++
			}
		})
	})
	b.Run("flood", func(b *testing.B) {
		b.ReportAllocs()
		r := rand.New(rand.NewPCG(3, 3))
		for b.Loop() {
			l.CheckRate("counter", "box", fmt.Sprintf("%x", r.Uint64()), 1, p)
		}
	})
}
