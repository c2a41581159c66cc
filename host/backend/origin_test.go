package backend

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// issue makes a certificate for names and addresses.
func (a *authority) issue(t testing.TB, expired bool, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if expired {
		tmpl.NotAfter = time.Now().Add(-time.Hour)
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// target is the definition of the origin at an address.
func target(t testing.TB, addr net.Addr) Config {
	t.Helper()
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return Config{Name: "origin", Host: ap.Addr().String(), Port: ap.Port()}
}

// open makes a backend that the test closes.
func open(t testing.TB, c Config, o ...Options) *Backend {
	t.Helper()
	var opts Options
	if len(o) > 0 {
		opts = o[0]
	}
	b, err := New(c, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// httpOrigin serves HTTP/1.1 without TLS.
func httpOrigin(t testing.TB, h http.HandlerFunc) Config {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return target(t, s.Listener.Addr())
}

// A tlsOrigin serves HTTP with TLS.
func tlsOrigin(t testing.TB, a *authority, h2 bool, conf *tls.Config, h http.HandlerFunc) Config {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = h2
	if len(conf.Certificates) == 0 {
		conf.Certificates = []tls.Certificate{a.issue(t, false, "origin.test", "127.0.0.1")}
	}
	s.TLS = conf
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	c := target(t, s.Listener.Addr())
	c.TLS = &TLS{CertHost: "origin.test", CACerts: []*x509.Certificate{a.cert}}
	return c
}

// rawOrigin gives each connection to f, which owns it.
func rawOrigin(t testing.TB, f func(net.Conn)) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer nc.Close()
				f(nc)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return target(t, l.Addr())
}

// readHead consumes a request's head.
func readHead(nc net.Conn) string {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := nc.Read(one); err != nil {
			break
		}
		head = append(head, one[0])
	}
	return string(head)
}

// answering gives every request of a connection the same bytes.
func answering(text string) func(net.Conn) {
	return func(nc net.Conn) {
		if readHead(nc) != "" {
			io.WriteString(nc, text)
		}
	}
}

func fields(pairs ...string) *httpfield.List {
	l := new(httpfield.List)
	for i := 0; i < len(pairs); i += 2 {
		l.Add(pairs[i], pairs[i+1])
	}
	return l
}

func text(l *httpfield.List) string {
	var b strings.Builder
	for _, f := range l.Fields() {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return b.String()
}

// get sends and reads everything.
func get(b *Backend, r *Request) (*Response, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := b.Send(ctx, r)
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return resp, string(data), err
}

// mustGet is get for exchanges that must work.
func mustGet(t testing.TB, b *Backend, r *Request) (*Response, string) {
	t.Helper()
	resp, body, err := get(b, r)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// detailOf gives the detail of an error, which must be a *SendError.
func detailOf(t testing.TB, err error) *SendError {
	t.Helper()
	var e *SendError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), not a *SendError", err, err)
	}
	return e
}

// eventually waits for something that happens in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// noLeak fails the test if goroutines of it stay.
func noLeak(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
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
