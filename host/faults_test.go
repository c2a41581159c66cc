package host

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
)

// openFiles counts the process's file descriptors; 0 where that cannot be told.
func openFiles() int {
	files, _ := os.ReadDir("/proc/self/fd")
	return len(files)
}

// resident is the process's memory in bytes; 0 where that cannot be told.
func resident() int64 {
	text, _ := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// settle waits until a count is at most what it was.
func settle(t *testing.T, what string, most int, count func() int) {
	t.Helper()
	n := 0
	for range 500 {
		if n = count(); n <= most {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s: %d are left, there may be %d", what, n, most)
}

// Whatever goes wrong with origins and clients, nothing is left behind. WASMEDGE_FAULTS=100000 makes it longer.
func TestNothingIsLeftOfRequestsThatFail(t *testing.T) {
	n := 1000
	if v := os.Getenv("WASMEDGE_FAULTS"); v != "" {
		n, _ = strconv.Atoi(v)
	}
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hijack := func() *net.TCPConn {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			return c.(*net.TCPConn)
		}
		switch r.URL.Path {
		case "/reset":
			c := hijack()
			c.SetLinger(0)
			c.Close()
		case "/halfclose":
			c := hijack()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
			c.CloseWrite()
			time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		case "/broken":
			io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		case "/big":
			io.Copy(w, io.LimitReader(zeros{}, 1<<20))
		case "/drip":
			for range 5 {
				io.WriteString(w, "drop")
				w.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
		case "/noread":
			w.WriteHeader(413)
		default:
			io.Copy(w, r.Body)
		}
	}))
	origin.Config.ErrorLog = nullLog
	origin.Start()
	defer origin.Close()
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.Config.ErrorLog = nullLog
	stranger.StartTLS()
	defer stranger.Close()
	good := backendAt("origin", origin.Listener.Addr())
	good.FirstByteTimeout = 40 * time.Millisecond
	bad := backendAt("closed", stranger.Listener.Addr())
	bad.TLS = new(backend.TLS)
	paths := []string{"/send/reset", "/send/halfclose", "/send/broken", "/send/slow", "/send/big", "/send/drip", "/send/noread", "/send/echo",
		"/error/", "/async/drip", "/build/echo", "/build/reset", "/nothing"}

	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{good, bad}, Limits: Limits{Wall: 20 * time.Second}})
		front := httptest.NewUnstartedServer(s)
		front.Config.ErrorLog = nullLog
		front.Start()
		defer front.Close()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
		var outcomes [2]atomic.Int64
		run := func(n int) {
			var workers sync.WaitGroup
			var next atomic.Int64
			for range 12 {
				workers.Go(func() {
					for next.Add(1) <= int64(n) {
						ctx, cancel := context.WithCancel(t.Context())
						if rand.IntN(4) == 0 {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(8000))*time.Microsecond)
						}
						var body io.Reader
						method := "GET"
						if rand.IntN(2) == 0 {
							method, body = "POST", io.LimitReader(zeros{}, rand.Int64N(300_000))
						}
						req, _ := http.NewRequestWithContext(ctx, method, front.URL+paths[rand.IntN(len(paths))], body)
						resp, err := client.Do(req)
						if err == nil {
							_, err = io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						if err != nil {
							outcomes[1].Add(1)
						} else {
							outcomes[0].Add(1)
						}
						cancel()
					}
				})
			}
			workers.Wait()
			client.CloseIdleConnections()
			front.CloseClientConnections()
			origin.CloseClientConnections()
			stranger.CloseClientConnections()
		}
		run(300)
		time.Sleep(200 * time.Millisecond)
		runtime.GC()
		goroutines, files, memory := runtime.NumGoroutine(), openFiles(), resident()
		start := time.Now()
		run(n)
		t.Logf("%d requests in %s, %d whole, %d not", n, time.Since(start).Round(time.Millisecond), outcomes[0].Load(), outcomes[1].Load())
		settle(t, "goroutines", goroutines+8, runtime.NumGoroutine)
		settle(t, "file descriptors", files+4, openFiles)
		settle(t, "sandboxes", 0, func() int { return int(s.gate.used.Load()) })
		for _, name := range s.env.Backends.Names() {
			settle(t, "exchanges with "+name, 0, func() int { return s.env.Backends.Lookup(name).Stats().InFlight })
		}
		if t.Failed() {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		}
		t.Logf("resident memory: %d MiB before, %d MiB after", memory>>20, resident()>>20)
	})
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A body may be as long as it likes: the host holds a few buffers of it. WASMEDGE_BODY=1073741824 makes it longer.
func TestLongBodiesTakeNoMemory(t *testing.T) {
	size := int64(48 << 20)
	if v := os.Getenv("WASMEDGE_BODY"); v != "" {
		size, _ = strconv.ParseInt(v, 10, 64)
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, " ", err)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		io.CopyN(w, zeros{}, size)
	}))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		get(t, "http://"+front+"/nothing")
		runtime.GC()
		before, most := resident(), int64(0)
		stop, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					most = max(most, resident())
				}
			}
		}()
		start := time.Now()
		resp, err := plainClient.Get("http://" + front + "/send/down")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n != size || err != nil {
			t.Errorf("down: %d bytes of %d, %v", n, size, err)
		}
		down := time.Since(start)
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", "http://"+front+"/send/up", io.LimitReader(zeros{}, size))
		req.ContentLength = size
		if a := fetch(t, plainClient, req); a.body != fmt.Sprint(size, " <nil>") {
			t.Errorf("up: %d %q", a.StatusCode, a.body)
		}
		close(stop)
		<-watched
		t.Logf("%d MiB down in %s, up in %s; resident %d MiB before, %d MiB at most", size>>20, down.Round(time.Millisecond), (time.Since(start) - down).Round(time.Millisecond), before>>20, most>>20)
		if grown := most - before; grown > 24<<20 {
			t.Errorf("the host has grown by %d MiB", grown>>20)
		}
	})
}

// Who does not read stops who sends, in both directions.
func TestSlowReadersStopTheirSenders(t *testing.T) {
	const far = 64 << 20
	var sent atomic.Int64
	go1 := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			<-go1
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
			return
		}
		buf := make([]byte, 32<<10)
		for sent.Load() < far {
			n, err := w.Write(buf)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer origin.Close()
	stands := func(n *atomic.Int64) int64 {
		last := int64(-1)
		for n.Load() != last || last <= 0 {
			last = n.Load()
			time.Sleep(300 * time.Millisecond)
		}
		return last
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		sent.Store(0)
		resp, err := plainClient.Get("http://" + front + "/send/")
		if err != nil {
			t.Fatal(err)
		}
		if n := stands(&sent); n > far/2 {
			t.Errorf("the origin has sent %d bytes to a client that reads none", n)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != far || err != nil {
			t.Errorf("then %d of %d bytes came, %v", n, far, err)
		}
		resp.Body.Close()

		go1 = make(chan struct{})
		var given atomic.Int64
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", "http://"+front+"/send/", counted{io.LimitReader(zeros{}, far), &given})
		done := make(chan answer, 1)
		go func() { done <- fetch(t, plainClient, req) }()
		if n := stands(&given); n > far/2 {
			t.Errorf("the client has sent %d bytes to an origin that reads none", n)
		}
		close(go1)
		if a := <-done; a.body != fmt.Sprint(far) {
			t.Errorf("then %q of %d bytes arrived", a.body, far)
		}
	})
}

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
