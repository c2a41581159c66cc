package wire

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Facts is what is known of the client of one request beyond the request itself. Methods report ok=false
// when the answer is not known or there is none, for instance TLS questions about a plain connection. A nil
// *Facts knows nothing. What methods return must not be changed.
type Facts struct {
	conn *connFacts
	req  *request  // HTTP/1
	h2   *h2Stream // HTTP/2
	tap  *h2Tap
}

// connFacts are the facts of a connection, shared by its requests.
type connFacts struct {
	local, remote netip.AddrPort
	tls           *tls.ConnectionState
	hello         []byte         // ClientHello with its handshake header
	clientCAs     *x509.CertPool // to judge the client's certificate; nil means the system's roots
	askedCert     bool           // the server asked for a client certificate

	prints func() *helloPrints     // computed once
	verify func() ClientCertResult // computed once

	current atomic.Pointer[Facts] // HTTP/1: of the request the handler runs for
}

type helloPrints struct {
	ja3 [md5.Size]byte
	ja4 string
}

func newConnFacts(local, remote net.Addr) *connFacts {
	c := &connFacts{local: addrPort(local), remote: addrPort(remote)}
	c.prints = sync.OnceValue(func() *helloPrints {
		h, err := parseHello(c.hello)
		if err != nil {
			return nil
		}
		return &helloPrints{ja3: h.ja3(), ja4: h.ja4()}
	})
	c.verify = sync.OnceValue(func() ClientCertResult {
		if len(c.tls.VerifiedChains) > 0 {
			return ClientCertOK
		}
		return verifyClient(c.tls.PeerCertificates, c.clientCAs, time.Now())
	})
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok && t != nil {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

type contextKey int

const (
	connKey   contextKey = iota // *serverConn, on each connection's context
	factsKey                    // *Facts, on an HTTP/2 request's context
	streamKey                   // *Stream, on the context of an extended CONNECT
)

// FromRequest gives the facts of a request that a Server handed to its handler. It must be called while the
// handler runs; the result stays valid afterwards. For a request of any other server it gives what the
// request itself tells: the addresses and the TLS state. The result is never nil.
func FromRequest(r *http.Request) *Facts {
	ctx := r.Context()
	if f, ok := ctx.Value(factsKey).(*Facts); ok {
		return f
	}
	if c, ok := ctx.Value(connKey).(*serverConn); ok {
		if f := c.facts.current.Load(); f != nil {
			return f
		}
	}
	return foreignFacts(ctx, r)
}

func foreignFacts(ctx context.Context, r *http.Request) *Facts {
	local, _ := ctx.Value(http.LocalAddrContextKey).(net.Addr)
	c := newConnFacts(local, nil)
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	}
	c.tls = r.TLS
	c.askedCert = r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	return &Facts{conn: c}
}

// LocalAddr is the address that the client connected to; an IPv4 address is given as such.
func (f *Facts) LocalAddr() (addr netip.AddrPort, ok bool) {
	if f == nil || f.conn == nil {
		return netip.AddrPort{}, false
	}
	return f.conn.local, f.conn.local.IsValid()
}

// RemoteAddr is the client's address; an IPv4 address is given as such.
func (f *Facts) RemoteAddr() (addr netip.AddrPort, ok bool) {
	if f == nil || f.conn == nil {
		return netip.AddrPort{}, false
	}
	return f.conn.remote, f.conn.remote.IsValid()
}

// TLS is the state of the connection after the handshake, nil on a plain connection.
func (f *Facts) TLS() *tls.ConnectionState {
	if f == nil || f.conn == nil {
		return nil
	}
	return f.conn.tls
}

// TLSProtocol is the negotiated version in the form "TLSv1.3".
func (f *Facts) TLSProtocol() (name string, ok bool) {
	if s := f.TLS(); s != nil {
		return protocolName(s.Version)
	}
	return "", false
}

// TLSCipher is the negotiated cipher suite by its OpenSSL name, such as "ECDHE-RSA-AES128-GCM-SHA256" or
// "TLS_AES_128_GCM_SHA256".
func (f *Facts) TLSCipher() (name string, ok bool) {
	if s := f.TLS(); s != nil {
		name, ok = opensslNames[s.CipherSuite]
	}
	return name, ok
}

// TLSServerName is the host name that the client asked for (SNI).
func (f *Facts) TLSServerName() (name string, ok bool) {
	if s := f.TLS(); s != nil {
		return s.ServerName, s.ServerName != ""
	}
	return "", false
}

// ClientHello is the client's first handshake message, with its 4-byte handshake header and without the
// record layer.
func (f *Facts) ClientHello() (message []byte, ok bool) {
	if f == nil || f.conn == nil || f.conn.hello == nil {
		return nil, false
	}
	return f.conn.hello, true
}

// JA3 is the MD5 sum of the JA3 text of the ClientHello.
func (f *Facts) JA3() (sum [md5.Size]byte, ok bool) {
	if p := f.helloPrints(); p != nil {
		return p.ja3, true
	}
	return sum, false
}

// JA4 is the JA4 fingerprint of the ClientHello.
func (f *Facts) JA4() (text string, ok bool) {
	if p := f.helloPrints(); p != nil {
		return p.ja4, true
	}
	return "", false
}

func (f *Facts) helloPrints() *helloPrints {
	if f == nil || f.conn == nil || f.conn.hello == nil {
		return nil
	}
	return f.conn.prints()
}

// ClientCertificate is the certificate that the client presented, PEM-encoded.
func (f *Facts) ClientCertificate() (pemBytes []byte, ok bool) {
	s := f.TLS()
	if s == nil || len(s.PeerCertificates) == 0 {
		return nil, false
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.PeerCertificates[0].Raw}), true
}

