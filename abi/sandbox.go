package abi

import (
	"context"
	"net/netip"

	"github.com/edgewasm/wasmedge/abi/wasi"
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// Environment is what all sandboxes of one service share. It must not change while sandboxes use it.
type Environment struct {
	Logs         Logs
	ConfigStores ConfigStores
	// ACLs are the service's access control lists; nil is none.
	ACLs ACLs
	// RateLimiter holds the service's rate counters and penalty boxes; nil answers Unsupported to guests that use them.
	RateLimiter *ratelimit.Limiter
	// Geo tells where addresses are; nil knows none.
	Geo Geolocator
	// Devices tells what clients are; nil knows none.
	Devices Devices
	// KVStores are the service's KV stores; nil is none.
	KVStores KVStores
	// KVUse counts what is done with them; nil does not.
	KVUse *KVUse
	// MaxKVOperations bounds the operations on KV stores that one sandbox may begin; 0 means 10000.
	MaxKVOperations int
	// ShortKVErrors says that the guest's kv_error ends before too_many_requests (the Rust SDK's): the status tells of that one.
	ShortKVErrors bool
	// SecretStores are the service's secret stores; nil is none.
	SecretStores SecretStores
	// ServiceID is the service that the guest is, by its ID; on_behalf_of accepts no other.
	ServiceID string
	// NoWebSockets answers Unsupported to guests that hand a WebSocket to a backend.
	NoWebSockets bool
	// FastlyKeys are the values of the fastly-key request header that fastly_key_is_valid accepts.
	FastlyKeys []string
	// Backends are the service's origins; nil is none.
	Backends *backend.Set
	// Dynamic makes the backends that guests define; nil refuses them.
	Dynamic *backend.Registry
	// Shields are the sites that fastly_shielding knows, by name.
	Shields map[string]Shield
	// ReadThrough sends requests to backends by way of the service's cache; nil sends them straight.
	ReadThrough ReadThrough
	// Chain marks what guests send to backends; nil marks nothing.
	Chain *backend.Chain
	// MaxExchanges bounds the requests that one sandbox may send to backends; 0 means 1000.
	MaxExchanges int
	// MaxDynamic bounds the backends that one sandbox may define; 0 means 200, the platform's limit.
	MaxDynamic int
	// ShortErrorDetail says that the guest's send_error_detail has 8 bytes (the JavaScript SDK's).
	ShortErrorDetail bool
	// MaxBuffered bounds the bytes that one sandbox may hold in bodies it has not sent; 0 means 128 MiB.
	MaxBuffered int64
	// Missing, if set, is told of each hostcall that the guest called and that is not available, once a sandbox.
	Missing func(name string)
	// Warn, if set, is told what an operator should know: a broken store, a limit that was reached.
	Warn func(requestID, message string, err error)
}

const (
	defaultMaxBuffered  = 128 << 20
	defaultMaxExchanges = 1000
	defaultMaxDynamic   = 200
	defaultMaxKV        = 10_000
)

func (e *Environment) maxExchanges() int {
	if e.MaxExchanges > 0 {
		return e.MaxExchanges
	}
	return defaultMaxExchanges
}

func (e *Environment) maxKVOperations() int {
	if e.MaxKVOperations > 0 {
		return e.MaxKVOperations
	}
	return defaultMaxKV
}

func (e *Environment) maxDynamic() int {
	if e.MaxDynamic > 0 {
		return e.MaxDynamic
	}
	return defaultMaxDynamic
}

// Facts is what is known of a client's connection. A method with a second result answers false when it is
// not known or does not apply.
type Facts interface {
	RemoteAddr() (netip.AddrPort, bool)
	LocalAddr() (netip.AddrPort, bool)
	// OriginalHeaderNames gives the names as received: order, case and repeats kept.
	OriginalHeaderNames() ([]string, bool)
	H2Fingerprint() (string, bool)
	OHFingerprint() (string, bool)
	// TLS reports whether the client came over TLS. The methods below need it.
	TLS() bool
	TLSProtocol() (string, bool)
	TLSCipher() (string, bool) // OpenSSL's name
	TLSServerName() (string, bool)
	ClientHello() ([]byte, bool)       // with its handshake header
	ClientCertificate() ([]byte, bool) // PEM
	ClientVerify() (uint32, bool)      // client_cert_verify_result
	JA3() ([16]byte, bool)
	JA4() (string, bool)
}

// Client is the far end of one client request.
type Client interface {
	// Inform queues an interim response. It does not wait; false means that too many are waiting to be sent.
	Inform(status int, h *httpfield.List) bool
	// Respond takes over the final response. It does not wait for the client. It is called once at most.
	Respond(r *Response, b *Body)
	// Promise says that Respond will be called by itself later, perhaps after the guest has ended. cancel makes that
	// happen soon, for a client that has gone.
	Promise(cancel func())
}

// HeaderSource gives a header section. A nil HeaderSource gives an empty one.
type HeaderSource interface{ AppendFields(*httpfield.List) }

// ClientRequest is one request of a client, as the host received it.
type ClientRequest struct {
	ID      string // 32 hexadecimal digits
	Method  string
	URI     string // absolute
	Version Version
	// Header fills in the header section when a guest first asks for it.
	Header HeaderSource
	// FastlyKey is the value of the fastly-key header.
	FastlyKey string
	// Passed is what the marks of Environment.Chain in the request say.
	Passed backend.Passed
	// Body is the request's; nil is an empty one.
	Body   *Body
	Facts  Facts
	Client Client

	responded             bool
	reqHandle, bodyHandle uint32 // 0 until body_downstream_get
}

func (c *ClientRequest) fields(l *httpfield.List) {
	if c.Header != nil {
		c.Header.AppendFields(l)
	}
}

// Sandbox is one guest run: its handles, and the client request it serves.
type Sandbox struct {
	// System is the guest's WASI world; the host sets it up before the run.
	wasi.System
	// Arrivals gives the sandbox further client requests when the guest asks; the host may set it before the run. nil
	// gives none.
	Arrivals Arrivals

	env    *Environment
	client *ClientRequest
	caller *engine.Caller
	fault  error // ends the guest

	requests     table[Request]
	responses    table[Response]
	items        table[item] // everything that select can wait on
	endpoints    table[openEndpoint]
	configStores table[openConfigStore]
	acls         table[openACL]
	kvStores     table[openKVStore]
	secretStores table[openSecretStore]
	secrets      table[openSecret]

	dynamic   map[string]dynamicBackend
	exchanges int // requests sent to backends
	kvBegun   int // operations on KV stores
	kvPending int // of these, those whose outcome the guest has not taken

	clients  []clientHandle
	next     *nextRequest // the promise there may be
	unread   *Body        // the client's, which the guest has closed before it answered
	buffered int64        // bytes that bodies may still take
	missing  []string
	notify   chan struct{} // capacity 1: a waiting select should look again
	wakeFn   func()
	names    []string // scratch for names_get
	scratch  []byte   // of one hostcall
}

// item is an entry of the shared space of asynchronous items; one of its fields is set.
type item struct {
	body    *Body
	pending *pendingRequest
	next    *nextRequest
	kv      *kvOperation
}

// clientHandle remembers which request handles were client requests: their metadata stays readable after the
// handle was consumed.
type clientHandle struct {
	handle uint32
	client *ClientRequest
}

// NewSandbox makes the sandbox for one client request; client may be nil for a guest that serves none.
func NewSandbox(env *Environment, client *ClientRequest) *Sandbox {
	s := new(Sandbox)
	s.Begin(env, client)
	return s
}

// Begin prepares a zero or finished sandbox for a run.
func (s *Sandbox) Begin(env *Environment, client *ClientRequest) {
	if s.notify == nil {
		notify := make(chan struct{}, 1) // who wakes may do so after the sandbox has gone on to another run
		s.notify = notify
		s.wakeFn = func() { poke(notify) }
	}
	s.env, s.client = env, client
	s.buffered = env.MaxBuffered
	if s.buffered == 0 {
		s.buffered = defaultMaxBuffered
	}
}

// Responded reports whether the guest has sent its final response.
func (s *Sandbox) Responded() bool { return s.client != nil && s.client.responded }

// Finish frees what the guest left open once it has ended: streams that were not closed are broken off, so that
// their readers can tell. The sandbox can be used again after Begin.
func (s *Sandbox) Finish() {
	for _, it := range s.items.items {
		if it == nil {
			continue
		}
		switch {
		case it.pending != nil:
			it.pending.drop()
		case it.next != nil:
			it.next.cancel()
		case it.kv != nil:
			it.kv.leave(s)
		case it.body.isStreaming():
			it.body.finish(ErrIncomplete)
		default:
			it.body.drop()
		}
	}
	for _, d := range s.dynamic {
		d.release()
	}
	clear(s.dynamic)
	s.exchanges, s.kvBegun, s.kvPending = 0, 0, 0
	s.leaveClient()
	s.requests.reset()
	s.responses.reset()
	s.items.reset()
	s.endpoints.reset()
	s.configStores.reset()
	s.acls.reset()
	s.kvStores.reset()
	s.forgetSecrets()
	clear(s.clients)
	s.clients = s.clients[:0]
	s.missing = s.missing[:0]
	s.Arrivals, s.next = nil, nil
	s.env, s.client, s.caller, s.fault = nil, nil, nil, nil
	s.System.Reset()
	select {
	case <-s.notify:
	default:
	}
}

func (s *Sandbox) ctx() context.Context { return s.caller.Context }

// sleep waits until something has changed; false when the run must end instead.
func (s *Sandbox) sleep() bool {
	select {
	case <-s.notify:
		return true
	case <-s.ctx().Done():
		s.fault = context.Cause(s.ctx())
		return false
	}
}

// stopped notes that the run must end, if the context is why a wait did.
func (s *Sandbox) stopped() bool {
	if s.ctx().Err() == nil {
		return false
	}
	s.fault = context.Cause(s.ctx())
	return true
}

func (s *Sandbox) warn(message string, err error) {
	if s.env.Warn == nil {
		return
	}
	id := ""
	if s.client != nil {
		id = s.client.ID
	}
	s.env.Warn(id, message, err)
}

func (s *Sandbox) noteMissing(name string) {
	for _, m := range s.missing {
		if m == name {
			return
		}
	}
	s.missing = append(s.missing, name)
	if s.env.Missing != nil {
		s.env.Missing(name)
	}
}

func (s *Sandbox) addBody(b *Body) (uint32, Status) {
	b.item.body = b
	return s.items.add(&b.item)
}

func (s *Sandbox) newBody() *Body {
	b := NewBody(nil)
	b.limit = &s.buffered
	return b
}

// body gives the body of a handle, of whatever kind.
func (s *Sandbox) body(h uint32) (*Body, Status) {
	it, st := s.items.get(h)
	if st != OK || it.body == nil {
		return nil, BadF
	}
	return it.body, OK
}

// plainBody gives a body that is not the write end of a stream.
func (s *Sandbox) plainBody(h uint32) (*Body, Status) {
	b, st := s.body(h)
	if st == OK && b.isStreaming() {
		return nil, BadF
	}
	return b, st
}
