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
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
)

// backendAt is the definition of the origin that listens there.
func backendAt(name string, addr net.Addr) backend.Config {
	a := netip.MustParseAddrPort(addr.String())
	return backend.Config{Name: name, Host: a.Addr().String(), Port: a.Port()}
}

// brokenOrigin lets f have each connection, once the request's head has come.
func brokenOrigin(t *testing.T, f func(*net.TCPConn)) net.Addr {
	return rawServer(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		f(c.(*net.TCPConn))
	})
}

// failingOrigins defines a backend for each way in which one can fail; says tells by its name what the Rust SDK calls that.
func failingOrigins(t *testing.T) (configs []backend.Config, says map[string]string) {
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = nullLog
		t.Cleanup(s.Close)
		return s
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	secure := quiet(httptest.NewUnstartedServer(hello))
	secure.StartTLS()
	strict := quiet(httptest.NewUnstartedServer(hello))
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12} // in TLS 1.3 a reset can overtake the alert
	strict.StartTLS()
	plain := quiet(httptest.NewServer(hello))
	slow := brokenOrigin(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	nobody := l.Addr()
	l.Close()

	says = map[string]string{}
	add := func(name, why string, addr net.Addr, f func(*backend.Config)) {
		c := backendAt(name, addr)
		if f != nil {
			f(&c)
		}
		configs = append(configs, c)
		says[name] = why
	}
	add("closed", "Connection refused", nobody, nil)
	add("stranger", "TLS certificate error", secure.Listener.Addr(), func(c *backend.Config) { c.TLS = new(backend.TLS) })
	add("misnamed", "TLS certificate error", secure.Listener.Addr(), func(c *backend.Config) {
		c.TLS = &backend.TLS{CACerts: []*x509.Certificate{secure.Certificate()}, CertHost: "other.example"}
	})
	add("notls", "TLS protocol error", plain.Listener.Addr(), func(c *backend.Config) { c.TLS = new(backend.TLS) })
	add("strict", "TLS alert received (alert_id=Some(40))", strict.Listener.Addr(), func(c *backend.Config) {
		c.TLS = &backend.TLS{CACerts: []*x509.Certificate{secure.Certificate()}, CertHost: "example.com"}
	})
	add("slow", "HTTP response timeout", slow, func(c *backend.Config) { c.FirstByteTimeout = 50 * time.Millisecond })
	add("reset", "Connection terminated", brokenOrigin(t, func(c *net.TCPConn) { c.SetLinger(0) }), nil)
	add("cut", "Incomplete HTTP response", brokenOrigin(t, func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: b\r\n") }), nil)
	add("noise", "HTTP response status invalid", brokenOrigin(t, func(c *net.TCPConn) { io.WriteString(c, "What do you want?\r\n\r\n") }), nil)
	add("huge", "HTTP response header section too large", brokenOrigin(t, func(c *net.TCPConn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	}), nil)
	says["absent"] = "Destination not found"
	return configs, says
}

func TestGuestsAreToldWhatIsWrong(t *testing.T) {
	configs, want := failingOrigins(t)
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{Backends: configs}), nil)
		for name, says := range want {
			if a := get(t, "http://"+front+"/error/"+name); a.StatusCode != 502 || a.body != says {
				t.Errorf("%s: %d %q, want %q", name, a.StatusCode, a.body, says)
			}
		}
	})
}

// answersInTurn is an origin that answers n requests for ?i=I from the last to the first, each after the one before: the field
// X-I and the body say I.
func answersInTurn(t *testing.T, n int) (origin net.Addr, order string) {
	turn := make([]chan struct{}, n)
	for i := range turn {
		turn[i] = make(chan struct{}, 1)
	}
	turn[n-1] <- struct{}{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		fmt.Sscan(r.URL.Query().Get("i"), &i)
		select {
		case <-turn[i]:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("X-I", fmt.Sprint(i))
		fmt.Fprint(w, i)
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond) // it is on its way
		turn[(i+n-1)%n] <- struct{}{}
	}))
	t.Cleanup(server.Close)
	for i := range n {
		order += fmt.Sprintf("%d ", n-1-i)
	}
	return server.Listener.Addr(), order
}

