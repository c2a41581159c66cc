package backend

import (
	"context"
	"net"
	"net/netip"
	"strconv"
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

// Stats counts since the backend was made. Open, Idle, and InFlight are momentary.
type Stats struct {
	Requests    uint64 // Sends that reached the sending of a request
	Failures    uint64 // Sends that gave an error
	Connections uint64 // made
	Reused      uint64 // requests over a connection that had served one before
	Retries     uint64 // requests sent again because a reused connection was dead
	Probes      uint64 // health checks done
	ProbesBad   uint64 // of these failed
	Open        int    // connections, being made ones included
	Idle        int    // of these unused
	InFlight    int    // exchanges whose body is not closed or read to its end
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
	conf Config
}

// New makes a Backend. It connects to nothing, but starts the health check if there is one. An error tells which part
// of the definition is wrong (a *ConfigError).
func New(c Config, o Options) (*Backend, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Backend{conf: c}, nil
}

// Config gives the definition, with defaults filled in for Port, the timeouts and TLS.CertHost. What it points to must
// not be changed. The name is that of whoever made the backend first.
func (b *Backend) Config() Config { return b.conf }

// Name is the name in the definition.
func (b *Backend) Name() string { return b.conf.Name }

// Health is what the probes found, or without probes what the definition says.
func (b *Backend) Health() Health { return b.conf.Health }

// Stats gives the counters.
func (b *Backend) Stats() Stats { return Stats{} }

// Close ends the health check and unused connections at once, the others when their exchanges end. Later Sends fail.
func (b *Backend) Close() {}

// Send sends a request and waits for the head of the response. ctx covers the whole exchange, so it must last until
// the response's body is closed or has ended. The request's body is sent meanwhile, and further on after Send has
// returned, as long as the response's body is neither closed nor at its end. Errors are of type *SendError; one that
// ctx caused matches context.Cause(ctx).
func (b *Backend) Send(ctx context.Context, r *Request) (*Response, error) {
	return nil, &SendError{Backend: b.conf.Name, Detail: DetailInternalError}
}
