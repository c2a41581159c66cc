package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wire"
	"github.com/edgewasm/wasmedge/testdata/guests"
)

// hosts are the hosts of one test run, one an engine: opening an engine reserves much address space.
var hosts struct {
	sync.Mutex
	dir  string
	open map[string]*testHost
}

type testHost struct {
	*Host
	logs *observer.ObservedLogs
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wasmedge-host-test")
	if err != nil {
		panic(err)
	}
	hosts.dir = dir
	hosts.open = make(map[string]*testHost)
	code := m.Run()
	for name, h := range hosts.open {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := h.Close(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "closing the %s host: %v\n", name, err)
			code = 1
		}
		cancel()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func openHost(t testing.TB, engineName string) *testHost {
	t.Helper()
	hosts.Lock()
	defer hosts.Unlock()
	if h := hosts.open[engineName]; h != nil {
		return h
	}
	core, logs := observer.New(zap.InfoLevel)
	h, err := New(Options{Engine: engineName, CacheDir: hosts.dir, Log: zap.New(core), EngineConfig: engine.Config{MaxInstances: 256}})
	if err != nil {
		t.Fatal(err)
	}
	hosts.open[engineName] = &testHost{h, logs}
	return hosts.open[engineName]
}

// eachEngine runs a test on every engine of this build.
func eachEngine(t *testing.T, test func(t *testing.T, h *testHost)) {
	for _, name := range Engines() {
		t.Run(name, func(t *testing.T) { test(t, openHost(t, name)) })
	}
}

// load loads a guest by name; "go/..." ones are compiled.
func load(t testing.TB, h *testHost, guest string, cfg ServiceConfig) *Service {
	t.Helper()
	if family, _, _ := strings.Cut(guest, "/"); raceEnabled && h.Engine().Name() == "wazero" && (family == "go" || family == "js") {
		t.Skip("compiling it with wazero takes minutes under the race detector")
	}
	var program []byte
	switch family, name, _ := strings.Cut(guest, "/"); family {
	case "go":
		program = guests.BuildGo(t, name)
	case "js":
		program = guests.JS(t, name)
	default:
		program = guests.Wasm(t, guest)
	}
	if cfg.Name == "" {
		cfg.Name = guest
	}
	s, err := h.Load(t.Context(), program, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// listen serves a handler on a real listener and gives its address.
func listen(t testing.TB, handler http.Handler, config func(*wire.Server)) string {
	t.Helper()
	ready := make(chan string, 1)
	s := &wire.Server{Handler: handler, Addr: "127.0.0.1:0", Ready: func(a net.Addr) { ready <- a.String() }, DrainTimeout: 2 * time.Second}
	if config != nil {
		config(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case addr := <-ready:
		return addr
	case err := <-done:
		t.Fatal(err)
		return ""
	}
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body string
	err  error // why the body is incomplete
}

// fetch sends a request and reads the answer.
func fetch(t testing.TB, client *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, resp.Body)
	return answer{resp, b.String(), err}
}

func get(t testing.TB, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, plainClient, req)
}

// plainClient opens a connection for each request.
var plainClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

// logged waits until the host's log holds a record with that text.
func (h *testHost) logged(t testing.TB, text string) {
	t.Helper()
	for range 200 {
		for _, e := range h.logs.All() {
			if strings.Contains(e.Message, text) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the log never says %q", text)
}

// guestBytes is a committed guest.
func guestBytes(t testing.TB, name string) []byte { return guests.Wasm(t, name) }

// fetchQuietly sends a request whose answer does not matter.
func fetchQuietly(ctx context.Context, url string) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return
	}
	if resp, err := plainClient.Do(req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
