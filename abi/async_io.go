package abi

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

const (
	selectTimedOut   = 0xFFFFFFFF // in place of an index
	maxSelectHandles = 16384
)

// asyncIOCalls is the guest module fastly_async_io.
var asyncIOCalls = calls{
	"select":   {fn: asyncSelect, ready: asyncSelectReady},
	"is_ready": {fn: asyncIsReady, ready: asyncIsReadyReady},
}

// ready reports whether the item's next operation would return at once; if not, a later change wakes the sandbox.
func (it *item) ready(s *Sandbox) bool {
	switch {
	case it.pending != nil:
		return it.pending.finished()
	case it.next != nil:
		return it.next.await(s)
	case it.kv != nil:
		return it.kv.finished()
	case it.body.isStreaming():
		return it.body.writable()
	}
	return it.body.readable(s.wakeFn)
}

// firstReady gives the index of the first ready item of a list of handles.
func (s *Sandbox) firstReady(handles []byte) (uint32, bool, Status) {
	for i := 0; i+4 <= len(handles); i += 4 {
		it, st := s.items.get(binary.LittleEndian.Uint32(handles[i:]))
		if st != OK {
			return 0, false, st
		}
		if it.ready(s) {
			return uint32(i / 4), true, OK
		}
	}
	return 0, false, OK
}

func selectHandles(m engine.Memory, ptr, n uint32) ([]byte, Status) {
	if n > maxSelectHandles {
		return nil, Inval
	}
	if ptr%4 != 0 && n > 0 {
		return nil, BadAlign
	}
	return in(m, ptr, 4*n)
}

// asyncSelect is select(handles, n, timeout_ms, out index): waits until one item is ready. Timeout 0 waits for
// ever; a timeout gives index 0xFFFFFFFF; an empty list with a timeout sleeps. Inval: empty list, no timeout.
func asyncSelect(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	handles, st := selectHandles(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	timeout := a.u32(2)
	if len(handles) == 0 && timeout == 0 {
		return Inval
	}
	var expired <-chan time.Time
	for {
		i, ok, st := s.firstReady(handles)
		if st != OK {
			return st
		}
		if ok {
			out.put(i)
			return OK
		}
		if timeout != 0 && expired == nil {
			timer := time.NewTimer(time.Duration(timeout) * time.Millisecond)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-s.notify:
		case <-expired:
			out.put(selectTimedOut)
			return OK
		case <-s.ctx().Done():
			s.fault = context.Cause(s.ctx())
			return Error
		}
	}
}

// asyncSelectReady only looks at calls that fail at once: looking at items would start to read ahead.
func asyncSelectReady(s *Sandbox, a args) bool { return a.u32(1) == 0 && a.u32(2) == 0 }

// asyncIsReadyReady: is_ready does not wait. But when it asks for another request, the guest leaves the one it has, which
// must not be on the goroutine that answers that.
func asyncIsReadyReady(s *Sandbox, a args) bool {
	it, st := s.items.get(a.u32(0))
	return st != OK || it.next == nil || it.next.arrival != nil
}

// asyncIsReady is is_ready(handle, out flag).
func asyncIsReady(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	it, st := s.items.get(a.u32(0))
	if st != OK {
		return st
	}
	out.putBool(it.ready(s))
	return OK
}
