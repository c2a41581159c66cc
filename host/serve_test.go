package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/edgewasm/wasmedge/host/wire"
	"github.com/edgewasm/wasmedge/testdata/guests"
)

func TestHelloInEveryLanguage(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, guest := range []string{"rust/hello", "assemblyscript/hello", "c/hello", "go/hello", "js/hello", "wat/hello"} {
			t.Run(guest, func(t *testing.T) {
				addr := listen(t, load(t, h, guest, ServiceConfig{}), nil)
				for range 3 {
					a := get(t, "http://"+addr+"/")
					if a.StatusCode != 200 || a.err != nil {
						t.Fatalf("status %d, %v", a.StatusCode, a.err)
					}
					if guest != "wat/hello" && !strings.Contains(a.body, "hello") {
						t.Errorf("body %q", a.body)
					}
				}
			})
		}
	})
}

func TestEchoInEveryLanguage(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, guest := range []string{"rust/echo", "assemblyscript/echo", "go/echo", "js/echo"} {
			t.Run(guest, func(t *testing.T) {
				addr := listen(t, load(t, h, guest, ServiceConfig{}), nil)
				body := make([]byte, 3<<20)
				rng := rand.NewChaCha8([32]byte{1})
				rng.Read(body)
				req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/a?b=c", bytes.NewReader(body))
				req.Header["X-Multi"] = []string{"one", "two"}
				a := fetch(t, plainClient, req)
				if a.StatusCode != 200 || a.err != nil {
					t.Fatalf("status %d, %v", a.StatusCode, a.err)
				}
				if sha256.Sum256([]byte(a.body)) != sha256.Sum256(body) {
					t.Errorf("%d bytes came back, not those that were sent", len(a.body))
				}
				if got := strings.Join(a.Header["X-Multi"], ", "); got != "one, two" {
					t.Errorf("x-multi came back as %q", a.Header["X-Multi"])
				}
			})
		}
	})
}

// The guest answers while the body still arrives: a client that waits for each piece of the answer before it
// sends the next would hang if anything on the way buffered.
func TestBodiesStreamBothWays(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/echo", ServiceConfig{})
		for proto, client := range map[string]*http.Client{"HTTP/1.1": plainClient, "HTTP/2": h2cClient(t)} {
			t.Run(proto, func(t *testing.T) {
				addr := listen(t, service, nil)
				pr, pw := io.Pipe()
				req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/", pr)
				req.Trailer = http.Header{"X-Sum": nil}
				go io.WriteString(pw, "piece 0")
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				buf := make([]byte, 7)
				for i := range 20 {
					if _, err := io.ReadFull(resp.Body, buf); err != nil {
						t.Fatal(err)
					}
					if got, want := string(buf), fmt.Sprintf("piece %d", i%10); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					if i < 19 {
						fmt.Fprintf(pw, "piece %d", (i+1)%10)
					}
				}
				req.Trailer.Set("X-Sum", "42")
				pw.Close()
				if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
					t.Errorf("at the end came %q, %v", rest, err)
				}
				if got := resp.Trailer.Get("X-Sum"); got != "42" {
					t.Errorf("trailers %v", resp.Trailer)
				}
			})
		}
	})
}

func h2cClient(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestTrailersOfAShortStream(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/stream", ServiceConfig{})
		for proto, client := range map[string]*http.Client{"HTTP/1.1": plainClient, "HTTP/2": h2cClient(t)} {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+listen(t, service, nil)+"/trailers", nil)
			a := fetch(t, client, req)
			if a.body != "with trailers\n" || a.Trailer.Get("X-One") != "1" || strings.Join(a.Trailer["X-Two"], ",") != "first,second" {
				t.Errorf("%s: %q, trailers %v", proto, a.body, a.Trailer)
			}
		}
	})
}

// A guest that computes on after its head: the client has the head at once, and sees the message break off when
// the guest is stopped.
func TestAComputingGuestsHeadIsSent(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		addr := listen(t, load(t, h, "rust/hostile", ServiceConfig{Limits: Limits{CPU: 300 * time.Millisecond}}), nil)
		a := get(t, "http://"+addr+"/spin?head=1")
		if a.StatusCode != 200 || a.err == nil || a.body != "the head is out\n" {
			t.Errorf("%d %q, %v", a.StatusCode, a.body, a.err)
		}
	})
}

func TestEarlyHints(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		addr := listen(t, load(t, h, "rust/hints", ServiceConfig{}), nil)
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, len(header["Link"]) > 0))
				return nil
			},
		})
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/?n=4", nil)
		a := fetch(t, plainClient, req)
		if a.StatusCode != 200 || strings.Join(hints, ",") != "103 true,103 true,103 true,103 true" {
			t.Errorf("status %d after %q", a.StatusCode, hints)
		}
	})
}

