package nats

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/edgewasm/wasmedge/kvstore"
)

// TestOptionsAreChecked also looks for what must not be in an error: passwords of the URL.
func TestOptionsAreChecked(t *testing.T) {
	ts := startServer(t, false)
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no URL", Options{}, "URL is empty"},
		{"a bucket with a dot", Options{URL: ts.url(), Bucket: "a.b"}, "Bucket"},
		{"a long bucket", Options{URL: ts.url(), Bucket: strings.Repeat("b", 33)}, "Bucket"},
		{"too many replicas", Options{URL: ts.url(), Replicas: 6}, "Replicas"},
		{"replicas without servers for them", Options{URL: ts.url(), Replicas: 3}, "replicas"},
		{"a long timeout", Options{URL: ts.url(), Timeout: time.Hour}, "Timeout"},
		{"a short grace", Options{URL: ts.url(), ReadGrace: time.Second}, "ReadGrace"},
		{"a negative limit", Options{URL: ts.url(), MaxBytes: -1}, "MaxBytes"},
		{"nobody there", Options{URL: "nats://user:s3cr3t@127.0.0.1:1", Timeout: time.Second}, "127.0.0.1:1"},
		{"several, nobody there", Options{URL: "nats://user:s3cr3t@127.0.0.1:1, nats://s3cr3t@127.0.0.1:2", Timeout: time.Second}, "127.0.0.1:2"},
		{"no URL at all", Options{URL: "nats://user:s3cr3t@%zz"}, "connecting"},
		{"no credentials file", Options{URL: ts.url(), Credentials: filepath.Join(t.TempDir(), "none")}, "none"},
	} {
		s, err := New(t.Context(), tt.o)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", tt.name)
			continue
		}
		if text := err.Error(); !strings.Contains(text, tt.want) || strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: got %q, which should say %q", tt.name, text, tt.want)
		}
	}
	for v, want := range map[string]bool{"2.11.0": true, "2.15.2": true, "3.0.0": true, "v2.11.1-RC.1": true, "2.10.9": false, "1.99.0": false, "": false, "x": false} {
		if atLeast(v, 2, 11) != want {
			t.Errorf("version %q: want %v", v, want)
		}
	}
}

func TestConnectingWithTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{o: &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, TLSTimeout: 10}}
	ts.start(t)
	t.Cleanup(ts.stop)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	use(t, connect(t, ts, Options{TLS: &tls.Config{RootCAs: roots}}))
	if s, err := New(t.Context(), Options{URL: ts.url(), TLS: &tls.Config{RootCAs: x509.NewCertPool()}}); err == nil {
		_ = s.Close()
		t.Error("a certificate that nobody vouches for is no error")
	}
}

// use stores something.
func use(t *testing.T, all *Stores) {
	t.Helper()
	st, err := all.Create(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	insert(t, st, "k", []byte("v"), kvstore.InsertOptions{})
	if b, err := lookup(st, "k"); err != nil || string(b) != "v" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestConnectingWithCredentials(t *testing.T) {
	pair := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		t.Helper()
		k, err := make()
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return k, public
	}
	operator, operatorName := pair(nkeys.CreateOperator)
	account, accountName := pair(nkeys.CreateAccount)
	user, userName := pair(nkeys.CreateUser)
	_, systemName := pair(nkeys.CreateAccount)
	encode := func(c interface {
		Encode(nkeys.KeyPair) (string, error)
	}, by nkeys.KeyPair) string {
		t.Helper()
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	accountClaims := jwt.NewAccountClaims(accountName)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	operatorClaims := jwt.NewOperatorClaims(operatorName)
	operatorClaims.SystemAccount = systemName
	operatorJWT, err := jwt.DecodeOperatorClaims(encode(operatorClaims, operator))
	if err != nil {
		t.Fatal(err)
	}
	accounts := &server.MemAccResolver{}
	if err := accounts.Store(accountName, encode(accountClaims, operator)); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Store(systemName, encode(jwt.NewAccountClaims(systemName), operator)); err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userName), account), seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	ts := &testServer{o: &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		TrustedOperators: []*jwt.OperatorClaims{operatorJWT}, AccountResolver: accounts, SystemAccount: systemName}}
	ts.start(t)
	t.Cleanup(ts.stop)
	use(t, connect(t, ts, Options{Credentials: file}))
	if s, err := New(context.Background(), Options{URL: ts.url()}); err == nil {
		_ = s.Close()
		t.Error("no credentials are no error")
	}
}
