package host

import (
	"context"
	"sync/atomic"
	"time"
)

// gate lets a bounded number of requests in; a bounded number more may wait a bounded time.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
	queue   int64
	wait    time.Duration
	held    int // slots that drain has taken for good
}

func newGate(slots, queue int, wait time.Duration) *gate {
	return &gate{slots: make(chan struct{}, slots), queue: int64(queue), wait: wait}
}

// enter takes a slot, or reports that there is none to be had in time.
func (g *gate) enter(ctx context.Context) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	if g.waiting.Add(1) > g.queue {
		g.waiting.Add(-1)
		return false
	}
	defer g.waiting.Add(-1)
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

func (g *gate) leave() { <-g.slots }

// drain waits until nobody is inside and keeps everybody out. It may be called again after ctx has ended, by one
// goroutine at a time.
func (g *gate) drain(ctx context.Context) error {
	for ; g.held < cap(g.slots); g.held++ {
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