func TestFactsOfATLSClient(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/headers", ServiceConfig{FastlyKeys: []string{"key1"}})
		addr := listen(t, service, func(s *wire.Server) { s.TLS = new(wire.TLSConfig) })
		for _, h2 := range []bool{false, true} {
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"}, ForceAttemptHTTP2: h2}
			defer tr.CloseIdleConnections()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr+"/p?q", nil)
			req.Header["X-MiXed"] = []string{"1"}
			req.Header["X-Two"] = []string{"a", "b"}
			a := fetch(t, &http.Client{Transport: tr}, req)
			var facts map[string]any
			if err := json.Unmarshal([]byte(a.body), &facts); err != nil {
				t.Fatalf("%v in %s", err, a.body)
			}
			text := fmt.Sprint(facts)
			for _, want := range []string{"TLSv1.3", "shop.example", "TLS_", "127.0.0.1", "t13"} {
				if !strings.Contains(text, want) {
					t.Errorf("HTTP/2 %v: %q is missing from %s", h2, want, a.body)
				}
			}
			if !h2 && !strings.Contains(text, "X-MiXed") {
				t.Errorf("the original header name is missing from %s", a.body)
			}
		}
	})
}

func TestGuestsThatFail(t *testing.T) {
	tests := []struct {
		guest, path string
		status      int
		aborted     bool
		log         string
	}{
		{"rust/panics", "/before", 500, false, "unreachable instruction executed"},
		{"rust/panics", "/after-head", 200, true, "unreachable instruction executed"},
		{"rust/panics", "/exit?code=3", 500, false, "guest exited with code 3"},
		{"rust/panics", "/exit?code=0", 200, false, ""},
		{"rust/hostile", "/recurse", 500, false, "guest trapped"},
		{"rust/hostile", "/memory", 500, false, ""},
		{"rust/stream", "/abandon", 200, true, ""},
		{"wat/trap_before_head", "/", 500, false, "guest trapped"},
		{"wat/trap_after_head", "/", 200, true, "guest trapped"},
		{"wat/divide_by_zero", "/", 500, false, "integer division by zero"},
		{"wat/out_of_bounds", "/", 500, false, "out of bounds memory access"},
		{"wat/recursion", "/", 500, false, "call stack exhausted"},
		{"wat/exit_0", "/", 200, false, ""},
		{"wat/exit_1", "/", 500, false, "guest exited with code 1"},
		{"wat/exit_255", "/", 500, false, "guest exited with code 255"},
		{"wat/no_response", "/", 200, false, ""},
		{"wat/no_memory", "/", 200, false, ""},
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, tt := range tests {
			t.Run(tt.guest+tt.path, func(t *testing.T) {
				h.logs.TakeAll()
				addr := listen(t, load(t, h, tt.guest, ServiceConfig{Limits: Limits{Memory: 64 << 20}}), nil)
				a := get(t, "http://"+addr+tt.path)
				if a.StatusCode != tt.status {
					t.Errorf("status %d, want %d: %s", a.StatusCode, tt.status, a.body)
				}
				if (a.err != nil) != tt.aborted {
					t.Errorf("the body ended with %v", a.err)
				}
				if strings.Contains(a.body, "unreachable") {
					t.Errorf("the client was told about the inside of the program: %s", a.body)
				}
				if tt.log != "" {
					h.logged(t, tt.log)
				}
			})
		}
	})
}

func TestGuestsThatDoNotEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		t.Run("computing is limited by CPU time", func(t *testing.T) {
			for _, guest := range []string{"rust/hostile", "wat/loop", "wat/call_tree"} {
				addr := listen(t, load(t, h, guest, ServiceConfig{ExposeErrors: true, Limits: Limits{CPU: 50 * time.Millisecond}}), nil)
				a := get(t, "http://"+addr+"/spin")
				if a.StatusCode != 500 || !strings.Contains(a.body, "vCPU") {
					t.Errorf("%s: %d %s", guest, a.StatusCode, a.body)
				}
			}
		})
		t.Run("waiting is limited by the wall clock and costs no CPU time", func(t *testing.T) {
			addr := listen(t, load(t, h, "rust/hostile", ServiceConfig{ExposeErrors: true, Limits: Limits{CPU: 50 * time.Millisecond, Wall: 300 * time.Millisecond}}), nil)
			a := get(t, "http://"+addr+"/sleep")
			if a.StatusCode != 504 || !strings.Contains(a.body, "wall-clock") {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if a := get(t, "http://"+addr+"/sleep?ms=100"); a.StatusCode != 200 {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
		t.Run("a client that goes away stops its guest", func(t *testing.T) {
			s := load(t, h, "rust/hostile", ServiceConfig{Limits: Limits{Concurrent: 1, Queue: -1}})
			addr := listen(t, s, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/sleep", nil)
			if _, err := plainClient.Do(req); err == nil {
				t.Fatal("the guest answered")
			}
			waitFor(t, func() bool { return s.gate.inside() == 0 })
		})
		t.Run("a client that goes away stops a stream without end", func(t *testing.T) {
			s := load(t, h, "rust/stream", ServiceConfig{Limits: Limits{Concurrent: 1, Queue: -1}})
			addr := listen(t, s, nil)
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/infinite", nil)
			resp, err := plainClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
				t.Error(err)
			}
			cancel()
			waitFor(t, func() bool { return s.gate.inside() == 0 })
		})
		t.Run("busy sandboxes are answered 503", func(t *testing.T) {
			s := load(t, h, "rust/hostile", ServiceConfig{Limits: Limits{Concurrent: 1, Queue: -1}})
			addr := listen(t, s, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/sleep", nil)
				plainClient.Do(req)
			}()
			waitFor(t, func() bool { return s.gate.inside() == 1 })
			a := get(t, "http://"+addr+"/")
			if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
		})
		t.Run("closing a service stops guests when its patience ends", func(t *testing.T) {
			s := load(t, h, "rust/hostile", ServiceConfig{})
			addr := listen(t, s, nil)
			answered := make(chan int, 1)
			go func() { answered <- get(t, "http://"+addr+"/sleep").StatusCode }()
			waitFor(t, func() bool { return s.gate.inside() == 1 })
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			s.Close(ctx)
			if got := <-answered; got != 503 {
				t.Errorf("status %d", got)
			}
		})
	})
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it never happens")
}

func TestProgramsThatAreRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, m := range guests.MalformedModules(t) {
			if _, err := h.Load(t.Context(), m.Wasm, ServiceConfig{}); err == nil {
				t.Errorf("%s: loaded", m.Name)
			}
		}
		if _, err := h.Load(t.Context(), guests.Component(), ServiceConfig{}); !errors.Is(err, wasm.ErrComponent) {
			t.Errorf("a component: %v", err)
		}
		for guest, want := range map[string]string{
			"wat/unknown_import":  "unknown import",
			"wat/wrong_signature": "has type",
			"wat/no_start":        "_start",
			"wat/memory_huge":     "memory",
			"wat/table_huge":      "table",
		} {
			_, err := h.Load(t.Context(), guests.Wasm(t, guest), ServiceConfig{})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want something about %q", guest, err, want)
			}
		}
		// An unknown import may be left to trap when it is called; this guest has answered by then.
		s := load(t, h, "wat/unknown_import", ServiceConfig{UnknownImports: engine.TrapUnknown})
		h.logs.TakeAll()
		if a := get(t, "http://"+listen(t, s, nil)+"/"); a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		h.logged(t, "unknown import fastly_nonsense.does_not_exist")
	})
}

func TestLogsAndOutput(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		var logs, out lockedBuffer
		s := load(t, h, "rust/logging", ServiceConfig{
			Logs: telemetry.NewLines(&logs),
			Output: func(request uint64) (io.WriteCloser, io.WriteCloser) {
				p := fmt.Sprintf("[%d] ", request)
				return telemetry.NewPrefixWriter(&out, p), telemetry.NewPrefixWriter(&out, p)
			},
		})
		a := get(t, "http://"+listen(t, s, nil)+"/here")
		if a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		s.Close(t.Context())
		want := "access :: access: /here\naccess :: first line\\nsecond line\naccess :: not utf-8: \xff\xfe\naudit :: audit: /here\n"
		if got := logs.String(); got != want {
			t.Errorf("log endpoints got\n%swant\n%s", got, want)
		}
		if got := out.String(); got != "[0] stdout: /here\n[0] stderr: /here\n" {
			t.Errorf("output %q", got)
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestConfigStores(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		set := new(configstore.Set)
		store, err := configstore.New(map[string]string{"color": "green"}, configstore.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		set.Put("shop", store)
		addr := listen(t, load(t, h, "rust/config", ServiceConfig{ConfigStores: set}), nil)
		for _, path := range []string{"/shop/color", "/dictionary/shop/color"} {
			if a := get(t, "http://"+addr+path); !strings.Contains(a.body, "green") {
				t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
			}
		}
		store.Replace(map[string]string{"color": "red"})
		if a := get(t, "http://"+addr+"/shop/color"); !strings.Contains(a.body, "red") {
			t.Errorf("after the update: %d %s", a.StatusCode, a.body)
		}
	})
}

func TestMountedOnAnEmbeddersMux(t *testing.T) {
	h := openHost(t, Engines()[0])
	mux := http.NewServeMux()
	mux.Handle("/edge/", http.StripPrefix("/edge", load(t, h, "rust/headers", ServiceConfig{})))
	server := httptest.NewServer(mux)
	defer server.Close()
	a := get(t, server.URL+"/edge/x%20y?z")
	if a.StatusCode != 200 || !strings.Contains(a.body, "/x%20y?z") || strings.Contains(a.body, "/edge") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestMethodsAndStatusesWithoutABody(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		addr := listen(t, load(t, h, "rust/echo", ServiceConfig{}), nil)
		for _, tt := range []struct {
			method, path string
			status       int
			length       int64
		}{
			{"HEAD", "/", 200, -1},
			{"POST", "/?status=204", 204, 0},
			{"POST", "/?status=304", 304, 0},
			{"PROPFIND", "/", 200, 5},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), tt.method, "http://"+addr+tt.path, nil)
			if tt.method != "HEAD" {
				req.Body = io.NopCloser(strings.NewReader("hello"))
				req.ContentLength = 5
			}
			a := fetch(t, plainClient, req)
			if a.StatusCode != tt.status || tt.length >= 0 && int64(len(a.body)) != tt.length {
				t.Errorf("%s %s: %d with %d bytes", tt.method, tt.path, a.StatusCode, len(a.body))
			}
			if a.Header.Get("X-Guest") == "" {
				t.Errorf("%s %s: the guest's headers are missing", tt.method, tt.path)
			}
		}
	})
}

