package backend

import (
	"crypto/x509"

	"github.com/edgewasm/wasmedge/host/manifest"
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
func (c *Config) Validate() error { return nil }

// ParseCertificates gives the certificates of a PEM text, at least one.
func ParseCertificates(pemText []byte) ([]*x509.Certificate, error) { return nil, nil }

// FromManifest gives the definition of a backend of a manifest. There, a timeout of zero means none, which is kept; the
// connection timeout and everything else that a manifest does not know have their defaults.
func FromManifest(m *manifest.Backend) Config { return Config{} }
