package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ClientAuth is what the server does about client certificates.
type ClientAuth int

const (
	// NoClientCert asks for none.
	NoClientCert ClientAuth = iota
	// RecordClientCert asks for one and lets any client in; Facts.ClientCertResult tells how it was judged.
	RecordClientCert
	// RequireClientCert ends the handshake without a certificate that ClientCAs vouch for.
	RequireClientCert
)

// TLSConfig says how a Server does TLS. The zero value means a self-signed certificate for localhost that
// lives as long as the process.
type TLSConfig struct {
	// CertFile and KeyFile name PEM files; the certificate comes first in CertFile, then its issuers.
	CertFile, KeyFile string
	// GetCertificate, if set, chooses the certificate instead, for instance by server name.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// SelfSignedFile is where the self-signed certificate and its key are kept for the next start. Empty
	// means nowhere. The file is private to the user.
	SelfSignedFile string
	// SelfSignedHosts are the names and addresses of the self-signed certificate; empty means localhost,
	// 127.0.0.1 and ::1.
	SelfSignedHosts []string
	// ClientAuth is what to do about client certificates, ClientCAs the roots to judge them by; nil means
	// those of the system.
	ClientAuth ClientAuth
	ClientCAs  *x509.CertPool
	// MinVersion is the oldest protocol version; 0 means TLS 1.2.
	MinVersion uint16
}

// build gives the configuration for crypto/tls.
func (c *TLSConfig) build(http2 bool) (*tls.Config, error) {
	out := &tls.Config{
		MinVersion:     c.MinVersion,
		GetCertificate: c.GetCertificate,
		ClientCAs:      c.ClientCAs,
		NextProtos:     []string{"http/1.1"},
	}
	if out.MinVersion == 0 {
		out.MinVersion = tls.VersionTLS12
	}
	if http2 {
		out.NextProtos = []string{"h2", "http/1.1"}
	}
	switch c.ClientAuth {
	case RecordClientCert:
		out.ClientAuth = tls.RequestClientCert
	case RequireClientCert:
		out.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.GetCertificate != nil {
		return out, nil
	}
	var cert tls.Certificate
	var err error
	if c.CertFile != "" || c.KeyFile != "" {
		cert, err = tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			err = fmt.Errorf("wire: certificate %s with key %s: %w", c.CertFile, c.KeyFile, err)
		}
	} else {
		cert, err = c.selfSigned(time.Now())
	}
	out.Certificates = []tls.Certificate{cert}
	return out, err
}

const (
	selfSignedLife  = 365 * 24 * time.Hour
	selfSignedRenew = 7 * 24 * time.Hour // before its end
)

// selfSigned gives the kept certificate as long as it serves, otherwise a new one.
func (c *TLSConfig) selfSigned(now time.Time) (tls.Certificate, error) {
	hosts := c.SelfSignedHosts
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	if c.SelfSignedFile != "" {
		kept, err := os.ReadFile(c.SelfSignedFile)
		if err == nil {
			if cert, err := tls.X509KeyPair(kept, kept); err == nil && serves(cert.Leaf, hosts, now) {
				return cert, nil
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			return tls.Certificate{}, fmt.Errorf("wire: self-signed certificate: %w", err)
		}
	}
	pemBytes, err := newSelfSigned(hosts, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("wire: self-signed certificate: %w", err)
	}
	if c.SelfSignedFile != "" {
		if err := writePrivate(c.SelfSignedFile, pemBytes); err != nil {
			return tls.Certificate{}, fmt.Errorf("wire: keep the self-signed certificate: %w", err)
		}
	}
	return tls.X509KeyPair(pemBytes, pemBytes)
}

func serves(leaf *x509.Certificate, hosts []string, now time.Time) bool {
	if leaf == nil || now.Before(leaf.NotBefore) || now.Add(selfSignedRenew).After(leaf.NotAfter) {
		return false
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// newSelfSigned makes a certificate and its key, both in one PEM text.
func newSelfSigned(hosts []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"wasmedge self-signed"}, CommonName: hosts[0]},
		NotBefore:             now.Add(-time.Hour), // for clocks that are a little behind
		NotAfter:              now.Add(selfSignedLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that it can be put into a client's list of roots
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return out.Bytes(), nil
}

// writePrivate replaces the file whole; os.CreateTemp makes it readable by the user alone.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
