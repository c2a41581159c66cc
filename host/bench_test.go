package host

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/testdata/guests"
)

// helloGuests are the hello programs, one a language.
var helloGuests = []string{"rust/hello", "assemblyscript/hello", "c/hello", "go/hello", "js/hello"}

// benchGuests runs a benchmark for each guest on each engine, named ENGINE/GUEST.
func benchGuests(b *testing.B, names []string, bench func(b *testing.B, s *Service)) {
	for _, engineName := range Engines() {
		b.Run(engineName, func(b *testing.B) {
			h := openHost(b, engineName)
			for _, name := range names {
				b.Run(name, func(b *testing.B) {
					if strings.HasPrefix(name, "js/") && os.Getenv(guests.JSEnv) == "" {
						b.Skipf("needs %s: see testdata/guests/README.md", guests.JSEnv)
					}
					s := load(b, h, name, ServiceConfig{})
					b.ReportAllocs()
					bench(b, s)
				})
			}
		})
	}
}

// BenchmarkInstantiate makes and closes the sandbox's instance; no guest code runs.
func BenchmarkInstantiate(b *testing.B) {
	benchGuests(b, helloGuests, func(b *testing.B, s *Service) {
		for b.Loop() {
			inst, err := s.template.Instantiate(engine.InstanceConfig{MaxMemory: s.limits.Memory, MaxCPU: s.limits.CPU})
			if err != nil {
				b.Fatal(err)
			}
			inst.Close()
		}
	})
}

// BenchmarkHello serves one request in a fresh sandbox without HTTP around it: from http.Handler's call to its
// return, one request after the other.
func BenchmarkHello(b *testing.B) {
	benchGuests(b, helloGuests, func(b *testing.B, s *Service) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			b.Fatal(err)
		}
		request = request.WithContext(b.Context())
		w := &countingWriter{header: make(http.Header)}
		for b.Loop() {
			w.reset()
			s.ServeHTTP(w, request)
			if w.status != http.StatusOK || w.bytes == 0 {
				b.Fatalf("status %d, %d bytes", w.status, w.bytes)
			}
		}
	})
}

// countingWriter is a client that costs next to nothing.
type countingWriter struct {
	header http.Header
	status int
	bytes  int
}

func (w *countingWriter) reset() {
	clear(w.header)
	w.status, w.bytes = 0, 0
}

func (w *countingWriter) Header() http.Header { return w.header }

func (w *countingWriter) WriteHeader(status int) { w.status = status }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.bytes += len(p)
	return len(p), nil
}

func (w *countingWriter) FlushError() error { return nil }

// BenchmarkHTTPHello serves requests over loopback HTTP/1.1, each benchmark goroutine on a connection of its own that is
// kept. "native" is a handler in Go with the same answer on the same server, to compare with.
func BenchmarkHTTPHello(b *testing.B) {
	b.Run("native", func(b *testing.B) {
		b.ReportAllocs()
		benchHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("X-Guest", "native/hello")
			h["Content-Type"] = nil
			io.WriteString(w, "hello from native\n")
		}))
	})
	benchGuests(b, helloGuests, func(b *testing.B, s *Service) { benchHTTP(b, s) })
}

