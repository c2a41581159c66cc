package manifest

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

func (r *reader) backend(l *LocalServer, v *value) {
	b := Backend{Pos: r.pos(v.keyOff), Name: v.name, UseSNI: true}
	health := map[string]Health{"unknown": HealthUnknown, "healthy": HealthHealthy, "unhealthy": HealthUnhealthy}
	ok := r.table(v, refuse,
		required("url", `an absolute URL such as "https://example.com"`, func(v *value) { r.backendURL(&b, v) }),
		key("override_host", func(v *value) { r.overrideHost(&b, v) }),
		key("cert_host", func(v *value) { b.CertHost, _ = r.nonBlank(v) }),
		key("use_sni", r.bool(&b.UseSNI)),
		key("ca_certificate", func(v *value) { r.caCertificates(&b, v) }),
		key("client_certificate", func(v *value) { r.clientCertificate(&b, v) }),
		key("grpc", r.bool(&b.GRPC)),
		key("first_byte_timeout_ms", r.milliseconds(&b.FirstByteTimeout)),
		key("between_bytes_timeout_ms", r.milliseconds(&b.BetweenBytesTimeout)),
		key("health", r.enum(true, func(s string) { b.Health = health[s] }, "unknown", "healthy", "unhealthy")),
	)
	if !ok {
		return
	}
	if b.CertHost == "" {
		b.CertHost = b.Host
	}
	l.Backends = append(l.Backends, b)
}

// milliseconds reads a timeout; the guest ABI has 32 bits for one.
func (r *reader) milliseconds(to *time.Duration) func(*value) {
	return r.integer(0, math.MaxUint32, func(n int64) { *to = time.Duration(n) * time.Millisecond })
}

func (r *reader) backendURL(b *Backend, v *value) {
	const want = `an absolute URL such as "https://example.com"`
	if v.kind != kindString {
		r.fail(v, want, "this is %s", v.kind)
		return
	}
	// The URL itself is not part of the message, for it may hold a password.
	if err := b.setURL(v.text); err != nil {
		r.fail(v, want, "%s", err)
		return
	}
	switch b.Scheme {
	case "http", "https", "ws", "wss":
	default:
		r.advise(v, "http or https", "the scheme %s is treated as http", displayText(b.Scheme))
	}
}

// setURL takes a backend's URL apart. What it refuses beyond the platform's local server (a URL without
// scheme or host) is what that one accepts, only to fail at the first request.
func (b *Backend) setURL(raw string) error {
	if raw == "" {
		return errors.New("the URL is empty")
	}
	for i := range len(raw) {
		// The rest of the URL syntax's forbidden characters do no harm: the path is sent as it stands.
		if c := raw[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("<>`", c) >= 0 {
			return errors.New("the URL has a space, control, non-ASCII or < > ` character, which must be written as %XX (in a host name: as xn--)")
		}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || strings.Trim(scheme, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-.") != "" ||
		scheme == "" || strings.IndexByte("0123456789+-.", scheme[0]) >= 0 {
		return errors.New("the URL has no scheme")
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	authority, rest := rest[:end], rest[end:]
	// The standard library checks scheme and authority; it would refuse some paths that work.
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err // without the URL
		}
		if strings.Contains(authority, "@") {
			return errors.New("the URL's user-info, host or port is malformed") // the cause may quote a password
		}
		return fmt.Errorf("the URL is malformed: %w", err)
	}
	host := u.Hostname()
	if host == "" {
		return errors.New("the URL has no host")
	}
	if strings.ContainsAny(host, "%/\\ ") {
		if _, err := netip.ParseAddr(host); err != nil { // a zone (%eth0) is fine
			return errors.New("the URL's host is malformed")
		}
	}
	b.URL, b.Scheme, b.Host = raw, u.Scheme, host
	b.TLS = b.Scheme == "https" || b.Scheme == "wss"
	b.Port = 80
	if b.TLS {
		b.Port = 443
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return errors.New("the URL's port is not one from 1 to 65535")
		}
		b.Port = uint16(n)
	}
	path := rest
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	b.PathPrefix = path
	return nil
}

func (r *reader) overrideHost(b *Backend, v *value) {
	host, ok := r.nonBlank(v)
	if !ok {
		return
	}
	const want = `what a Host header may hold, such as "example.com" or "example.com:8080"`
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f {
			r.fail(v, want, "there is a space, control or non-ASCII character")
			return
		}
	}
	if !httpguts.ValidHostHeader(host) {
		r.fail(v, want, "%s is no host", displayText(host))
		return
	}
	b.OverrideHost = host
}
