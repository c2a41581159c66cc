package manifest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// Secret is a value that must not be printed: every way of formatting it gives "[secret]". The bytes leave
// only through Reveal.
type Secret struct {
	// A function, because fmt calls no methods on unexported fields of other structs but prints what is
	// inside them, through pointers too. Of a function it can print no more than the address.
	reveal func() []byte
}

func newSecret(b []byte) Secret { return Secret{reveal: func() []byte { return b }} }

// Reveal gives the bytes, which belong to the Manifest: do not write to them.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Equal tells whether two secrets have the same bytes. It is not meant for checking credentials: its time
// depends on the contents.
func (s Secret) Equal(t Secret) bool { return bytes.Equal(s.Reveal(), t.Reveal()) }

// String gives "[secret]".
func (s Secret) String() string { return redacted }

// Format gives "[secret]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText gives "[secret]", also to encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[secret]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ClientCertificate is the certificate chain and private key that a backend asks for (mutual TLS). The key
// belongs to the certificate: Parse has compared them.
type ClientCertificate struct {
	subject string
	pair    func() tls.Certificate // a function for the reason given at Secret
}

func newClientCertificate(pair tls.Certificate) *ClientCertificate {
	return &ClientCertificate{
		subject: pair.Leaf.Subject.String(),
		pair:    func() tls.Certificate { return pair },
	}
}

// TLS gives the certificate for use in a tls.Config. The result holds the private key.
func (c *ClientCertificate) TLS() tls.Certificate { return c.pair() }

// String names the certificate by its subject.
func (c *ClientCertificate) String() string { return "[client certificate " + c.subject + "]" }

// Format gives String for every verb and flag, so that the key is never printed.
func (c *ClientCertificate) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// MarshalText gives String, also to encoding/json.
func (c *ClientCertificate) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
