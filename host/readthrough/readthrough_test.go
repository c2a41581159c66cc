package readthrough

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/cache/httpcache"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// clock is one that tests set forward. Origins send no Date, so that only it counts.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// site is a Cache before a real origin, whose handler a test may change.
type site struct {
	t       *testing.T
	clock   *clock
	space   *cache.Space
	cache   *Cache
	backend *backend.Backend
	handler atomic.Pointer[http.HandlerFunc]
	seen    atomic.Int64 // requests that came to the origin
}

func newSite(t *testing.T, p httpcache.Policy, h http.HandlerFunc) *site {
	s := &site{t: t, clock: &clock{now: time.Unix(2e9, 0)}}
	s.handle(h)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen.Add(1)
		w.Header()["Date"] = nil
		(*s.handler.Load())(w, r)
	}))
	store, err := cache.New(cache.Options{Clock: s.clock.Now, MaxBytes: 8 << 20, MaxObject: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.space = store.Space("test", cache.SpaceOptions{})
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	s.backend, err = backend.New(backend.Config{Name: "origin", Host: addr.Addr().String(), Port: addr.Port()}, backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.cache = New(s.space, Options{Policy: p, Clock: s.clock.Now})
	t.Cleanup(func() {
		s.cache.Close()
		s.backend.Close()
		server.Close()
		store.Close()
	})
	return s
}

func (s *site) handle(h http.HandlerFunc) { s.handler.Store(&h) }

// send sends a request "METHOD /path" with header lines, and gives the response as "status x-cache body".
func (s *site) send(o Override, request string, lines ...string) (string, *backend.Response) {
	s.t.Helper()
	text, resp, err := s.try(o, request, lines...)
	if err != nil {
		s.t.Fatalf("%s: %v", request, err)
	}
	return text, resp
}

func (s *site) try(o Override, request string, lines ...string) (string, *backend.Response, error) {
	method, path, _ := strings.Cut(request, " ")
	h := new(httpfield.List)
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	resp, err := s.cache.Send(context.Background(), s.backend, &backend.Request{Method: method, URI: "http://shop.example" + path, Header: h}, o)
	if err != nil {
		return "", nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return "", nil, err
	}
	where, _ := resp.Header.Get("x-cache")
	return fmt.Sprintf("%d %s %s", resp.Status, where, body), resp, nil
}

// want sends a request and compares.
func (s *site) want(want, request string, lines ...string) *backend.Response {
	s.t.Helper()
	got, resp := s.send(Override{}, request, lines...)
	if got != want {
		s.t.Errorf("%s %q: got %q, want %q", request, lines, got, want)
	}
	return resp
}

// answer makes a handler with header lines and a numbered body.
func answer(lines ...string) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			w.Header().Add(name, value)
		}
		if tag := w.Header().Get("ETag"); tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, "answer %d", n.Add(1))
	}
}

// settled waits until what the background does is over.
func (s *site) settled() {
	for range s.cache.opts.Background {
		s.cache.slots <- struct{}{}
	}
	for range s.cache.opts.Background {
		<-s.cache.slots
	}
}

