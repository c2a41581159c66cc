package host

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// gate lets a service's requests in: as many at once as the service may have sandboxes, and no more than the node
// has for all its services. Beyond that a bounded number waits, first come first served, for a bounded time.
//
// A request that finds room takes both places with two atomic operations and no lock. Whoever does not goes by the
// node's lock: it queues, and places are handed out under it. A place that comes free while anybody might wait for it is
// handed out by who gives it back. That nobody is forgotten rests on an order: who queues counts itself first and looks
// for a place then; who leaves gives the place back first and looks for the count then. One of them sees the other.
type gate struct {
	node  *node
	limit int64
	queue int           // how many may wait
	wait  time.Duration // how long each

	used    atomic.Int64 // places taken; closedGate more once the gate is closed
	waiting atomic.Int64 // length of waiters, changed under the node's lock
	drained chan struct{}

	// Under the node's lock:
	first, last *waiter
	line        ringLink // among the gates whose next waiter lacks nothing but a place of the node's
	waits       ringLink // among the gates with waiters

	queued  atomic.Uint64 // how many have waited
	refused refusalCounts
}

// closedGate is added to used when a gate closes: no number of places is so large.
const closedGate = 1 << 40

// refusal is why a request was not let in.
type refusal int

// The zero refusal is none.
const (
	admitted    refusal = iota
	serviceFull         // no place of the service's, and none in its queue
	serviceLate         // the service's places were taken for too long
	nodeFull            // no place of the node's, and none in its queue
	nodeLate            // the node's places were taken for too long
	gateClosed          // the service is closing
	clientLeft          // the client went away
	enginesLack         // the engine had no slot all the same
	refusals    = iota
)

var refusalTexts = [refusals]string{
	serviceFull: "every sandbox of the service is busy and its queue is full (settings: Limits.Concurrent, --max-concurrent; Limits.Queue, --max-queue)",
	serviceLate: "every sandbox of the service stayed busy for too long (settings: Limits.Concurrent, --max-concurrent; Limits.QueueWait, --queue-timeout)",
	nodeFull:    "every sandbox of the host is busy and its queue is full (settings: Options.Concurrent, --max-concurrent; Options.Queue, --max-queue)",
	nodeLate:    "every sandbox of the host stayed busy for too long (settings: Options.Concurrent, --max-concurrent; Limits.QueueWait, --queue-timeout)",
	gateClosed:  ErrShutdown.Error(),
	clientLeft:  ErrClientGone.Error(),
	enginesLack: "every instance slot of the engine is taken (setting: EngineConfig.MaxInstances, --max-concurrent)",
}

// String says why, and which setting helps.
func (r refusal) String() string { return refusalTexts[r] }

type refusalCounts [refusals]atomic.Uint64

// waiter is one request in a queue.
type waiter struct {
	next, prev *waiter
	gate       *gate // nil once it is out of the queue
	outcome    refusal
	wake       chan struct{} // receives once outcome is there; capacity 1
	timer      *time.Timer
}

var waiters = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &waiter{wake: make(chan struct{}, 1), timer: timer}
}}

// newGate makes the gate of a service with limit places, a queue and a longest wait in it.
func newGate(n *node, limit, queue int, wait time.Duration) *gate {
	g := &gate{node: n, limit: int64(limit), queue: queue, wait: wait, drained: make(chan struct{})}
	g.line.gate, g.waits.gate = g, g
	return g
}

