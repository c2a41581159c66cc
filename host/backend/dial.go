package backend

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// attemptDelay is how long a connection attempt may take before the next address is tried beside it, and
// maxAddresses how many addresses of a name are tried (RFC 8305 sections 5 and 9).
const (
	attemptDelay = 250 * time.Millisecond
	maxAddresses = 16
)

// Causes of a connection that was not made, beside the errors of package net.
var (
	errConnectTimeout = errors.New("the connection was not made in time")
	errNoAddress      = errors.New("the name has no address")
)

// dnsError is a failure to resolve, whatever its form.
type dnsError struct{ err error }

func (e *dnsError) Error() string { return e.err.Error() }
func (e *dnsError) Unwrap() error { return e.err }

// refusedAddress is an address that Options.Permit refused.
type refusedAddress struct{ err error }

func (e *refusedAddress) Error() string { return "the host does not permit it: " + e.err.Error() }
func (e *refusedAddress) Unwrap() error { return e.err }

// rawConn is a connection below TLS and HTTP.
type rawConn struct {
	net.Conn
	remote netip.AddrPort
	closed func()
	once   sync.Once
}

func (c *rawConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.closed)
	return err
}

// dialRaw makes a TCP connection to one of the origin's addresses. Names are resolved anew each time.
func (b *Backend) dialRaw(ctx context.Context) (*rawConn, error) {
	addrs, err := b.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if b.opts.Permit != nil {
		var refused error
		allowed := addrs[:0]
		for _, a := range addrs {
			if err := b.opts.Permit(a); err != nil {
				refused = err
				continue
			}
			allowed = append(allowed, a)
		}
		if len(allowed) == 0 {
			return nil, &refusedAddress{refused}
		}
		addrs = allowed
	}
	nc, err := race(ctx, addrs, b.dialer.DialContext)
	if err != nil {
		return nil, err
	}
	b.stats.connections.Add(1)
	b.stats.open.Add(1)
	c := &rawConn{Conn: nc, closed: func() { b.stats.open.Add(-1) }}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		c.remote = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return c, nil
}

// resolve gives the addresses to try, in order.
func (b *Backend) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddr(b.conf.Host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, b.conf.Port)}, nil
	}
	resolver := b.opts.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	ips, err := resolver.LookupNetIP(ctx, "ip", b.conf.Host)
	if err != nil {
		return nil, &dnsError{err}
	}
	if ips = order(ips, b.conf.PreferIPv4); len(ips) == 0 {
		return nil, &dnsError{errNoAddress}
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip, b.conf.Port)
	}
	return addrs, nil
}

// order lets address families take turns, starting with that of the resolver's first answer, which has sorted them by
// RFC 6724. With preferIPv4, all IPv4 addresses come first.
func order(ips []netip.Addr, preferIPv4 bool) []netip.Addr {
	var four, six []netip.Addr
	firstIsFour := preferIPv4
	for i, ip := range ips {
		ip = ip.Unmap()
		if i == 0 && ip.Is4() {
			firstIsFour = true
		}
		if ip.Is4() {
			four = append(four, ip)
		} else {
			six = append(six, ip)
		}
	}
	sorted := make([]netip.Addr, 0, len(ips))
	if preferIPv4 {
		sorted = append(append(sorted, four...), six...)
	} else {
		first, second := six, four
		if firstIsFour {
			first, second = four, six
		}
		for len(first) > 0 || len(second) > 0 {
			if len(first) > 0 {
				sorted, first = append(sorted, first[0]), first[1:]
			}
			if len(second) > 0 {
				sorted, second = append(sorted, second[0]), second[1:]
			}
		}
	}
	return sorted[:min(len(sorted), maxAddresses)]
}

// race connects to the first address that answers. An attempt starts when the one before has failed or attemptDelay
// has passed. The error is that of the first address.
func race(ctx context.Context, addrs []netip.AddrPort, dial func(context.Context, string, string) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 1 {
		return dial(ctx, "tcp", addrs[0].String())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		nc  net.Conn
		err error
		i   int
	}
	results := make(chan result)
	next := time.NewTimer(0)
	defer next.Stop()
	var errs = make([]error, len(addrs))
	started, running := 0, 0
	start := func() {
		i := started
		started++
		running++
		next.Reset(attemptDelay)
		go func() {
			nc, err := dial(ctx, "tcp", addrs[i].String())
			select {
			case results <- result{nc, err, i}:
			case <-ctx.Done(): // another one has won, or nobody waits
				if nc != nil {
					_ = nc.Close()
				}
			}
		}()
	}
	for {
		select {
		case <-next.C:
			if started < len(addrs) {
				start()
			}
		case r := <-results:
			running--
			if r.err == nil {
				return r.nc, nil
			}
			errs[r.i] = r.err
			if started < len(addrs) {
				start()
			} else if running == 0 {
				return nil, errs[0]
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// connect makes a connection with TLS as configured. The result is a *tls.Conn or, without TLS, raw itself. The time
// is bounded by ctx and Config.ConnectTimeout.
func (b *Backend) connect(ctx context.Context, protocols ...string) (nc net.Conn, raw *rawConn, err error) {
	if d := b.conf.ConnectTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, errConnectTimeout)
		defer cancel()
	}
	raw, err = b.dialRaw(ctx)
	if err == nil {
		nc = raw
		if b.conf.TLS != nil {
			conf := b.tls
			if !sameProtocols(conf.NextProtos, protocols) {
				conf = conf.Clone()
				conf.NextProtos = protocols
			}
			nc, err = handshake(ctx, raw, conf)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			var dns *dnsError
			if cause := context.Cause(ctx); cause != errConnectTimeout || !errors.As(err, &dns) {
				err = cause
			} else {
				err = &dnsError{errConnectTimeout}
			}
		}
		return nil, nil, err
	}
	return nc, raw, nil
}

func sameProtocols(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
