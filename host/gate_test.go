package host

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// long is a wait that no test is meant to see the end of.
const long = time.Minute

// fill takes n places of a gate.
func fill(t *testing.T, g *gate, n int) {
	t.Helper()
	for range n {
		if r := g.enter(t.Context()); r != admitted {
			t.Fatalf("refused: %s", r)
		}
	}
}

// enqueue lets n requests wait at a gate, one after the other, and gives a channel that receives the number and the outcome
// of each.
func enqueue(t *testing.T, ctx context.Context, g *gate, n int, out chan<- outcome) {
	t.Helper()
	for i := range n {
		before := g.waiting.Load()
		go func() { out <- outcome{g, i, g.enter(ctx)} }()
		for g.waiting.Load() == before {
			runtime.Gosched()
		}
	}
}

type outcome struct {
	g   *gate
	i   int
	why refusal
}

func TestRequestsOfAServiceAreServedInOrder(t *testing.T) {
	g := newGate(newNode(1, 100), 1, 100, long)
	fill(t, g, 1)
	out := make(chan outcome, 100)
	enqueue(t, t.Context(), g, 20, out)
	for i := range 20 {
		g.leave()
		if o := <-out; o.why != admitted || o.i != i {
			t.Fatalf("number %d got the place of number %d: %q", o.i, i, o.why)
		}
	}
}

func TestServicesTakeTurns(t *testing.T) {
	n := newNode(2, 1000)
	busy, second, third := newGate(n, 2, 1000, long), newGate(n, 2, 1000, long), newGate(n, 2, 1000, long)
	fill(t, busy, 2)
	out := make(chan outcome, 1000)
	enqueue(t, t.Context(), busy, 300, out)
	enqueue(t, t.Context(), second, 3, out)
	enqueue(t, t.Context(), third, 3, out)
	inside := []*gate{busy, busy}
	for turn := range 9 {
		inside[0].leave()
		o := <-out
		if want := []*gate{busy, second, third}[turn%3]; o.g != want || o.i != turn/3 {
			t.Fatalf("turn %d: a service jumped its queue", turn)
		}
		inside = append(inside[1:], o.g)
	}
}

func TestAServiceWithoutPlacesOfItsOwnHoldsNobodyUp(t *testing.T) {
	n := newNode(10, 1000)
	small, other := newGate(n, 1, 1000, long), newGate(n, 10, 1000, long)
	fill(t, small, 1)
	out := make(chan outcome, 100)
	enqueue(t, t.Context(), small, 50, out)
	fill(t, other, 9)
	if n.ready.Load() != 0 {
		t.Error("a service that lacks places of its own waits for the node's")
	}
	enqueue(t, t.Context(), other, 1, out)
	other.leave()
	if o := <-out; o.g != other {
		t.Error("the place went to a service that cannot use it")
	}
	small.leave()
	if o := <-out; o.g != small || o.i != 0 {
		t.Error("the service's own place did not go to its first waiter")
	}
}

