package abi

import (
	"context"
	"encoding/binary"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
)

// httpReqSendCalls are the calls of the guest module fastly_http_req that send requests.
var httpReqSendCalls = calls{
	"send":                      {fn: reqSend},
	"register_dynamic_backend":  {fn: registerDynamicBackend},
	"send_v2":                   {fn: reqSendV2},
	"send_v3":                   {fn: reqSendV3},
	"send_async":                {fn: reqSendAsync},
	"send_async_v2":             {fn: reqSendAsyncV2},
	"send_async_streaming":      {fn: reqSendAsyncStreaming},
	"pending_req_poll":          {fn: pendingPoll},
	"pending_req_poll_v2":       {fn: pendingPollV2},
	"pending_req_wait":          {fn: pendingWait, ready: pendingFinished},
	"pending_req_wait_v2":       {fn: pendingWaitV2, ready: pendingFinished},
	"pending_req_select":        {fn: pendingSelect},
	"pending_req_select_v2":     {fn: pendingSelectV2},
	"pending_req_header_insert": {fn: pendingHeaderInsert},
	"pending_req_header_append": {fn: pendingHeaderAppend},
	"pending_req_header_remove": {fn: pendingHeaderRemove},
}

// reqSend is send(request, body, backend, backend_len, out response, out body): waits for the response's head.
// Request and body are consumed. Inval: no such backend.
func reqSend(s *Sandbox, m engine.Memory, a args) Status {
	o, st := responseOut(m, a.u32(4), a.u32(5))
	if st != OK {
		return st
	}
	return s.send(m, a, errorDetail{}, o, true)
}

// reqSendV2 is send_v2(request, body, backend, backend_len, out error_detail, out response, out body).
func reqSendV2(s *Sandbox, m engine.Memory, a args) Status { return s.sendDetailed(m, a, true) }

// reqSendV3 is send_v3: send_v2 for guests that do their own caching.
func reqSendV3(s *Sandbox, m engine.Memory, a args) Status { return s.sendDetailed(m, a, false) }

func (s *Sandbox) sendDetailed(m engine.Memory, a args, cached bool) Status {
	d, st := s.detailOut(m, a.u32(4))
	if st != OK {
		return st
	}
	o, st := responseOut(m, a.u32(5), a.u32(6))
	if st != OK {
		return st
	}
	return s.send(m, a, d, o, cached)
}

// send sends a request and waits; cached says that the service's cache may answer.
func (s *Sandbox) send(m engine.Memory, a args, d errorDetail, o responseHandles, cached bool) Status {
	to, r, b, st := s.prepare(m, a, false)
	if st != OK {
		if st == Inval {
			d.put(errNoBackend)
		}
		return st
	}
	return s.deliver(s.sendNow(s.route(r, cached), to, r, b), d, o)
}

// begin starts the exchange that the first four arguments of a send call name.
func (s *Sandbox) begin(m engine.Memory, a args, streaming, cached bool) (*pendingRequest, Status) {
	to, r, b, st := s.prepare(m, a, streaming)
	if st != OK {
		return nil, st
	}
	return s.startRequest(s.route(r, cached), to, r, b), OK
}

// prepare takes what the first four arguments of a send call name.
func (s *Sandbox) prepare(m engine.Memory, a args, streaming bool) (*backend.Backend, *Request, *Body, Status) {
	if s.exchanges >= s.env.maxExchanges() {
		s.warn("the guest has sent more requests to backends than it may (setting: Limits.BackendRequests)", nil)
		return nil, nil, nil, LimitExceeded
	}
	r, b, st := s.takeRequest(a.u32(0), a.u32(1), streaming)
	if st != OK {
		return nil, nil, nil, st
	}
	to, st := s.backendNamed(m, a.u32(2), a.u32(3))
	if st != OK {
		b.Abandon(ErrReaderGone)
		return nil, nil, nil, st
	}
	s.exchanges++
	return to, r, b, OK
}

// await waits for an exchange's head; false when the guest must end.
func (s *Sandbox) await(p *pendingRequest) bool {
	select {
	case <-p.done:
		return true
	case <-s.ctx().Done():
		s.fault = context.Cause(s.ctx())
		return false
	}
}

// reqSendAsync is send_async(request, body, backend, backend_len, out pending).
func reqSendAsync(s *Sandbox, m engine.Memory, a args) Status {
	return s.sendAsync(m, a, false, true, a.u32(4))
}

// reqSendAsyncV2 is send_async_v2(request, body, backend, backend_len, streaming, out pending), for guests that do their
// own caching.
func reqSendAsyncV2(s *Sandbox, m engine.Memory, a args) Status {
	if a.u32(4) > 1 {
		return Inval
	}
	return s.sendAsync(m, a, a.u32(4) == 1, false, a.u32(5))
}

// reqSendAsyncStreaming is send_async_streaming(request, body, backend, backend_len, out pending): the body's handle
// becomes the write end of the stream.
func reqSendAsyncStreaming(s *Sandbox, m engine.Memory, a args) Status {
	return s.sendAsync(m, a, true, true, a.u32(4))
}

func (s *Sandbox) sendAsync(m engine.Memory, a args, streaming, cached bool, ptr uint32) Status {
	out, st := u32Out(m, ptr)
	if st != OK {
		return st
	}
	p, st := s.begin(m, a, streaming, cached)
	if st != OK {
		return st
	}
	h, st := s.items.add(&item{pending: p})
	if st != OK {
		p.drop()
		return st
	}
	out.put(h)
	return OK
}

