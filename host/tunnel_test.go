package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/wire"
)

const handshake = "GET /ws/x HTTP/1.1\r\nHost: edge.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n"

// wsClient is a client's connection with a handshake sent.
type wsClient struct {
	net.Conn
	br *bufio.Reader
}

func rawHandshake(t testing.TB, addr, request string, secure bool) *wsClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	return &wsClient{nc, bufio.NewReader(nc)}
}

func (c *wsClient) response(t testing.TB) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// rawEcho switches, says "first", and echoes bytes until their end, then says "last".
func rawEcho(nc net.Conn, br *bufio.Reader) {
	if _, err := http.ReadRequest(br); err != nil {
		return
	}
	io.WriteString(nc, switched+"X-Fine: yes\r\nKeep-Alive: timeout=5\r\n\r\nfirst")
	io.Copy(nc, br)
	io.WriteString(nc, "last")
}

func TestATunnelCarriesAnyBytesAndBothEnds(t *testing.T) {
	// No frame of a WebSocket: one of a size that nobody would accept, and noise.
	content := append([]byte{0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 8<<20)...)
	rand.Read(content[10:])
	origin := rawOrigin(t, rawEcho)
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
				calm(t)
				service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
				front := listen(t, service, func(s *wire.Server) {
					if secure {
						s.TLS = &wire.TLSConfig{}
					}
				})
				c := rawHandshake(t, front, handshake+"early", secure)
				resp := c.response(t)
				if resp.StatusCode != 101 || resp.Header.Get("X-Fine") != "yes" || resp.Header.Get("Keep-Alive") != "" ||
					resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Accept") != accept("MDEyMzQ1Njc4OWFiY2RlZg==") {
					t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
				}
				go func() {
					c.Write(content)
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				}()
				got, err := io.ReadAll(c.br)
				if want := "firstearly" + string(content) + "last"; err != nil || string(got) != want {
					t.Errorf("%d bytes came back, want %d: %v", len(got), len(want), err)
				}
				c.Close()
				eventually(t, "the tunnel is closed", func() bool { return service.Tunnels().Open == 0 })
				if s := service.Tunnels(); s.Received != uint64(5+len(content)) || s.Sent != uint64(14+len(content)) || s.Ended != 0 {
					t.Errorf("counted %+v", s)
				}
			})
		}
	})
}

func TestHandshakesThatFail(t *testing.T) {
	stalls := make(chan struct{})
	t.Cleanup(func() { close(stalls) })
	answer := func(text string) backend.Config {
		return rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
			http.ReadRequest(br)
			io.WriteString(nc, text)
		})
	}
	tests := []struct {
		name    string
		origin  backend.Config
		request string // "": a good handshake
		want    int
		over2   int // over HTTP/2, where it differs; -1: not tried
	}{
		{"the origin closes before it answers", answer(""), "", 502, 0},
		{"the origin closes within its head", answer("HTTP/1.1 101 Switching"), "", 502, 0},
		{"a 101 without Upgrade", answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"), "", 502, 0},
		{"a 101 to another protocol", answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), "", 502, 0},
		{"a head without end", answer("HTTP/1.1 101 Switching Protocols\r\nA: " + strings.Repeat("a", 1<<20)), "", 502, 0},
		{"a 101 that does not fit the key", answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"), "", 101, 502},
		{"no answer at all", rawOrigin(t, func(net.Conn, *bufio.Reader) { <-stalls }), "", 504, 0},
		{"nobody listens", closedOrigin(t), "", 502, 0},
		{"a bad key", plainOrigin(t, webSocketServer), strings.Replace(handshake, "MDEyMzQ1Njc4OWFiY2RlZg==", "short", 1), 400, -1},
		{"no key", plainOrigin(t, webSocketServer), strings.Replace(handshake, "Sec-WebSocket-Key", "X-Key", 1), 400, -1},
		{"an old version", plainOrigin(t, webSocketServer), strings.Replace(handshake, "Version: 13", "Version: 8", 1), 400, -1},
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				tt.origin.FirstByteTimeout = 300 * time.Millisecond
				service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{tt.origin}})
				for name, front := range fronts(t, service) {
					want := tt.want
					if _, h2 := front.client.Transport.(connectTransport); h2 && tt.over2 != 0 {
						want = tt.over2
					}
					switch {
					case name == "HTTP/1.1" && tt.request != "":
						c := rawHandshake(t, strings.TrimPrefix(front.url, "http://"), tt.request, false)
						if resp := c.response(t); resp.StatusCode != want {
							t.Errorf("%s: got %d, want %d", name, resp.StatusCode, want)
						}
						c.Close()
					case want > 0 && tt.request == "":
						if status, body, _ := connectOver(t, front.client, front.url+"/ws/x"); status != want {
							t.Errorf("%s: got %d %q, want %d", name, status, body, want)
						}
					}
				}
				eventually(t, "no tunnel is open", func() bool { return service.Tunnels().Open == 0 })
			})
		}
	})
}