func TestWhoeverIsRefusedLearnsWhy(t *testing.T) {
	t.Run("the service's queue is full", func(t *testing.T) {
		g := newGate(newNode(10, 10), 1, 2, long)
		fill(t, g, 1)
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan outcome, 2)
		enqueue(t, ctx, g, 2, out)
		if r := g.enter(ctx); r != serviceFull {
			t.Errorf("%q", r)
		}
		cancel()
		for range 2 {
			if o := <-out; o.why != clientLeft {
				t.Errorf("%q", o.why)
			}
		}
	})
	t.Run("nobody may wait", func(t *testing.T) {
		n := newNode(1, 10)
		g, other := newGate(n, 1, 0, long), newGate(n, 1, 0, long)
		fill(t, g, 1)
		if r := g.enter(t.Context()); r != serviceFull {
			t.Errorf("%q", r)
		}
		if r := other.enter(t.Context()); r != nodeFull {
			t.Errorf("%q", r)
		}
		g.leave()
		fill(t, other, 1)
	})
	t.Run("the wait was too long", func(t *testing.T) {
		n := newNode(1, 10)
		g, other := newGate(n, 1, 10, time.Millisecond), newGate(n, 1, 10, time.Millisecond)
		fill(t, g, 1)
		if r := g.enter(t.Context()); r != serviceLate {
			t.Errorf("%q", r)
		}
		if r := other.enter(t.Context()); r != nodeLate {
			t.Errorf("%q", r)
		}
		g.leave()
		fill(t, g, 1)
	})
	t.Run("the service closes", func(t *testing.T) {
		g := newGate(newNode(10, 10), 1, 10, long)
		fill(t, g, 1)
		out := make(chan outcome, 3)
		enqueue(t, t.Context(), g, 3, out)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.drain(ctx); err != context.Canceled {
			t.Errorf("drain with somebody inside: %v", err)
		}
		for range 3 {
			if o := <-out; o.why != gateClosed {
				t.Errorf("%q", o.why)
			}
		}
		if r := g.enter(t.Context()); r != gateClosed {
			t.Errorf("%q", r)
		}
		g.leave()
		if err := g.drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for r := admitted + 1; r < refusals; r++ {
		if r.String() == "" {
			t.Errorf("refusal %d has no text", r)
		}
	}
}

func TestAFullNodeStillQueuesForOtherServices(t *testing.T) {
	n := newNode(1, 100)
	busy, other := newGate(n, 1, 10_000, long), newGate(n, 1, 10_000, long)
	fill(t, busy, 1)
	out := make(chan outcome, 1000)
	enqueue(t, t.Context(), busy, 100, out)
	if r := busy.enter(t.Context()); r != nodeFull {
		t.Errorf("the busy service got more than the node's queue: %q", r)
	}
	go func() { out <- outcome{other, 0, other.enter(t.Context())} }()
	if o := <-out; o.g != busy || o.i != 99 || o.why != nodeFull {
		t.Errorf("number %d had to give way: %q", o.i, o.why)
	}
	busy.leave()
	first := <-out
	first.g.leave()
	if second := <-out; first.g != busy || first.i != 0 || second.g != other || second.why != admitted {
		t.Errorf("after the busy service's first waiter came its number %d: %q", second.i, second.why)
	}
	other.leave()
	for i := 1; i < 99; i++ {
		if o := <-out; o.i != i || o.why != admitted {
			t.Fatalf("number %d: %q", o.i, o.why)
		}
		busy.leave()
	}
}

// TestNobodyIsForgotten lets many services' requests come, go away, run late and be refused at random, with
// more of them than places. Limits must hold, everybody must get an answer, and nothing may be left at the end.
func TestNobodyIsForgotten(t *testing.T) {
	const services, workers, turns = 5, 40, 300
	for _, nodeLimit := range []int{1, 3, 7} {
		n := newNode(nodeLimit, 60)
		var gates [services]*gate
		var inside [services]atomic.Int64
		var all atomic.Int64
		for i := range gates {
			gates[i] = newGate(n, 1+i, []int{0, 1, 10, 100, 100}[i], time.Duration(1+i)*time.Millisecond)
		}
		gates[4].wait = long // whoever is forgotten here hangs the test
		var wg sync.WaitGroup
		for worker := range workers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(worker), uint64(nodeLimit)))
				for range turns {
					i := random.IntN(services)
					g := gates[i]
					ctx, cancel := context.WithCancel(t.Context())
					if random.IntN(3) == 0 {
						time.AfterFunc(time.Duration(random.IntN(300))*time.Microsecond, cancel)
					}
					if g.enter(ctx) == admitted {
						if k := inside[i].Add(1); k > g.limit {
							t.Errorf("%d of %d are inside", k, g.limit)
						}
						if k := all.Add(1); k > n.limit {
							t.Errorf("%d of %d are on the node", k, n.limit)
						}
						if random.IntN(2) == 0 {
							time.Sleep(time.Duration(random.IntN(100)) * time.Microsecond)
						}
						all.Add(-1)
						inside[i].Add(-1)
						g.leave()
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if n.used.Load() != 0 || n.waiting.Load() != 0 || n.ready.Load() != 0 || n.line.first != nil || n.waits.first != nil {
			t.Errorf("the node is left with %d inside, %d waiting, %d in line", n.used.Load(), n.waiting.Load(), n.ready.Load())
		}
		for i, g := range gates {
			if g.used.Load() != 0 || g.waiting.Load() != 0 || g.first != nil {
				t.Errorf("service %d is left with %d inside, %d waiting", i, g.used.Load(), g.waiting.Load())
			}
			if err := g.drain(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEnteringDoesNotAllocate(t *testing.T) {
	g := newGate(newNode(10, 10), 10, 10, long)
	if n := testing.AllocsPerRun(100, func() {
		if g.enter(t.Context()) != admitted {
			t.Fatal("refused")
		}
		g.leave()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkGate enters and leaves. "contended" has eight times as many requests as places.
func BenchmarkGate(b *testing.B) {
	bench := func(b *testing.B, limit int) {
		g := newGate(newNode(limit, 1000), limit, 1000, long)
		b.ReportAllocs()
		b.SetParallelism(max(1, 8*limit/2))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if r := g.enter(context.Background()); r != admitted {
					b.Error(r)
				}
				g.leave()
			}
		})
	}
	b.Run("alone", func(b *testing.B) {
		g := newGate(newNode(10, 10), 10, 10, long)
		b.ReportAllocs()
		for b.Loop() {
			g.enter(context.Background())
			g.leave()
		}
	})
	b.Run("together", func(b *testing.B) { bench(b, 1000) })
	b.Run("contended", func(b *testing.B) { bench(b, 2) })
}
