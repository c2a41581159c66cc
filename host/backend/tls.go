package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// tlsConfig makes the client side of TLS. The definition has its defaults filled in and is valid.
func (c *Config) tlsConfig(protocols ...string) *tls.Config {
	t := c.TLS
	ids, only13, _ := parseCiphers(t.Ciphers)
	conf := &tls.Config{
		ServerName:         *t.SNI,
		MinVersion:         t.MinVersion,
		MaxVersion:         t.MaxVersion,
		CipherSuites:       ids,
		NextProtos:         protocols,
		ClientSessionCache: tls.NewLRUClientSessionCache(16),
	}
	if only13 {
		conf.MinVersion = tls.VersionTLS13
	}
	if conf.MinVersion == 0 {
		conf.MinVersion = tls.VersionTLS12
		if conf.MaxVersion != 0 {
			conf.MinVersion = min(conf.MinVersion, conf.MaxVersion)
		}
	}
	if len(t.CACerts) > 0 {
		conf.RootCAs = x509.NewCertPool()
		for _, cert := range t.CACerts {
			conf.RootCAs.AddCert(cert)
		}
	}
	if t.ClientCert != nil {
		// Given whatever authorities the origin names: it is the origin's part to refuse a certificate.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.ClientCert, nil }
	}
	if *t.SNI != t.CertHost {
		// crypto/tls verifies the name that it sends. Here they differ, so the same verification is done below.
		roots := conf.RootCAs
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(cs tls.ConnectionState) error {
			return verify(cs.PeerCertificates, roots, t.CertHost)
		}
	}
	return conf
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, name string) error {
	if len(chain) == 0 {
		return errors.New("tls: the origin sent no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// handshake secures a connection, which it closes on failure.
func handshake(ctx context.Context, nc net.Conn, conf *tls.Config) (*tls.Conn, error) {
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}