// closedOrigin is one that nobody listens for.
func closedOrigin(t testing.TB) backend.Config {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return originOf(l)
}

func TestAClientThatGoesAwayEndsItsHandshake(t *testing.T) {
	calm(t)
	asked, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	origin := rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		asked <- struct{}{}
		io.Copy(io.Discard, br)
		gone <- struct{}{}
	})
	origin.FirstByteTimeout = time.Minute
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		front := listen(t, service, nil)
		c := rawHandshake(t, front, handshake, false)
		<-asked
		c.Close()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Fatal("the origin is kept waiting")
		}
		eventually(t, "no tunnel is open", func() bool { return service.Tunnels().Open == 0 })
	})
}

func TestTunnelsAreBounded(t *testing.T) {
	endless := rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(nc, switched+"\r\n")
		for chunk := make([]byte, 32<<10); ; {
			if _, err := nc.Write(chunk); err != nil {
				return
			}
		}
	})
	var closed atomic.Int32
	silent := rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(nc, switched+"\r\n")
		io.Copy(io.Discard, br)
		closed.Add(1)
	})
	tests := []struct {
		name   string
		origin backend.Config
		limits Limits
		read   bool // whether the client does
		why    error
	}{
		{"neither end says anything", silent, Limits{TunnelIdle: 200 * time.Millisecond}, true, errTunnelIdle},
		{"the client does not read", endless, Limits{TunnelIdle: 400 * time.Millisecond}, false, errTunnelIdle},
		{"it lasts too long", endless, Limits{TunnelTime: 400 * time.Millisecond}, true, errTunnelTime},
		{"it lasts too long in silence", silent, Limits{TunnelTime: 400 * time.Millisecond, TunnelIdle: -1}, true, errTunnelTime},
		{"too many bytes pass", endless, Limits{TunnelBytes: 1 << 20}, true, errTunnelBytes},
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, tt := range tests {
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprint(tt.name, " TLS ", secure), func(t *testing.T) {
					calm(t)
					service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{tt.origin}, Limits: tt.limits})
					front := listen(t, service, func(s *wire.Server) {
						if secure {
							s.TLS = &wire.TLSConfig{}
						}
					})
					c := rawHandshake(t, front, handshake, secure)
					if resp := c.response(t); resp.StatusCode != 101 {
						t.Fatalf("got %d", resp.StatusCode)
					}
					var n int64
					if tt.read {
						n, _ = io.Copy(io.Discard, c.br)
					}
					eventually(t, "the tunnel is ended", func() bool { return service.Tunnels().Ended == 1 && service.Tunnels().Open == 0 })
					h.logged(t, "a WebSocket was ended: "+tt.why.Error())
					if limit := tt.limits.TunnelBytes; limit > 0 && n > limit {
						t.Errorf("%d bytes passed, %d are allowed", n, limit)
					}
				})
			}
		}
	})
	eventually(t, "the origin notices", func() bool { return closed.Load() >= 4 })
}

func TestTunnelsOverHTTP2AreBounded(t *testing.T) {
	origin := plainOrigin(t, webSocketServer)
	eachEngine(t, func(t *testing.T, h *testHost) {
		for why, limits := range map[string]Limits{"idle": {TunnelIdle: 200 * time.Millisecond}, "time": {TunnelTime: 300 * time.Millisecond}} {
			calm(t)
			service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}, Limits: limits})
			front := fronts(t, service)["HTTP/2 over TLS"]
			c, _, err := dialWebSocket(t, front.url+"/ws/", front.client)
			if err != nil {
				t.Fatal(err)
			}
			receive(t, c)
			if _, _, err := c.Read(t.Context()); err == nil {
				t.Errorf("%s: a message came", why)
			}
			c.CloseNow()
			eventually(t, "the tunnel is ended", func() bool { return service.Tunnels().Ended == 1 && service.Tunnels().Open == 0 })
		}
	})
}

