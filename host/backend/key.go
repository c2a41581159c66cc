package backend

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// key identifies a definition: equal keys mean that one Backend serves both. The name is left out.
type key [sha256.Size]byte

// key digests the definition with its defaults filled in. Each variable part is preceded by its length, so no two
// definitions have the same encoding. Of a client certificate only the public part counts: Validate has seen the key.
func (c *Config) key() key {
	var b []byte
	num := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	text := func(s string) { num(int64(len(s))); b = append(b, s...) }
	flag := func(f bool) {
		if f {
			num(1)
		} else {
			num(0)
		}
	}
	text(c.Host)
	num(int64(c.Port))
	text(c.OverrideHost)
	text(c.PathPrefix)
	for _, d := range []time.Duration{c.ConnectTimeout, c.FirstByteTimeout, c.BetweenBytesTimeout,
		c.KeepAlive.HTTPTime, c.Pool.MaxLifetime} {
		num(int64(d))
	}
	flag(c.PreferIPv4)
	flag(c.DontPool)
	flag(c.GRPC)
	num(int64(c.Pool.MaxConnections))
	num(int64(c.Pool.MaxUse))
	num(int64(c.Health))
	if flag(c.KeepAlive.TCP != nil); c.KeepAlive.TCP != nil {
		k := c.KeepAlive.TCP
		flag(k.Disable)
		num(int64(k.Time))
		num(int64(k.Interval))
		num(int64(k.Probes))
	}
	if flag(c.HealthCheck != nil); c.HealthCheck != nil {
		h := c.HealthCheck
		num(int64(h.Interval))
		num(int64(h.Timeout))
		text(h.Host)
		text(h.Method)
		text(h.Path)
		num(int64(h.Status))
		num(int64(h.Window))
		num(int64(h.Threshold))
		num(int64(h.Initial))
	}
	if flag(c.TLS != nil); c.TLS != nil {
		t := c.TLS
		num(int64(t.MinVersion))
		num(int64(t.MaxVersion))
		text(t.CertHost)
		text(*t.SNI)
		text(t.Ciphers)
		num(int64(len(t.CACerts)))
		for _, cert := range t.CACerts {
			text(string(cert.Raw))
		}
		if flag(t.ClientCert != nil); t.ClientCert != nil {
			num(int64(len(t.ClientCert.Certificate)))
			for _, der := range t.ClientCert.Certificate {
				text(string(der))
			}
		}
	}
	return sha256.Sum256(b)
}
