package readthrough

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Space is where responses are kept. A *cache.Space is one.
type Space interface {
	Begin(key []byte, h cache.Header) (*cache.Transaction, error)
	Lookup(key []byte, h cache.Header) *cache.Entry
	Insert(key []byte, h cache.Header, o cache.WriteOptions) (*cache.Writer, error)
	Purge(key []byte, soft bool) int
}

// Options are settings of a Cache. The zero value means the defaults named here.
type Options struct {
	Policy     httpcache.Policy
	Background int              // requests that renew stale responses, at once; 0 means 64, further ones are left to later requests
	Name       string           // of the cache in Cache-Status, a token; "" means wasmedge
	Clock      func() time.Time // for tests, the same as the space's; nil means time.Now
}

// A Cache sends requests by way of a Space. Its methods may be called at the same time.
type Cache struct {
	space Space
	opts  Options
	slots chan struct{} // of requests in the background

	life context.Context // of exchanges that go on after Send
	end  context.CancelCauseFunc
}

// ErrClosed is why an exchange was broken off when the cache was closed.
var ErrClosed = errors.New("readthrough: closed")

// New makes a Cache. Close it.
func New(space Space, o Options) *Cache {
	if o.Background <= 0 {
		o.Background = 64
	}
	if o.Name == "" {
		o.Name = "wasmedge"
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	c := &Cache{space: space, opts: o, slots: make(chan struct{}, o.Background)}
	c.life, c.end = context.WithCancelCause(context.Background())
	return c
}

// Close breaks off what goes on in the background: responses that are being stored are lost.
func (c *Cache) Close() { c.end(ErrClosed) }

// Override is what a program says about a request. The zero value leaves it to the response.
type Override struct {
	httpcache.Override
	Pass          bool          // send it to the origin, store nothing
	Sensitive     bool          // never write the response to a disk
	SurrogateKeys string        // besides those of the response, separated by spaces
	LookupTimeout time.Duration // how long to wait for another request's response; 0 means as long as that takes

	KeepSurrogate bool // leave Surrogate-Key and Surrogate-Control in the answer, which is for another cache
	Debug         bool // say in Cache-Status what happened
}

// Send is backend.Backend.Send by way of the cache. ctx covers the exchange in the same way, except for what is being stored. Errors are those of backend.Backend.Send, or
// the cause of ctx.
func (c *Cache) Send(ctx context.Context, to *backend.Backend, r *backend.Request, o Override) (*backend.Response, error) {
	k := &call{c: c, to: to, r: r, o: o, method: r.Method, header: r.Header}
	if k.method == "" {
		k.method = http.MethodGet
	}
	if k.header == nil {
		k.header = new(httpfield.List)
	}
	switch {
	case !httpcache.Cacheable(k.method):
		return k.through(ctx, "method")
	case o.Pass, r.Body != nil, httpcache.Preconditions(k.header), k.header.Has("upgrade"):
		return k.through(ctx, "bypass")
	}
	if c.opts.Policy.Fastly {
		k.wants = httpcache.ReadWants(&httpfield.List{})
	} else {
		k.wants = httpcache.ReadWants(k.header)
	}
	k.address()
	switch {
	case k.wants.NoStore:
		return k.through(ctx, "request")
	case k.wants.OnlyIfCached:
		return k.onlyCached()
	case k.method == http.MethodHead:
		return k.head(ctx)
	}
	return k.get(ctx)
}

// call is one Send.
type call struct {
	c      *Cache
	to     *backend.Backend
	r      *backend.Request
	o      Override
	method string
	header *httpfield.List
	wants  httpcache.Wants

	space, host, path string
	key, apart        httpcache.Key // apart: of responses that have to be validated
	collapsed         bool
}

// address says what the request is for, and with it under which keys responses are. The platform knows hosts and paths alone. Where the
// request really goes is part of the key here: two origins may well have the same host name in a program.
func (k *call) address() {
	k.host, k.path = httpcache.Target(k.r.URI, k.header)
	if !k.c.opts.Policy.Fastly {
		cfg := k.to.Config()
		var b strings.Builder
		if cfg.TLS != nil {
			b.WriteString("tls ")
		}
		b.WriteString(cfg.Addr() + " " + cfg.OverrideHost + " " + cfg.PathPrefix)
		k.space = b.String()
	}
	k.key, k.apart = k.keys(k.path)
}

func (k *call) keys(path string) (key, apart httpcache.Key) {
	space := k.space
	if k.r.Gunzip {
		space += " gunzip"
	}
	return httpcache.NewKey(space, k.host, path), httpcache.NewKey(space+" validated", k.host, path)
}

func (k *call) selecting(name string) (string, bool) { return httpcache.Selecting(k.header, name) }

// through sends the request past the cache.
func (k *call) through(ctx context.Context, why string) (*backend.Response, error) {
	resp, err := k.to.Send(ctx, k.r)
	if err != nil {
		return nil, err
	}
	if !httpcache.Safe(k.method) && resp.Status < 400 {
		k.invalidate(resp)
	}
	return k.label(resp, &httpcache.Status{Forward: why, Answered: resp.Status}, 0), nil
}

// invalidate drops what an unsafe request has made invalid (RFC 9111 section 4.4).
func (k *call) invalidate(resp *backend.Response) {
	k.address()
	for _, path := range append(httpcache.Invalidated(k.host, k.path, resp.Status, &resp.Header), k.path) {
		for _, gunzip := range []bool{false, true} {
			one := *k
			r := *k.r
			r.Gunzip = gunzip
			one.r = &r
			key, apart := one.keys(path)
			k.c.space.Purge(key[:], false)
			k.c.space.Purge(apart[:], false)
		}
	}
}

// onlyCached answers only-if-cached (RFC 9111 section 5.2.1.7).
func (k *call) onlyCached() (*backend.Response, error) {
	if s := load(k.c.space.Lookup(k.key[:], k.selecting)); s != nil && k.takes(s) {
		if resp := k.hit(s); resp != nil {
			return resp, nil
		}
	}
	resp := &backend.Response{Status: http.StatusGatewayTimeout, Proto: "HTTP/1.1", Body: http.NoBody}
	return k.label(resp, &httpcache.Status{Detail: "only-if-cached"}, 0), nil
}

// head answers HEAD from a stored response to GET; it stores nothing.
func (k *call) head(ctx context.Context) (*backend.Response, error) {
	if s := load(k.c.space.Lookup(k.key[:], k.selecting)); s != nil && k.takes(s) {
		if resp := k.hit(s); resp != nil {
			return resp, nil
		}
	}
	resp, err := k.to.Send(ctx, k.r)
	if err != nil {
		return nil, err
	}
	return k.label(resp, &httpcache.Status{Forward: "miss", Answered: resp.Status}, 0), nil
}

// takes reports whether the request takes a usable stored response.
func (k *call) takes(s *stored) bool {
	return k.wants.Fresh(s.entry.Age(), s.entry.MaxAge(), s.head.Immutable)
}

// get answers GET.
func (k *call) get(ctx context.Context) (*backend.Response, error) {
	t, err := k.c.space.Begin(k.key[:], k.selecting)
	if err != nil {
		return k.through(ctx, "bypass")
	}
	if !t.Ready(nil) {
		k.collapsed = true
		if err := k.wait(ctx, t); err != nil {
			t.Close()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return k.through(ctx, "miss")
		}
	}
	s, state := load(t.Entry()), t.State()
	usable := s != nil && state&cache.Usable != 0
	obliged := state&cache.MustInsertOrUpdate != 0
	switch {
	case usable && k.takes(s):
		if obliged && !k.renew(t) {
			t.Cancel()
			t.Close()
		} else if !obliged {
			t.Close()
		}
		if resp := k.hit(s); resp != nil {
			return resp, nil
		}
		return k.through(ctx, "miss")
	case !obliged:
		t.Close()
		return k.fetch(ctx, nil, s)
	}
	if t.Pass() {
		return k.fetch(ctx, t, load(k.c.space.Lookup(k.apart[:], k.selecting)))
	}
	s = load(t.Past())
	if s != nil && !s.head.NeverStale && k.wants.Stale(s.entry.Age()-s.entry.MaxAge()) {
		if resp := k.hit(s); resp != nil {
			t.Close()
			return resp, nil
		}
	}
	return k.fetch(ctx, t, s)
}

func (k *call) wait(ctx context.Context, t *cache.Transaction) error {
	if k.o.LookupTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.o.LookupTimeout)
		defer cancel()
	}
	return t.Wait(ctx)
}

// renew asks in the background for a newer response; false when too many do.
func (k *call) renew(t *cache.Transaction) bool {
	select {
	case k.c.slots <- struct{}{}:
	default:
		return false
	}
	header := k.header.Clone() // the caller's is its own again when Send has returned
	k.header = &header         // the transaction asks it as well
	one := *k
	r := *k.r
	one.r = &r
	past := load(t.Past())
	go func() {
		defer func() { <-k.c.slots }()
		if resp, err := one.fetch(k.c.life, t, past); err == nil {
			drain(resp.Body)
		}
	}()
	return true
}
