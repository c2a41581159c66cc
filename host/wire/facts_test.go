package wire_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/wire"
)

// ask sends one request over TLS and gives the facts of it, taken after the handler has returned.
func ask(t *testing.T, s *wire.Server, client *tls.Config) (*wire.Facts, error) {
	t.Helper()
	facts := make(chan *wire.Facts, 1)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { facts <- wire.FromRequest(r) })
	addr := start(t, s)
	var p http.Protocols
	p.SetHTTP1(client.NextProtos[0] != "h2")
	p.SetHTTP2(client.NextProtos[0] == "h2")
	rt := &http.Transport{Protocols: &p, TLSClientConfig: client}
	t.Cleanup(rt.CloseIdleConnections)
	res, err := (&http.Client{Transport: rt}).Get("https://" + addr)
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	return <-facts, nil
}

func TestFactsOfATLSConnection(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			client := insecure(proto)
			client.ServerName = "edge.example"
			client.MaxVersion = tls.VersionTLS12
			client.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			f, err := ask(t, &wire.Server{TLS: &wire.TLSConfig{}}, client)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := f.TLSProtocol(); !ok || s != "TLSv1.2" {
				t.Errorf("protocol %q %v", s, ok)
			}
			if s, ok := f.TLSCipher(); !ok || s != "ECDHE-ECDSA-AES128-GCM-SHA256" {
				t.Errorf("cipher %q %v", s, ok)
			}
			if s, ok := f.TLSServerName(); !ok || s != "edge.example" {
				t.Errorf("server name %q %v", s, ok)
			}
			hello, ok := f.ClientHello()
			if !ok || hello[0] != 1 || !bytes.Contains(hello, []byte("edge.example")) {
				t.Errorf("ClientHello %x %v", hello, ok)
			}
			alpn := map[string]string{"http/1.1": "h1", "h2": "h2"}[proto]
			if s, ok := f.JA4(); !ok || !strings.HasPrefix(s, "t12d01") || s[8:11] != alpn+"_" {
				t.Errorf("JA4 %q %v", s, ok)
			}
			if sum, ok := f.JA3(); !ok || sum == [16]byte{} {
				t.Errorf("JA3 %x %v", sum, ok)
			}
			if a, ok := f.RemoteAddr(); !ok || a.Addr().String() != "127.0.0.1" || a.Port() == 0 {
				t.Errorf("remote address %v %v", a, ok)
			}
			if a, ok := f.LocalAddr(); !ok || a.Addr().String() != "127.0.0.1" || a.Port() == 0 {
				t.Errorf("local address %v %v", a, ok)
			}
			if f.TLS() == nil {
				t.Error("no TLS state")
			}
			if _, ok := f.H2Fingerprint(); ok != (proto == "h2") {
				t.Errorf("HTTP/2 fingerprint known: %v", ok)
			}
			if s, ok := f.OHFingerprint(); !ok || len(s) != 47 || strings.Count(s, ":") != 15 {
				t.Errorf("fingerprint of the headers %q %v", s, ok)
			}
			if n, ok := f.OriginalHeaderCount(); !ok || n < 2 {
				t.Errorf("%d headers %v", n, ok)
			}
			if n, ok := f.HeadSize(); !ok || n < 10 {
				t.Errorf("head of %d bytes %v", n, ok)
			}
			if _, ok := f.ClientCertResult(); ok {
				t.Error("a certificate was judged that was not asked for")
			}
			if _, ok := f.ClientCertificate(); ok {
				t.Error("there is a client certificate")
			}
		})
	}
}

func TestWhatIsNotKnownIsSaidToBeUnknown(t *testing.T) {
	check := func(name string, f *wire.Facts, addresses bool) {
		t.Helper()
		known := map[string]bool{}
		note := func(what string, ok bool) { known[what] = ok }
		_, ok := f.RemoteAddr()
		note("remote", ok)
		_, ok = f.LocalAddr()
		note("local", ok)
		for what, get := range map[string]func() (string, bool){
			"protocol": f.TLSProtocol, "cipher": f.TLSCipher, "server name": f.TLSServerName,
			"JA4": f.JA4, "H2": f.H2Fingerprint, "OH": f.OHFingerprint,
		} {
			_, ok := get()
			note(what, ok)
		}
		_, ok = f.ClientHello()
		note("hello", ok)
		_, ok = f.JA3()
		note("JA3", ok)
		_, ok = f.ClientCertificate()
		note("certificate", ok)
		_, ok = f.ClientCertResult()
		note("result", ok)
		_, ok = f.OriginalHeaderNames()
		note("names", ok)
		_, ok = f.OriginalHeaderCount()
		note("count", ok)
		_, ok = f.HeadSize()
		note("size", ok)
		note("TLS", f.TLS() != nil)
		for what, ok := range known {
			if want := addresses && (what == "remote" || what == "local"); ok != want {
				t.Errorf("%s: %s known: %v", name, what, ok)
			}
		}
	}
	check("nil", nil, false)
	check("zero", &wire.Facts{}, false)
	check("a request of no server", wire.FromRequest(new(http.Request)), false)
	foreign := make(chan *wire.Facts, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { foreign <- wire.FromRequest(r) }))
	defer srv.Close()
	if _, err := http.Get(srv.URL); err != nil {
		t.Fatal(err)
	}
	check("a request of net/http", <-foreign, true)
}

