package backend

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/host/manifest"
)

// Limits of the guest ABI on definitions.
const (
	MaxHostName    = 1024  // bytes of OverrideHost, TLS.CertHost and TLS.SNI
	MaxCACertBytes = 65536 // of a PEM list, see ParseCertificates
	MaxWindow      = 15    // of a health check
)

const (
	maxCiphers    = 8192
	maxPathPrefix = 8192
)

// ConfigError is a definition that cannot work.
type ConfigError struct {
	Backend string // its name
	Field   string // of Config, such as "TLS.Ciphers"
	Detail  Detail // tls_configuration_error or internal_error
	Err     error
}

// Error names the backend and the field.
func (e *ConfigError) Error() string {
	return "backend " + quote(e.Backend) + ": " + e.Field + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Validate tells what of the definition cannot work; the error is a *ConfigError.
func (c *Config) Validate() error {
	bad := func(field, format string, args ...any) error {
		detail := DetailInternalError
		if strings.HasPrefix(field, "TLS") {
			detail = DetailTLSConfigurationError
		}
		return &ConfigError{Backend: c.Name, Field: field, Detail: detail, Err: fmt.Errorf(format, args...)}
	}
	switch err := checkHost(c.Host); {
	case err != nil:
		return bad("Host", "%w", err)
	case len(c.OverrideHost) > MaxHostName:
		return bad("OverrideHost", "longer than %d bytes", MaxHostName)
	case !validHostHeader(c.OverrideHost):
		return bad("OverrideHost", "%q is nothing that a Host header may hold", c.OverrideHost)
	case len(c.PathPrefix) > maxPathPrefix:
		return bad("PathPrefix", "longer than %d bytes", maxPathPrefix)
	case !validTarget(c.PathPrefix) || strings.ContainsAny(c.PathPrefix, "?#"):
		return bad("PathPrefix", "there is a space, a control character, ? or #")
	}
	if h := c.HealthCheck; h != nil {
		method, path := h.Method, h.Path
		if method == "" {
			method = "GET"
		}
		if path == "" {
			path = "/"
		}
		switch {
		case h.Interval < 0 || h.Timeout < 0:
			return bad("HealthCheck", "a negative time")
		case len(h.Host) > MaxHostName || !validHostHeader(h.Host):
			return bad("HealthCheck.Host", "this is nothing that a Host header may hold")
		case !httpguts.ValidHeaderFieldName(method) || method == "CONNECT":
			return bad("HealthCheck.Method", "%q is no method that can be sent", method)
		case path[0] != '/' || !validTarget(path) || strings.Contains(path, "#"):
			return bad("HealthCheck.Path", "it must start with / and have no space, control character or #")
		case h.Status != 0 && (h.Status < 200 || h.Status > 999):
			return bad("HealthCheck.Status", "%d is no final status", h.Status)
		case h.Window < 0 || h.Window > MaxWindow:
			return bad("HealthCheck.Window", "%d is not within 1 and %d", h.Window, MaxWindow)
		case h.Threshold < 0:
			return bad("HealthCheck.Threshold", "it is negative")
		case h.threshold() > h.window():
			return bad("HealthCheck.Threshold", "%d of a window of %d can never pass", h.threshold(), h.window())
		}
	}
	if k := c.KeepAlive.TCP; k != nil && (k.Time < 0 || k.Interval < 0 || k.Probes < 0) {
		return bad("KeepAlive.TCP", "a negative number")
	}
	if c.Pool.MaxLifetime < 0 {
		return bad("Pool.MaxLifetime", "it is negative")
	}
	if c.TLS == nil {
		return nil
	}
	t := c.TLS
	low, high := t.MinVersion, t.MaxVersion
	switch {
	case low != 0 && (low < tls.VersionTLS10 || low > tls.VersionTLS13):
		return bad("TLS.MinVersion", "%#x is no TLS version", low)
	case high != 0 && (high < tls.VersionTLS10 || high > tls.VersionTLS13):
		return bad("TLS.MaxVersion", "%#x is no TLS version", high)
	case low != 0 && high != 0 && low > high:
		return bad("TLS.MinVersion", "%s is above the maximum %s", tls.VersionName(low), tls.VersionName(high))
	case c.GRPC && high != 0 && high < tls.VersionTLS12:
		return bad("TLS.MaxVersion", "HTTP/2 needs TLS 1.2")
	case len(t.CertHost) > MaxHostName:
		return bad("TLS.CertHost", "longer than %d bytes", MaxHostName)
	case t.SNI != nil && len(*t.SNI) > MaxHostName:
		return bad("TLS.SNI", "longer than %d bytes", MaxHostName)
	case len(t.Ciphers) > maxCiphers:
		return bad("TLS.Ciphers", "longer than %d bytes", maxCiphers)
	}
	if t.CertHost != "" {
		if err := checkHost(hostOnly(t.CertHost)); err != nil {
			return bad("TLS.CertHost", "%w", err)
		}
	}
	if t.SNI != nil && *t.SNI != "" {
		if err := checkHost(hostOnly(*t.SNI)); err != nil {
			return bad("TLS.SNI", "%w", err)
		}
	}
	if _, _, err := parseCiphers(t.Ciphers); err != nil {
		return bad("TLS.Ciphers", "%w", err)
	}
	if t.ClientCert != nil {
		if err := checkKeyPair(t.ClientCert); err != nil {
			return bad("TLS.ClientCert", "%w", err)
		}
	}
	return nil
}

// checkHost refuses what can be no host name and no address. Names that DNS does not allow but resolvers take
// (underscores) pass.
func checkHost(h string) error {
	if h == "" {
		return errors.New("it is empty")
	}
	if len(h) > MaxHostName {
		return fmt.Errorf("longer than %d bytes", MaxHostName)
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return nil
	}
	for i := range len(h) {
		if c := h[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`/\?#@:%[]<>"`, c) >= 0 {
			return fmt.Errorf("%q is neither a host name (others than ASCII as xn--) nor an address", h)
		}
	}
	return nil
}

// validHostHeader is stricter than net/http: what comes after a space or slash would be cut off there.
func validHostHeader(h string) bool {
	for i := range len(h) {
		if c := h[i]; c <= ' ' || c >= 0x7f || c == '/' || c == '\\' || c == '@' || c == ',' || c == '?' || c == '#' {
			return false
		}
	}
	return httpguts.ValidHostHeader(h)
}

// hostOnly cuts a port and the brackets of an IPv6 address: SDKs give the target with its port for the names in TLS.
func hostOnly(h string) string {
	if _, err := netip.ParseAddr(h); err == nil {
		return h
	}
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.Trim(h[i+1:], "0123456789") == "" {
		h = h[:i]
	}
	if strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]") {
		h = h[1 : len(h)-1]
	}
	return h
}

