package abi

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
)

// backendCalls is the guest module fastly_backend.
var backendCalls = calls{
	"exists":                       {fn: backendExists},
	"is_healthy":                   {fn: backendIsHealthy},
	"is_dynamic":                   {fn: backendIsDynamic},
	"get_host":                     {fn: backendText(func(c *backend.Config) string { return c.Host })},
	"get_override_host":            {fn: backendText(func(c *backend.Config) string { return c.OverrideHost })},
	"get_port":                     {fn: backendPort},
	"get_connect_timeout_ms":       {fn: backendNumber(func(c *backend.Config) (uint32, bool) { return millis(c.ConnectTimeout) })},
	"get_first_byte_timeout_ms":    {fn: backendNumber(func(c *backend.Config) (uint32, bool) { return millis(c.FirstByteTimeout) })},
	"get_between_bytes_timeout_ms": {fn: backendNumber(func(c *backend.Config) (uint32, bool) { return millis(c.BetweenBytesTimeout) })},
	"get_http_keepalive_time": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		if c.KeepAlive.HTTPTime == 0 {
			return millis(backend.DefaultHTTPKeepAlive)
		}
		return millis(c.KeepAlive.HTTPTime)
	})},
	"get_tcp_keepalive_enable": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return boolean(c.KeepAlive.TCP == nil || !c.KeepAlive.TCP.Disable), true
	})},
	"get_tcp_keepalive_interval": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return tcpKeepAlive(c, func(k *backend.TCPKeepAlive) uint32 { return uint32(k.Interval / time.Second) })
	})},
	"get_tcp_keepalive_probes": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return tcpKeepAlive(c, func(k *backend.TCPKeepAlive) uint32 { return uint32(k.Probes) })
	})},
	"get_tcp_keepalive_time": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return tcpKeepAlive(c, func(k *backend.TCPKeepAlive) uint32 { return uint32(k.Time / time.Second) })
	})},
	"is_ssl": {fn: backendNumber(func(c *backend.Config) (uint32, bool) { return boolean(c.TLS != nil), true })},
	"get_ssl_min_version": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return tlsVersion(c, func(t *backend.TLS) uint16 { return t.MinVersion })
	})},
	"get_ssl_max_version": {fn: backendNumber(func(c *backend.Config) (uint32, bool) {
		return tlsVersion(c, func(t *backend.TLS) uint16 { return t.MaxVersion })
	})},
}

func boolean(v bool) uint32 {
	if v {
		return 1
	}
	return 0
}

// millis gives a timeout; absent when there is none.
func millis(d time.Duration) (uint32, bool) {
	if d < 0 {
		return 0, false
	}
	return uint32(min(d/time.Millisecond, 1<<32-1)), true
}

func tcpKeepAlive(c *backend.Config, f func(*backend.TCPKeepAlive) uint32) (uint32, bool) {
	if c.KeepAlive.TCP == nil {
		return 0, false
	}
	v := f(c.KeepAlive.TCP)
	return v, v != 0
}

func tlsVersion(c *backend.Config, f func(*backend.TLS) uint16) (uint32, bool) {
	if c.TLS == nil {
		return 0, false
	}
	v := f(c.TLS)
	if v < tls.VersionTLS10 || v > tls.VersionTLS13 {
		return 0, false
	}
	return uint32(v - tls.VersionTLS10), true
}

// backendExists is exists(name, name_len, out flag).
func backendExists(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if _, st := text(m, a.u32(0), a.u32(1)); st != OK {
		return st
	}
	_, st = s.backendNamed(m, a.u32(0), a.u32(1))
	out.putBool(st == OK)
	return OK
}

// backendIsHealthy is is_healthy(name, name_len, out backend_health).
func backendIsHealthy(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	b, st := s.backendNamed(m, a.u32(0), a.u32(1))
	if st == OK {
		out.put(uint32(b.Health()))
	}
	return st
}

// backendIsDynamic is is_dynamic(name, name_len, out flag).
func backendIsDynamic(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if _, st := s.backendNamed(m, a.u32(0), a.u32(1)); st != OK {
		return st
	}
	name, _ := m.View(a.u32(0), a.u32(1))
	_, dynamic := s.dynamic[string(name)]
	out.putBool(dynamic)
	return OK
}

// backendPort is get_port(name, name_len, out u16).
func backendPort(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u16Out(m, a.u32(2))
	if st != OK {
		return st
	}
	b, st := s.backendNamed(m, a.u32(0), a.u32(1))
	if st == OK {
		c := b.Config()
		out.put(c.Port)
	}
	return st
}

// backendText makes a getter(name, name_len, buf, buf_len, out nwritten). None: not set.
func backendText(f func(*backend.Config) string) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		buf, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
		if st != OK {
			return st
		}
		b, st := s.backendNamed(m, a.u32(0), a.u32(1))
		if st != OK {
			return st
		}
		c := b.Config()
		v := f(&c)
		return buf.optional(v, v != "")
	}
}

