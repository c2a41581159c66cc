//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"sync/atomic"
	"time"
)

// ticker calls tick at an interval while anything runs, and rests otherwise: an idle host wakes no CPU.
type ticker struct {
	running atomic.Int64 // how many are between enter and leave
	resting atomic.Bool
	wake    chan struct{}
	done    chan struct{}
	ended   chan struct{}
}

// restAfter is how many ticks in a row nothing must run before the ticker rests, so that a host with a steady
// trickle of short requests does not stop and start it with each.
const restAfter = 50

func newTicker(interval time.Duration, tick func()) *ticker {
	t := &ticker{wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{})}
	go t.run(interval, tick)
	return t
}

func (t *ticker) run(interval time.Duration, tick func()) {
	defer close(t.ended)
	timer := time.NewTicker(interval)
	defer timer.Stop()
	idle := 0
	for {
		select {
		case <-t.done:
			return
		case <-timer.C:
		}
		if t.running.Load() > 0 {
			idle = 0
			tick()
			continue
		}
		if idle++; idle < restAfter {
			continue
		}
		t.resting.Store(true)
		// Whoever enters from here on sees resting; who entered before is seen here.
		if t.running.Load() == 0 {
			timer.Stop()
			select {
			case <-t.done:
				return
			case <-t.wake:
			}
			timer.Reset(interval)
		} else if !t.resting.CompareAndSwap(true, false) {
			<-t.wake // someone entered meanwhile and has sent, or is about to
		}
		idle = 0
	}
}

func (t *ticker) enter() {
	t.running.Add(1)
	if t.resting.Load() && t.resting.CompareAndSwap(true, false) {
		t.wake <- struct{}{}
	}
}

func (t *ticker) leave() { t.running.Add(-1) }

func (t *ticker) stop() {
	close(t.done)
	<-t.ended
}
