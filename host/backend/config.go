package backend

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Defaults of the platform for a Config's zero values.
const (
	DefaultConnectTimeout      = 1 * time.Second
	DefaultFirstByteTimeout    = 15 * time.Second
	DefaultBetweenBytesTimeout = 10 * time.Second
	DefaultHTTPKeepAlive       = 10 * time.Minute

	DefaultTCPKeepAliveTime     = 5 * time.Minute
	DefaultTCPKeepAliveInterval = 10 * time.Second
	DefaultTCPKeepAliveProbes   = 3
)

// Config defines one origin. The zero value of each field means the default named at it. A Config that a Backend was
// made from must not be changed, and neither what it points to.
type Config struct {
	Name string // for people and for Set; not part of the definition that Registry compares

	Host string // DNS name or IP address, IPv6 without brackets
	Port uint16 // 0: 443 with TLS, else 80
	TLS  *TLS   // nil: plain text

	OverrideHost string // sent as Host whatever the request says; "": see Request.Header
	PathPrefix   string // escaped; joined to each path by exactly one "/"

	ConnectTimeout      time.Duration // DNS, TCP and TLS; 0: 1 s, negative: none
	FirstByteTimeout    time.Duration // silence before the response's head; 0: 15 s, negative: none
	BetweenBytesTimeout time.Duration // silence within the response's body; 0: 10 s, negative: none

	PreferIPv4 bool // try IPv4 addresses first, then the others
	DontPool   bool // a connection of its own for each request, and no sharing by a Registry
	GRPC       bool // HTTP/2 only; without TLS by prior knowledge

	KeepAlive KeepAlive
	Pool      PoolLimits

	HealthCheck *HealthCheck // nil: not probed
	Health      Health       // what Backend.Health gives without HealthCheck
}

// TLS is how a connection is secured.
type TLS struct {
	MinVersion, MaxVersion uint16 // of crypto/tls; 0: TLS 1.2 and the newest

	CertHost string  // name or address that the certificate must hold; "": Config.Host
	SNI      *string // server name sent; nil: the certificate's name, "": none

	CACerts []*x509.Certificate // trusted roots; empty: those of the system
	// Ciphers is an OpenSSL cipher list for TLS 1.2 and older. crypto/tls orders what is enabled by itself, and lets
	// nobody choose among the ciphers of TLS 1.3; a list of those alone makes TLS 1.3 the minimum. "": its own choice
	Ciphers    string
	ClientCert *tls.Certificate // sent when the origin asks for one
}

// KeepAlive is how long unused connections stay and how dead ones are found.
type KeepAlive struct {
	HTTPTime time.Duration // that an idle connection is kept; 0: 10 min, negative: not at all
	TCP      *TCPKeepAlive // nil: probes as the zero value has them
}

// TCPKeepAlive sets the operating system's probes of idle connections (tcp(7)).
type TCPKeepAlive struct {
	Disable  bool
	Time     time.Duration // of silence before the first probe; 0: 5 min
	Interval time.Duration // between probes; 0: 10 s
	Probes   int           // unanswered ones that end the connection; 0: 3
}

// PoolLimits bounds a backend's connections. Zero means no limit.
type PoolLimits struct {
	MaxConnections uint32        // at the same time; who finds them busy waits, at most ConnectTimeout
	MaxUse         uint32        // requests over one connection
	MaxLifetime    time.Duration // age at which a connection takes no more requests
}

// HealthCheck is an active probe: a request every Interval, of which the last Window count. Zero values mean the
// defaults named here.
type HealthCheck struct {
	Interval time.Duration // 0: 15 s; each wait varies by up to a tenth
	Timeout  time.Duration // for a whole probe; 0: 5 s
	Host     string        // Host header; "": OverrideHost, then Config.Host
	Method   string        // "": GET
	Path     string        // "": "/"; PathPrefix is not added
	Status   int           // expected; 0: 200
	Window   int           // 0: 5, at most 15
	// Threshold is how many of the Window must have passed for the backend to be healthy. 0: 3
	Threshold int
	// Initial is how many of the Window count as passed at the start. 0: 4, negative: none
	Initial int
}

// Health is what is known of an origin. The values are those of the guest ABI.
type Health uint8

// Health values.
const (
	HealthUnknown Health = iota
	HealthHealthy
	HealthUnhealthy
)
