package host

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// TestManyRequestsWaitAtOnce has 500 guests wait for a second, all at the same time. None may hold an OS thread, and
// nothing may be left of them.
func TestManyRequestsWaitAtOnce(t *testing.T) {
	const requests = 500
	for _, name := range Engines() {
		t.Run(name, func(t *testing.T) {
			h, err := New(Options{Engine: name, CacheDir: hosts.dir, EngineConfig: engine.Config{MaxInstances: requests + 10}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			s, err := h.Load(t.Context(), guestBytes(t, "rust/hostile"), ServiceConfig{Name: "sleepers"})
			if err != nil {
				t.Fatal(err)
			}
			before, threads := runtime.NumGoroutine(), osThreads()
			ask := func() {
				w := &countingWriter{header: make(http.Header)}
				r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/sleep?ms=1000", nil)
				r.RequestURI = "/sleep?ms=1000"
				s.ServeHTTP(w, r)
				if w.status != 200 {
					t.Errorf("status %d", w.status)
				}
			}
			var wg sync.WaitGroup
			for range requests {
				wg.Go(ask)
			}
			// A slow machine may not have all of them inside at the same moment.
			waitFor(t, func() bool { return s.Stats().Sandboxes.InUse >= requests/2 })
			if n := osThreads(); n-threads > 60 {
				t.Errorf("%d OS threads more for %d guests that wait", n-threads, requests)
			}
			wg.Wait()
			// A sandbox may be cleared away just after its response.
			waitFor(t, func() bool { return h.Stats().Sandboxes.InUse == 0 })
			st := h.Stats()
			if st.Sandboxes.InUse != 0 || st.Sandboxes.Waiting != 0 || st.Services[0].Requests != requests {
				t.Errorf("%+v", st.Sandboxes)
			}
			for why, n := range st.Sandboxes.Refused {
				if n != 0 {
					t.Errorf("%d requests were refused: %s", n, why)
				}
			}
			if p := st.Pool; p.Instances != p.Parked || p.Computing != 0 {
				t.Errorf("instances are left over: %+v", p)
			}
			deadline := time.Now().Add(5 * time.Second)
			for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
				time.Sleep(10 * time.Millisecond)
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("%d goroutines, %d before", n, before)
			}
		})
	}
}

// osThreads is how many the process has, 0 where that cannot be told.
func osThreads() int {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "\nThreads:\t")
	n := 0
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
