package abi

import (
	"encoding/binary"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Arrivals is where a sandbox gets further client requests from, once it has answered the one it has.
type Arrivals interface {
	// Await asks for the next request, or for word within timeout that there is none; wake is called once that is known.
	// It does not wait. The caller is done with the request that it had, except that what it still writes to that
	// response's body goes to the client.
	Await(timeout time.Duration, wake func()) Arrival
}

// Arrival is the answer to Await.
type Arrival interface {
	// Known reports whether Take has an answer.
	Known() bool
	// Take gives the request; nil: there is none.
	Take() *ClientRequest
	// Cancel lets go of an arrival that was not taken.
	Cancel()
}

// maxNextTimeout bounds how long a guest may wait for another request; it is also what guests wait that do not say
// (ABI notes, section 6).
const maxNextTimeout = 10 * time.Second

// nextRequest is a guest's wish for another client request: a promise that can be selected on.
type nextRequest struct {
	until   time.Time
	arrival Arrival // nil until the guest waits for it, or looks
}

// await reports whether the outcome is known, and asks for it at the first call. As long as the present request is
// unanswered, nothing can arrive.
func (n *nextRequest) await(s *Sandbox) bool {
	if n.arrival == nil {
		if s.Arrivals == nil || s.client != nil && !s.client.responded {
			return false
		}
		s.leaveClient()
		n.arrival = s.Arrivals.Await(time.Until(n.until), s.wakeFn)
	}
	return n.arrival.Known()
}

func (n *nextRequest) cancel() {
	if n.arrival != nil {
		n.arrival.Cancel()
	}
}

// leaveClient lets go of what the guest has not taken of its present client request. What it has taken stays.
func (s *Sandbox) leaveClient() {
	s.dropUnread()
	if c := s.client; c != nil && c.Body != nil && c.reqHandle == 0 {
		c.Body.drop()
	}
}

// nextRequestPromise is next_request(mask, options, out promise). LimitExceeded: there is a promise already.
func nextRequestPromise(s *Sandbox, m engine.Memory, a args) Status {
	const maskTimeout, knownMask = 2, 3
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	mask := a.u32(0)
	if mask&^knownMask != 0 {
		return Inval
	}
	timeout := maxNextTimeout
	if mask&maskTimeout != 0 {
		// The struct's field has 64 bits, but the JavaScript SDK's has 32 and what follows in memory behind it.
		ms, st := in(m, a.u32(1), 4)
		if st != OK {
			return st
		}
		timeout = min(timeout, time.Duration(binary.LittleEndian.Uint32(ms))*time.Millisecond)
	}
	if s.next != nil {
		return LimitExceeded
	}
	n := &nextRequest{until: time.Now().Add(timeout)}
	h, st := s.items.add(&item{next: n})
	if st != OK {
		return st
	}
	s.next = n
	out.put(h)
	return OK
}

// takeNext takes a promise out of the table.
func (s *Sandbox) takeNext(h uint32) (*nextRequest, Status) {
	it, st := s.items.get(h)
	if st != OK || it.next == nil {
		return nil, BadF
	}
	s.items.take(h)
	s.next = nil
	return it.next, OK
}

// nextRequestWait is next_request_wait(promise, out request, out body). None: no request came in time, or this
// sandbox gets no more. Unsupported: the present request is not answered yet; the promise lives on.
func nextRequestWait(s *Sandbox, m engine.Memory, a args) Status {
	reqOut, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	bodyOut, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	it, st := s.items.get(a.u32(0))
	if st != OK || it.next == nil {
		return BadF
	}
	if s.client != nil && !s.client.responded {
		return Unsupported
	}
	for s.Arrivals != nil && !it.next.await(s) {
		if !s.sleep() {
			return Error
		}
	}
	n, _ := s.takeNext(a.u32(0))
	if n.arrival == nil {
		return None
	}
	c := n.arrival.Take()
	if c == nil {
		return None
	}
	s.client = c
	s.exchanges = 0
	return s.clientHandles(reqOut, bodyOut)
}

// nextRequestReady only looks at calls that fail at once.
func nextRequestReady(s *Sandbox, a args) bool {
	it, st := s.items.get(a.u32(0))
	return st != OK || it.next == nil || s.client != nil && !s.client.responded
}

// nextRequestAbandon is next_request_abandon(promise).
func nextRequestAbandon(s *Sandbox, _ engine.Memory, a args) Status {
	n, st := s.takeNext(a.u32(0))
	if st == OK {
		n.cancel()
	}
	return st
}
