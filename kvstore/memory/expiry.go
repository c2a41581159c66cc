package memory

import (
	"container/heap"
	"time"
)

const (
	reclaimEvery = 100 * time.Millisecond // at most so often, so that a timer serves many keys
	reclaimBatch = 1000                   // keys for which the lock is held at once
)

// expiries finds the keys that have expired: a heap, and a timer for its first entry. The store's lock guards it.
type expiries struct {
	soonest expiryHeap
	timer   *time.Timer   // nil until there is a key that expires
	wake    time.Duration // when the timer fires, since the epoch; 0 when it is not set
}

// remember notes when e expires. The lock is held.
func (s *store) remember(e *entry) {
	e.place = -1
	if e.expires != 0 {
		heap.Push(&s.soonest, e)
		s.schedule()
	}
}

// forget undoes remember. The lock is held. The timer may find nothing to do then.
func (s *store) forget(e *entry) {
	if e.place >= 0 {
		heap.Remove(&s.soonest, e.place)
	}
}

// schedule sets the timer for the first entry, unless it fires before. The lock is held.
func (s *store) schedule() {
	if len(s.soonest) == 0 {
		return
	}
	now := s.all.now()
	at := max(s.soonest[0].expires, now+reclaimEvery)
	if s.wake != 0 && s.wake <= at {
		return
	}
	s.wake = at
	if s.timer == nil {
		s.timer = time.AfterFunc(at-now, s.fire)
	} else {
		s.timer.Reset(at - now)
	}
}

func (s *store) fire() {
	for s.reclaim() {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = 0
	s.schedule()
}

// reclaim removes a batch of expired keys, and tells whether there may be more.
func (s *store) reclaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.all.now()
	for range reclaimBatch {
		if len(s.soonest) == 0 || s.soonest[0].expires > now {
			return false
		}
		s.remove(s.soonest[0])
	}
	return true
}

// stop ends the timer. The lock is held.
func (s *store) stop() {
	s.soonest = nil
	if s.timer != nil {
		s.timer.Stop()
	}
}

// expiryHeap implements heap.Interface.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.place = -1
	return e
}
