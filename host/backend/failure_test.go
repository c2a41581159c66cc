package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/http2"
)

var discardLog = log.New(io.Discard, "", 0)

func TestEveryFailureHasItsDetail(t *testing.T) {
	noLeak(t)
	ca, other := newAuthority(t, "ours"), newAuthority(t, "theirs")
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	ok := func(w http.ResponseWriter, r *http.Request) {}
	withTLS := func(f func(*TLS), h2 bool, conf *tls.Config) func(*testing.T) Config {
		return func(t *testing.T) Config {
			c := tlsOrigin(t, ca, h2, conf, ok)
			f(c.TLS)
			return c
		}
	}
	raw := func(f func(net.Conn)) func(*testing.T) Config {
		return func(t *testing.T) Config { return rawOrigin(t, f) }
	}
	wait := func(nc net.Conn) { io.Copy(io.Discard, nc) }
	tests := []struct {
		name   string
		origin func(*testing.T) Config
		opts   Options
		req    Request
		want   Detail
		or     Detail // what else it may be; zero for nothing
		inBody bool
		check  func(*testing.T, *SendError)
	}{
		{name: "nobody listens", want: DetailConnectionRefused, origin: func(t *testing.T) Config {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return target(t, l.Addr())
		}},
		{name: "the address is never routed", want: DetailDestinationIPUnroutable, origin: func(t *testing.T) Config {
			return Config{Host: "255.255.255.255"}
		}},
		{name: "the host does not permit the address", want: DetailDestinationIPUnroutable,
			origin: func(t *testing.T) Config { return Config{Host: "127.0.0.1"} },
			opts:   Options{Permit: func(netip.AddrPort) error { return errors.New("private") }}},
		{name: "the origin closes without an answer", want: DetailConnectionTerminated,
			origin: raw(func(nc net.Conn) { readHead(nc) })},
		{name: "the origin resets", want: DetailConnectionTerminated, origin: raw(func(nc net.Conn) {
			readHead(nc)
			nc.(*net.TCPConn).SetLinger(0)
		})},
		{name: "the TLS handshake hangs", want: DetailConnectionTimeout, origin: func(t *testing.T) Config {
			c := rawOrigin(t, wait)
			c.TLS, c.ConnectTimeout = &TLS{}, 50*time.Millisecond
			return c
		}},
		{name: "no response comes", want: DetailHTTPResponseTimeout, origin: func(t *testing.T) Config {
			c := rawOrigin(t, wait)
			c.FirstByteTimeout = 50 * time.Millisecond
			return c
		}},
		{name: "no response comes over HTTP/2", want: DetailHTTPResponseTimeout, origin: func(t *testing.T) Config {
			c := tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-hang:
				}
			})
			c.FirstByteTimeout = 50 * time.Millisecond
			return c
		}},
		{name: "the head never ends", want: DetailHTTPResponseTimeout, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) {
				readHead(nc)
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nA: b\r\n")
				wait(nc)
			})
			c.FirstByteTimeout = 50 * time.Millisecond
			return c
		}},
		{name: "the body stops", want: DetailHTTPResponseTimeout, inBody: true, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) {
				readHead(nc)
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
				wait(nc)
			})
			c.BetweenBytesTimeout = 50 * time.Millisecond
			return c
		}},
		{name: "the body stops over HTTP/2", want: DetailHTTPResponseTimeout, inBody: true, origin: func(t *testing.T) Config {
			c := tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-hang:
				}
			})
			c.BetweenBytesTimeout = 50 * time.Millisecond
			return c
		}},
		{name: "the head ends early", want: DetailHTTPIncompleteResponse, origin: raw(answering("HTTP/1.1 200 OK\r\nA: b\r\n"))},
		{name: "the status line ends early", want: DetailHTTPIncompleteResponse, origin: raw(answering("HTTP/1.1 200 O"))},
		{name: "the body ends early", want: DetailHTTPIncompleteResponse, inBody: true, check: cut,
			origin: raw(answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"))},
		{name: "the chunks end early", want: DetailHTTPIncompleteResponse, inBody: true, check: cut,
			origin: raw(answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"))},
		{name: "the body is reset", want: DetailHTTPIncompleteResponse, inBody: true, check: cut, origin: raw(func(nc net.Conn) {
			readHead(nc)
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
			time.Sleep(50 * time.Millisecond)
			nc.(*net.TCPConn).SetLinger(0)
		})},
		{name: "the chunks are no chunks", want: DetailHTTPProtocolError, inBody: true,
			origin: raw(answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n"))},
		{name: "the compression is broken", want: DetailHTTPProtocolError, inBody: true, req: Request{Gunzip: true},
			origin: raw(answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot gzip ok?"))},
		{name: "the body is reset over HTTP/2", want: DetailH2Error, inBody: true,
			origin: func(t *testing.T) Config {
				return tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) {
					w.Write([]byte("x"))
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				})
			}, check: func(t *testing.T, e *SendError) {
				cut(t, e)
				if e.H2Frame != frameRST || e.H2Code != uint32(http2.ErrCodeInternal) {
					t.Errorf("frame %d, code %d", e.H2Frame, e.H2Code)
				}
			}},
		{name: "the stream is reset", want: DetailH2Error, origin: func(t *testing.T) Config {
			return tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
		}},
		{name: "the origin says GOAWAY", want: DetailH2Error, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) {
				fr := h2Server(nc)
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					if f.Header().Type == http2.FrameHeaders {
						fr.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, nil)
						nc.(*net.TCPConn).CloseWrite()
					}
				}
			})
			c.GRPC = true
			return c
		}, check: func(t *testing.T, e *SendError) {
			if e.H2Frame != frameGoAway || e.H2Code != uint32(http2.ErrCodeEnhanceYourCalm) {
				t.Errorf("frame %d, code %d", e.H2Frame, e.H2Code)
			}
		}},
		{name: "frames are malformed", want: DetailH2Error, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) {
				fr := h2Server(nc)
				for {
					if f, err := fr.ReadFrame(); err != nil || f.Header().Type == http2.FrameHeaders {
						break
					}
				}
				nc.Write([]byte{0, 0, 1, byte(http2.FramePing), 0, 0, 0, 0, 0, 9}) // a PING has eight bytes
				wait(nc)
			})
			c.GRPC = true
			return c
		}},
		{name: "the head is too large", want: DetailHTTPResponseHeaderTooLarge, opts: Options{MaxResponseHead: 4096},
			origin: raw(func(nc net.Conn) {
				readHead(nc)
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 8192)+"\r\n\r\n")
				wait(nc)
			})},
		{name: "the head is too large over HTTP/2", want: DetailHTTPResponseHeaderTooLarge, opts: Options{MaxResponseHead: 4096},
			origin: func(t *testing.T) Config {
				return tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) {
					for i := range 12 {
						w.Header().Set(fmt.Sprintf("A%d", i), strings.Repeat("x", 500))
					}
				})
			}},
		{name: "interim responses are too large", want: DetailHTTPResponseHeaderTooLarge, opts: Options{MaxResponseHead: 4096},
			origin: raw(func(nc net.Conn) {
				readHead(nc)
				for {
					if _, err := io.WriteString(nc, "HTTP/1.1 103 Early\r\nA: "+strings.Repeat("x", 1000)+"\r\n\r\n"); err != nil {
						return
					}
				}
			})},
		{name: "the status is no number", want: DetailHTTPResponseStatusInvalid, origin: raw(answering("HTTP/1.1 abc OK\r\n\r\n"))},
		{name: "the status is too small", want: DetailHTTPResponseStatusInvalid, origin: raw(answering("HTTP/1.1 099 OK\r\n\r\n"))},
		{name: "this is not HTTP", want: DetailHTTPProtocolError, origin: raw(answering("SSH-2.0-OpenSSH_9.0\r\n"))},
		{name: "a header line is none", want: DetailHTTPProtocolError, origin: raw(answering("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"))},
		{name: "two lengths differ", want: DetailHTTPProtocolError, origin: raw(answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"))},
		{name: "the origin switches unasked", want: DetailHTTPProtocolError,
			origin: raw(answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"))},
		{name: "an unknown authority", want: DetailTLSCertificateError,
			origin: withTLS(func(c *TLS) { c.CACerts = []*x509.Certificate{other.cert} }, false, &tls.Config{})},
		{name: "another name", want: DetailTLSCertificateError,
			origin: withTLS(func(c *TLS) { c.CertHost = "elsewhere.test" }, false, &tls.Config{})},
		{name: "another name than the SNI", want: DetailTLSCertificateError,
			origin: withTLS(func(c *TLS) { c.CertHost, c.SNI = "elsewhere.test", ptr("origin.test") }, false, &tls.Config{})},
		{name: "an expired certificate", want: DetailTLSCertificateError,
			origin: withTLS(func(*TLS) {}, false, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, true, "origin.test")}})},
		{name: "a missing client certificate with TLS 1.2", want: DetailTLSAlertReceived, check: alert(40, 42),
			origin: withTLS(func(c *TLS) { c.MaxVersion = tls.VersionTLS12 }, false, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()})},
		// Here the client's handshake ends before the origin refuses. A request that is on its way by then meets a
		// closed socket, and the reset may overtake the alert.
		{name: "a missing client certificate with TLS 1.3", want: DetailTLSAlertReceived, or: DetailConnectionTerminated, check: alert(42, 116),
			origin: withTLS(func(*TLS) {}, false, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()})},
		{name: "versions that do not meet", want: DetailTLSAlertReceived, check: alert(70),
			origin: withTLS(func(c *TLS) { c.MaxVersion = tls.VersionTLS12 }, false, &tls.Config{MinVersion: tls.VersionTLS13})},
		{name: "ciphers that do not meet", want: DetailTLSAlertReceived, check: alert(40),
			origin: withTLS(func(c *TLS) { c.MaxVersion, c.Ciphers = tls.VersionTLS12, "ECDHE-ECDSA-AES128-GCM-SHA256" }, false,
				&tls.Config{CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}})},
		{name: "gRPC and an origin that refuses HTTP/2", want: DetailTLSAlertReceived, check: alert(120), origin: func(t *testing.T) Config {
			c := tlsOrigin(t, ca, false, &tls.Config{}, ok)
			c.GRPC = true
			return c
		}},
		{name: "gRPC and an origin without ALPN", want: DetailHTTPProtocolError, origin: func(t *testing.T) Config {
			conf := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, false, "127.0.0.1")}}
			c := rawOrigin(t, func(nc net.Conn) { tls.Server(nc, conf).Read(make([]byte, 1)) })
			c.GRPC, c.TLS = true, &TLS{CACerts: []*x509.Certificate{ca.cert}}
			return c
		}},
		{name: "TLS with a plain origin", want: DetailTLSProtocolError, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) {
				nc.Read(make([]byte, 4096))
				io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
			})
			c.TLS = &TLS{}
			return c
		}},
		{name: "the handshake is cut off", want: DetailConnectionTerminated, origin: func(t *testing.T) Config {
			c := rawOrigin(t, func(nc net.Conn) { nc.Read(make([]byte, 4096)) })
			c.TLS = &TLS{}
			return c
		}},
		{name: "a URI that is none", want: DetailHTTPRequestURIInvalid, req: Request{URI: "example.com/x"}, origin: raw(wait)},
		{name: "a URI that would end the request line", want: DetailHTTPRequestURIInvalid, req: Request{URI: "/a b"}, origin: raw(wait)},
		{name: "a host that is none", want: DetailHTTPRequestURIInvalid, req: Request{Header: fields("host", "a/b")}, origin: raw(wait)},
		{name: "a method that is none", want: DetailHTTPProtocolError, req: Request{Method: "A B"}, origin: raw(wait)},
		{name: "CONNECT", want: DetailHTTPProtocolError, req: Request{Method: "CONNECT"}, origin: raw(wait)},
		{name: "a header value that would end the line", want: DetailHTTPProtocolError, req: Request{Header: fields("a", "b\r\nc: d")}, origin: raw(wait)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, tt.origin(t), tt.opts)
			resp, _, err := get(b, &tt.req)
			if (resp != nil) != tt.inBody {
				t.Fatalf("response %v, error %v", resp, err)
			}
			e := detailOf(t, err)
			switch {
			case e.Detail != tt.want && (tt.or == 0 || e.Detail != tt.or):
				t.Errorf("got %v, want %v: %v", e.Detail, tt.want, err)
			case e.Detail == tt.want && tt.check != nil:
				tt.check(t, e)
			}
			if e.Backend != b.Name() {
				t.Errorf("the error is of backend %q", e.Backend)
			}
			eventually(t, "no exchange is left", func() bool { return b.Stats().InFlight == 0 })
			b.Close()
			eventually(t, "no connection is left", func() bool { return b.Stats().Open == 0 })
		})
	}
}

