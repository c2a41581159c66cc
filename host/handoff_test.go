package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wire"
	_ "github.com/edgewasm/wasmedge/host/wire/xconnect"
)

// webSocketServer says how it was asked, and then echoes.
func webSocketServer(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/refuse"):
		w.Header().Set("X-Why", "because")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "not you")
		return
	case r.Header.Get("Upgrade") == "":
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, r.Header.Get("X-Edge"))
		return
	}
	w.Header().Set("X-Origin", "here")
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(64 << 20)
	ctx := context.Background()
	c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "%s %s edge=%s loop=%s cookie=%s",
		r.Host, r.URL, r.Header.Get("X-Edge"), r.Header.Get("Cdn-Loop"), r.Header.Get("Cookie")))
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		if string(message) == "bye" {
			c.Close(4001, "as you wish")
			return
		}
		if c.Write(ctx, kind, message) != nil {
			return
		}
	}
}

// originOf gives the backend of a test server.
func originOf(l net.Listener) backend.Config { return backendAt("origin", l.Addr()) }

func plainOrigin(t testing.TB, handler http.HandlerFunc) backend.Config {
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return originOf(s.Listener)
}

// rawOrigin serves each connection by hand.
func rawOrigin(t testing.TB, serve func(net.Conn, *bufio.Reader)) backend.Config {
	return backendAt("origin", rawServer(t, serve))
}

// rawServer listens for rawOrigin.
func rawServer(t testing.TB, serve func(net.Conn, *bufio.Reader)) net.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc, bufio.NewReader(nc))
			}()
		}
	}()
	return l.Addr()
}

// clientPair is a certificate that no authority has signed.
func clientPair(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secureOrigin is an origin of wss: an authority of its own, a name that is not its address, a client certificate, another
// Host, and a path prefix.
func secureOrigin(t testing.TB, handler http.HandlerFunc) backend.Config {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != "example.com" || len(r.TLS.PeerCertificates) != 1 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler(w, r)
	}))
	s.EnableHTTP2 = true // what the host must not choose for a WebSocket
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := originOf(s.Listener)
	pair := clientPair(t)
	c.TLS = &backend.TLS{CertHost: "example.com", CACerts: []*x509.Certificate{s.Certificate()}, ClientCert: &pair}
	c.OverrideHost = "override.example"
	c.PathPrefix = "/prefix"
	return c
}

// fronts are the ways in which a client comes to the host.
func fronts(t testing.TB, handler http.Handler) map[string]struct {
	url    string
	client *http.Client
} {
	type front = struct {
		url    string
		client *http.Client
	}
	insecure := &tls.Config{InsecureSkipVerify: true}
	secure := func(s *wire.Server) { s.TLS = &wire.TLSConfig{} }
	tlsAddr := listen(t, handler, secure)
	plainAddr := listen(t, handler, nil)
	h2, h2c := newConnectTransport(insecure.Clone()), newConnectTransport(nil)
	h1 := &http.Transport{TLSClientConfig: insecure}
	t.Cleanup(func() {
		h2.close()
		h2c.close()
		h1.CloseIdleConnections()
	})
	return map[string]front{
		"HTTP/1.1":             {"http://" + plainAddr, &http.Client{Transport: h1}},
		"HTTP/1.1 over TLS":    {"https://" + tlsAddr, &http.Client{Transport: h1}},
		"HTTP/2 over TLS":      {"https://" + tlsAddr, &http.Client{Transport: h2}},
		"HTTP/2 in clear text": {"http://" + plainAddr, &http.Client{Transport: h2c}},
	}
}

// calm checks that a test leaves no goroutine behind.
func calm(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		plainClient.CloseIdleConnections()
		for range 500 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it never comes to this: " + what)
}

func dialWebSocket(t testing.TB, url string, client *http.Client) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"chat"}, HTTPHeader: http.Header{"Cookie": {"a=1"}},
		CompressionMode: websocket.CompressionContextTakeover,
	})
}

func receive(t testing.TB, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, message, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func TestWebSocketsPassThroughAGuest(t *testing.T) {
	origins := map[string]backend.Config{"ws": plainOrigin(t, webSocketServer), "wss": secureOrigin(t, webSocketServer)}
	eachEngine(t, func(t *testing.T, h *testHost) {
		for scheme, origin := range origins {
			t.Run(scheme, func(t *testing.T) {
				calm(t)
				service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
				for name, front := range fronts(t, service) {
					host := strings.SplitN(front.url, "//", 2)[1]
					first := host + " /a%20b?c=d edge=rust/handoff loop=wasmedge cookie=a=1"
					if scheme == "wss" {
						first = "override.example /prefix/a%20b?c=d edge=rust/handoff loop=wasmedge cookie=a=1"
					}
					c, resp, err := dialWebSocket(t, front.url+"/ws/a%20b?c=d", front.client)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						continue
					}
					if c.Subprotocol() != "chat" || resp.Header.Get("X-Origin") != "here" {
						t.Errorf("%s: the subprotocol is %q, the header %v", name, c.Subprotocol(), resp.Header)
					}
					if got := receive(t, c); got != first {
						t.Errorf("%s: the origin was asked with %q, want %q", name, got, first)
					}
					c.SetReadLimit(64 << 20)
					big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
					rand.Read(big[:1<<20])
					for _, message := range [][]byte{[]byte("hello"), {}, big} {
						if err := c.Write(t.Context(), websocket.MessageBinary, message); err != nil {
							t.Fatal(err)
						}
						if got := receive(t, c); got != string(message) {
							t.Errorf("%s: %d bytes came back, want %d", name, len(got), len(message))
						}
					}
					c.Write(t.Context(), websocket.MessageText, []byte("bye"))
					if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != 4001 {
						t.Errorf("%s: it ends with %v, want status 4001", name, err)
					}
				}
				eventually(t, "all tunnels are closed", func() bool { return service.Tunnels().Open == 0 && h.Tunnels().Open == 0 })
				if s := service.Tunnels(); s.Opened != 4 || s.Switched != 4 || s.Failed != 0 || s.Sent < 4<<20 || s.Received < 4<<20 {
					t.Errorf("counted %+v", s)
				}
			})
		}
	})
}