// checkKeyPair makes sure that whoever defines a backend has the key to its certificate: a Registry compares the
// certificate alone.
func checkKeyPair(pair *tls.Certificate) error {
	if len(pair.Certificate) == 0 {
		return errors.New("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return errors.New("there is no private key")
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return errors.New("the private key does not belong to the certificate")
	}
	return nil
}

// ParseCertificates gives the certificates of a PEM text, at least one. Blocks of other types are an error, for a key
// among public certificates is a mistake worth noticing.
func ParseCertificates(pemText []byte) ([]*x509.Certificate, error) {
	if len(pemText) > MaxCACertBytes {
		return nil, fmt.Errorf("longer than %d bytes", MaxCACertBytes)
	}
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, pemText = pem.Decode(pemText); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a %s among the certificates", strings.ToLower(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate number %d: %w", len(list)+1, err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New(`no certificate in PEM form ("-----BEGIN CERTIFICATE-----") found`)
	}
	return list, nil
}

// withDefaults fills in what Backend.Config promises.
func (c Config) withDefaults() Config {
	c.Port = c.port()
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.ConnectTimeout, DefaultConnectTimeout},
		{&c.FirstByteTimeout, DefaultFirstByteTimeout},
		{&c.BetweenBytesTimeout, DefaultBetweenBytesTimeout},
		{&c.KeepAlive.HTTPTime, DefaultHTTPKeepAlive},
	} {
		switch {
		case *d.field == 0:
			*d.field = d.value
		case *d.field < 0:
			*d.field = -1 // all "none" are equal
		}
	}
	var k TCPKeepAlive
	if c.KeepAlive.TCP != nil {
		k = *c.KeepAlive.TCP
	}
	k.Time = cmp.Or(k.Time, DefaultTCPKeepAliveTime)
	k.Interval = cmp.Or(k.Interval, DefaultTCPKeepAliveInterval)
	k.Probes = cmp.Or(k.Probes, DefaultTCPKeepAliveProbes)
	c.KeepAlive.TCP = &k
	if c.TLS != nil {
		t := *c.TLS
		if t.CertHost = hostOnly(t.CertHost); t.CertHost == "" {
			t.CertHost = c.Host
		}
		sni := t.CertHost
		if t.SNI != nil {
			sni = hostOnly(*t.SNI)
		}
		t.SNI = &sni
		c.TLS = &t
	}
	if c.HealthCheck != nil {
		h := c.HealthCheck.withDefaults(&c)
		c.HealthCheck = &h
	}
	return c
}

// FromManifest gives the definition of a backend of a manifest. There, a timeout of zero means none, which is kept; the
// connection timeout and everything else that a manifest does not know have their defaults.
func FromManifest(m *manifest.Backend) Config {
	c := Config{
		Name:                m.Name,
		Host:                m.Host,
		Port:                m.Port,
		OverrideHost:        m.OverrideHost,
		PathPrefix:          m.PathPrefix,
		FirstByteTimeout:    orNone(m.FirstByteTimeout),
		BetweenBytesTimeout: orNone(m.BetweenBytesTimeout),
		GRPC:                m.GRPC,
	}
	switch m.Health {
	case manifest.HealthHealthy:
		c.Health = HealthHealthy
	case manifest.HealthUnhealthy:
		c.Health = HealthUnhealthy
	}
	if m.TLS {
		c.TLS = &TLS{CertHost: m.CertHost, CACerts: m.CACertificates}
		if !m.UseSNI {
			c.TLS.SNI = new(string)
		}
		if m.ClientCertificate != nil {
			pair := m.ClientCertificate.TLS()
			c.TLS.ClientCert = &pair
		}
	}
	return c
}

func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
