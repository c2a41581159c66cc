package host

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/abi"
)

// Reusable sandboxes. A guest that has answered may ask for another request. Its sandbox then waits, outside the gate,
// in the list of its service; a request that has passed the gate looks there first. The guest has agreed to that:
// what it keeps in memory is there for the next request. A sandbox is never handed to another service.

// maxIdle bounds the sandboxes that wait for another request, of all services of a host. The engine has slots for
// them beyond those for sandboxes that work.
func maxIdle(slots int) int { return min(max(slots/8, 1), 64) }

// idlers are the sandboxes of a service that wait for another request.
type idlers struct {
	n      atomic.Int32 // length of list: most services have none
	mu     sync.Mutex
	list   []*arrival // newest last
	closed bool
}

// arrival is one sandbox's wait for a request. It implements abi.Arrival.
type arrival struct {
	box   *sandbox
	wake  func()
	timer *time.Timer

	// Under the service's idlers.mu:
	request *exchange // that has come
	over    bool      // none will come
}

// Await implements abi.Arrivals.
func (b *sandbox) Await(timeout time.Duration, wake func()) abi.Arrival {
	s := b.service
	a := &arrival{box: b, wake: wake}
	if !b.apart {
		// A start function, which is not suspended: the server's goroutine is in it, and has the response to write.
		a.over = true
		return a
	}
	b.leaveRequest(timeout)
	if !b.mayServeMore() || !a.enlist(timeout) {
		a.over = true
		return a
	}
	// Only now: whoever gets the place that this frees finds the sandbox in the list.
	if b.inside {
		b.inside = false
		s.gate.leave()
	}
	return a
}

// mayServeMore reports whether the sandbox is within the limits of those that serve several requests.
func (b *sandbox) mayServeMore() bool {
	l := &b.service.limits
	return b.served < l.SandboxRequests && time.Since(b.made) < l.SandboxAge && b.inst.Usage().Memory <= l.SandboxMemory
}

// stopIdling says that the sandbox works for a request again, or has ended. Until then it counts among those outside the
// gate, also when no request came: its guest may compute on, and the engine's slots are counted.
func (b *sandbox) stopIdling() {
	if b.idle {
		b.idle = false
		b.service.host.idle.Add(-1)
	}
}

// leaveRequest ends the guest's work for a client's request. It may wait for the next one for so long.
func (b *sandbox) leaveRequest(wait time.Duration) {
	x := b.serving
	if x == nil {
		return
	}
	s := b.service
	if b.served == 1 {
		s.reused.Add(1)
	}
	b.life.leave(s.limits.Wall + max(wait, 0))
	usage := b.inst.Usage()
	b.account(x, usage)
	b.cpu = usage.CPU
	b.serving = nil
	x.reusable = false // the sandbox still refers to it
	close(x.ended)
	x.done()
}

// enlist puts the sandbox into the list; false when there is no room.
func (a *arrival) enlist(timeout time.Duration) bool {
	s := a.box.service
	if !a.box.idle {
		if s.host.idle.Add(1) > int64(s.host.maxIdle) {
			s.host.idle.Add(-1)
			return false
		}
		a.box.idle = true
	}
	i := &s.idlers
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.list = append(i.list, a)
	i.n.Add(1)
	a.timer = time.AfterFunc(timeout, a.expire)
	return true
}

// remove takes an arrival out of the list. The caller holds mu.
func (i *idlers) remove(a *arrival) bool {
	at := slices.Index(i.list, a)
	if at < 0 {
		return false
	}
	i.list = slices.Delete(i.list, at, at+1)
	i.n.Add(-1)
	a.timer.Stop()
	return true
}

// expire ends a wait without a request.
func (a *arrival) expire() {
	i := &a.box.service.idlers
	i.mu.Lock()
	if i.remove(a) {
		a.over = true
	}
	i.mu.Unlock()
	a.wake()
}

// close ends all waits, for good.
func (i *idlers) close() {
	i.mu.Lock()
	i.closed = true
	list := slices.Clone(i.list)
	i.mu.Unlock()
	for _, a := range list {
		a.expire()
	}
}

// offer hands a request, which has passed the gate, to a sandbox that waits for one; false when there is none. The
// sandbox may turn it down: see exchange.turnedDown.
func (s *Service) offer(x *exchange) bool {
	i := &s.idlers
	if i.n.Load() == 0 {
		return false
	}
	i.mu.Lock()
	n := len(i.list)
	if n == 0 {
		i.mu.Unlock()
		return false
	}
	a := i.list[n-1] // its caches are warm
	i.remove(a)
	x.describeClient()
	x.box = a.box
	if x.upload != nil {
		x.upload.life = &a.box.life
	}
	x.ended = make(chan struct{})
	x.left.Add(1)
	x.reusable = false
	a.request = x
	i.mu.Unlock()
	a.wake()
	return true
}

// Known implements abi.Arrival.
func (a *arrival) Known() bool {
	i := &a.box.service.idlers
	i.mu.Lock()
	defer i.mu.Unlock()
	return a.over || a.request != nil
}

// Take implements abi.Arrival.
func (a *arrival) Take() *abi.ClientRequest {
	b := a.box
	i := &b.service.idlers
	i.mu.Lock()
	x := a.request
	a.request, a.over = nil, true
	i.mu.Unlock()
	if x == nil {
		return nil
	}
	if !b.life.serve(x, b.service.limits.Wall) {
		x.turnDown()
		return nil
	}
	b.stopIdling()
	b.serving, b.inside = x, true
	b.came = time.Now()
	b.served++
	b.inst.GrantCPU(b.service.limits.CPU)
	b.service.requestsReused.Add(1)
	return &x.client
}

// Cancel implements abi.Arrival.
func (a *arrival) Cancel() {
	i := &a.box.service.idlers
	i.mu.Lock()
	x := a.request
	a.request, a.over = nil, true
	if x == nil {
		i.remove(a)
	}
	i.mu.Unlock()
	if x != nil {
		x.turnDown()
	}
}

// turnDown says that the sandbox which the request was offered to does not serve it.
func (x *exchange) turnDown() {
	x.mu.Lock()
	x.turnedDown = true
	x.mu.Unlock()
	x.poke()
	x.done()
}