func TestStoredResponsesAnswer(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=60", `ETag: "a"`, "Surrogate-Key: k"))
	resp := s.want("200 MISS answer 1", "GET /a")
	if resp.Header.Has("surrogate-key") {
		t.Error("the surrogate keys went to the client")
	}
	s.clock.add(10 * time.Second)
	resp = s.want("200 HIT answer 1", "GET /a")
	if age, _ := resp.Header.Get("age"); age != "10" {
		t.Errorf("age %q", age)
	}
	s.want("200 MISS answer 2", "GET /a?b")
	s.want("304 HIT ", "GET /a", `if-none-match: "a"`)
	s.want("206 HIT er 1", "GET /a", "range: bytes=-4")
	s.want("200 HIT ", "HEAD /a")
	s.want("504 MISS ", "GET /c", "cache-control: only-if-cached")
	s.want("200 HIT answer 1", "GET /a", "cache-control: only-if-cached")
	if n := s.seen.Load(); n != 2 {
		t.Errorf("%d requests came to the origin", n)
	}
	s.clock.add(time.Minute)
	s.want("200 MISS answer 1", "GET /a") // still holds
	s.want("200 HIT answer 1", "GET /a")
	if n := s.space.PurgeKey("k", false); n != 2 {
		t.Errorf("%d objects have the surrogate key", n)
	}
	if n := s.space.PurgeKey(httpcache.AddressKey("shop.example", "/a"), false); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

func TestAMissAsksForTheWhole(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=60", `ETag: "a"`))
	s.want("206 MISS an", "GET /a", "range: bytes=0-1")
	s.want("200 HIT answer 1", "GET /a")
	s.want("304 MISS ", "GET /b", `if-none-match: "a"`)
	s.want("200 HIT answer 2", "GET /b")
	s.handle(answer()) // nothing to store
	s.want("206 MISS an", "GET /c", "range: bytes=0-1")
}

func TestWhatIsNotStored(t *testing.T) {
	for _, lines := range [][]string{{}, {"Cache-Control: no-store"}, {"Cache-Control: private, max-age=60"}, {"Vary: *", "Cache-Control: max-age=60"}} {
		s := newSite(t, httpcache.Policy{}, answer(lines...))
		s.want("200 MISS answer 1", "GET /a")
		s.want("200 MISS answer 2", "GET /a")
		s.handle(answer("Cache-Control: max-age=60"))
		s.want("200 MISS answer 1", "GET /a")
		s.want("200 HIT answer 1", "GET /a")
	}
}

func TestResponsesThatAreValidatedEachTime(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: no-cache", `ETag: "a"`))
	for range 3 {
		s.want("200 MISS answer 1", "GET /a")
	}
	if n := s.seen.Load(); n != 3 {
		t.Errorf("%d requests came to the origin", n)
	}
	s.handle(answer("Cache-Control: max-age=60", `ETag: "a"`)) // the origin lets go
	s.want("200 MISS answer 1", "GET /a")
	for range 100 { // the copy is made in the background
		if got, _ := s.send(Override{}, "GET /a"); got == "200 HIT answer 1" {
			return
		}
	}
	t.Error("what has a lifetime now is not stored")
}

func TestRequestsThatWantAFresherOne(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=60"))
	s.want("200 MISS answer 1", "GET /a")
	s.clock.add(10 * time.Second)
	s.want("200 HIT answer 1", "GET /a", "cache-control: max-age=10")
	s.want("200 MISS answer 2", "GET /a", "cache-control: max-age=9")
	s.want("200 HIT answer 2", "GET /a")
	s.want("200 MISS answer 3", "GET /a", "cache-control: no-cache")
	s.want("200 MISS answer 4", "GET /a", "cache-control: no-store")
	s.want("200 HIT answer 3", "GET /a")
	s.clock.add(70 * time.Second)
	s.want("200 HIT answer 3", "GET /a", "cache-control: max-stale=10")
	s.want("200 MISS answer 5", "GET /a", "cache-control: max-stale=9")
	platform := newSite(t, httpcache.Policy{Fastly: true}, answer("Cache-Control: max-age=60"))
	platform.want("200 MISS answer 1", "GET /a")
	platform.want("200 HIT answer 1", "GET /a", "cache-control: no-cache, no-store")
}

func TestUnsafeMethodsInvalidate(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=60", "Content-Location: /b"))
	s.want("200 MISS answer 1", "GET /a")
	s.want("200 MISS answer 2", "GET /b")
	s.want("200 MISS answer 3", "OPTIONS /a")
	s.want("200 HIT answer 1", "GET /a")
	s.want("200 MISS answer 4", "POST /a")
	s.want("200 MISS answer 5", "GET /a")
	s.want("200 MISS answer 6", "GET /b")
	keep := *s.handler.Load()
	s.handle(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	s.want("500 MISS ", "POST /a")
	s.handle(keep)
	s.want("200 HIT answer 5", "GET /a")
}

func TestOverrides(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer())
	ttl := Override{Override: httpcache.Override{TTL: time.Minute, HasTTL: true}, SurrogateKeys: "x y", Sensitive: true}
	s.send(ttl, "GET /a")
	if got, _ := s.send(ttl, "GET /a"); got != "200 HIT answer 1" {
		t.Errorf("with a lifetime of the program's: %q", got)
	}
	if got, _ := s.send(Override{Pass: true}, "GET /a"); got != "200 MISS answer 2" {
		t.Errorf("pass: %q", got)
	}
	if n := s.space.PurgeKey("y", false); n != 1 {
		t.Errorf("the program's key has %d objects", n)
	}
	_, resp := s.send(Override{Debug: true, KeepSurrogate: true}, "GET /b")
	if got, _ := resp.Header.Get("cache-status"); got != "wasmedge; fwd=uri-miss; fwd-status=200; detail=no-freshness" {
		t.Errorf("cache-status: %q", got)
	}
}

func TestVariants(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=60", "Vary: X-A"))
	s.want("200 MISS answer 1", "GET /a", "x-a: 1")
	s.want("200 MISS answer 2", "GET /a", "x-a: 2")
	s.want("200 MISS answer 3", "GET /a")
	s.want("200 HIT answer 1", "GET /a", "x-a: 1")
	s.want("200 HIT answer 2", "GET /a", "x-a: 2")
}

func TestStaleWhileRevalidate(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, answer("Cache-Control: max-age=10, stale-while-revalidate=10"))
	s.want("200 MISS answer 1", "GET /a")
	s.clock.add(15 * time.Second)
	s.want("200 HIT answer 1", "GET /a")
	s.settled()
	s.want("200 HIT answer 2", "GET /a")
	s.clock.add(25 * time.Second)
	s.want("200 MISS answer 3", "GET /a")
}