func TestTooManyTunnelsAreRefused(t *testing.T) {
	origin := rawOrigin(t, rawEcho)
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		service := load(t, h, "rust/handoff", ServiceConfig{Name: "few", Backends: []backend.Config{origin}, Limits: Limits{Tunnels: 1}})
		front := listen(t, service, nil)
		c := rawHandshake(t, front, handshake, false)
		if resp := c.response(t); resp.StatusCode != 101 {
			t.Fatalf("got %d", resp.StatusCode)
		}
		c2 := rawHandshake(t, front, handshake, false)
		if resp := c2.response(t); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d %v", resp.StatusCode, resp.Header)
		}
		eventually(t, "the WebSocket is counted", func() bool { return service.Tunnels().Switched == 1 })
		w := httptest.NewRecorder()
		h.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, name := range []string{"service_tunnels", "service_tunnels_limit", "service_tunnels_refused_total", "service_websockets_total"} {
			if want := "wasmedge_" + name + `{nth="1",service="few",version="0"} 1`; !strings.Contains(w.Body.String(), want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
		if st := h.Stats(); st.Tunnels.Open != 1 || service.Stats().Tunnels.Open != 1 {
			t.Errorf("%+v", st.Tunnels)
		}
		c.Close()
		eventually(t, "the tunnel is closed", func() bool { return service.Tunnels().Open == 0 })
		if s := service.Tunnels(); s.Refused != 1 || s.Opened != 1 || s.Limit != 1 {
			t.Errorf("counted %+v", s)
		}
		c3 := rawHandshake(t, front, handshake, false)
		if resp := c3.response(t); resp.StatusCode != 101 {
			t.Errorf("after one was closed: %d", resp.StatusCode)
		}
		c3.Close()
		eventually(t, "the tunnel is closed", func() bool { return h.Tunnels().Open == 0 })
	})
}

func TestTheHostsLimitHoldsForAllServices(t *testing.T) {
	host := newTunnels(1, nil)
	a, b := newTunnels(5, host), newTunnels(5, host)
	if !a.enter() || b.enter() || a.enter() {
		t.Error("the host's limit is not kept")
	}
	a.leave()
	if !b.enter() || host.stats().Open != 1 || a.stats().Open != 0 || b.stats().Refused != 1 || host.stats().Refused != 2 {
		t.Errorf("%+v %+v %+v", host.stats(), a.stats(), b.stats())
	}
}

func TestClosingAServiceEndsItsTunnels(t *testing.T) {
	origin := rawOrigin(t, rawEcho)
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		front := listen(t, service, nil)
		c := rawHandshake(t, front, handshake, false)
		c.response(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begun := time.Now()
		service.Close(ctx)
		if d := time.Since(begun); d < 150*time.Millisecond {
			t.Errorf("the tunnel got %s to end by itself, want 200 ms", d)
		}
		if got, err := io.ReadAll(c.br); err != nil || string(got) != "first" {
			t.Errorf("got %q, %v", got, err)
		}
		eventually(t, "the tunnel is closed", func() bool { return service.Tunnels().Open == 0 })
	})
}

func TestTheServersShutdownEndsTunnelsAfterTheDrainTimeout(t *testing.T) {
	origin := plainOrigin(t, webSocketServer)
	h := openHost(t, Engines()[0])
	service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
	for _, h2 := range []bool{false, true} {
		ready, stopped := make(chan string, 1), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		server := &wire.Server{Handler: service, Addr: "127.0.0.1:0", DrainTimeout: 300 * time.Millisecond, Ready: func(a net.Addr) { ready <- a.String() }}
		go func() { stopped <- server.ListenAndServe(ctx) }()
		addr := <-ready
		client := plainClient
		if h2 {
			client = fronts(t, service)["HTTP/2 in clear text"].client
		}
		c, _, err := dialWebSocket(t, "http://"+addr+"/ws/", client)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, c)
		cancel()
		c.Write(t.Context(), 1, []byte("still"))
		if got := receive(t, c); got != "still" {
			t.Errorf("during the shutdown: %q", got)
		}
		select {
		case err := <-stopped:
			if err == nil {
				t.Error("the server does not say that connections were in use")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the server does not end")
		}
		c.CloseNow()
		eventually(t, "the tunnel is closed", func() bool { return service.Tunnels().Open == 0 })
	}
}

