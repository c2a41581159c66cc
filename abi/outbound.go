package abi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// maxBackendName bounds a backend's name, in bytes.
const maxBackendName = 255

// backendNamed decodes a backend's name and finds it: one that this guest registered, else one of the service.
// Inval: no such backend, or not a name.
func (s *Sandbox) backendNamed(m engine.Memory, ptr, n uint32) (*backend.Backend, Status) {
	if n > maxBackendName {
		return nil, Inval
	}
	name, st := text(m, ptr, n)
	if st != OK {
		return nil, st
	}
	if d, ok := s.dynamic[name]; ok {
		return d.backend, OK
	}
	if b := s.env.Backends.Lookup(name); b != nil {
		return b, OK
	}
	return nil, Inval
}

// dynamicBackend is one that the guest registered. It is given back when the sandbox ends.
type dynamicBackend struct {
	backend *backend.Backend
	release func()
}

// pendingRequest is a request on its way to a backend.
type pendingRequest struct {
	cancel context.CancelCauseFunc // of the exchange
	done   chan struct{}           // closed when resp or err is set
	resp   *backend.Response
	err    error
	edits  []fieldEdit
	place  uint64 // among all that are done, in the order of their heads
}

// arrivals numbers exchanges in the order in which they were done.
var arrivals atomic.Uint64

// fieldEdit is a change of the header of a response that is yet to come.
type fieldEdit struct {
	kind        editKind
	name, value string
	target      uint32
}

type editKind uint8

// The kinds in the order in which they take effect.
const (
	editRemove editKind = iota
	editInsert
	editAppend
)

// Targets of an edit (pending_response_kind).
const (
	targetAny = iota
	targetResponse
	targetError
	targetUnknown
)

func (p *pendingRequest) finished() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// edit applies the edits that concern a header of that kind, in their order of effect.
func (p *pendingRequest) edit(h *httpfield.List, kind uint32) {
	for _, k := range []editKind{editRemove, editInsert, editAppend} {
		for _, e := range p.edits {
			if e.kind != k || e.target != targetAny && e.target != kind {
				continue
			}
			switch k {
			case editRemove:
				h.Del(e.name)
			case editInsert:
				h.Set(e.name, e.value)
			case editAppend:
				h.Add(e.name, e.value)
			}
		}
	}
}

// drop ends an exchange whose response nobody will see.
func (p *pendingRequest) drop() {
	p.cancel(ErrReaderGone)
	go func() {
		<-p.done
		if p.resp != nil {
			p.resp.Body.Close()
		}
	}()
}

// requestBody is a body as a backend reads it.
type requestBody struct {
	body   *Body
	ctx    context.Context
	cancel context.CancelFunc
}

func (r *requestBody) Read(p []byte) (int, error) { return r.body.Read(r.ctx, p) }

func (r *requestBody) Close() error {
	r.cancel()
	r.body.Abandon(ErrReaderGone)
	return nil
}

// responseBody ends the exchange when the response has been read or is given up.
type responseBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	once   sync.Once
}

func (r *responseBody) Close() error {
	err := r.ReadCloser.Close()
	r.once.Do(func() { r.cancel(nil) })
	return err
}

// outbound makes a backend's request of a guest's. The body may be a stream that the guest still writes.
func outbound(r *Request, b *Body) *backend.Request {
	req := &backend.Request{
		Method:        r.Method,
		URI:           r.URI,
		Header:        r.Header(),
		ManualFraming: r.ManualFraming,
		Gunzip:        r.Gunzip,
	}
	length, known := b.Length()
	if known && length == 0 && b.Trailers().Len() == 0 {
		b.drop()
		return req
	}
	ctx, cancel := context.WithCancel(context.Background())
	req.Body = &requestBody{b, ctx, cancel}
	req.Length = -1
	if known && b.Trailers().Len() == 0 {
		req.Length = length
	} else {
		req.Trailers = func(l *httpfield.List) {
			for _, f := range b.Trailers().Fields() {
				l.Add(f.Name, f.Value)
			}
		}
	}
	return req
}

// startRequest sends in the background. The exchange outlives the guest if its response was handed on.
func (s *Sandbox) startRequest(way route, to *backend.Backend, r *Request, b *Body) *pendingRequest {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &pendingRequest{cancel: cancel, done: make(chan struct{})}
	s.mark(r)
	req := outbound(r, b)
	wake := s.wakeFn
	go func() {
		p.resp, p.err = way.send(ctx, to, req)
		p.place = arrivals.Add(1)
		close(p.done)
		wake()
	}()
	return p
}

// sendNow sends on the guest's own goroutine and waits for the head. Nothing but the exchange's end refers to the sandbox
// afterwards.
func (s *Sandbox) sendNow(way route, to *backend.Backend, r *Request, b *Body) *pendingRequest {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &pendingRequest{cancel: cancel}
	s.mark(r)
	life := s.ctx()
	stop := afterFunc(life, func() { cancel(context.Cause(life)) })
	p.resp, p.err = way.send(ctx, to, outbound(r, b))
	stop()
	if p.err != nil {
		cancel(nil)
	}
	return p
}

// afterFunc is context.AfterFunc without a channel, where the context can do that.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// mark tells origins, and this host should the request come back, which services it has passed. The marks are those of
// the client's request, whatever the guest made of them: a request of the guest's own continues the chain as well.
func (s *Sandbox) mark(r *Request) {
	if s.env.Chain == nil {
		return
	}
	var none backend.Passed
	passed := &none
	if s.client != nil {
		passed = &s.client.Passed
	}
	s.env.Chain.Mark(r.Header(), passed)
}