func ptr[T any](v T) *T { return &v }

func cut(t *testing.T, e *SendError) {
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("%v is not io.ErrUnexpectedEOF", e)
	}
}

func alert(any ...uint8) func(*testing.T, *SendError) {
	return func(t *testing.T, e *SendError) {
		for _, a := range any {
			if e.TLSAlert == a {
				return
			}
		}
		t.Errorf("alert %d: %v", e.TLSAlert, e)
	}
}

// h2Server answers a client's preface.
func h2Server(nc net.Conn) *http2.Framer {
	io.ReadFull(nc, make([]byte, len(http2.ClientPreface)))
	fr := http2.NewFramer(nc, nc)
	fr.WriteSettings()
	fr.WriteSettingsAck()
	return fr
}

func TestNamesThatDoNotResolve(t *testing.T) {
	noLeak(t)
	tests := []struct {
		name  string
		rcode dnsmessage.RCode
		mute  bool
		want  Detail
		code  uint16
	}{
		{"there is no such name", dnsmessage.RCodeNameError, false, DetailDNSError, 3},
		{"the name has no address", dnsmessage.RCodeSuccess, false, DetailDNSError, 3},
		{"the server fails", dnsmessage.RCodeServerFailure, false, DetailDNSError, 2},
		{"the server says nothing", 0, true, DetailDNSTimeout, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := dnsServer(t, func(m *dnsmessage.Message) bool {
				m.RCode = tt.rcode
				return !tt.mute
			})
			b := open(t, Config{Host: "origin.test", Port: 1, ConnectTimeout: 300 * time.Millisecond}, Options{Resolver: res})
			_, _, err := get(b, &Request{})
			e := detailOf(t, err)
			if e.Detail != tt.want || e.DNSRCode != tt.code {
				t.Errorf("got %v with rcode %d, want %v with %d: %v", e.Detail, e.DNSRCode, tt.want, tt.code, err)
			}
		})
	}
}