func TestStaleIfError(t *testing.T) {
	for _, control := range []string{"max-age=10, stale-if-error=10", "max-age=0, stale-if-error=20"} {
		s := newSite(t, httpcache.Policy{}, answer("Cache-Control: "+control))
		s.want("200 MISS answer 1", "GET /a")
		s.clock.add(15 * time.Second)
		s.handle(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
		s.want("200 HIT answer 1", "GET /a")
		s.handle(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
		s.want("200 HIT answer 1", "GET /a")
		s.clock.add(10 * time.Second)
		if _, _, err := s.try(Override{}, "GET /a"); err == nil {
			t.Errorf("%s: a response that is too old took the place of an error", control)
		}
	}
}

// together sends n requests for one path, whose origin answers when all have come or wait.
func (s *site) together(n int, ready func() bool, release chan struct{}) []string {
	got := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			text, _, err := s.try(Override{}, "GET /a")
			if err != nil {
				text = "error"
			}
			got[i] = text
		})
	}
	for end := time.Now().Add(20 * time.Second); !ready() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	return got
}

func TestManyMissesMakeOneRequest(t *testing.T) {
	const n = 200
	release := make(chan struct{})
	h := answer("Cache-Control: max-age=60")
	s := newSite(t, httpcache.Policy{}, func(w http.ResponseWriter, r *http.Request) { <-release; h(w, r) })
	for _, got := range s.together(n, func() bool { return s.space.Stats().Waiting == n-1 }, release) {
		if !strings.HasSuffix(got, "answer 1") {
			t.Fatalf("got %q", got)
		}
	}
	if got := s.seen.Load(); got != 1 {
		t.Errorf("%d requests came to the origin", got)
	}
}

func TestWhatMayNotBeSharedIsNotWaitedForOneByOne(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"not stored": answer("Cache-Control: private"),
		"no-cache":   answer("Cache-Control: no-cache", `ETag: "a"`),
		"broken":     func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		const n = 20
		first, all := make(chan struct{}), make(chan struct{})
		var inside, atOnce atomic.Int64
		s := newSite(t, httpcache.Policy{}, nil)
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			if inside.Add(1) == 1 {
				<-first
			} else {
				<-all
			}
			h(w, r)
		})
		go func() {
			for end := time.Now().Add(10 * time.Second); inside.Load() < n && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			atOnce.Store(inside.Load())
			close(all)
		}()
		s.together(n, func() bool { return s.space.Stats().Waiting == n-1 }, first)
		if got := atOnce.Load(); got < n {
			t.Errorf("%s: %d requests came to the origin at once", name, got)
		}
	}
}

func TestAClientThatGoesAwayDoesNotSpoilTheObject(t *testing.T) {
	release := make(chan struct{})
	s := newSite(t, httpcache.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "late")
	})
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := s.cache.Send(ctx, s.backend, &backend.Request{URI: "http://shop.example/a"}, Override{})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := resp.Body.Read(make([]byte, 1))
		read <- err
	}()
	resp.Body.Close() // ends the Read
	if err := <-read; err == nil {
		t.Error("a closed body was read")
	}
	cancel()
	close(release)
	s.want("200 HIT late", "GET /a")
}

func TestAResponseThatBreaksIsNotStored(t *testing.T) {
	s := newSite(t, httpcache.Policy{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if got, _, err := s.try(Override{}, "GET /a"); err == nil {
		t.Errorf("the client got %q as the whole", got)
	}
	s.handle(answer())
	s.want("200 MISS answer 1", "GET /a")
}

func TestAResponseThatIsTooLargeFlowsThrough(t *testing.T) {
	for _, length := range []string{"3000000", ""} {
		s := newSite(t, httpcache.Policy{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			for range 300 {
				io.WriteString(w, strings.Repeat("x", 10_000))
			}
		})
		got, _ := s.send(Override{}, "GET /a")
		if len(got) != 3_000_000+len("200 MISS ") {
			t.Errorf("length %q: %d bytes", length, len(got))
		}
		if got, _ := s.send(Override{}, "HEAD /a"); !strings.Contains(got, "MISS") {
			t.Errorf("it was stored: %q", got)
		}
	}
}
