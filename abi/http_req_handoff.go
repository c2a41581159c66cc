package abi

import (
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// httpReqHandOffCalls are the calls of the guest module fastly_http_req by which a guest lets the host serve its client.
// upgrade_websocket is the name that the first SDKs had for redirect_to_websocket_proxy.
var httpReqHandOffCalls = calls{
	"redirect_to_websocket_proxy":    {fn: reqRedirect(false)},
	"redirect_to_websocket_proxy_v2": {fn: reqRedirectV2(false)},
	"redirect_to_grip_proxy":         {fn: reqRedirect(true)},
	"redirect_to_grip_proxy_v2":      {fn: reqRedirectV2(true)},
	"upgrade_websocket":              {fn: reqRedirect(false)},
	"on_behalf_of":                   {fn: reqOnBehalfOf},
}

// HandOff is a client's request that a guest has handed to an origin: the host sends it there and lets client and
// origin talk, whether the guest goes on or not. Who takes it calls Release when it is done with Backend.
type HandOff struct {
	GRIP    bool             // by way of the GRIP proxy; else a WebSocket, or what the guest takes for one
	Name    string           // of the backend, as the guest knows it
	Backend *backend.Backend // never nil
	Method  string
	URI     string // absolute, or a path
	Header  httpfield.List
	Body    *Body // what the guest has left of the client's body
	Release func()
}

// HandOffClient is a Client whose connection the host can serve without the guest.
type HandOffClient interface {
	// HandOff takes the request over. It does not wait, and takes the place of Respond.
	HandOff(*HandOff)
}

// Request is the request as a backend wants it. The body is included; it can be asked for once.
func (h *HandOff) Request() *backend.Request {
	r := &Request{Method: h.Method, URI: h.URI, header: h.Header}
	return outbound(r, h.Body)
}

// OriginResponse makes an origin's response fit for Client.Respond. done is called once when the body has been read or
// given up.
func OriginResponse(in *backend.Response, done func()) (*Response, *Body) {
	p := &pendingRequest{resp: in, cancel: func(error) { done() }}
	return p.message()
}

// protectedFields are those that a guest cannot change in a request that it hands off: they concern the connection, or
// tell the origin and other nodes what they must be able to rely on.
var protectedFields = map[string]bool{
	"host": true, "connection": true, "upgrade": true, "sec-websocket-version": true, "sec-websocket-key": true,
	"pushpin-route": true, "content-length": true, "content-range": true, "expect": true, "fastly-ff": true,
	"proxy-authenticate": true, "proxy-authorization": true, "te": true, "trailer": true, "transfer-encoding": true,
	"cdn-loop": true,
}

// reqRedirect is redirect_to_websocket_proxy and redirect_to_grip_proxy(backend, backend_len): the client's request as it
// came is handed to the backend, directly or by way of the GRIP proxy. It does not wait, and counts as the response.
// Inval: no such backend. Error: a final response was sent already, or there is no client. Unsupported: the client is
// none that could be handed off, or WebSockets are switched off.
func reqRedirect(grip bool) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		return s.handOff(m, nil, a.u32(0), a.u32(1), grip)
	}
}

// reqRedirectV2 is redirect_to_websocket_proxy_v2 and redirect_to_grip_proxy_v2(request, backend, backend_len): as
// reqRedirect, with method, URI and header fields of a request that the guest holds, except the protected fields. The
// request is not consumed.
func reqRedirectV2(grip bool) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		r, st := s.requests.get(a.u32(0))
		if st != OK {
			return st
		}
		return s.handOff(m, r, a.u32(1), a.u32(2), grip)
	}
}

func (s *Sandbox) handOff(m engine.Memory, r *Request, ptr, n uint32, grip bool) Status {
	to, st := s.backendNamed(m, ptr, n)
	if st != OK {
		return st
	}
	name, _ := text(m, ptr, n)
	c := s.client
	if c == nil || c.responded {
		return Error
	}
	client, ok := c.Client.(HandOffClient)
	if !ok || s.env.NoWebSockets && !grip {
		return Unsupported
	}
	h := &HandOff{GRIP: grip, Name: name, Backend: to, Method: c.Method, URI: c.URI, Release: func() {}}
	c.fields(&h.Header)
	if r != nil {
		h.Method, h.URI = r.Method, r.URI
		var fields httpfield.List
		for _, f := range h.Header.Fields() {
			if protectedFields[f.Name] {
				fields.Add(f.Name, f.Value)
			}
		}
		for _, f := range r.Header().Fields() {
			if !protectedFields[f.Name] {
				fields.Add(f.Name, f.Value)
			}
		}
		h.Header = fields
	}
	if d, ok := s.dynamic[name]; ok {
		// It must outlive the sandbox, which may go on using it.
		h.Release = d.release
		s.dynamic[name] = dynamicBackend{backend: d.backend, release: func() {}}
	}
	h.Body = s.takeClientBody()
	c.responded = true
	client.HandOff(h)
	return OK
}

// takeClientBody takes what the guest has left of the client's body, and leaves it an empty one. A body that the guest
// has passed on is empty.
func (s *Sandbox) takeClientBody() *Body {
	if b := s.unread; b != nil {
		s.unread = nil
		return b
	}
	c := s.client
	if c.reqHandle == 0 {
		b := c.Body
		c.Body = nil
		if b == nil {
			b = NewBody(nil)
		}
		return b
	}
	it, st := s.items.get(c.bodyHandle)
	if st != OK || it.body != c.Body {
		return NewBody(nil)
	}
	b := it.body
	it.body = s.newBody()
	c.Body = it.body
	b.leave()
	return b
}

// keepUnread keeps the client's body that the guest closes, for a hand-off that may follow: the Rust SDK closes it
// before it hands its request off.
func (s *Sandbox) keepUnread(h uint32, b *Body) bool {
	c := s.client
	if c == nil || c.responded || h != c.bodyHandle || b != c.Body {
		return false
	}
	s.unread = b
	return true
}

// dropUnread lets go of the client's body, once there can be no hand-off.
func (s *Sandbox) dropUnread() {
	if s.unread != nil {
		s.unread.drop()
		s.unread = nil
	}
}

// reqOnBehalfOf is on_behalf_of(request, service, service_len): the request concerns the cache of another service. The
// platform allows that to its own services alone. The guest's own service needs no leave. Unsupported: any other.
func reqOnBehalfOf(s *Sandbox, m engine.Memory, a args) Status {
	service, st := text(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	if _, st := s.requests.get(a.u32(0)); st != OK {
		return st
	}
	if service == "" {
		return Inval
	}
	if service != s.env.ServiceID {
		return Unsupported
	}
	return OK
}