func TestAccessRecord(t *testing.T) {
	h := openHost(t, Engines()[0])
	s := load(t, h, "rust/hello", ServiceConfig{AccessLog: true})
	h.logs.TakeAll()
	get(t, "http://"+listen(t, s, nil)+"/abc?d")
	h.logged(t, "GET /abc?d")
	for _, e := range h.logs.All() {
		if e.Level != zap.InfoLevel {
			t.Errorf("%s: %s", e.Level, e.Message)
		}
	}
}

func TestRunAsACommand(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		t.Run("go/wasi", func(t *testing.T) {
			var out, errs bytes.Buffer
			s := load(t, h, "go/wasi", ServiceConfig{})
			if err := s.Run(t.Context(), RunOptions{Args: []string{"wasi", "one", "two"}, Stdout: &out, Stderr: &errs}); err != nil {
				t.Errorf("%v; %s%s", err, &out, &errs)
			}
		})
		for guest, want := range map[string]uint32{"wat/exit_0": 0, "wat/exit_1": 1, "wat/exit_255": 255} {
			err := load(t, h, guest, ServiceConfig{}).Run(t.Context(), RunOptions{})
			var exit *engine.ExitError
			if want == 0 && err != nil || want != 0 && (!errors.As(err, &exit) || exit.Code != want) {
				t.Errorf("%s: %v", guest, err)
			}
		}
		var trap *engine.TrapError
		if err := load(t, h, "wat/divide_by_zero", ServiceConfig{}).Run(t.Context(), RunOptions{}); !errors.As(err, &trap) {
			t.Errorf("a trap gave %v", err)
		}
	})
}

// Requests at once on both engines, each with a body of its own, mixed with guests that fail.
func TestManyRequestsAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		echo := listen(t, load(t, h, "rust/echo", ServiceConfig{}), nil)
		panics := listen(t, load(t, h, "rust/panics", ServiceConfig{}), nil)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
		defer client.CloseIdleConnections()
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for i := range 30 {
					if i%5 == 0 {
						req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+panics+"/before", nil)
						if a := fetch(t, client, req); a.StatusCode != 500 {
							t.Errorf("status %d", a.StatusCode)
						}
						continue
					}
					want := strings.Repeat(fmt.Sprintf("%d.%d ", worker, i), 1+i*50)
					req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+echo+"/", strings.NewReader(want))
					if a := fetch(t, client, req); a.body != want {
						t.Errorf("%d bytes came back instead of %d", len(a.body), len(want))
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestRequestIDsAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for range 10_000 {
		id := strings.TrimPrefix(newTraceID(), traceVariable)
		if len(id) != 32 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestTargetIsAsReceived(t *testing.T) {
	tests := []struct{ name, requestURI, path, want string }{
		{"escapes stay as they are", "/a%2Fb%20c?d=%41", "/a/b c", "/a%2Fb%20c?d=%41"},
		{"a prefix was stripped", "/edge/x?y", "/x", "/x?y"},
		{"an absolute target", "http://h/x?y", "/x", "/x?y"},
		{"the server as a whole", "*", "*", "/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://h"+strings.TrimPrefix(strings.TrimPrefix(tt.requestURI, "http://h"), "*"), nil)
			r.RequestURI = tt.requestURI
			if tt.path != r.URL.Path {
				r.URL.Path, r.URL.RawPath = tt.path, ""
			}
			if got := target(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
