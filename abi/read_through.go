package abi

import (
	"context"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/readthrough"
)

// ReadThrough sends requests to backends by way of a cache. It is safe for concurrent use. Errors are those of
// backend.Backend.Send.
type ReadThrough interface {
	Send(ctx context.Context, to *backend.Backend, r *backend.Request, o readthrough.Override) (*backend.Response, error)
}

// route is how a request gets to its backend. It refers to nothing of the sandbox's.
type route struct {
	cache    ReadThrough // nil: straight
	override readthrough.Override
}

// route gives the way of a request; cached is false for guests that do their own caching. It is asked before the request
// is marked.
func (s *Sandbox) route(r *Request, cached bool) route {
	if s.env.ReadThrough == nil || !cached {
		return route{}
	}
	c := &r.Cache
	h := r.Header()
	return route{s.env.ReadThrough, readthrough.Override{
		Override: httpcache.Override{
			TTL: time.Duration(c.TTL) * time.Second, HasTTL: c.HasTTL,
			StaleWhileRevalidate: time.Duration(c.StaleWhile) * time.Second, HasStale: c.HasStale,
		},
		Pass:          c.Pass,
		Sensitive:     c.PCI,
		SurrogateKeys: c.SurrogateKey,
		LookupTimeout: lookupTimeout(c),
		KeepSurrogate: forAnotherCache(h),
		Debug:         h.Has("fastly-debug"),
	}}
}

// lookupTimeout is the guest's; one of 0 waits for nobody.
func lookupTimeout(c *CacheOverride) time.Duration {
	if !c.HasLookupTimeout {
		return 0
	}
	return max(time.Duration(c.LookupTimeout)*time.Millisecond, time.Nanosecond)
}

// forAnotherCache reports whether the answer goes to a cache of the platform's, or to somebody who looks at headers.
func forAnotherCache(h *httpfield.List) bool {
	if h.Has("fastly-ff") || h.Has("fastly-debug") {
		return true
	}
	for _, f := range h.Fields() {
		if f.Name == "cdn-loop" && strings.Contains(strings.ToLower(f.Value), "fastly") {
			return true
		}
	}
	return false
}

func (w *route) send(ctx context.Context, to *backend.Backend, r *backend.Request) (*backend.Response, error) {
	if w.cache == nil {
		return to.Send(ctx, r)
	}
	return w.cache.Send(ctx, to, r, w.override)
}
