package httpcache

import (
	"slices"
	"testing"
	"time"
)

func TestTarget(t *testing.T) {
	for _, tt := range []struct{ uri, host, want string }{
		{"http://A.example/b?c#d", "", "a.example /b?c"},
		{"http://a.example", "", "a.example /"},
		{"http://a.example?x", "", "a.example /?x"},
		{"https://user:pass@a.example:8443/b", "", "a.example:8443 /b"},
		{"http://a.example/b", "C.example", "c.example /b"},
		{"/b?u=http://x/", "c.example", "c.example /b?u=http://x/"},
		{"*", "c.example", "c.example /*"},
		{"", "", " /"},
	} {
		h := fields()
		if tt.host != "" {
			h = fields("host: " + tt.host)
		}
		host, path := Target(tt.uri, h)
		if got := host + " " + path; got != tt.want {
			t.Errorf("%q: %q, want %q", tt.uri, got, tt.want)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	seen := map[Key]string{}
	for _, k := range [][3]string{{"", "a", "/b"}, {"a", "", "/b"}, {"", "a", "/c"}, {"", "a/", "b"}, {"x", "a", "/b"}} {
		key := NewKey(k[0], k[1], k[2])
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have one key", k, other)
		}
		seen[key] = k[1]
	}
	if a, b := AddressKey("a", "/b"), AddressKey("a", "/c"); a == b || len(a) != 24 {
		t.Errorf("%q, %q", a, b)
	}
}

func TestInvalidated(t *testing.T) {
	for _, tt := range []struct {
		status       int
		location, cl string
		want         []string
	}{
		{201, "/new", "", []string{"/new"}},
		{201, "http://a.example/new#x", "other", []string{"/new", "/dir/other"}},
		{303, "//a.example/new", "?q", []string{"/new", "/dir/page?q"}},
		{200, "http://b.example/new", "mailto:x", nil},
		{200, "../up", "./", []string{"/up", "/dir/"}},
		{200, "/../../x/./y/..", "", []string{"/x/"}},
		{200, "page", "", nil}, // itself
		{500, "/new", "", nil},
	} {
		h := fields()
		if tt.location != "" {
			h.Add("location", tt.location)
		}
		if tt.cl != "" {
			h.Add("content-location", tt.cl)
		}
		if got := Invalidated("a.example", "/dir/page", tt.status, h); !slices.Equal(got, tt.want) {
			t.Errorf("%d %q %q: %q, want %q", tt.status, tt.location, tt.cl, got, tt.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("http://a.example/b?c#d", "../x")
	f.Fuzz(func(t *testing.T, uri, ref string) {
		h := fields()
		host, path := Target(uri, h)
		if path == "" || path[0] != '/' {
			t.Errorf("%q: path %q", uri, path)
		}
		if p, ok := resolve(host, path, ref); ok && (p == "" || p[0] != '/') {
			t.Errorf("%q at %q: %q", ref, uri, p)
		}
	})
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		s    Status
		want string
	}{
		{Status{Cache: "x", Hit: true, HasTTL: true, TTL: 30 * time.Second}, "x; hit; ttl=30"},
		{Status{Cache: "x", Hit: true, HasTTL: true, TTL: -412 * time.Second}, "x; hit; ttl=-412"},
		{Status{Cache: "x", Forward: "uri-miss", Answered: 200, Stored: true, Collapsed: true}, "x; fwd=uri-miss; fwd-status=200; stored; collapsed"},
		{Status{Cache: "x", Forward: "stale", Answered: 304, Detail: "no-store"}, "x; fwd=stale; fwd-status=304; detail=no-store"},
	} {
		if got := tt.s.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
