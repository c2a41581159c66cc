package backend

import (
	"context"
	"net"
)

// Dial makes a connection of its own to the origin: TCP, and TLS as configured with ALPN "http/1.1". It counts in
// Stats but not in the pool's limits. ctx and Config.ConnectTimeout bound the making only. Errors are of type
// *SendError.
func (b *Backend) Dial(ctx context.Context) (net.Conn, error) {
	return nil, &SendError{Backend: b.conf.Name, Detail: DetailInternalError}
}

// Upgrade sends an HTTP/1.1 request that asks for another protocol (RFC 9110 section 7.8) over a connection of its
// own. Here the request's Connection and Upgrade fields are sent as given ("Connection: Upgrade" is added if missing);
// a request without Upgrade fails.
//
// If the origin switches, the response has status 101 and conn is the connection, which the caller must close; bytes
// that the origin sent right after its head are read from conn first. Any other response is a plain one and conn is
// nil. ctx bounds the wait for the head, and for a plain response also its body. The body of the request must be nil.
func (b *Backend) Upgrade(ctx context.Context, r *Request) (resp *Response, conn Conn, err error) {
	return nil, nil, &SendError{Backend: b.conf.Name, Detail: DetailInternalError}
}

// Conn is a connection that an origin has switched to another protocol. Both directions are independent.
type Conn interface {
	net.Conn
	// CloseWrite ends the caller's direction (a TCP FIN, or TLS close_notify), so that the peer reads end of file.
	CloseWrite() error
}