// backendNumber makes a getter(name, name_len, out u32). None: not set.
func backendNumber(f func(*backend.Config) (uint32, bool)) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		out, st := u32Out(m, a.u32(2))
		if st != OK {
			return st
		}
		b, st := s.backendNamed(m, a.u32(0), a.u32(1))
		if st != OK {
			return st
		}
		c := b.Config()
		v, ok := f(&c)
		if !ok {
			return None
		}
		out.put(v)
		return OK
	}
}

// Bits of backend_config_options.
const (
	dynReserved = 1 << iota
	dynHostOverride
	dynConnectTimeout
	dynFirstByteTimeout
	dynBetweenBytesTimeout
	dynUseTLS
	dynMinVersion
	dynMaxVersion
	dynCertHostname
	dynCACert
	dynCiphers
	dynSNI
	dynDontPool
	dynClientCert
	dynGRPC
	dynKeepAlive
	dynPoolLimits
	dynPreferIPv4
	dynHealthCheck
	dynUnknown
)

// Limits of a dynamic backend's texts, in bytes.
const (
	maxOverrideHost = 1024
	maxCertHost     = 1024
	maxSNI          = 1024
	maxCACerts      = 65536
	maxCiphers      = 4096
	maxClientCert   = 65536
)

// structReader reads the fields of a guest's struct. Fields whose bit is not set are not touched: SDKs pass shorter
// structs, or none. The first failure sticks.
type structReader struct {
	m    engine.Memory
	base uint32
	st   Status
}

