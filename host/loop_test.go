package host

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/backend"
)

// A service whose backend is the service itself: each turn takes one /send off the path, and there are more of them than
// a chain may have hops.
func TestALoopEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		var service http.Handler
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { service.ServeHTTP(w, r) }))
		defer front.Close()
		addr := netip.MustParseAddrPort(front.Listener.Addr().String())
		service = load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{{Name: "origin", Host: addr.Addr().String(), Port: addr.Port()}}})
		for path, want := range map[string]int{
			strings.Repeat("/send", backend.DefaultMaxHops):   http.StatusNotFound, // the guest's own answer at the end
			strings.Repeat("/send", backend.DefaultMaxHops+9): http.StatusLoopDetected,
			"/build" + strings.Repeat("/send", 40):            http.StatusLoopDetected, // a request of the guest's own
		} {
			a := get(t, front.URL+path)
			if a.StatusCode != want {
				t.Errorf("%s: %d %q, want %d", path, a.StatusCode, a.body, want)
			}
			if want == http.StatusLoopDetected && !strings.Contains(a.body, "loop detected: the request has passed 21 services, 20 are allowed") {
				t.Errorf("%s: %q", path, a.body)
			}
		}
	})
}

// What a client says of services that its request has passed is believed only where it can do no harm.
func TestClientsCannotForgeMarks(t *testing.T) {
	seen := make(chan http.Header, 1)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	defer origin.Close()
	addr := netip.MustParseAddrPort(origin.Listener.Addr().String())
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := httptest.NewServer(load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{{Name: "origin", Host: addr.Addr().String(), Port: addr.Port()}}}))
		defer front.Close()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", front.URL+"/send/", nil)
		req.Header["Fastly-Ff"] = []string{"made!up!entry"}
		req.Header["Cdn-Loop"] = []string{"other; v=1", "another"}
		fetch(t, plainClient, req)
		got := <-seen
		if v := strings.Join(got["Cdn-Loop"], "|"); v != "other; v=1, another, wasmedge" {
			t.Errorf("cdn-loop %q", v)
		}
		ff := got["Fastly-Ff"]
		if len(ff) != 1 || strings.Contains(ff[0], "made") || strings.Count(ff[0], "!") != 2 {
			t.Errorf("fastly-ff %q", ff)
		}
		req.Header["Cdn-Loop"] = []string{strings.Repeat("x,", 21)}
		if a := fetch(t, plainClient, req); a.StatusCode != http.StatusLoopDetected {
			t.Errorf("21 hops: %d %q", a.StatusCode, a.body)
		}
		// A guest shows the header that it sees.
		echo := httptest.NewServer(load(t, h, "rust/echo", ServiceConfig{}))
		defer echo.Close()
		req, _ = http.NewRequestWithContext(t.Context(), "GET", echo.URL, nil)
		req.Header["Fastly-Ff"] = []string{"made!up!entry"}
		resp, err := plainClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if all := string(body) + strings.Join(resp.Header["Fastly-Ff"], ""); strings.Contains(all, "made!up") {
			t.Errorf("the guest sees the forged mark: %q", all)
		}
	})
}
