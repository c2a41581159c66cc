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
// While others come, guests in the lane leave some CPUs to them; otherwise they may have all.
type lane struct {
	most, fewer int // seats, with nobody else about and with somebody

	waiting atomic.Int32 // length of all queues, changed under mu
	busy    atomic.Bool  // somebody has come since the last tick

	mu     sync.Mutex
	limit  int // most or fewer
	quiet  int // ticks without anybody coming
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
	// quietTicks is how many ticks nobody must come for guests in the lane to have all CPUs.
	quietTicks = 50
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
}

// arrive notes that a guest has come.
func (l *lane) arrive() {
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
