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
// all. Guests in their first tick are bounded, too: beyond maxFresh they wait at the door until one of those has ended, or is
// through with its tick. A burst of thousands would otherwise take as many threads before the first of them has computed for a tick.
type lane struct {
	most, fewer int   // seats, without and with guests that compute for less than a tick
	maxFresh    int32 // guests that may compute without a seat

	fresh   atomic.Int32 // guests that compute without a seat
	waiting atomic.Int32 // length of all queues, changed under mu
	outside atomic.Int32 // length of door, changed under mu
	busy    atomic.Bool  // somebody has computed for less than a tick since the last one

	mu     sync.Mutex
	limit  int // most or fewer
	quiet  int // ticks without such guests
	taken  int // seats
	queues [lanes]queue
	door   queue
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

// enter is called by a guest that begins to compute, perhaps after a wait; false when ctx has ended first.
func (l *lane) enter(ctx context.Context) bool {
	if l.outside.Load() == 0 && l.takeFresh() {
		return true
	}
	s := seekers.Get().(*seeker)
	l.mu.Lock()
	l.push(&l.door, &l.outside, s)
	l.open()
	l.mu.Unlock()
	ok := true
	select {
	case <-s.wake:
	case <-ctx.Done():
		ok = false
		l.mu.Lock()
		if s.queue != nil {
			l.remove(s, &l.outside)
		} else {
			<-s.wake
			l.fresh.Add(-1)
			l.open()
		}
		l.mu.Unlock()
	}
	seekers.Put(s)
	return ok
}

func (l *lane) takeFresh() bool {
	for {
		n := l.fresh.Load()
		if n >= l.maxFresh {
			return false
		}
		if l.fresh.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// open lets guests in that wait at the door. The lane is locked.
func (l *lane) open() {
	for l.door.first != nil && l.takeFresh() {
		s := l.door.first
		l.remove(s, &l.outside)
		s.wake <- struct{}{}
	}
}

// leaveFresh is called by a guest that has come in by the door: it has ended, or waits, before its tick was over (early),
// or is through with its tick. Who waits at the door has counted itself before it looks for room; so nobody is overlooked.
func (l *lane) leaveFresh(early bool) {
	l.fresh.Add(-1)
	if early && !l.busy.Load() {
		l.busy.Store(true)
	}
	if l.outside.Load() > 0 {
		l.mu.Lock()
		l.open()
		l.mu.Unlock()
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
	l.push(l.queue(used), &l.waiting, s)
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
				l.remove(s, &l.waiting)
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
				l.remove(s, &l.waiting)
				l.taken++
				s.wake <- struct{}{}
				break
			}
		}
	}
}

// queue is where a guest waits that has used so much.
func (l *lane) queue(used time.Duration) *queue {
	switch {
	case used < lightCPU:
		return &l.queues[0]
	case used < heavyCPU:
		return &l.queues[1]
	}
	return &l.queues[2]
}

func (l *lane) push(q *queue, length *atomic.Int32, s *seeker) {
	s.queue, s.next, s.prev = q, nil, q.last
	if q.last != nil {
		q.last.next = s
	} else {
		q.first = s
	}
	q.last = s
	length.Add(1)
}

func (l *lane) remove(s *seeker, length *atomic.Int32) {
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
	length.Add(-1)
}
