package wire

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// helloConn records the ClientHello that passes through a connection.
type helloConn struct {
	net.Conn
	rec helloRecorder
}

func (c *helloConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.rec.done {
		c.rec.feed(p[:n])
	}
	return n, err
}

// CloseWrite lets crypto/tls shut down the sending side.
func (c *helloConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if cw, ok := c.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.Close()
}

// What a connection is doing, for Counts.
const (
	phaseStarting int32 = iota // handshake, or before the first byte of a request
	phaseActive
	phaseIdle
	phaseHijacked
	numPhases
)

// serverConn is a connection in clear text, above TLS if there is TLS. net/http reads requests from it.
type serverConn struct {
	net.Conn          // raw, or the *tls.Conn on it once the handshake is done
	raw      net.Conn // what the listener gave
	srv      *serving
	facts    *connFacts
	prefix   []byte   // read while the protocol was being found out; served again first
	follow   follower // HTTP/1
	tap      *h2Tap   // HTTP/2, else nil

	phase     atomic.Int32
	hijacked  atomic.Bool
	sealed    atomic.Bool  // the last bytes have been written
	sent      atomic.Int64 // bytes written, interim responses left out
	armed     atomic.Int64 // when the write deadline was last moved, in nanoseconds of the runtime clock
	closeOnce atomic.Bool
}

// tlsServerConn tells net/http that the connection is encrypted, which it learns from ConnectionState.
type tlsServerConn struct{ *serverConn }

// ConnectionState is the state after the handshake.
func (c tlsServerConn) ConnectionState() tls.ConnectionState { return *c.facts.tls }

// base finds the connection behind what net/http hands to its hooks.
func (c *serverConn) base() *serverConn { return c }

func baseConn(c net.Conn) *serverConn {
	if b, ok := c.(interface{ base() *serverConn }); ok {
		return b.base()
	}
	return nil
}

func (c *serverConn) Read(p []byte) (int, error) {
	if c.tap != nil {
		return c.tap.Read(p)
	}
	hijacked := c.hijacked.Load()
	if !hijacked && c.follow.failed != nil {
		return 0, c.follow.failed
	}
	n, err := c.readRaw(p)
	if n == 0 || hijacked {
		return n, err
	}
	m, bad := c.follow.feed(p[:n])
	if bad != nil {
		return m, bad
	}
	return m, err
}

// readRaw reads what the client sent, unfollowed.
func (c *serverConn) readRaw(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// rawReader gives the tap its bytes.
type rawReader struct{ c *serverConn }

func (r rawReader) Read(p []byte) (int, error) { return r.c.readRaw(p) }

// interim is how 100 Continue, 103 Early Hints and their like begin; net/http writes each in one piece.
const interim = "HTTP/1.1 1"

func (c *serverConn) Write(p []byte) (int, error) {
	if c.sealed.Load() {
		return 0, net.ErrClosed
	}
	c.armWrite()
	n, err := c.Conn.Write(p)
	if len(p) < len(interim) || string(p[:len(interim)]) != interim {
		c.sent.Add(int64(n))
	}
	return n, err
}

// armWrite moves the write deadline on, but not at every write: between one and three quarters of the
// timeout remain at any time.
func (c *serverConn) armWrite() {
	timeout := c.srv.writeTimeout
	if timeout <= 0 || c.tap != nil || c.hijacked.Load() {
		return
	}
	now := nanotime()
	if last := c.armed.Load(); last == 0 || now-last > int64(timeout/4) {
		c.armed.Store(now)
		c.Conn.SetWriteDeadline(time.Now().Add(timeout))
	}
}

var clockStart = time.Now()

// nanotime is monotonic and never 0.
func nanotime() int64 { return int64(time.Since(clockStart)) + 1 }

// SetWriteDeadline takes effect until the next Write that moves the deadline on. net/http clears the
// deadline after each response; it stays in place here.
func (c *serverConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.hijacked.Load() && c.srv.writeTimeout > 0 && c.tap == nil {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetReadDeadline keeps the deadline that shutdown gives a connection before its first request; net/http
// sets its own when it begins to serve one, which may be later.
func (c *serverConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.srv.stopping() && c.phase.Load() == phaseStarting {
		return c.Conn.SetReadDeadline(time.Now())
	}
	return err
}

// CloseWrite ends the sending side; net/http lingers on it after an early answer.
func (c *serverConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *serverConn) Close() error {
	err := c.Conn.Close()
	if c.closeOnce.CompareAndSwap(false, true) {
		c.srv.drop(c)
	}
	return err
}

// lastWords writes a final response past net/http and lets nothing follow it.
func (c *serverConn) lastWords(response string) {
	c.armWrite()
	if c.sealed.CompareAndSwap(false, true) {
		c.Conn.Write([]byte(response))
	}
}

// stateChanged is the ConnState hook of net/http.
func stateChanged(nc net.Conn, state http.ConnState) {
	c := baseConn(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive:
		c.phase.Store(phaseActive)
	case http.StateIdle:
		c.phase.Store(phaseIdle)
	case http.StateHijacked:
		c.hijacked.Store(true)
		c.phase.Store(phaseHijacked)
	}
}
