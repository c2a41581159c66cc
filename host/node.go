package host

import (
	"sync"
	"sync/atomic"
)

// node is what all services of a host share: places for sandboxes, and the order in which those who wait get them.
type node struct {
	limit int64
	queue int64 // how many may wait, all services together

	used    atomic.Int64 // places taken
	waiting atomic.Int64 // changed under mu
	ready   atomic.Int64 // length of line, changed under mu

	queued  atomic.Uint64 // how many have waited
	refused refusalCounts

	mu sync.Mutex
	// line holds the services whose next waiter lacks nothing but a place of the node's, in the order of their turns:
	// each gets one place a turn, however many wait with it. A service that has all its own places taken is not in
	// it and costs nobody anything.
	line ring
	// waits holds all services with waiters.
	waits ring
}

func newNode(limit, queue int) *node { return &node{limit: int64(limit), queue: int64(queue)} }

// dispatch hands places out as long as there are some and somebody can use them. The node is locked.
func (n *node) dispatch() {
	for n.line.first != nil && take(&n.used, n.limit) {
		if !n.serveNext() {
			n.used.Add(-1) // who finds it taken meanwhile queues, and dispatches again
		}
	}
}

// serveNext gives a place of the node's to whose turn it is; false when nobody can use it.
func (n *node) serveNext() bool {
	for n.line.first != nil {
		g := n.line.first.gate
		n.line.remove(&g.line, &n.ready)
		if !take(&g.used, g.limit) {
			continue // it is in line again when one of its own leaves
		}
		g.remove(g.first, admitted)
		if g.first != nil {
			n.line.add(&g.line, &n.ready)
		}
		return true
	}
	return false
}

// makeRoom makes room for one more waiter of a service. When the node's queue is full, the service
// that has the most in it loses the last of them, unless that is the very service: however many wait with one, there is
// room for the first of another. The node is locked.
func (n *node) makeRoom(g *gate) refusal {
	used := g.used.Load()
	switch {
	case used >= closedGate:
		return gateClosed
	case g.waiting.Load() >= int64(g.queue) && used < g.limit:
		return nodeFull
	case g.waiting.Load() >= int64(g.queue):
		return serviceFull
	case n.waiting.Load() < n.queue:
		return admitted
	}
	var most *gate
	for l := n.waits.first; l != nil; l = l.next {
		if most == nil || l.gate.waiting.Load() > most.waiting.Load() {
			most = l.gate
		}
	}
	if most == nil || most.waiting.Load() <= g.waiting.Load()+1 {
		return nodeFull
	}
	most.remove(most.last, nodeFull)
	return admitted
}

// ring is a list of gates in order. The zero value is empty.
type ring struct{ first, last *ringLink }

// ringLink is a gate's place in a ring.
type ringLink struct {
	next, prev *ringLink
	gate       *gate
	in         bool
}

// add puts a link at the end unless it is in the ring already, and counts.
func (r *ring) add(l *ringLink, count *atomic.Int64) {
	if l.in {
		return
	}
	l.in, l.next, l.prev = true, nil, r.last
	if r.last != nil {
		r.last.next = l
	} else {
		r.first = l
	}
	r.last = l
	if count != nil {
		count.Add(1)
	}
}

// remove takes a link out if it is in the ring.
func (r *ring) remove(l *ringLink, count *atomic.Int64) {
	if !l.in {
		return
	}
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		r.first = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		r.last = l.prev
	}
	l.in, l.next, l.prev = false, nil, nil
	if count != nil {
		count.Add(-1)
	}
}