func TestManyRequestsComeBackInTheOrderOfTheirAnswers(t *testing.T) {
	origin, want := answersInTurn(t, 64)
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin)}}), nil)
		if a := get(t, "http://"+front+"/many?n=64"); a.body != want {
			t.Errorf("got %s", a.body)
		}
	})
}

func TestWaitingIsExactAndCostsNothing(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		best := time.Hour
		for range 5 { // the machine may be busy, but hardly each time
			var sent, waited, took, cpu int
			var index string
			a := get(t, "http://"+front+"/timeout?ms=100")
			if _, err := fmt.Sscan(a.body, &sent, &waited, &index, &took, &cpu); err != nil || sent != 0 || waited != 0 || index != "0xffffffff" {
				t.Fatalf("%q: %v", a.body, err)
			}
			late := time.Duration(took)*time.Microsecond - 100*time.Millisecond
			if late < 0 || cpu > 20 {
				t.Errorf("it woke %s after the timeout, having computed for %d ms", late, cpu)
			}
			best = min(best, late)
		}
		if best > 5*time.Millisecond {
			t.Errorf("it always wakes %s late or more", best)
		}
		t.Logf("late by %s", best)
	})
}

func TestRequestsEndWithTheirClient(t *testing.T) {
	arrived, gone := make(chan string, 100), make(chan string, 100)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.RawQuery
		<-r.Context().Done()
		gone <- r.URL.RawQuery
	}))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		for path, n := range map[string]int{"/many?n=8": 8, "/send/": 1} {
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+front+path, nil)
			done := make(chan error, 1)
			go func() {
				_, err := plainClient.Do(req)
				done <- err
			}()
			for range n {
				<-arrived
			}
			cancel()
			<-done
			for range n {
				select {
				case <-gone:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: a request to the origin goes on although the client has gone", path)
				}
			}
		}
		// So do those that the guest began and left.
		if a := get(t, "http://"+front+"/early"); a.body != "done" {
			t.Errorf("early: %q", a.body)
		}
		for len(arrived) > 0 {
			<-arrived
			<-gone
		}
	})
}

func TestBodiesThatAreDroppedEnd(t *testing.T) {
	ended := make(chan struct{}, 10)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				ended <- struct{}{}
				return
			}
		}
	}))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		if a := get(t, "http://"+front+"/half"); len(a.body) != 100 {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the origin still sends")
		}
	})
}

// testCA signs one certificate for origin.example and one for a client.
func testCA(t *testing.T) (ca []byte, pool *x509.CertPool, server tls.Certificate, clientCert, clientKey []byte) {
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	text := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	caKey := key()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	}
	root := template("ca")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	sign := func(c *x509.Certificate, k *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, root, &k.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caDER := sign(root, caKey)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text("CERTIFICATE", caDER))
	serverKey, ours := key(), key()
	server = tls.Certificate{Certificate: [][]byte{sign(template("origin.example"), serverKey)}, PrivateKey: serverKey}
	der, err := x509.MarshalPKCS8PrivateKey(ours)
	if err != nil {
		t.Fatal(err)
	}
	return text("CERTIFICATE", caDER), pool, server, text("CERTIFICATE", sign(template("client"), ours)), text("PRIVATE KEY", der)
}