// take takes one of limit places.
func take(used *atomic.Int64, limit int64) bool {
	for {
		n := used.Load()
		if n >= limit {
			return false
		}
		if used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// enter takes a place, waiting for one if it must, until ctx ends. Whoever is admitted must leave.
func (g *gate) enter(ctx context.Context) refusal {
	n := g.node
	// Nobody overtakes those who wait.
	if g.waiting.Load() == 0 && n.ready.Load() == 0 && take(&g.used, g.limit) {
		if take(&n.used, n.limit) {
			return admitted
		}
		g.giveBack() // enterSlowly sees to it that this place is not overlooked
	}
	r := g.enterSlowly(ctx)
	if r != admitted {
		g.refuse(r)
	}
	return r
}

// refuse counts.
func (g *gate) refuse(why refusal) {
	g.refused[why].Add(1)
	g.node.refused[why].Add(1)
}

// enterSlowly queues.
func (g *gate) enterSlowly(ctx context.Context) refusal {
	n := g.node
	n.mu.Lock()
	if g.first != nil {
		n.line.add(&g.line, &n.ready)
	}
	n.dispatch()
	if g.first == nil && n.line.first == nil && g.takeBoth() {
		n.mu.Unlock()
		return admitted
	}
	if r := n.makeRoom(g); r != admitted {
		n.mu.Unlock()
		return r
	}
	w := waiters.Get().(*waiter)
	g.push(w)
	n.line.add(&g.line, &n.ready)
	n.dispatch()
	in := w.gate == nil
	n.mu.Unlock()
	if !in {
		g.queued.Add(1)
		n.queued.Add(1)
		w.timer.Reset(g.wait)
		select {
		case <-w.wake:
			w.timer.Stop()
			return w.done()
		case <-w.timer.C:
			g.forsake(w, false)
		case <-ctx.Done():
			w.timer.Stop()
			g.forsake(w, true)
		}
	}
	<-w.wake
	return w.done()
}

// takeBoth takes a place. The node is locked, so that none is held for a moment only by dispatch.
func (g *gate) takeBoth() bool {
	if !take(&g.used, g.limit) {
		return false
	}
	if !take(&g.node.used, g.node.limit) {
		g.giveBack() // nobody waits for it
		return false
	}
	return true
}

// done gives the outcome and lets the waiter serve again.
func (w *waiter) done() refusal {
	r := w.outcome
	w.outcome = admitted
	waiters.Put(w)
	return r
}

// forsake ends a wait from the waiter's side. A place that was given meanwhile is kept, or passed on when the client is
// gone.
func (g *gate) forsake(w *waiter, gone bool) {
	n := g.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.gate == nil {
		if gone && w.outcome == admitted {
			w.outcome = clientLeft
			g.release()
			n.dispatch()
		}
		return
	}
	why := serviceLate
	switch {
	case gone:
		why = clientLeft
	case g.used.Load() < g.limit:
		why = nodeLate
	}
	g.remove(w, why)
}

// leave gives a place back.
func (g *gate) leave() {
	n := g.node
	g.giveBack()
	n.used.Add(-1)
	if g.waiting.Load() == 0 && n.ready.Load() == 0 {
		return
	}
	n.mu.Lock()
	if g.first != nil {
		n.line.add(&g.line, &n.ready)
	}
	n.dispatch()
	n.mu.Unlock()
}

// release is leave by who holds the node's lock, and is about to dispatch.
func (g *gate) release() {
	g.giveBack()
	g.node.used.Add(-1)
	if g.first != nil {
		g.node.line.add(&g.line, &g.node.ready)
	}
}

// giveBack gives the service's place back.
func (g *gate) giveBack() {
	if g.used.Add(-1) == closedGate {
		close(g.drained)
	}
}

// inside is how many are inside.
func (g *gate) inside() int {
	n := g.used.Load()
	if n >= closedGate {
		n -= closedGate
	}
	return int(n)
}

// push adds a waiter at the end. The node is locked.
func (g *gate) push(w *waiter) {
	w.gate, w.next, w.prev = g, nil, g.last
	if g.last != nil {
		g.last.next = w
	} else {
		g.first = w
		g.node.waits.add(&g.waits, nil)
	}
	g.last = w
	g.waiting.Add(1)
	g.node.waiting.Add(1)
}

// remove takes a waiter out, wherever it stands, and wakes it. The node is locked.
func (g *gate) remove(w *waiter, outcome refusal) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		g.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		g.last = w.prev
	}
	w.gate, w.next, w.prev = nil, nil, nil
	w.outcome = outcome
	g.waiting.Add(-1)
	g.node.waiting.Add(-1)
	if g.first == nil {
		g.node.line.remove(&g.line, &g.node.ready)
		g.node.waits.remove(&g.waits, nil)
	}
	w.wake <- struct{}{}
}

// drain keeps everybody out from now on, those who wait as well, and waits until nobody is inside. It may be called again
// after ctx has ended.
func (g *gate) drain(ctx context.Context) error {
	g.node.mu.Lock()
	if g.used.Load() < closedGate {
		if g.used.Add(closedGate) == closedGate {
			close(g.drained)
		}
		for g.first != nil {
			g.remove(g.first, gateClosed)
		}
	}
	g.node.mu.Unlock()
	select {
	case <-g.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
