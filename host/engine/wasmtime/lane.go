//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// lane bounds how many guests compute at once that have computed for a tick already. Most guests have ended by then and
// never meet it. The others need a seat to go on, give it up when they have computed for another tick or wait for
// something, and queue for the next one behind those that have used less.
//
// Without it each of them would keep an OS thread busy, for Go starts another thread for each call to C that takes long, and a
// guest that came anew would be one of as many that the system's scheduler takes turns with.
//
// While there are guests that end within their first tick, those in the lane leave some CPUs to them; otherwise they may have
// all. Guests in their first tick are bounded, too: beyond maxFresh they need a seat from the start, and are the first to get
// one. A burst of thousands would otherwise take as many threads before the first of them has computed for a tick.
type lane struct {
	most, fewer int   // seats, without and with guests that compute for less than a tick
	maxFresh    int32 // guests that may compute without a seat

	fresh   atomic.Int32 // guests that compute without a seat
	waiting atomic.Int32 // length of all queues, changed under mu
	busy    atomic.Bool  // somebody has computed for less than a tick since the last one

	mu     sync.Mutex
	limit  int // most or fewer
	quiet  int // ticks without such guests
	taken  int // seats
	queues [lanes]queue
	picks  uint // how often somebody was picked
}

const (
	lanes = 3
	// A guest that has used less than lightCPU is in the first queue, one below heavyCPU in the second.
	lightCPU = 20 * time.Millisecond
	heavyCPU = 200 * time.Millisecond
	// lastFirst is how often the queues are asked in reverse, so that no guest waits for ever.
	lastFirst = 4
	// quietTicks is for how many ticks there must be no such guests for those in the lane to have all CPUs.
	quietTicks = 50
	// freshPart is how many guests in their first tick there may be for each CPU.
	freshPart = 8
)

// queue is a list of seekers, first in first out.
type queue struct{ first, last *seeker }

// seeker is a guest that waits for a seat.
type seeker struct {
	next, prev *seeker
	queue      *queue
	wake       chan struct{} // capacity 1
}

var seekers = sync.Pool{New: func() any { return &seeker{wake: make(chan struct{}, 1)} }}

func (l *lane) init(cpus int) {
	l.most, l.fewer = cpus, max(1, cpus-max(1, cpus/4))
	l.limit = l.most
	l.maxFresh = int32(freshPart * cpus)
}

// enter is called by a guest that begins to compute, perhaps after a wait. It tells whether the guest counts as fresh or
// has a seat; neither when ctx has ended.
func (l *lane) enter(ctx context.Context, used time.Duration) (fresh, seated bool) {
	if l.fresh.Add(1) <= l.maxFresh {
		return true, false
	}
	l.fresh.Add(-1)
	return false, l.turn(ctx, false, used)
}

// leaveFresh is called by a guest that has ended, or waits, before its tick was over.
func (l *lane) leaveFresh() {
	l.fresh.Add(-1)
	if !l.busy.Load() {
		l.busy.Store(true)
	}
}

// tick is called at each tick.
func (l *lane) tick() {
	busy := l.busy.Load()
	if busy {
		l.busy.Store(false)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy {
		l.quiet, l.limit = 0, l.fewer
	} else if l.quiet++; l.quiet == quietTicks {
		l.limit = l.most
		l.dispatch()
	}
}

// turn is called by a guest that has computed for a tick. It returns when the guest may go on; false when ctx has ended
// first. seated tells whether the guest had a seat; afterwards it has one if turn answers true.
func (l *lane) turn(ctx context.Context, seated bool, used time.Duration) bool {
	l.mu.Lock()
	if seated {
		if l.taken <= l.limit && l.waiting.Load() == 0 {
			l.mu.Unlock()
			runtime.Gosched() // other goroutines first
			return true
		}
		l.taken--
	}
	s := seekers.Get().(*seeker)
	l.push(s, used)
	l.dispatch()
	l.mu.Unlock()
	select {
	case <-s.wake:
		runtime.Gosched() // other goroutines first
	default:
		select {
		case <-s.wake:
		case <-ctx.Done():
			l.mu.Lock()
			if s.queue != nil {
				l.remove(s)
			} else {
				<-s.wake
				l.taken--
				l.dispatch()
			}
			l.mu.Unlock()
			seekers.Put(s)
			return false
		}
	}
	seekers.Put(s)
	return true
}

// leave gives a seat back.
func (l *lane) leave() {
	l.mu.Lock()
	l.taken--
	l.dispatch()
	l.mu.Unlock()
}

// dispatch gives free seats to those whose turn it is.
func (l *lane) dispatch() {
	for l.taken < l.limit && l.waiting.Load() > 0 {
		l.picks++
		for k := range l.queues {
			if l.picks%lastFirst == 0 {
				k = lanes - 1 - k
			}
			if s := l.queues[k].first; s != nil {
				l.remove(s)
				l.taken++
				s.wake <- struct{}{}
				break
			}
		}
	}
}

func (l *lane) push(s *seeker, used time.Duration) {
	q := &l.queues[0]
	if used >= heavyCPU {
		q = &l.queues[2]
	} else if used >= lightCPU {
		q = &l.queues[1]
	}
	s.queue, s.next, s.prev = q, nil, q.last
	if q.last != nil {
		q.last.next = s
	} else {
		q.first = s
	}
	q.last = s
	l.waiting.Add(1)
}

func (l *lane) remove(s *seeker) {
	q := s.queue
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		q.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		q.last = s.prev
	}
	s.queue, s.next, s.prev = nil, nil, nil
	l.waiting.Add(-1)
}
