package abi

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/readthrough"
)

// straight notes what it is asked, and sends everything to the backend.
type straight struct{ asked []readthrough.Override }

func (s *straight) Send(ctx context.Context, to *backend.Backend, r *backend.Request, o readthrough.Override) (*backend.Response, error) {
	s.asked = append(s.asked, o)
	return to.Send(ctx, r)
}

func TestWhichCallsGoByWayOfTheCache(t *testing.T) {
	for _, tt := range []struct {
		call   string
		cached bool
	}{
		{"send", true}, {"send_v2", true}, {"send_v3", false}, {"send_async", true}, {"send_async_v2", false},
	} {
		g := newGuest(t, nil)
		g.withBackends(origin(t))
		way := new(straight)
		g.sandbox.env.ReadThrough = way
		r, b := g.prepare("GET", "http://shop.example/", "")
		// pass is not set; ttl, stale-while-revalidate and pci are
		p, n := g.put(textA, "one two")
		g.ok("http_req.cache_override_v2_set", r, 2|4|8, 60, 5, p, n)
		p, n = g.put(textB, "origin")
		switch tt.call {
		case "send":
			g.ok("http_req.send", r, b, p, n, outResponse, outBody)
		case "send_v2", "send_v3":
			g.ok("http_req."+tt.call, r, b, p, n, outDetail, outResponse, outBody)
		case "send_async":
			g.ok("http_req.send_async", r, b, p, n, outPending)
			g.ok("http_req.pending_req_wait", g.u32(outPending), outResponse, outBody)
		case "send_async_v2":
			g.ok("http_req.send_async_v2", r, b, p, n, 0, outPending)
			g.ok("http_req.pending_req_wait", g.u32(outPending), outResponse, outBody)
		}
		want := []readthrough.Override{{
			Override:      httpcache.Override{TTL: time.Minute, HasTTL: true, StaleWhileRevalidate: 5 * time.Second, HasStale: true},
			Sensitive:     true,
			SurrogateKeys: "one two",
		}}
		if !tt.cached {
			want = nil
		}
		if !reflect.DeepEqual(way.asked, want) {
			t.Errorf("%s: asked the cache %+v, want %+v", tt.call, way.asked, want)
		}
	}
}