func TestRequestOfAnotherTLSServerTellsItsState(t *testing.T) {
	foreign := make(chan *wire.Facts, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { foreign <- wire.FromRequest(r) }))
	defer srv.Close()
	if _, err := srv.Client().Get(srv.URL); err != nil {
		t.Fatal(err)
	}
	f := <-foreign
	if s, ok := f.TLSProtocol(); !ok || s != "TLSv1.3" {
		t.Errorf("protocol %q %v", s, ok)
	}
	if _, ok := f.ClientHello(); ok {
		t.Error("the ClientHello is known")
	}
}

// authority makes a root and client certificates signed by it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func issue(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newAuthority(t *testing.T) *authority {
	c := issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	a := &authority{cert: c.Leaf, key: c.PrivateKey.(*ecdsa.PrivateKey), pool: x509.NewCertPool()}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) client(t *testing.T, end time.Time, usage x509.ExtKeyUsage) *tls.Certificate {
	c := issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, a.key)
	return &c
}

func TestClientCertificatesAreJudgedAndRecorded(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		want wire.ClientCertResult
	}{
		{"a good one", a.client(t, later, x509.ExtKeyUsageClientAuth), wire.ClientCertOK},
		{"none", nil, wire.ClientCertMissing},
		{"an expired one", a.client(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageClientAuth), wire.ClientCertExpired},
		{"one of another authority", other.client(t, later, x509.ExtKeyUsageClientAuth), wire.ClientCertUnknownCA},
		{"one for servers", a.client(t, later, x509.ExtKeyUsageServerAuth), wire.ClientCertBad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := insecure("http/1.1")
			if tt.cert != nil {
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
			}
			f, err := ask(t, &wire.Server{TLS: &wire.TLSConfig{ClientAuth: wire.RecordClientCert, ClientCAs: a.pool}}, client)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := f.ClientCertResult(); !ok || got != tt.want {
				t.Errorf("result %v %v, want %v", got, ok, tt.want)
			}
			text, ok := f.ClientCertificate()
			if ok != (tt.cert != nil) {
				t.Fatalf("certificate known: %v", ok)
			}
			if ok {
				block, _ := pem.Decode(text)
				if block == nil || !bytes.Equal(block.Bytes, tt.cert.Certificate[0]) {
					t.Errorf("certificate %q", text)
				}
			}
		})
	}
}

func TestRequiredClientCertificate(t *testing.T) {
	a := newAuthority(t)
	cfg := func() *wire.Server {
		return &wire.Server{TLS: &wire.TLSConfig{ClientAuth: wire.RequireClientCert, ClientCAs: a.pool}}
	}
	if _, err := ask(t, cfg(), insecure("http/1.1")); err == nil {
		t.Error("a client without a certificate got in")
	}
	client := insecure("http/1.1")
	client.Certificates = []tls.Certificate{*a.client(t, time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)}
	f, err := ask(t, cfg(), client)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := f.ClientCertResult(); !ok || got != wire.ClientCertOK {
		t.Errorf("result %v %v", got, ok)
	}
}

func TestSelfSignedCertificateIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tls", "self-signed.pem")
	serve := func(hosts ...string) *x509.Certificate {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		var seen *x509.Certificate
		s := &wire.Server{
			Addr: "127.0.0.1:0", Handler: http.NotFoundHandler(),
			TLS: &wire.TLSConfig{SelfSignedFile: file, SelfSignedHosts: hosts},
			Ready: func(a net.Addr) {
				go func() {
					c, err := tls.Dial("tcp", a.String(), insecure())
					if err == nil {
						seen = c.ConnectionState().PeerCertificates[0]
						c.Close()
					}
					cancel()
				}()
			},
		}
		go func() { done <- s.ListenAndServe(ctx) }()
		if err := <-done; err != nil || seen == nil {
			t.Fatal(seen, err)
		}
		return seen
	}
	first := serve()
	for _, h := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := first.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v %v", info, err)
	}
	if !serve().Equal(first) {
		t.Error("the second start made another certificate")
	}
	if c := serve("edge.example"); c.Equal(first) || c.VerifyHostname("edge.example") != nil {
		t.Error("another host did not make another certificate")
	}
	if err := os.WriteFile(file, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve() // makes a new one
}

func TestStartErrorsNameTheirFile(t *testing.T) {
	for _, s := range []*wire.Server{
		{TLS: &wire.TLSConfig{CertFile: "missing.pem", KeyFile: "missing.key"}},
		{TLS: &wire.TLSConfig{KeyFile: "missing.pem"}},
	} {
		s.Addr, s.Handler = "127.0.0.1:0", http.NotFoundHandler()
		if err := s.ListenAndServe(context.Background()); err == nil || !strings.Contains(err.Error(), "missing.pem") {
			t.Errorf("got %v", err)
		}
	}
	if err := (&wire.Server{}).Serve(context.Background(), nopListener{}); err == nil {
		t.Error("a server without a handler served")
	}
}

type nopListener struct{}

func (nopListener) Accept() (net.Conn, error) { return nil, io.EOF }
func (nopListener) Close() error              { return nil }
func (nopListener) Addr() net.Addr            { return &net.TCPAddr{} }