// ClientCertResult is the outcome of verifying a client's certificate. The values are those of the guest
// ABI's enumeration client_cert_verify_result.
type ClientCertResult uint32

// Outcomes of verifying a client's certificate.
const (
	ClientCertOK ClientCertResult = iota
	ClientCertBad
	ClientCertRevoked
	ClientCertExpired
	ClientCertUnknownCA
	ClientCertMissing
	ClientCertUnknown
)

// ClientCertResult tells how the client's certificate was judged. It is not known on a plain connection and
// when the server did not ask for a certificate.
func (f *Facts) ClientCertResult() (result ClientCertResult, ok bool) {
	if f.TLS() == nil || !f.conn.askedCert {
		return 0, false
	}
	return f.conn.verify(), true
}

// verifyClient judges a chain, leaf first.
func verifyClient(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) ClientCertResult {
	if len(chain) == 0 {
		return ClientCertMissing
	}
	opts := x509.VerifyOptions{
		Roots:         roots,
		CurrentTime:   now,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return ClientCertOK
	case errors.As(err, &unknown):
		return ClientCertUnknownCA
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ClientCertExpired
	case errors.As(err, &invalid):
		return ClientCertBad
	}
	return ClientCertUnknown
}

// OriginalHeaderNames gives the header names as the client wrote them: their case, their order, and a name
// as often as it was sent. The pseudo-headers of HTTP/2 are left out.
func (f *Facts) OriginalHeaderNames() (names []string, ok bool) {
	switch {
	case f == nil:
		return nil, false
	case f.req != nil:
		names = make([]string, 0, f.req.count)
		for rest := f.req.names; len(rest) > 0; {
			i := bytes.IndexByte(rest, 0)
			names = append(names, string(rest[:i]))
			rest = rest[i+1:]
		}
		return names, true
	case f.h2 != nil:
		return f.tap.names(f.h2)
	}
	return nil, false
}

// OriginalHeaderCount is the number of names that OriginalHeaderNames gives.
func (f *Facts) OriginalHeaderCount() (n int, ok bool) {
	if f != nil && f.req != nil {
		return f.req.count, true
	}
	names, ok := f.OriginalHeaderNames()
	return len(names), ok
}

// HeadSize is the size of the request head on the wire in bytes: request line, headers and empty line in
// HTTP/1, the compressed header block in HTTP/2.
func (f *Facts) HeadSize() (n int, ok bool) {
	switch {
	case f == nil:
		return 0, false
	case f.req != nil:
		return f.req.size, true
	case f.h2 != nil:
		return f.h2.size, true
	}
	return 0, false
}

// H2Fingerprint is the connection's HTTP/2 fingerprint in the form "settings|window update|priorities|
// pseudo-headers", such as "1:65536;4:131072|12517377|0|m,p,a,s". It is not known for HTTP/1.
func (f *Facts) H2Fingerprint() (text string, ok bool) {
	if f == nil || f.tap == nil {
		return "", false
	}
	return f.tap.fingerprint()
}

// OHFingerprint is a fingerprint of OriginalHeaderNames: 16 bytes as hex pairs joined by colons, the first
// half of the SHA-256 sum of the names joined by commas. The platform has the same form, but its algorithm
// is not published, so the values differ from its own.
func (f *Facts) OHFingerprint() (text string, ok bool) {
	names, ok := f.OriginalHeaderNames()
	if !ok {
		return "", false
	}
	h := sha256.New()
	for i, n := range names {
		if i > 0 {
			h.Write([]byte{','})
		}
		h.Write([]byte(n))
	}
	sum := h.Sum(nil)
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 16*3)
	for i, c := range sum[:16] {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[c>>4], digits[c&15])
	}
	return string(b), true
}
