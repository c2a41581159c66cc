package abi

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
)

// origin is a real server that answers as the path says.
func origin(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-time.After(300 * time.Millisecond):
			case <-r.Context().Done():
			}
		case "/break":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		w.Header()["X-Two"] = []string{"a", "b"}
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %s %q %v", r.Method, r.URL, r.Host, body, err)
		w.Header().Set("X-Sum", "7")
	}))
	t.Cleanup(s.Close)
	return s
}

// withBackends gives the guest a backend "origin" and one, "closed", that nobody listens for.
func (g *guest) withBackends(s *httptest.Server) {
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	set, err := backend.NewSet(backend.Options{},
		backend.Config{Name: "origin", Host: addr.Addr().String(), Port: addr.Port(), FirstByteTimeout: 2 * time.Second},
		backend.Config{Name: "hasty", Host: addr.Addr().String(), Port: addr.Port(), FirstByteTimeout: 50 * time.Millisecond},
		backend.Config{Name: "closed", Host: closed.Addr().String(), Port: closed.Port()})
	if err != nil {
		g.t.Fatal(err)
	}
	g.sandbox.env.Backends = set
	g.sandbox.env.Dynamic = backend.NewRegistry(backend.RegistryOptions{})
	g.t.Cleanup(func() {
		g.sandbox.Finish()
		set.Close()
	})
}

// prepare makes a request and a body.
func (g *guest) prepare(method, uri, body string) (uint32, uint32) {
	g.t.Helper()
	r := g.newRequest()
	p, n := g.put(textA, method)
	g.ok("http_req.method_set", r, p, n)
	p, n = g.put(textA, uri)
	g.ok("http_req.uri_set", r, p, n)
	b := g.newBody()
	if body != "" {
		g.write(b, body)
	}
	return r, b
}

const (
	outResponse = 0x200
	outBody     = 0x208
	outDetail   = 0x240
	outPending  = 0x210
	outDone     = 0x218
)

// all reads a body to its end.
func (g *guest) all(body uint32) string {
	g.t.Helper()
	var b strings.Builder
	for {
		part := g.read(body, 1000)
		if part == "" {
			return b.String()
		}
		b.WriteString(part)
	}
}

func TestSend(t *testing.T) {
	g := newGuest(t, nil)
	s := origin(t)
	g.withBackends(s)
	for _, call := range []string{"send", "send_v2", "send_v3"} {
		r, b := g.prepare("PUT", "http://shop.example/a/b?c=d", "hello")
		p, n := g.put(textB, "origin")
		args := []uint32{r, b, p, n, outDetail, outResponse, outBody}
		if call == "send" {
			args = []uint32{r, b, p, n, outResponse, outBody}
		}
		g.ok("http_req."+call, args...)
		resp, body := g.u32(outResponse), g.u32(outBody)
		g.want(BadF, "http_req.close", r)
		g.want(BadF, "http_body.close", b)
		g.ok("http_resp.status_get", resp, outA)
		if got := g.u32(outA) & 0xFFFF; got != 201 {
			t.Errorf("%s: status %d", call, got)
		}
		if got := g.all(body); got != `PUT /a/b?c=d shop.example "hello" <nil>` {
			t.Errorf("%s: body %s", call, got)
		}
		np, nl := g.put(textA, "x-two")
		if got := g.list("http_resp.header_values_get", 100, resp, np, nl); strings.Join(got, ",") != "a,b" {
			t.Errorf("%s: headers %q", call, got)
		}
		if got := g.list("http_body.trailer_names_get", 100, body); strings.Join(got, ",") != "x-sum" {
			t.Errorf("%s: trailers %q", call, got)
		}
		g.ok("http_resp.get_addr_dest_ip", resp, room, outA)
		if g.u32(outA) != 4 {
			t.Errorf("%s: an address of %d bytes", call, g.u32(outA))
		}
		if call != "send" && (g.u32(outDetail) != uint32(backend.DetailOK) || g.u32(outDetail+4) != 0) {
			t.Errorf("%s: detail %d, mask %d", call, g.u32(outDetail), g.u32(outDetail+4))
		}
	}
}

func TestSendFailures(t *testing.T) {
	tests := []struct {
		backend, uri string
		status       Status
		detail       backend.Detail
	}{
		{"none", "/", Inval, backend.DetailDestinationNotFound},
		{"closed", "/", Error, backend.DetailConnectionRefused},
		{"hasty", "/slow", Error, backend.DetailHTTPResponseTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.backend, func(t *testing.T) {
			g := newGuest(t, nil)
			g.withBackends(origin(t))
			r, b := g.prepare("GET", tt.uri, "")
			p, n := g.put(textB, tt.backend)
			g.want(tt.status, "http_req.send_v2", r, b, p, n, outDetail, outResponse, outBody)
			if got := backend.Detail(g.u32(outDetail)); got != tt.detail {
				t.Errorf("detail %s, want %s", got, tt.detail)
			}
			if g.str(outDetail+8, 12) != "????????????" {
				t.Error("fields were written that the mask does not select")
			}
			g.want(BadF, "http_req.close", r) // consumed all the same
			g.want(BadF, "http_body.close", b)

			// The short struct of one SDK ends after 8 bytes.
			r, b = g.prepare("GET", tt.uri, "")
			g.put(room, strings.Repeat("?", 32))
			g.want(tt.status, "http_req.send_v2", r, b, p, n, room+2, outResponse, outBody)
			if g.mem[room+2] != byte(tt.detail) || g.str(room+10, 8) != "????????" {
				t.Errorf("short detail %q", g.str(room, 32))
			}
		})
	}
}