func TestAHandOffWithoutAConnectionToTakeOver(t *testing.T) {
	origin := rawOrigin(t, rawEcho)
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		r := httptest.NewRequest("GET", "/ws/", nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		if w.Code != 502 {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
		if s := service.Tunnels(); s.Open != 0 || s.Failed != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestAHandOffOfACommandAsksNobody(t *testing.T) {
	var asked atomic.Int32
	origin := rawOrigin(t, func(net.Conn, *bufio.Reader) { asked.Add(1) })
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		var stderr bytes.Buffer
		if err := service.Run(t.Context(), RunOptions{Args: []string{"guest"}, Stderr: &stderr}); err != nil || stderr.Len() > 0 {
			t.Errorf("%v, %s", err, stderr.String())
		}
	})
	if asked.Load() != 0 {
		t.Error("the origin was asked")
	}
}

func TestAHandOffThatLoopsIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		var hops atomic.Int32
		var service *Service
		front := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hops.Add(1) > 100 {
				t.Error("it goes round and round")
				panic(http.ErrAbortHandler)
			}
			service.ServeHTTP(w, r)
		}), nil)
		addr, _ := net.ResolveTCPAddr("tcp", front)
		// /legacy/ hands the request off as it came, so that it comes back the same.
		service = load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{{Name: "origin", Host: "127.0.0.1", Port: uint16(addr.Port)}}})
		if a := get(t, "http://"+front+"/legacy/x"); a.StatusCode != http.StatusLoopDetected {
			t.Errorf("got %d %q", a.StatusCode, a.body)
		}
		plainClient.CloseIdleConnections()
	})
}

func TestClosingAServiceAnswersHandshakesThatWait(t *testing.T) {
	asked := make(chan struct{}, 2)
	origin := rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		asked <- struct{}{}
		io.Copy(io.Discard, br)
	})
	origin.FirstByteTimeout = time.Minute
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		front := listen(t, service, nil)
		c := rawHandshake(t, front, handshake, false)
		<-asked
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		service.Close(ctx)
		if resp := c.response(t); resp.StatusCode != 503 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

// TestManyTunnelsLeaveNothingBehind opens many at once, each with a fault of its own.
func TestManyTunnelsLeaveNothingBehind(t *testing.T) {
	origin := rawOrigin(t, func(nc net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		io.WriteString(nc, switched+"\r\n")
		fault, err := br.ReadByte()
		if err != nil {
			return
		}
		switch fault % 5 {
		case 0: // ends
		case 1:
			nc.(*net.TCPConn).SetLinger(0) // resets
		case 2:
			nc.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, br)
		default:
			io.Copy(nc, br)
		}
	})
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}, Limits: Limits{TunnelIdle: 500 * time.Millisecond}})
		front := listen(t, service, nil)
		secure := listen(t, service, func(s *wire.Server) { s.TLS = &wire.TLSConfig{} })
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				addr := front
				if i%2 == 0 {
					addr = secure
				}
				c := rawHandshake(t, addr, handshake+string(rune('a'+i%26)), i%2 == 0)
				defer c.Close()
				if _, err := http.ReadResponse(c.br, nil); err != nil {
					return
				}
				switch i % 7 {
				case 0: // goes at once
				case 1:
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
					io.Copy(io.Discard, c.br)
				case 2: // says nothing and waits
					io.Copy(io.Discard, c.br)
				default:
					c.Write(bytes.Repeat([]byte("x"), 100*i))
					io.CopyN(io.Discard, c.br, int64(i))
				}
			})
		}
		all.Wait()
		eventually(t, "no tunnel is open", func() bool { return service.Tunnels().Open == 0 })
		eventually(t, "no connection to the origin is open", func() bool { return service.Stats().Backends[0].Open == 0 })
		if s := service.Tunnels(); s.Opened != 200 {
			t.Errorf("counted %+v", s)
		}
	})
}