// dnsServer makes a resolver whose server fills in answers by f; false sends none.
func dnsServer(t *testing.T, f func(*dnsmessage.Message) bool) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if f(&m) {
				if out, err := m.Pack(); err == nil {
					pc.WriteTo(out, from)
				}
			}
		}
	}()
	var mu sync.Mutex
	var asking []net.Conn // the resolver's lookups go on when nobody waits for them
	ended := false
	t.Cleanup(func() {
		mu.Lock()
		ended = true
		for _, nc := range asking {
			nc.Close()
		}
		mu.Unlock()
		pc.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		var d net.Dialer
		nc, err := d.DialContext(ctx, "udp", pc.LocalAddr().String())
		if err == nil {
			asking = append(asking, nc)
		}
		return nc, err
	}}
}

func TestCallersReasonIsReported(t *testing.T) {
	noLeak(t)
	reason := errors.New("the client went away")
	b := open(t, rawOrigin(t, func(nc net.Conn) { io.Copy(io.Discard, nc) }))
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(30*time.Millisecond, func() { cancel(reason) })
	_, err := b.Send(ctx, &Request{})
	if !errors.Is(err, reason) {
		t.Errorf("before the head: got %v", err)
	}
	if _, err := b.Send(ctx, &Request{}); !errors.Is(err, reason) {
		t.Errorf("before the start: got %v", err)
	}

	b = open(t, rawOrigin(t, func(nc net.Conn) {
		readHead(nc)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
		io.Copy(io.Discard, nc)
	}))
	ctx, cancel = context.WithCancelCause(context.Background())
	resp, err := b.Send(ctx, &Request{})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { cancel(reason) })
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, reason) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in the body: got %v", err)
	}
}

func TestSendErrorText(t *testing.T) {
	e := &SendError{Backend: "api", Detail: DetailConnectionRefused, Err: errors.New("because")}
	if got, want := e.Error(), `backend "api": connection_refused: because`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := fmt.Sprint(Detail(200)); got != "unknown" {
		t.Errorf("got %s", got)
	}
}