func (s *Sandbox) pendingRequest(h uint32) (*pendingRequest, Status) {
	it, st := s.items.get(h)
	if st != OK || it.pending == nil {
		return nil, BadF
	}
	return it.pending, OK
}

// pendingPoll is pending_req_poll(handle, out done, out response, out body): does not wait. Once the exchange is done
// the handle is consumed.
func pendingPoll(s *Sandbox, m engine.Memory, a args) Status {
	return s.poll(m, a.u32(0), errorDetail{}, a[1:])
}

// pendingPollV2 is pending_req_poll_v2(handle, out error_detail, out done, out response, out body).
func pendingPollV2(s *Sandbox, m engine.Memory, a args) Status {
	d, st := s.detailOut(m, a.u32(1))
	if st != OK {
		return st
	}
	return s.poll(m, a.u32(0), d, a[2:])
}

func (s *Sandbox) poll(m engine.Memory, h uint32, d errorDetail, a args) Status {
	done, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	o, st := responseOut(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	p, st := s.pendingRequest(h)
	if st != OK {
		return st
	}
	if !p.finished() {
		done.putBool(false)
		o.invalid()
		return OK
	}
	s.items.take(h)
	done.putBool(true)
	return s.deliver(p, d, o)
}

// pendingWait is pending_req_wait(handle, out response, out body): waits for the head and consumes the handle.
func pendingWait(s *Sandbox, m engine.Memory, a args) Status {
	return s.wait(m, a.u32(0), errorDetail{}, a[1:])
}

// pendingWaitV2 is pending_req_wait_v2(handle, out error_detail, out response, out body).
func pendingWaitV2(s *Sandbox, m engine.Memory, a args) Status {
	d, st := s.detailOut(m, a.u32(1))
	if st != OK {
		return st
	}
	return s.wait(m, a.u32(0), d, a[2:])
}

func (s *Sandbox) wait(m engine.Memory, h uint32, d errorDetail, a args) Status {
	o, st := responseOut(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	p, st := s.pendingRequest(h)
	if st != OK {
		return st
	}
	if !s.await(p) {
		return Error
	}
	s.items.take(h)
	return s.deliver(p, d, o)
}

func pendingFinished(s *Sandbox, a args) bool {
	p, st := s.pendingRequest(a.u32(0))
	return st != OK || p.finished()
}

// pendingSelect is pending_req_select(handles, n, out index, out response, out body): waits for the first of several
// exchanges; the others stay. A failed one gives ok with invalid handles. Inval: empty list.
func pendingSelect(s *Sandbox, m engine.Memory, a args) Status {
	return s.selectPending(m, a, errorDetail{}, a[2:])
}

// pendingSelectV2 is pending_req_select_v2(handles, n, out error_detail, out index, out response, out body).
func pendingSelectV2(s *Sandbox, m engine.Memory, a args) Status {
	d, st := s.detailOut(m, a.u32(2))
	if st != OK {
		return st
	}
	return s.selectPending(m, a, d, a[3:])
}

func (s *Sandbox) selectPending(m engine.Memory, list args, d errorDetail, a args) Status {
	index, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	o, st := responseOut(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	handles, st := selectHandles(m, list.u32(0), list.u32(1))
	if st != OK {
		return st
	}
	if len(handles) == 0 {
		return Inval
	}
	for {
		var first *pendingRequest // of several that are done, the one that was done first
		var at int
		for i := 0; i < len(handles); i += 4 {
			p, st := s.pendingRequest(binary.LittleEndian.Uint32(handles[i:]))
			if st != OK {
				return st
			}
			if p.finished() && (first == nil || p.place < first.place) {
				first, at = p, i
			}
		}
		if first != nil {
			s.items.take(binary.LittleEndian.Uint32(handles[at:]))
			index.put(uint32(at / 4))
			if st := s.deliver(first, d, o); st != OK && first.err == nil {
				return st
			}
			return OK
		}
		if !s.sleep() {
			return Error
		}
	}
}

// pendingHeaderInsert is pending_req_header_insert(handle, name, name_len, value, value_len, target): takes effect on
// the response when it comes.
func pendingHeaderInsert(s *Sandbox, m engine.Memory, a args) Status {
	return s.editPending(m, a, editInsert)
}

// pendingHeaderAppend is pending_req_header_append(handle, name, name_len, value, value_len, target).
func pendingHeaderAppend(s *Sandbox, m engine.Memory, a args) Status {
	return s.editPending(m, a, editAppend)
}

// pendingHeaderRemove is pending_req_header_remove(handle, name, name_len, target).
func pendingHeaderRemove(s *Sandbox, m engine.Memory, a args) Status {
	return s.editPending(m, a, editRemove)
}

func (s *Sandbox) editPending(m engine.Memory, a args, kind editKind) Status {
	e := fieldEdit{kind: kind}
	var st Status
	if e.name, st = fieldName(m, a.u32(1), a.u32(2)); st != OK {
		return st
	}
	if kind == editRemove {
		e.target = a.u32(3)
	} else {
		if e.value, st = fieldValue(m, a.u32(3), a.u32(4)); st != OK {
			return st
		}
		e.target = a.u32(5)
	}
	if e.target >= targetUnknown {
		return Inval
	}
	p, st := s.pendingRequest(a.u32(0))
	if st != OK {
		return st
	}
	if len(p.edits) >= maxFieldLines {
		return HTTPHeadTooLarge
	}
	p.edits = append(p.edits, e)
	return OK
}
