package host

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// askReuse sends a request with a body and gives the status and the answer's first word and rest.
func askReuse(t testing.TB, url, body string) (status int, n, rest string) {
	t.Helper()
	resp, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, "", ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	n, rest, _ = strings.Cut(strings.TrimSpace(string(answer)), " ")
	return resp.StatusCode, n, rest
}

func TestASandboxServesFurtherRequestsWhenItsProgramAsks(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/reuse", ServiceConfig{Limits: Limits{SandboxRequests: 4}})
		url := "http://" + listen(t, s, nil)
		for i := range 10 {
			// The sandbox is in the list a moment after its response is complete.
			if i%4 != 0 {
				waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
			} else {
				waitFor(t, func() bool { return s.gate.inside() == 0 })
			}
			body := strings.Repeat("b", i)
			status, n, rest := askReuse(t, url+fmt.Sprintf("/%d", i), body)
			if want := fmt.Sprint(i%4 + 1); status != 200 || n != want || rest != strings.TrimSpace(fmt.Sprintf("/%d %s", i, body)) {
				t.Errorf("request %d: %d %q %q, want number %s", i, status, n, rest, want)
			}
		}
		if got := s.requestsReused.Load(); got != 7 {
			t.Errorf("%d requests went to sandboxes that had served before, want 7", got)
		}
		// After its timeout, the guest ends by itself.
		waitFor(t, func() bool { return s.idlers.n.Load() == 0 && h.idle.Load() == 0 })
		s.reused.Wait()
	})
}

func TestSandboxesAreNotReusedBeyondTheirLimits(t *testing.T) {
	for name, limits := range map[string]Limits{
		"requests": {SandboxRequests: 1},
		"age":      {SandboxAge: time.Nanosecond},
		"memory":   {SandboxMemory: 1},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, h *testHost) {
				s := load(t, h, "rust/reuse", ServiceConfig{Limits: limits})
				url := "http://" + listen(t, s, nil)
				for range 3 {
					if status, n, _ := askReuse(t, url, ""); status != 200 || n != "1" {
						t.Errorf("%d, request number %s of its sandbox", status, n)
					}
				}
			})
		})
	}
}

func TestAFailureInAReusedSandboxConcernsOneRequest(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/reuse", ServiceConfig{Limits: Limits{CPU: 500 * time.Millisecond}})
		url := "http://" + listen(t, s, nil)
		for _, path := range []string{"/trap", "/burn"} {
			if status, n, _ := askReuse(t, url, ""); status != 200 || n != "1" {
				t.Errorf("%d, request number %s of its sandbox", status, n)
			}
			waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
			if status, _, _ := askReuse(t, url+path, ""); status != 500 {
				t.Errorf("%s: %d", path, status)
			}
		}
		if status, n, _ := askReuse(t, url, ""); status != 200 || n != "1" {
			t.Errorf("afterwards: %d, request number %s of its sandbox", status, n)
		}
	})
}

func TestAClientThatGoesAwayEndsTheReusedSandbox(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/reuse", ServiceConfig{Limits: Limits{CPU: -1}})
		url := "http://" + listen(t, s, nil)
		askReuse(t, url, "")
		waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			waitFor(t, func() bool { return s.requestsReused.Load() == 1 })
			cancel()
		}()
		req, _ := http.NewRequestWithContext(ctx, "GET", url+"/burn", nil)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			t.Errorf("answered with %d", resp.StatusCode)
			resp.Body.Close()
		}
		waitFor(t, func() bool { return s.gate.inside() == 0 })
		s.reused.Wait()
	})
}

func TestClosingAServiceEndsSandboxesThatWait(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/reuse", ServiceConfig{})
		askReuse(t, "http://"+listen(t, s, nil), "")
		waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Close(ctx)
		if ctx.Err() != nil || h.idle.Load() != 0 {
			t.Errorf("%v, %d sandboxes wait", ctx.Err(), h.idle.Load())
		}
	})
}

func TestManyClientsShareReusableSandboxes(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/reuse", ServiceConfig{Limits: Limits{Concurrent: 6, Queue: 64, QueueWait: time.Minute}})
		url := "http://" + listen(t, s, nil)
		var wg sync.WaitGroup
		for c := range 16 {
			wg.Go(func() {
				for i := range 40 {
					body := fmt.Sprintf("%d-%d", c, i)
					if status, _, rest := askReuse(t, url+"/x", body); status != 200 || rest != "/x "+body {
						t.Errorf("%d %q, want %q", status, rest, body)
					}
				}
			})
		}
		wg.Wait()
		if s.requestsReused.Load() < 16*40/4 {
			t.Errorf("only %d of 640 requests went to sandboxes that had served before", s.requestsReused.Load())
		}
		waitFor(t, func() bool { return s.gate.inside() == 0 && h.idle.Load() == 0 })
	})
}

func TestProgramsMayLookForTheNextRequestBeforeTheyWait(t *testing.T) {
	for guest, reused := range map[string]bool{
		"wat/next_polled":   true,
		"wat/next_in_start": false, // on engines that suspend guests, a start function is not
	} {
		t.Run(guest, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, h *testHost) {
				s := load(t, h, guest, ServiceConfig{})
				url := "http://" + listen(t, s, nil)
				for i := range 3 {
					status, n, _ := askReuse(t, url, "")
					if status != 200 || reused && n != fmt.Sprint(i+1) {
						t.Errorf("request %d: %d %q", i, status, n)
					}
					if reused {
						waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
					}
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				s.Close(ctx)
				if ctx.Err() != nil {
					t.Error(ctx.Err())
				}
				for i := range s.endings {
					if causes[i] != CauseShutdown && s.endings[i].Load() != 0 {
						t.Errorf("a guest ended: %s", causes[i])
					}
				}
			})
		})
	}
}