// takeRequest consumes a request and a body for sending. With streaming the body's handle stays and becomes the
// write end of the stream.
func (s *Sandbox) takeRequest(request, body uint32, streaming bool) (*Request, *Body, Status) {
	r, st := s.requests.get(request)
	if st != OK {
		return nil, nil, st
	}
	b, st := s.plainBody(body)
	if st != OK {
		return nil, nil, st
	}
	s.requests.take(request)
	if streaming {
		b.stream(s.wakeFn)
	} else {
		s.items.take(body)
	}
	b.leave()
	return r, b, OK
}

// errorDetail is a located send_error_detail.
type errorDetail struct {
	mem   []byte
	short bool
}

// detailOut locates the struct. One SDK declares it with narrower fields, 8 bytes in all and on any even address
// (ABI notes, section 5): the two layouts agree in the low byte of the tag, and in that zeros after it select nothing.
func (s *Sandbox) detailOut(m engine.Memory, ptr uint32) (errorDetail, Status) {
	size := uint32(20)
	short := s.env.ShortErrorDetail || ptr%4 != 0
	if short {
		size = 8
	}
	mem, st := out(m, ptr, size)
	return errorDetail{mem, short}, st
}

// Bits of send_error_detail_mask.
const (
	detailDNSRCode = 1 << (1 + iota)
	detailDNSInfo
	detailTLSAlert
	detailH2
)

func (d errorDetail) put(err error) {
	if d.mem == nil {
		return
	}
	put32 := func(at int, v uint32) { outU32(d.mem[at:]).put(v) }
	if err == nil {
		put32(0, uint32(backend.DetailOK))
		put32(4, 0)
		return
	}
	var send *backend.SendError
	if !errors.As(err, &send) {
		put32(0, uint32(backend.DetailInternalError))
		put32(4, 0)
		return
	}
	mask := uint32(0)
	if !d.short {
		switch send.Detail {
		case backend.DetailDNSError:
			mask = detailDNSRCode | detailDNSInfo
			outU16(d.mem[8:]).put(send.DNSRCode)
			outU16(d.mem[10:]).put(send.DNSInfo)
		case backend.DetailTLSAlertReceived:
			mask = detailTLSAlert
			d.mem[12] = send.TLSAlert
		case backend.DetailH2Error:
			mask = detailH2
			d.mem[13] = send.H2Frame
			put32(16, send.H2Code)
		}
	}
	put32(0, uint32(send.Detail))
	put32(4, mask)
}

// errNoBackend is what the error detail says of a backend that does not exist.
var errNoBackend = &backend.SendError{Detail: backend.DetailDestinationNotFound, Err: errors.New("abi: no such backend")}

// sendStatus is the status of a failed exchange.
func (s *Sandbox) sendStatus(err error) Status {
	var send *backend.SendError
	switch {
	case s.stopped():
	case errors.As(err, &send):
		switch send.Detail {
		case backend.DetailHTTPIncompleteResponse, backend.DetailConnectionTerminated:
			return HTTPIncomplete
		case backend.DetailHTTPResponseHeaderTooLarge:
			return HTTPHeadTooLarge
		case backend.DetailHTTPResponseStatusInvalid:
			return HTTPInvalidStatus
		case backend.DetailHTTPProtocolError:
			return HTTPInvalid
		case backend.DetailHTTPRequestURIInvalid:
			return HTTPUser
		}
	}
	return Error
}

// message makes the guest's view of a backend's response.
func (p *pendingRequest) message() (*Response, *Body) {
	in := p.resp
	r := &Response{Status: in.Status, Version: HTTP11, Origin: in.Remote, header: in.Header}
	switch in.Proto {
	case "HTTP/2.0":
		r.Version = HTTP2
	case "HTTP/1.0":
		r.Version = HTTP10
	}
	p.edit(&r.header, targetResponse)
	for _, f := range r.header.Fields() {
		r.size += len(f.Name) + len(f.Value)
	}
	trailers := in.Trailers
	body := NewBody(NewSource(&responseBody{ReadCloser: in.Body, cancel: p.cancel}, in.ContentLength, trailers))
	return r, body
}

// responseHandles are located outputs for a response and its body.
type responseHandles struct{ response, body outU32 }

func responseOut(m engine.Memory, response, body uint32) (responseHandles, Status) {
	r, st := u32Out(m, response)
	if st != OK {
		return responseHandles{}, st
	}
	b, st := u32Out(m, body)
	return responseHandles{r, b}, st
}

func (o responseHandles) invalid() {
	o.response.put(InvalidHandle)
	o.body.put(InvalidHandle)
}

// deliver gives the guest the outcome of a finished exchange.
func (s *Sandbox) deliver(p *pendingRequest, d errorDetail, o responseHandles) Status {
	d.put(p.err)
	if p.err != nil {
		o.invalid()
		return s.sendStatus(p.err)
	}
	resp, body := p.message()
	rh, st := s.responses.add(resp)
	if st != OK {
		body.drop()
		return st
	}
	bh, st := s.addBody(body)
	if st != OK {
		s.responses.take(rh)
		body.drop()
		return st
	}
	o.response.put(rh)
	o.body.put(bh)
	return OK
}

// synthesised is the response that stands in for one that did not come.
func (p *pendingRequest) synthesised() (*Response, *Body) {
	r := &Response{Status: http.StatusInternalServerError, Version: HTTP11}
	var send *backend.SendError
	if errors.As(p.err, &send) {
		switch {
		case send.Detail.Timeout():
			r.Status = http.StatusGatewayTimeout
		case send.Detail != backend.DetailInternalError:
			r.Status = http.StatusBadGateway
		}
	}
	p.edit(&r.header, targetError)
	return r, NewBody(nil)
}