func benchHTTP(b *testing.B, handler http.Handler) {
	addr := listen(b, handler, nil)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		c, err := dialRaw(addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.conn.Close()
		for pb.Next() {
			if err := c.get(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// rawClient is an HTTP/1.1 client that does no more than a benchmark needs, so that what is measured is the
// server: it takes 200 responses with a Content-Length.
type rawClient struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialRaw(addr string) (*rawClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &rawClient{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

var rawRequest = []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

func (c *rawClient) get() error {
	if _, err := c.conn.Write(rawRequest); err != nil {
		return err
	}
	length, chunked := -1, false
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %q", line)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case "Transfer-Encoding":
			chunked = true
		}
	}
	if length >= 0 {
		_, err := c.r.Discard(length)
		return err
	}
	if !chunked {
		return fmt.Errorf("no length")
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
		if err != nil {
			return err
		}
		if _, err := c.r.Discard(int(n) + 2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// BenchmarkBody passes a body of 1 MB through a guest and back, without HTTP around it.
func BenchmarkBody(b *testing.B) {
	const size = 1 << 20
	benchGuests(b, []string{"rust/echo", "assemblyscript/echo", "go/echo", "js/echo"}, func(b *testing.B, s *Service) {
		data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		b.SetBytes(size)
		w := &countingWriter{header: make(http.Header)}
		for b.Loop() {
			w.reset()
			request, err := http.NewRequestWithContext(b.Context(), "POST", "http://localhost/", bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			s.ServeHTTP(w, request)
			if w.bytes != size {
				b.Fatalf("%d bytes came back", w.bytes)
			}
		}
	})
}

// A looper's guest makes one hostcall after another in a loop of its own, so that what is measured is the
// hostcall and not the way into the guest.

// hostcallCase is one hostcall with arguments, as an honest guest passes them.
type hostcallCase struct {
	name string // of the benchmark
	call string // MODULE.NAME; empty is the loop alone
	args []int32
}

// Where the looper keeps things in memory.
const (
	nameAt  = 0x100
	valueAt = 0x200
	outAt   = 0x400
)

var hostcallCases = []hostcallCase{
	{name: "loop"},
	{name: "round-trip", call: "fastly_http_req.version_get", args: []int32{1, outAt}},
	{name: "header-get", call: "fastly_http_req.header_value_get", args: []int32{1, nameAt, 6, outAt, 256, outAt - 16}},
	{name: "header-set", call: "fastly_http_req.header_insert", args: []int32{1, nameAt, 6, valueAt, 16}},
	{name: "method-get", call: "fastly_http_req.method_get", args: []int32{1, outAt, 256, outAt - 16}},
	{name: "vcpu-get", call: "fastly_compute_runtime.get_vcpu_ms", args: []int32{outAt}},
}

// BenchmarkHostcall makes hostcalls in a loop inside the guest. "loop" is the loop without a call, and
// "round-trip" a hostcall with next to nothing to do.
func BenchmarkHostcall(b *testing.B) {
	for _, engineName := range Engines() {
		b.Run(engineName, func(b *testing.B) {
			for _, c := range hostcallCases {
				b.Run(c.name, func(b *testing.B) { benchHostcall(b, openHost(b, engineName), c) })
			}
		})
	}
}

func benchHostcall(b *testing.B, h *testHost, c hostcallCase) {
	mod, err := h.engine.Compile(b.Context(), looper(b, h.calls, c))
	if err != nil {
		b.Fatal(err)
	}
	defer mod.Close()
	template, err := mod.Link(h.calls, engine.LinkOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer template.Close()
	sandbox := abi.NewSandbox(&abi.Environment{Logs: logs{}, ConfigStores: configStores{}}, &abi.ClientRequest{
		ID: strings.Repeat("0", 32), Method: "GET", URI: "http://example.com/", Version: abi.HTTP11,
		Header: benchHeader{},
		Body:   abi.NewBody(nil), Facts: commandFacts{}, Client: &commandClient{},
	})
	defer sandbox.Finish()
	inst, err := template.Instantiate(engine.InstanceConfig{State: sandbox})
	if err != nil {
		b.Fatal(err)
	}
	defer inst.Close()
	mem := inst.Memory()
	copy(mem[nameAt:], "x-name")
	copy(mem[valueAt:], "0123456789abcdef")
	const turnsAt, statusAt = 8, 12
	binary.LittleEndian.PutUint32(mem[turnsAt:], uint32(min(b.N, math.MaxInt32)))
	b.ReportAllocs()
	b.ResetTimer()
	if err := inst.Call(b.Context(), "run"); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if status := binary.LittleEndian.Uint32(mem[statusAt:]); status != 0 {
		b.Fatalf("%s answers status %d", c.call, status)
	}
}

// looper builds a module whose export "run" makes a hostcall as often as the number at address 8 says and adds up its
// statuses at 12. Before the loop it takes the client's request, which becomes handle 1.
func looper(b *testing.B, calls []engine.Hostcall, c hostcallCase) []byte {
	uleb := binary.AppendUvarint
	str := func(b []byte, s string) []byte { return append(uleb(b, uint64(len(s))), s...) }
	section := func(b []byte, id byte, body []byte) []byte {
		return append(uleb(append(b, id), uint64(len(body))), body...)
	}
	signature := func(b []byte, t engine.FuncType) []byte {
		b = uleb(append(b, 0x60), uint64(len(t.Params)))
		for _, p := range t.Params {
			b = append(b, byte(p))
		}
		b = uleb(b, uint64(len(t.Results)))
		for _, r := range t.Results {
			b = append(b, byte(r))
		}
		return b
	}
	find := func(name string) engine.Hostcall {
		for _, call := range calls {
			if call.Module+"."+call.Name == name {
				return call
			}
		}
		b.Fatalf("there is no hostcall %s", name)
		return engine.Hostcall{}
	}
	konst := func(b []byte, v int32) []byte { return appendSLEB(append(b, 0x41), int64(v)) }

	imports := []engine.Hostcall{find("fastly_http_req.body_downstream_get")}
	if c.call != "" {
		imports = append(imports, find(c.call))
	}
	n := uint64(len(imports))
	types := uleb(nil, n+1)
	imported := uleb(nil, n)
	for i, call := range imports {
		types = signature(types, call.Type)
		imported = uleb(append(str(str(imported, call.Module), call.Name), 0), uint64(i))
	}
	types = signature(types, engine.FuncType{})

	body := []byte{1, 1, 0x7f} // local 0: the turns left
	body = append(konst(konst(body, 0), 4), 0x10, 0, 0x1a)
	body = append(konst(body, 8), 0x28, 2, 0, 0x21, 0) // local 0 = i32.load(8)
	body = append(body, 0x03, 0x40)                    // loop
	if c.call != "" {
		body = konst(body, 12)
		body = append(konst(body, 12), 0x28, 2, 0)
		for _, a := range c.args {
			body = konst(body, a)
		}
		body = append(body, 0x10, 1, 0x6a, 0x36, 2, 0) // call 1; add; i32.store
	}
	body = append(konst(append(body, 0x20, 0), 1), 0x6b, 0x22, 0, 0x0d, 0) // local 0 -= 1; br_if while not 0
	body = append(body, 0x0b, 0x0b)

	m := []byte("\x00asm\x01\x00\x00\x00")
	m = section(m, 1, types)
	m = section(m, 2, imported)
	m = section(m, 3, uleb([]byte{1}, n))
	m = section(m, 5, []byte{1, 1, 1, 1}) // one memory of exactly one page
	m = section(m, 7, uleb(append(str(append(str([]byte{2}, "memory"), 2, 0), "run"), 0), n))
	return section(m, 10, append(uleb([]byte{1}, uint64(len(body))), body...))
}

// benchHeader is the header section of the request in benchHostcall.
type benchHeader struct{}

func (benchHeader) AppendFields(l *httpfield.List) {
	for _, name := range []string{"host", "accept", "user-agent", "accept-encoding", "x-name"} {
		l.Add(name, "value of the field")
	}
}