func (r *structReader) u32(offset uint32) uint32 {
	b, st := in(r.m, r.base+offset, 4)
	if st == OK && uint64(r.base)+uint64(offset) > uint64(len(r.m)) {
		st = Inval // the sum wrapped around
	}
	if st != OK {
		r.st = max(r.st, st)
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *structReader) millis(offset uint32) time.Duration {
	return time.Duration(r.u32(offset)) * time.Millisecond
}

func (r *structReader) seconds(offset uint32) time.Duration {
	return time.Duration(r.u32(offset)) * time.Second
}

// text reads a pointer and a length of at most limit bytes.
func (r *structReader) text(offset, limit uint32) string {
	ptr, n := r.u32(offset), r.u32(offset+4)
	if r.st != OK {
		return ""
	}
	if n > limit {
		r.st = Inval
		return ""
	}
	v, st := text(r.m, ptr, n)
	r.st = max(r.st, st)
	return v
}

// tlsVersion reads the enum tls_version.
func (r *structReader) tlsVersion(offset uint32) uint16 {
	v := r.u32(offset)
	if v > 3 {
		r.st = Inval
		return 0
	}
	return tls.VersionTLS10 + uint16(v)
}

// registerDynamicBackend is register_dynamic_backend(name, name_len, target, target_len, mask, config). It lives as
// long as the sandbox. Error: the name is taken. Unsupported: dynamic backends are switched off. Inval: bad text, size
// or setting. LimitExceeded: too many.
func registerDynamicBackend(s *Sandbox, m engine.Memory, a args) Status {
	if s.env.Dynamic == nil {
		return Unsupported
	}
	if a.u32(1) == 0 || a.u32(1) > maxBackendName {
		return Inval
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if a.u32(3) > maxURI {
		return Inval
	}
	target, st := text(m, a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	c := backend.Config{Name: name}
	if !parseTarget(target, &c) {
		return Inval
	}
	if st := s.readDynamic(m, a.u32(4), a.u32(5), &c); st != OK {
		return st
	}
	if _, taken := s.dynamic[name]; taken || s.env.Backends.Lookup(name) != nil {
		return Error
	}
	return s.define(c)
}

// define adds a backend to those of this sandbox.
func (s *Sandbox) define(c backend.Config) Status {
	if s.env.Dynamic == nil {
		return Unsupported
	}
	if len(s.dynamic) >= s.env.maxDynamic() {
		return LimitExceeded
	}
	b, release, err := s.env.Dynamic.Acquire(c)
	if err != nil {
		if errors.Is(err, backend.ErrTooMany) {
			s.warn("a dynamic backend was refused", err)
			return LimitExceeded
		}
		s.warn("a dynamic backend was refused", err)
		return Inval
	}
	if s.dynamic == nil {
		s.dynamic = make(map[string]dynamicBackend)
	}
	s.dynamic[c.Name] = dynamicBackend{b, release}
	return OK
}

// parseTarget reads a host name or address with an optional port.
func parseTarget(target string, c *backend.Config) bool {
	if ip, err := netip.ParseAddr(strings.Trim(target, "[]")); err == nil {
		c.Host = ip.String()
		return true
	}
	if !strings.Contains(target, ":") {
		c.Host = target
		return target != ""
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return false
	}
	c.Host, c.Port = host, uint16(n)
	return true
}

// readDynamic reads dynamic_backend_config. BadF: the client's key is no secret of this sandbox.
func (s *Sandbox) readDynamic(m engine.Memory, mask, ptr uint32, c *backend.Config) Status {
	if mask&dynReserved != 0 || mask >= dynUnknown {
		return Inval
	}
	r := &structReader{m: m, base: ptr}
	has := func(bit uint32) bool { return mask&bit != 0 }
	if has(dynHostOverride) {
		if c.OverrideHost = r.text(0, maxOverrideHost); r.st == OK && c.OverrideHost == "" {
			return Inval
		}
	}
	timeout := func(bit, offset uint32, d *time.Duration) {
		if has(bit) {
			if *d = r.millis(offset); *d == 0 {
				*d = -1 // none, where the zero value means the default
			}
		}
	}
	timeout(dynConnectTimeout, 8, &c.ConnectTimeout)
	timeout(dynFirstByteTimeout, 12, &c.FirstByteTimeout)
	timeout(dynBetweenBytesTimeout, 16, &c.BetweenBytesTimeout)
	if has(dynUseTLS) {
		c.TLS = new(backend.TLS)
		if has(dynMinVersion) {
			c.TLS.MinVersion = r.tlsVersion(20)
		}
		if has(dynMaxVersion) {
			c.TLS.MaxVersion = r.tlsVersion(24)
		}
		if has(dynCertHostname) {
			// One SDK fills it from the target, port included.
			if c.TLS.CertHost = hostOnly(r.text(28, maxCertHost)); r.st == OK && c.TLS.CertHost == "" {
				return Inval
			}
		}
		if has(dynCACert) {
			pem := r.text(36, maxCACerts)
			if r.st != OK {
				return r.st
			}
			certs, err := backend.ParseCertificates([]byte(pem))
			if err != nil {
				return Inval
			}
			c.TLS.CACerts = certs
		}
		if has(dynCiphers) {
			c.TLS.Ciphers = r.text(44, maxCiphers)
		}
		if has(dynSNI) {
			sni := hostOnly(r.text(52, maxSNI))
			c.TLS.SNI = &sni
		}
		if has(dynClientCert) {
			chain := r.text(60, maxClientCert)
			if r.st != OK {
				return r.st
			}
			key, st := s.secrets.get(r.u32(68))
			if st != OK {
				return st
			}
			var pair tls.Certificate
			err := key.use(func(pem []byte) (err error) {
				pair, err = tls.X509KeyPair([]byte(chain), pem)
				return err
			})
			if err != nil {
				s.warn("a dynamic backend was refused: its client certificate and key", err)
				return Inval
			}
			c.TLS.ClientCert = &pair
		}
	}
	c.DontPool, c.GRPC, c.PreferIPv4 = has(dynDontPool), has(dynGRPC), has(dynPreferIPv4)
	if has(dynKeepAlive) {
		c.KeepAlive.HTTPTime = r.millis(72)
		c.KeepAlive.TCP = &backend.TCPKeepAlive{
			Disable:  r.u32(76) == 0,
			Interval: r.seconds(80),
			Probes:   int(min(r.u32(84), 1<<16)),
			Time:     r.seconds(88),
		}
	}
	if has(dynPoolLimits) {
		c.Pool = backend.PoolLimits{MaxConnections: r.u32(92), MaxUse: r.u32(96), MaxLifetime: r.millis(100)}
	}
	if has(dynHealthCheck) && r.st == OK {
		h := &structReader{m: m, base: r.u32(104)}
		check := &backend.HealthCheck{
			Interval:  h.millis64(0),
			Timeout:   h.millis64(8),
			Host:      h.text(16, maxOverrideHost),
			Method:    h.text(24, maxURI),
			Path:      h.text(32, maxURI),
			Status:    int(h.u32(40) & 0xFFFF),
			Window:    int(h.u32(44) & 0xFFFF),
			Threshold: int(h.u32(48) & 0xFFFF),
			Initial:   int(h.u32(52) & 0xFFFF),
		}
		if check.Initial == 0 {
			check.Initial = -1 // none, where the zero value means the default
		}
		if r.st = max(r.st, h.st); check.Window > 15 {
			return Inval
		}
		c.HealthCheck = check
	}
	if r.st != OK {
		return r.st
	}
	return OK
}

// millis64 reads a u64 of milliseconds; more than a day is a day.
func (r *structReader) millis64(offset uint32) time.Duration {
	low, high := r.u32(offset), r.u32(offset+4)
	const day = 24 * time.Hour
	if high != 0 {
		return day
	}
	return min(time.Duration(low)*time.Millisecond, day)
}

// hostOnly cuts a port off.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
