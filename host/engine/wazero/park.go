package wazero

import (
	"slices"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

const (
	// maxParked is how many bytes all parked instances of an engine may hold.
	maxParked = 256 << 20

	// sweepEvery is how often parked instances that were not needed meanwhile are thinned out, by half. An idle
	// service gives everything back within half a minute.
	sweepEvery = 2 * time.Second

	// sweepPart is how many of them are taken down before others may have a turn at the lock.
	sweepPart = 16
)

// lot counts an engine's instances and holds those that have ended, have been set back, and wait for the next use of
// their template. They count like any other: whoever finds no room evicts the one that has been here longest. A
// timer runs while there are any.
type lot struct {
	max int // instances, those in use and parked ones

	mu             sync.Mutex
	instances      int
	oldest, newest *slot
	resident, most uint64                 // bytes that parked instances hold, and may hold
	templates      map[*template]struct{} // that have any
	timer          *time.Timer
	armed          bool
	closed         bool
}

// parking is a template's share of the lot, and under its lock.
type parking struct {
	slots  []*slot // newest last
	least  int     // how many were here at any time since the last sweep
	closed bool
}

func newLot(max int) *lot {
	return &lot{max: max, most: maxParked, templates: map[*template]struct{}{}}
}

// take gives an instance of the template that is parked, the newest, whose caches are warm; or nil, and with it
// the right to make one, which free gives back. ErrNoSlot means that there are too many.
func (l *lot) take(t *template) (*slot, error) {
	l.mu.Lock()
	if n := len(t.parking.slots); n > 0 {
		s := t.parking.slots[n-1]
		l.remove(s, n-1)
		l.mu.Unlock()
		return s, nil
	}
	evicted := l.oldest
	switch {
	case l.instances < l.max:
		l.instances++
		evicted = nil
	case evicted == nil:
		l.mu.Unlock()
		return nil, engine.ErrNoSlot
	default:
		l.remove(evicted, 0) // the oldest of all is the oldest of its template
	}
	l.mu.Unlock()
	if evicted != nil {
		evicted.destroy() // its place is the caller's now
	}
	return nil, nil
}

// free tells that an instance is gone.
func (l *lot) free() {
	l.mu.Lock()
	l.instances--
	l.mu.Unlock()
}

// put parks an instance that has been set back; false when the template or the engine is closed.
func (l *lot) put(s *slot) bool {
	t := s.t
	l.mu.Lock()
	if l.closed || t.parking.closed {
		l.mu.Unlock()
		return false
	}
	if s.older = l.newest; s.older != nil {
		s.older.newer = s
	} else {
		l.oldest = s
	}
	l.newest = s
	if len(t.parking.slots) == 0 {
		l.templates[t] = struct{}{}
	}
	t.parking.slots = append(t.parking.slots, s)
	l.resident += s.resident
	var out []*slot
	for l.resident > l.most {
		out = append(out, l.oldest)
		l.discard(l.oldest, 0)
	}
	l.arm()
	l.mu.Unlock()
	destroyAll(out)
	return true
}

// drain takes down all parked instances of a template, or of all for nil, and lets none in any more.
func (l *lot) drain(t *template) {
	l.mu.Lock()
	var out []*slot
	if t != nil {
		t.parking.closed = true
		out = slices.Clone(t.parking.slots)
	} else {
		l.closed = true
		for s := l.oldest; s != nil; s = s.newer {
			out = append(out, s)
		}
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	for _, s := range out {
		l.discard(s, 0) // those of a template go in their order
	}
	l.mu.Unlock()
	destroyAll(out)
}

// discard is remove for a slot that is about to be destroyed. Its place is free at once, so that nobody is refused for
// the sake of one that is going; that is done without the lock.
func (l *lot) discard(s *slot, at int) {
	l.remove(s, at)
	l.instances--
}

// remove unlinks a slot; at is its place among its template's.
func (l *lot) remove(s *slot, at int) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		l.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		l.newest = s.older
	}
	s.newer, s.older = nil, nil
	l.resident -= s.resident
	p := &s.t.parking
	p.slots = slices.Delete(p.slots, at, at+1)
	p.least = min(p.least, len(p.slots))
	if len(p.slots) == 0 {
		delete(l.templates, s.t)
	}
}

// arm sees to it that the lot is swept.
func (l *lot) arm() {
	switch {
	case l.armed || l.closed || l.oldest == nil:
	case l.timer == nil:
		l.armed = true
		l.timer = time.AfterFunc(sweepEvery, l.sweep)
	default:
		l.armed = true
		l.timer.Reset(sweepEvery)
	}
}

// sweep takes down half of what each template did not need since the last time.
func (l *lot) sweep() {
	l.mu.Lock()
	l.armed = false
	var surplus []*slot
	for t := range l.templates {
		p := &t.parking
		surplus = append(surplus, p.slots[:(p.least+1)/2]...)
		p.least = len(p.slots)
	}
	l.arm()
	l.mu.Unlock()
	for part := range slices.Chunk(surplus, sweepPart) {
		l.mu.Lock()
		part = slices.DeleteFunc(part, func(s *slot) bool {
			at := slices.Index(s.t.parking.slots, s)
			if at >= 0 {
				l.discard(s, at)
			}
			return at < 0 // taken meanwhile
		})
		l.mu.Unlock()
		destroyAll(part)
	}
}

func destroyAll(list []*slot) {
	for _, s := range list {
		s.destroy()
	}
}