func TestABrokenResponseIsTold(t *testing.T) {
	g := newGuest(t, nil)
	g.withBackends(origin(t))
	r, b := g.prepare("GET", "/break", "")
	p, n := g.put(textB, "origin")
	g.ok("http_req.send", r, b, p, n, outResponse, outBody)
	if got := g.read(g.u32(outBody), 100); got != "part" {
		t.Errorf("read %q", got)
	}
	g.want(HTTPIncomplete, "http_body.read", g.u32(outBody), room, 100, outA)
}

func TestAsyncRequests(t *testing.T) {
	g := newGuest(t, nil)
	g.withBackends(origin(t))
	send := func(backend, uri string) uint32 {
		r, b := g.prepare("GET", uri, "")
		p, n := g.put(textB, backend)
		g.ok("http_req.send_async", r, b, p, n, outPending)
		return g.u32(outPending)
	}
	slow, fast := send("origin", "/slow"), send("origin", "/fast")
	g.ok("http_req.pending_req_poll", slow, outDone, outResponse, outBody)
	if g.u32(outDone) != 0 || g.u32(outResponse) != InvalidHandle {
		t.Error("a request that cannot be done is done")
	}
	list := func(hs ...uint32) (uint32, uint32) {
		for i, h := range hs {
			g.put(textB+uint32(4*i), string([]byte{byte(h), byte(h >> 8), 0, 0}))
		}
		return textB, uint32(len(hs))
	}
	p, n := list(slow, fast)
	g.ok("async_io.select", p, n, 0, outA)
	if g.u32(outA) != 1 {
		t.Errorf("select gave %d", g.u32(outA))
	}
	g.ok("http_req.pending_req_select", p, n, outDone, outResponse, outBody)
	if g.u32(outDone) != 1 || !strings.Contains(g.all(g.u32(outBody)), "GET /fast") {
		t.Errorf("select gave %d", g.u32(outDone))
	}
	g.want(BadF, "http_req.pending_req_wait", fast, outResponse, outBody)
	g.ok("http_req.pending_req_wait", slow, outResponse, outBody)
	if got := g.all(g.u32(outBody)); !strings.Contains(got, "GET /slow") {
		t.Errorf("body %q", got)
	}
	g.want(Inval, "http_req.pending_req_select", p, 0, outDone, outResponse, outBody)
	p, n = list(send("closed", "/"))
	g.ok("http_req.pending_req_select_v2", p, n, outDetail, outDone, outResponse, outBody)
	if g.u32(outResponse) != InvalidHandle || backend.Detail(g.u32(outDetail)) != backend.DetailConnectionRefused {
		t.Errorf("a failed request gave handle %d, detail %d", g.u32(outResponse), g.u32(outDetail))
	}
}

func TestAStreamedRequestArrives(t *testing.T) {
	g := newGuest(t, nil)
	g.withBackends(origin(t))
	r, b := g.prepare("POST", "/", "first ")
	p, n := g.put(textB, "origin")
	g.ok("http_req.send_async_v2", r, b, p, n, 1, outPending)
	g.write(b, "second")
	g.ok("http_body.close", b)
	g.ok("http_req.pending_req_wait", g.u32(outPending), outResponse, outBody)
	if got := g.all(g.u32(outBody)); !strings.Contains(got, `"first second" <nil>`) {
		t.Errorf("the origin saw %s", got)
	}
	// One that is given up is not a complete message for the origin.
	r, b = g.prepare("POST", "/", "first ")
	p, n = g.put(textB, "origin")
	g.ok("http_req.send_async_streaming", r, b, p, n, outPending)
	g.ok("http_body.abandon", b)
	if st := g.call("http_req.pending_req_wait", g.u32(outPending), outResponse, outBody); st == OK {
		t.Error("an abandoned request was answered")
	}
}

