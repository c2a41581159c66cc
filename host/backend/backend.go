package backend

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what the host, and not the definition of an origin, decides. The zero value means the defaults named
// here.
type Options struct {
	Resolver *net.Resolver // nil: net.DefaultResolver

	// Permit is asked before each connection to an address; an error refuses it (destination_ip_unroutable). It
	// keeps programs of others away from addresses inside a network. nil: every address.
	Permit func(netip.AddrPort) error

	MaxResponseHead int64 // bytes of a response's head, interim ones included; 0: 512 KiB
	MaxIdle         int   // connections kept without use, per backend; 0: 256, negative: none
}

const (
	defaultMaxResponseHead = 512 << 10
	defaultMaxIdle         = 256
	// h2Window is how much of one HTTP/2 response is held for a slow reader.
	h2Window = 1 << 20
)

func (o *Options) maxIdle() int {
	switch {
	case o.MaxIdle < 0:
		return 0
	case o.MaxIdle == 0:
		return defaultMaxIdle
	}
	return o.MaxIdle
}

// Stats counts since the backend was made. Open, Idle, and InFlight are momentary.
type Stats struct {
	Requests    uint64 // Sends and Upgrades, refused ones included
	Failures    uint64 // of these gave an error
	Connections uint64 // made
	Reused      uint64 // requests over a connection that had served one before
	Retries     uint64 // requests sent again because a reused connection was dead
	Probes      uint64 // health checks done
	ProbesBad   uint64 // of these failed
	Open        int    // connections
	Idle        int    // of these kept without use
	InFlight    int    // exchanges whose body is not closed or read to its end
}

type counters struct {
	requests, failures, connections, reused, retries, probes, probesBad atomic.Uint64

	open, inFlight atomic.Int64
}

// Addr gives the host and port where to connect, as net.Dial takes it.
func (c *Config) Addr() string {
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.port())))
}

func (c *Config) port() uint16 {
	switch {
	case c.Port != 0:
		return c.Port
	case c.TLS != nil:
		return 443
	default:
		return 80
	}
}

func quote(s string) string { return strconv.Quote(s) }

// Backend is an origin and the connections to it. Close it when it is not needed any longer.
type Backend struct {
	conf      Config
	opts      Options
	authority string // of the definition, with the port unless it is the scheme's own
	dialer    net.Dialer
	tls       *tls.Config
	protocols []string // ALPN
	transport *http.Transport
	pool      pool
	stats     counters

	health  atomic.Uint32
	checker *checker
	closed  chan struct{}
	once    sync.Once
}

// New makes a Backend. It connects to nothing, but starts the health check if there is one. An error tells which part
// of the definition is wrong (a *ConfigError).
func New(c Config, o Options) (*Backend, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return newBackend(c.withDefaults(), o), nil
}

// newBackend takes a valid definition with its defaults filled in.
func newBackend(c Config, o Options) *Backend {
	b := &Backend{conf: c, opts: o, closed: make(chan struct{})}
	b.authority = c.Addr()
	k := c.KeepAlive.TCP
	b.dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: !k.Disable, Idle: k.Time, Interval: k.Interval, Count: k.Probes}
	if k.Disable {
		b.dialer.KeepAlive = -1
	}
	var protocols http.Protocols
	if !c.GRPC {
		b.protocols = []string{"h2", "http/1.1"}
	} else {
		b.protocols = []string{"h2"}
	}
	if c.TLS != nil {
		if v := c.TLS.MaxVersion; v != 0 && v < tls.VersionTLS12 {
			b.protocols = []string{"http/1.1"} // RFC 9113 section 9.2
		} else {
			protocols.SetHTTP2(true) // HTTP/1 is h1Client's
		}
		b.tls = c.tlsConfig(b.protocols...)
	} else if c.GRPC {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	}
	head := o.MaxResponseHead
	if head <= 0 {
		head = defaultMaxResponseHead
	}
	b.transport = &http.Transport{
		DialContext:            dialTransport,
		DialTLSContext:         dialTransport,
		DisableCompression:     true,
		MaxResponseHeaderBytes: head,
		Protocols:              &protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: h2Window,
			// Finds HTTP/2 connections whose peer has vanished, with requests waiting on them.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     15 * time.Second,
		},
	}
	b.pool.b = b
	if c.HealthCheck != nil {
		b.checker = newChecker(b)
		go b.checker.run()
	} else {
		b.health.Store(uint32(c.Health))
	}
	return b
}

// Config gives the definition, with defaults filled in for Port, the timeouts and TLS.CertHost. What it points to must
// not be changed. The name is that of whoever made the backend first.
func (b *Backend) Config() Config { return b.conf }

// Name is the name in the definition.
func (b *Backend) Name() string { return b.conf.Name }

// Health is what the probes found, or without probes what the definition says.
func (b *Backend) Health() Health { return Health(b.health.Load()) }

// Stats gives the counters.
func (b *Backend) Stats() Stats {
	b.pool.mu.Lock()
	idle := b.pool.countIdle()
	b.pool.mu.Unlock()
	s := &b.stats
	return Stats{
		Requests:    s.requests.Load(),
		Failures:    s.failures.Load(),
		Connections: s.connections.Load(),
		Reused:      s.reused.Load(),
		Retries:     s.retries.Load(),
		Probes:      s.probes.Load(),
		ProbesBad:   s.probesBad.Load(),
		Open:        int(s.open.Load()),
		Idle:        idle,
		InFlight:    int(s.inFlight.Load()),
	}
}

// Close ends the health check and unused connections at once, the others when their exchanges end. Later Sends fail.
func (b *Backend) Close() {
	b.once.Do(func() {
		close(b.closed)
		b.pool.close()
	})
}
