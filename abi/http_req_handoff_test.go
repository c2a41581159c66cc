package abi

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// handshakeHeader is a client that asks for a WebSocket.
type handshakeHeader struct{}

func (handshakeHeader) AppendFields(l *httpfield.List) {
	for _, f := range [][2]string{{"host", "ws.example"}, {"connection", "Upgrade"}, {"upgrade", "websocket"},
		{"sec-websocket-key", "client's"}, {"sec-websocket-version", "13"}, {"cdn-loop", "other"}, {"cookie", "a=1"}} {
		l.Add(f[0], f[1])
	}
}

func withHandshake(t *testing.T, body string) *guest {
	g := newGuest(t, NewBody(source(strings.NewReader(body), int64(len(body)))))
	g.withBackends(origin(t))
	g.sandbox.client.Header = handshakeHeader{}
	return g
}

func fieldText(l *httpfield.List) string {
	var b strings.Builder
	for _, f := range l.Fields() {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

func (g *guest) handedOff() *HandOff {
	g.t.Helper()
	if len(g.client.handOffs) != 1 {
		g.t.Fatalf("%d requests were handed off, want 1", len(g.client.handOffs))
	}
	return g.client.handOffs[0]
}

func bodyText(t *testing.T, b *Body) string {
	var got strings.Builder
	buf := make([]byte, 10)
	for {
		n, err := b.Read(context.Background(), buf)
		got.Write(buf[:n])
		if err == io.EOF {
			return got.String()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheClientsRequestIsHandedOffAsItCame(t *testing.T) {
	for call, grip := range map[string]bool{"redirect_to_websocket_proxy": false, "upgrade_websocket": false, "redirect_to_grip_proxy": true} {
		g := withHandshake(t, "body")
		g.ok("http_req.body_downstream_get", outA, outB)
		r, b := g.u32(outA), g.u32(outB)
		g.header("http_req", r, "header_insert", "x-mine", "1")
		p, n := g.put(textA, "origin")
		g.ok("http_req."+call, p, n)
		h := g.handedOff()
		want := "host: ws.example\nconnection: Upgrade\nupgrade: websocket\nsec-websocket-key: client's\nsec-websocket-version: 13\ncdn-loop: other\ncookie: a=1\n"
		if got := fieldText(&h.Header); got != want {
			t.Errorf("%s: the header is\n%s", call, got)
		}
		if h.GRIP != grip || h.Name != "origin" || h.Method != "POST" || h.URI != "http://example.com/a?b" || h.Backend.Name() != "origin" {
			t.Errorf("%s: %+v", call, h)
		}
		if got := g.read(b, 10); got != "" {
			t.Errorf("%s: the guest still reads %q", call, got)
		}
		if got := bodyText(t, h.Body); got != "body" {
			t.Errorf("%s: the body is %q", call, got)
		}
		g.ok("http_body.close", b)
		if !g.sandbox.Responded() {
			t.Errorf("%s does not count as the response", call)
		}
	}
}

func TestAnEditedRequestIsHandedOffWithTheClientsProtectedFields(t *testing.T) {
	for call, grip := range map[string]bool{"redirect_to_websocket_proxy_v2": false, "redirect_to_grip_proxy_v2": true} {
		g := withHandshake(t, "")
		r := g.newRequest()
		for _, f := range [][2]string{{"authorization", "secret"}, {"host", "evil"}, {"upgrade", "h2c"}, {"sec-websocket-key", "mine"},
			{"cdn-loop", "none"}, {"transfer-encoding", "chunked"}, {"sec-websocket-protocol", "chat"}, {"pushpin-route", "elsewhere"}} {
			g.header("http_req", r, "header_insert", f[0], f[1])
		}
		p, n := g.put(textA, "http://other.example/ws?x")
		g.ok("http_req.uri_set", r, p, n)
		p, n = g.put(textA, "origin")
		g.ok("http_req."+call, r, p, n)
		h := g.handedOff()
		want := "host: ws.example\nconnection: Upgrade\nupgrade: websocket\nsec-websocket-key: client's\nsec-websocket-version: 13\ncdn-loop: other\n" +
			"authorization: secret\nsec-websocket-protocol: chat\n"
		if got := fieldText(&h.Header); got != want {
			t.Errorf("%s: the header is\n%s", call, got)
		}
		if h.GRIP != grip || h.Method != "GET" || h.URI != "http://other.example/ws?x" {
			t.Errorf("%s: %+v", call, h)
		}
		g.ok("http_req.close", r) // it was not consumed
	}
}

func TestHandOffsThatAreRefused(t *testing.T) {
	for _, call := range []string{"redirect_to_websocket_proxy_v2", "redirect_to_grip_proxy_v2"} {
		g := withHandshake(t, "")
		r := g.newRequest()
		unknown, un := g.put(textB, "nowhere")
		g.want(Inval, "http_req."+call, r, unknown, un)
		g.want(Inval, "http_req."+call, r, guestMemory-1, 8)
		p, n := g.put(textA, "origin")
		g.want(BadF, "http_req."+call, 99, p, n)
		if len(g.client.handOffs) != 0 || g.sandbox.Responded() {
			t.Errorf("%s: a refused hand-off counts as one", call)
		}
		g.ok("http_req."+call, r, p, n)
		g.want(Error, "http_req."+call, r, p, n)
		g.want(Error, "http_req.redirect_to_grip_proxy", p, n)
		g.want(Error, "http_resp.send_downstream", g.newResponse(), g.newBody(), 0)
		if len(g.client.handOffs) != 1 {
			t.Errorf("%s: handed off %d times", call, len(g.client.handOffs))
		}
	}
	g := withHandshake(t, "")
	g.ok("http_resp.send_downstream", g.newResponse(), g.newBody(), 0)
	p, n := g.put(textA, "origin")
	g.want(Error, "http_req.redirect_to_websocket_proxy", p, n)

	g = withHandshake(t, "")
	g.sandbox.client.Client = struct{ Client }{g.client} // cannot be handed off
	p, n = g.put(textA, "origin")
	g.want(Unsupported, "http_req.redirect_to_websocket_proxy", p, n)
	g.sandbox.client.Client = g.client
	g.sandbox.env.NoWebSockets = true
	g.want(Unsupported, "http_req.redirect_to_websocket_proxy", p, n)
	g.ok("http_req.redirect_to_grip_proxy", p, n)
	g.sandbox.client = nil
	g.want(Error, "http_req.redirect_to_websocket_proxy", p, n)
}

func TestADynamicBackendOutlivesTheSandboxThatHandsOffToIt(t *testing.T) {
	g := withHandshake(t, "")
	to, _ := backend.New(backend.Config{Name: "mine", Host: "192.0.2.1"}, backend.Options{})
	released := 0
	g.sandbox.dynamic = map[string]dynamicBackend{"mine": {backend: to, release: func() { released++ }}}
	p, n := g.put(textA, "mine")
	g.ok("http_req.redirect_to_websocket_proxy", p, n)
	h := g.handedOff()
	g.ok("backend.exists", p, n, outA)
	if g.u32(outA) != 1 {
		t.Error("the guest no longer knows its backend")
	}
	g.sandbox.Finish()
	if released != 0 {
		t.Error("the sandbox's end released the backend")
	}
	h.Release()
	if released != 1 {
		t.Errorf("the backend was released %d times", released)
	}
}

func TestABodyThatTheGuestNeverAskedForIsHandedOff(t *testing.T) {
	g := withHandshake(t, "body")
	p, n := g.put(textA, "origin")
	g.ok("http_req.redirect_to_grip_proxy", p, n)
	g.ok("http_req.body_downstream_get", outA, outB)
	if got := g.read(g.u32(outB), 10); got != "" {
		t.Errorf("the guest reads %q", got)
	}
	h := g.handedOff()
	g.sandbox.Finish()
	if got := bodyText(t, h.Body); got != "body" {
		t.Errorf("the body is %q", got)
	}
}

func TestABodyThatTheGuestClosedIsHandedOff(t *testing.T) {
	g := withHandshake(t, "body")
	g.ok("http_req.body_downstream_get", outA, outB)
	b := g.u32(outB)
	if got := g.read(b, 1); got != "b" {
		t.Errorf("the guest reads %q", got)
	}
	g.ok("http_body.close", b)
	g.want(BadF, "http_body.close", b)
	p, n := g.put(textA, "origin")
	g.ok("http_req.redirect_to_grip_proxy", p, n)
	if got := bodyText(t, g.handedOff().Body); got != "ody" {
		t.Errorf("the body is %q", got)
	}
}

func TestAClosedBodyIsLetGoOnceThereIsAResponse(t *testing.T) {
	for _, finish := range []bool{false, true} {
		body := NewBody(source(strings.NewReader("body"), 4))
		g := newGuest(t, body)
		g.ok("http_req.body_downstream_get", outA, outB)
		g.ok("http_body.close", g.u32(outB))
		if body.gone != nil {
			t.Error("it is let go at once")
		}
		if finish {
			g.sandbox.Finish()
		} else {
			g.ok("http_resp.send_downstream", g.newResponse(), g.newBody(), 0)
		}
		if body.gone == nil {
			t.Errorf("it is never let go (finish %t)", finish)
		}
	}
}

func TestABodyThatTheGuestPassedOnIsNotHandedOff(t *testing.T) {
	g := withHandshake(t, "body")
	g.ok("http_req.body_downstream_get", outA, outB)
	b := g.u32(outB)
	mine := g.newBody()
	g.ok("http_body.append", mine, b)
	p, n := g.put(textA, "origin")
	g.ok("http_req.redirect_to_grip_proxy", p, n)
	if got := bodyText(t, g.handedOff().Body); got != "" {
		t.Errorf("the body is %q", got)
	}
	if got := g.read(mine, 10); got != "body" {
		t.Errorf("the guest reads %q", got)
	}
}

func TestOnlyTheServiceItselfMayBeActedFor(t *testing.T) {
	g := newGuest(t, nil)
	g.sandbox.env.ServiceID = "svc1"
	r := g.newRequest()
	for service, want := range map[string]Status{"svc1": OK, "svc2": Unsupported, "": Inval, "\xff": Inval} {
		p, n := g.put(textA, service)
		g.want(want, "http_req.on_behalf_of", r, p, n)
	}
	p, n := g.put(textA, "svc1")
	g.want(BadF, "http_req.on_behalf_of", 99, p, n)
	if len(g.sandbox.missing) != 0 {
		t.Errorf("missing: %v", g.sandbox.missing)
	}
}