func TestPendingResponseGoesToTheClient(t *testing.T) {
	for backendName, want := range map[string]int{"origin": 201, "closed": 502, "hasty": 504} {
		g := newGuest(t, nil)
		g.withBackends(origin(t))
		r, b := g.prepare("GET", "/slow", "")
		p, n := g.put(textB, backendName)
		g.ok("http_req.send_async", r, b, p, n, outPending)
		h := g.u32(outPending)
		for i, e := range []struct{ call, value string }{{"append", "late"}, {"insert", "set"}} {
			np, nl := g.put(textA, "x-edit")
			vp, vl := g.put(textB, e.value)
			g.ok("http_req.pending_req_header_"+e.call, h, np, nl, vp, vl, uint32(i*0))
		}
		np, nl := g.put(textA, "x-two")
		g.ok("http_req.pending_req_header_remove", h, np, nl, targetResponse)
		g.want(Inval, "http_req.pending_req_header_remove", h, np, nl, targetUnknown)
		responded := make(chan *Response, 1)
		g.client.responded = responded
		g.ok("http_resp.send_downstream_pending", h)
		g.want(BadF, "http_resp.send_downstream_pending", h)
		g.want(Error, "http_resp.send_downstream", g.newResponse(), g.newBody(), 0)
		resp := <-responded
		var lines []string
		for _, f := range resp.Header().Fields() {
			if strings.HasPrefix(f.Name, "x-") {
				lines = append(lines, f.Name+"="+f.Value)
			}
		}
		if resp.Status != want || strings.Join(lines, " ") != "x-edit=set x-edit=late" {
			t.Errorf("%s: %d %q", backendName, resp.Status, lines)
		}
	}
}

func TestDynamicBackends(t *testing.T) {
	g := newGuest(t, nil)
	s := origin(t)
	g.withBackends(s)
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	register := func(name, target string, mask uint32) Status {
		np, nl := g.put(textA, name)
		tp, tl := g.put(textB, target)
		return g.call("http_req.register_dynamic_backend", np, nl, tp, tl, mask, room)
	}
	target := addr.String()
	if st := register("dyn", target, 0); st != OK {
		t.Fatalf("register == %s", st)
	}
	for name, want := range map[string]Status{"dyn": Error, "origin": Error, "": Inval, strings.Repeat("n", 256): Inval} {
		if st := register(name, target, 0); st != want {
			t.Errorf("register(%.10q) == %s, want %s", name, st, want)
		}
	}
	for _, bad := range []string{"", "host:0", "host:99999", "host:x", ":80", "a b"} {
		if st := register("bad", bad, 0); st != Inval {
			t.Errorf("target %q gave %s", bad, st)
		}
	}
	if st := register("bad", target, dynReserved); st != Inval {
		t.Errorf("the reserved bit gave %s", st)
	}
	if st := register("bad", target, dynUnknown); st != Inval {
		t.Errorf("an unknown bit gave %s", st)
	}
	// Host override and timeouts, in a struct that ends behind them.
	host, hostLen := g.put(0x3000, "other.example")
	outU32(g.mem[room:]).put(host)
	outU32(g.mem[room+4:]).put(hostLen)
	outU32(g.mem[room+12:]).put(1234)
	if st := register("dyn2", target, dynHostOverride|dynFirstByteTimeout); st != OK {
		t.Fatalf("register == %s", st)
	}
	np, nl := g.put(textA, "dyn2")
	g.ok("backend.get_first_byte_timeout_ms", np, nl, outA)
	if g.u32(outA) != 1234 {
		t.Errorf("first byte timeout %d", g.u32(outA))
	}
	g.ok("backend.get_override_host", np, nl, room, 100, outA)
	if got := g.str(room, g.u32(outA)); got != "other.example" {
		t.Errorf("override host %q", got)
	}
	g.ok("backend.get_port", np, nl, outA)
	if got := g.u32(outA) & 0xFFFF; got != uint32(addr.Port()) {
		t.Errorf("port %d", got)
	}
	g.ok("backend.is_dynamic", np, nl, outA)
	if g.u32(outA) != 1 {
		t.Error("it is not dynamic")
	}
	g.want(None, "backend.get_ssl_min_version", np, nl, outA)
	r, b := g.prepare("GET", "/", "")
	p, n := g.put(textB, "dyn2")
	g.ok("http_req.send", r, b, p, n, outResponse, outBody)
	if got := g.all(g.u32(outBody)); !strings.Contains(got, "other.example") {
		t.Errorf("the origin saw %s", got)
	}
	np, nl = g.put(textA, "nobody")
	g.want(Inval, "backend.get_port", np, nl, outA)
	g.ok("backend.exists", np, nl, outA)
	if g.u32(outA) != 0 {
		t.Error("it exists")
	}
	g.sandbox.env.MaxDynamic = 2
	if st := register("dyn3", "host:"+strconv.Itoa(80), 0); st != LimitExceeded {
		t.Errorf("a backend too many gave %s", st)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	g := newGuest(t, nil)
	g.withBackends(origin(t))
	g.sandbox.env.MaxExchanges = 1
	r, b := g.prepare("GET", "/", "")
	p, n := g.put(textB, "origin")
	g.ok("http_req.send", r, b, p, n, outResponse, outBody)
	r, b = g.prepare("GET", "/", "")
	p, n = g.put(textB, "origin")
	g.want(LimitExceeded, "http_req.send", r, b, p, n, outResponse, outBody)
}