func TestClientCertificatesWithKeysFromSecrets(t *testing.T) {
	ca, pool, server, cert, key := testCA(t)
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s over %s", r.TLS.PeerCertificates[0].Subject.CommonName, r.Proto)
	}))
	origin.Config.ErrorLog = nullLog
	origin.EnableHTTP2 = true
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	origin.StartTLS()
	defer origin.Close()
	_, _, _, _, otherKey := testCA(t)
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{}), nil)
		for _, test := range []struct{ name, body, want string }{
			{"with its key", fmt.Sprintf("%s|%s|%s", ca, cert, key), "client over HTTP/2.0"},
			{"again, over the same connection", fmt.Sprintf("%s|%s|%s", ca, cert, key), "client over HTTP/2.0"},
			{"none", string(ca), "TLS alert received (alert_id=Some(116))"},
			{"with another's key", fmt.Sprintf("%s|%s|%s", ca, cert, otherKey), "Host failed with status FastlyStatus::INVAL"},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+front+"/mtls?target="+origin.Listener.Addr().String(), strings.NewReader(test.body))
			a := fetch(t, plainClient, req)
			if test.name == "none" && a.body == "Connection terminated" {
				continue // the origin's reset has overtaken its alert
			}
			if a.body != test.want {
				t.Errorf("%s: %d %q, want %q", test.name, a.StatusCode, a.body, test.want)
			}
		}
	})
}

func TestVisitsAreCounted(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		var service http.Handler
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { service.ServeHTTP(w, r) }))
		defer front.Close()
		service = load(t, h, "rust/origins", ServiceConfig{Backends: []backend.Config{backendAt("origin", front.Listener.Addr())}})
		for path, want := range map[string]string{"/visits": "0 0 0", "/send/visits": "0 1 1", "/send/send/send/visits": "0 3 3"} {
			if a := get(t, front.URL+path); a.body != want {
				t.Errorf("%s: %q, want %q", path, a.body, want)
			}
		}
	})
}

// What gRPC needs: HTTP/2 on both sides, both directions at once, trailers; also where there is no body.
func TestGRPCPassesThrough(t *testing.T) {
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		if r.URL.Path == "/none" {
			h.Set("Grpc-Status", "12")
			return
		}
		h.Set("Trailer", "Grpc-Status, Grpc-Message")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		buf := make([]byte, 1024)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				break
			}
		}
		h.Set("Grpc-Status", "0")
		h.Set("Grpc-Message", r.Proto+" "+r.Header.Get("Te"))
	}))
	origin.Config.Protocols = new(http.Protocols)
	origin.Config.Protocols.SetUnencryptedHTTP2(true)
	origin.Start()
	defer origin.Close()
	c := backendAt("origin", origin.Listener.Addr())
	c.GRPC = true
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols, DisableCompression: true}}
	defer client.CloseIdleConnections()
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{c}}), nil)
		r, w := io.Pipe()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+front+"/send/echo", r)
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		go io.WriteString(w, "message 0")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 9)
		for i := range 5 { // each message comes back before the next one goes
			if i > 0 {
				fmt.Fprintf(w, "message %d", i)
			}
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != fmt.Sprintf("message %d", i) {
				t.Fatalf("message %d: %q, %v", i, buf, err)
			}
		}
		w.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		if resp.ProtoMajor != 2 || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "HTTP/2.0 trailers" {
			t.Errorf("%s, trailers %v", resp.Proto, resp.Trailer)
		}
		req, _ = http.NewRequestWithContext(t.Context(), "POST", "http://"+front+"/send/none", nil)
		if a := fetch(t, client, req); a.Header.Get("Grpc-Status") != "12" || a.body != "" {
			t.Errorf("without a body: %v %q", a.Header, a.body)
		}
	})
}

// Redirects are answers like any other, and interim responses of an origin end at the host.
func TestAnswersThatAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer origin.Close()
	once := &http.Client{Transport: plainClient.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	eachEngine(t, func(t *testing.T, h *testHost) {
		asked.Store(0)
		front := listen(t, load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}}), nil)
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+front+"/send/here", nil)
		a := fetch(t, once, req)
		if a.StatusCode != 302 || a.Header.Get("Location") != "/elsewhere" || asked.Load() != 1 {
			t.Errorf("%d to %q after %d requests", a.StatusCode, a.Header.Get("Location"), asked.Load())
		}
		c, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /send/here HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		all, _ := io.ReadAll(c)
		if !bytes.HasPrefix(all, []byte("HTTP/1.1 302 Found\r\n")) {
			t.Errorf("the client gets %.60q first", all)
		}
	})
}

// nullLog takes what net/http's servers say of tests' intentional failures.
var nullLog = log.New(io.Discard, "", 0)