func TestTheGuestsPlaceIsFreeWhileAWebSocketIsOpen(t *testing.T) {
	origin := plainOrigin(t, webSocketServer)
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}, Limits: Limits{Concurrent: 1, QueueWait: 5 * time.Second}})
		front := listen(t, service, nil)
		for range 3 {
			c, _, err := dialWebSocket(t, "http://"+front+"/ws/", plainClient)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			receive(t, c)
		}
		if a := get(t, "http://"+front+"/no"); a.StatusCode != 200 {
			t.Errorf("got %d", a.StatusCode)
		}
		if s := service.Tunnels(); s.Open != 3 {
			t.Errorf("counted %+v", s)
		}
	})
}

// connectOver gives the status and body of a WebSocket's handshake over HTTP/2.
func connectOver(t testing.TB, client *http.Client, url string) (int, string, http.Header) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="} {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, "", resp.Header
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestWhatTheOriginAnswersInsteadOfAWebSocketGoesToTheClient(t *testing.T) {
	calm(t)
	origin := plainOrigin(t, webSocketServer)
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		for name, front := range fronts(t, service) {
			status, body, header := connectOver(t, front.client, front.url+"/ws/refuse")
			if status != 403 || body != "not you" || header.Get("X-Why") != "because" {
				t.Errorf("%s: %d %q %v", name, status, body, header)
			}
			// Over HTTP/2 a 200 would be a WebSocket.
			status, body, _ = connectOver(t, front.client, front.url+"/no")
			if _, h2 := front.client.Transport.(connectTransport); h2 && (status != 502 || body != "this is no WebSocket\n") || !h2 && (status != 200 || body != "no WebSocket here\n") {
				t.Errorf("%s: the guest's own answer came as %d %q", name, status, body)
			}
			status, body, _ = connectOver(t, front.client, front.url+"/unknown")
			if status != 502 || body != "Destination not found" {
				t.Errorf("%s: the guest's answer for an unknown backend came as %d %q", name, status, body)
			}
		}
		if s := service.Tunnels(); s.Switched != 0 || s.Open != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestOtherRequestsThatAreHandedOffAreForwarded(t *testing.T) {
	calm(t)
	origin := plainOrigin(t, webSocketServer)
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		front := listen(t, service, nil)
		for _, upgrade := range []string{"", "h2c", "TLS/1.2", "other, websocket2"} {
			req, _ := http.NewRequest("GET", "http://"+front+"/ws/plain?q", nil)
			if upgrade != "" {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", upgrade)
			}
			if a := fetch(t, plainClient, req); a.StatusCode != 200 || a.body != "GET /plain?q rust/handoff" {
				t.Errorf("upgrade %q: %d %q", upgrade, a.StatusCode, a.body)
			}
		}
		if a := get(t, "http://"+front+"/legacy/plain"); a.body != "GET /legacy/plain " {
			t.Errorf("the request as it came went out as %q", a.body)
		}
		target := fmt.Sprintf("%s:%d", origin.Host, origin.Port)
		if a := get(t, "http://"+front+"/dynamic/plain?target="+target); a.body != "GET /plain?target="+target+" rust/handoff" {
			t.Errorf("with a backend of the guest's own: %d %q", a.StatusCode, a.body)
		}
	})
}

func TestTheGuestMayGoOnAfterAHandOff(t *testing.T) {
	calm(t)
	origin := plainOrigin(t, webSocketServer)
	for way, status := range map[string]int{"linger": 200, "twice": 200, "late": 200} {
		t.Run(way, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, h *testHost) {
				var log bytes.Buffer
				service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}, Logs: telemetry.NewLines(&log)})
				front := listen(t, service, nil)
				a := get(t, "http://"+front+"/"+way+"/x")
				if a.StatusCode != status {
					t.Errorf("the client got %d %q, want %d", a.StatusCode, a.body, status)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				service.Close(ctx)
				if !strings.Contains(log.String(), "as expected") {
					t.Errorf("the guest wrote %q", log.String())
				}
			})
		})
	}
}

func TestJavaScriptHandsItsClientsOff(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(publisher))
	defer origin.Close()
	proxy := httptest.NewServer(&gripProxy{routes: map[string]string{"origin": origin.URL}, channels: make(map[string]map[chan string]bool)})
	defer proxy.Close()
	at := originOf(proxy.Listener)
	backends := []backend.Config{plainOrigin(t, webSocketServer)}
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "js/handoff", ServiceConfig{Backends: backends, GRIPProxy: &at})
		for name, front := range fronts(t, service) {
			c, _, err := dialWebSocket(t, front.url+"/ws/a%20b?c=d", front.client)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := receive(t, c); !strings.Contains(got, " /a%20b?c=d edge=js/handoff loop=wasmedge cookie=a=1") {
				t.Errorf("%s: the origin was asked with %q", name, got)
			}
			c.CloseNow()
			resp, err := front.client.Post(front.url+"/fanout/any", "text/plain", strings.NewReader("posted"))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := "POST /any posted js/handoff wasmedge"; string(body) != want {
				t.Errorf("%s: %d %q, want %q", name, resp.StatusCode, body, want)
			}
		}
	})
}
