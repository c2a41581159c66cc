//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include "shim.h"
import "C"

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxParked is how many bytes of written memory all parked instances of an engine may hold.
	maxParked = 256 << 20

	// sweepEvery is how often parked instances that were not needed meanwhile are thinned out, by half. An idle
	// service gives everything back within half a minute.
	sweepEvery = 2 * time.Second

	// sweepPart is how many of them are taken down before others may have a turn.
	sweepPart = 16
)

// slot is the half of an instance that is used again: the store, the instance in it, and the number by which C
// knows it. It stays with its template; what other modules get is always mapped anew by wasmtime.
type slot struct {
	c        *C.we_inst
	handle   uint32
	template *template
	memory   uint64 // the limits that its store has
	elements uint32
	resident uint64 // bytes of memory that stay its own

	// written are the ranges of addresses that are its own, as found by the last look at all of memory.
	written []C.we_region

	prefetched bool // more of its memory was written to than the guest did

	newer, older *slot // in the lot
}

// destroy takes an instance down.
func (s *slot) destroy() {
	C.we_inst_delete(s.c)
	s.c = nil
	instances.remove(s.handle)
	t := s.template
	t.engine.instances.Add(-1)
	t.refs.release()
}

// lot holds an engine's parked instances. They count as instances: whoever finds the pool full evicts the one
// that has been here longest. A timer runs while there are any.
type lot struct {
	// leaving is held for reading from before parked instances are removed until they are down, so that who
	// finds the pool full can wait for that: their slots are about to be free. It is taken before mu.
	leaving sync.RWMutex

	mu             sync.Mutex
	oldest, newest *slot
	resident, most uint64                 // bytes of written memory that they hold, and may hold
	templates      map[*template]struct{} // that have any
	timer          *time.Timer
	armed          bool
	closed         bool
}

// parking is a template's share of the lot, and under its lock.
type parking struct {
	slots  []*slot // newest last
	least  int     // how many were here at any time since the last sweep
	keep   int     // how many stay although nobody needs them (Warm)
	closed bool
}

// put parks an instance that has been set back; false when the template or the engine is closed.
func (l *lot) put(s *slot) bool {
	t := s.template
	instances.set(s.handle, nil)
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
		if l.templates == nil {
			l.templates = make(map[*template]struct{})
		}
		l.templates[t] = struct{}{}
	}
	t.parking.slots = append(t.parking.slots, s)
	l.resident += s.resident
	over := l.resident > l.most
	l.arm()
	l.mu.Unlock()
	if over {
		l.leaving.RLock()
		defer l.leaving.RUnlock()
		for l.evictIf(func() bool { return l.resident > l.most }) {
		}
	}
	return true
}

// take gives the template's newest parked instance, whose caches are warm; nil when there is none.
func (l *lot) take(t *template) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(t.parking.slots)
	if n == 0 {
		return nil
	}
	s := t.parking.slots[n-1]
	l.remove(s, n-1)
	return s
}

// evict takes down the instance that has been parked longest, whichever its template; false when there is none.
func (l *lot) evict() bool { return l.evictIf(func() bool { return true }) }

// evictIf is evict on a condition that is looked at under the lock. The caller holds leaving.
func (l *lot) evictIf(condition func() bool) bool {
	l.mu.Lock()
	s := l.oldest
	if s == nil || !condition() {
		l.mu.Unlock()
		return false
	}
	l.remove(s, 0) // the oldest of all is the oldest of its template
	l.mu.Unlock()
	s.destroy()
	return true
}

// drain takes down all parked instances of a template, or of all for nil, and lets none in any more.
func (l *lot) drain(t *template) {
	l.leaving.RLock()
	defer l.leaving.RUnlock()
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
		l.remove(s, 0)
	}
	l.mu.Unlock()
	destroyAll(out)
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
	p := &s.template.parking
	p.slots = slices.Delete(p.slots, at, at+1)
	p.least = min(p.least, len(p.slots))
	if len(p.slots) == 0 {
		delete(l.templates, s.template)
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
		surplus = append(surplus, p.slots[:p.surplus()]...)
		p.least = len(p.slots)
	}
	l.arm()
	l.mu.Unlock()
	for part := range slices.Chunk(surplus, sweepPart) {
		l.leaving.RLock()
		l.mu.Lock()
		part = slices.DeleteFunc(part, func(s *slot) bool {
			at := slices.Index(s.template.parking.slots, s)
			if at >= 0 {
				l.remove(s, at)
			}
			return at < 0 // taken meanwhile
		})
		l.mu.Unlock()
		destroyAll(part)
		l.leaving.RUnlock()
	}
}

// surplus is how many of the slots, from the oldest on, nobody needs.
func (p *parking) surplus() int {
	n := (p.least + 1) / 2
	for n > 0 && len(p.slots)-n < p.keep && p.slots[n-1].resident <= maxKept {
		n--
	}
	return n
}

func destroyAll(list []*slot) {
	for _, s := range list {
		s.destroy()
	}
}
