package backend

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// client speaks HTTP on one connection: *http.ClientConn, or *h1Client for HTTP/1.
type client interface {
	// Reserve takes a place for a request, unless the connection has ended or is full. Release gives one back unused.
	Reserve() error
	Release()
	// Available is the number of requests that the connection takes now.
	Available() int
	// Err is why the connection takes no more requests, if that is known.
	Err() error
	Close() error
}

// errUnanswered is a kept connection that ended before the first byte of a response.
var errUnanswered = errors.New("the origin closed a kept connection")

// writeGrace is how long a response that has ended waits for the end of its request's last write.
const writeGrace = 50 * time.Millisecond

// h1Client sends requests and reads responses on the goroutine that asks for them. net/http's client has two goroutines to a
// connection and wakes both for each request, which costs more than everything else that a small exchange does.
// Messages are written and parsed by net/http. Only one that has a body is written by a goroutine, because its response may begin
// before the body has ended.
type h1Client struct {
	nc      net.Conn // raw, or TLS on it
	raw     *rawConn
	in      h1Input
	br      *bufio.Reader
	bw      *bufio.Writer
	maxHead int64

	closed  atomic.Bool
	used    bool       // an exchange has begun on it
	last    bool       // no further exchange may follow the one under way
	written chan error // the end of a request with a body; nil without one
}

// h1Input bounds what is read of a head, and tells whether anything came.
type h1Input struct {
	net.Conn
	left int64 // negative: no bound
	some bool
}

var errHeadTooLarge = errors.New("the head is too large")

func (r *h1Input) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errHeadTooLarge
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.Conn.Read(p)
	if n > 0 {
		r.some = true
		if r.left > 0 {
			r.left -= int64(n)
		}
	}
	return n, err
}

func newH1Client(nc net.Conn, raw *rawConn, maxHead int64) *h1Client {
	c := &h1Client{nc: nc, raw: raw, maxHead: maxHead}
	c.in = h1Input{Conn: nc, left: -1}
	c.br = bufio.NewReader(&c.in)
	c.bw = bufio.NewWriter(nc)
	return c
}

// roundTrip sends a request and waits for the head of its response, passing interim ones to interim, which may be nil. It
// may be called again when the response's body has been read to its end and settled gave true. Closing the raw
// connection ends it early.
func (c *h1Client) roundTrip(req *http.Request, body *upload, interim func(int, *httpfield.List)) (*http.Response, error) {
	reused := c.used
	c.used, c.last, c.written = true, true, nil
	c.in.left, c.in.some = c.maxHead, false
	if body == nil {
		if err := c.send(req); err != nil {
			return nil, err
		}
	} else {
		req.Body = body
		written := make(chan error, 1)
		c.written = written
		go func() {
			err := c.send(req)
			written <- err
			if err != nil && !network(err) {
				// The body failed. An origin that ends the connection may have answered before, so those errors wait.
				_ = c.raw.Close()
			}
		}()
	}
	resp, err := c.receive(req, interim)
	if err != nil {
		_ = c.raw.Close()
		select {
		case failed := <-c.written:
			if failed != nil && !network(failed) {
				err = failed
			}
		default: // nil, or still being written
		}
		switch {
		case c.in.left == 0:
			err = &SendError{Detail: DetailHTTPResponseHeaderTooLarge, Err: fmt.Errorf("more than %d bytes", c.maxHead)}
		case !c.in.some && reused && body == nil:
			err = fmt.Errorf("%w: %w", errUnanswered, err)
		}
		return nil, err
	}
	c.in.left = -1
	c.last = resp.Close
	return resp, nil
}

// network reports whether an error came from the connection.
func network(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

func (c *h1Client) send(req *http.Request) error {
	if err := req.Write(c.bw); err != nil {
		return err
	}
	return c.bw.Flush()
}

// receive reads the heads up to that of the final response.
func (c *h1Client) receive(req *http.Request, interim func(int, *httpfield.List)) (*http.Response, error) {
	for n := 0; ; {
		resp, err := http.ReadResponse(c.br, req)
		if err != nil {
			if !c.in.some && errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF // not a byte came
			}
			return nil, err
		}
		if resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		if interim == nil {
			continue // they count as part of the head
		}
		if n++; n > maxInterim {
			return nil, errInterim
		}
		c.in.left = c.maxHead
		if resp.StatusCode != http.StatusContinue {
			var l httpfield.List
			l.FromHTTP(resp.Header, nil)
			removeHopByHop(&l)
			interim(resp.StatusCode, &l)
		}
	}
}

// settled reports whether the connection is good for another exchange, after a response's body has been read to its end.
func (c *h1Client) settled() bool {
	if c.last || c.br.Buffered() > 0 {
		return false
	}
	if c.written == nil {
		return true
	}
	grace := time.NewTimer(writeGrace)
	defer grace.Stop()
	select {
	case err := <-c.written:
		return err == nil
	case <-grace.C:
		return false
	}
}

// Reserve implements client.
func (c *h1Client) Reserve() error { return c.Err() }

// Release implements client.
func (c *h1Client) Release() {}

// Available implements client.
func (c *h1Client) Available() int {
	if c.closed.Load() {
		return 0
	}
	return 1
}

// Err implements client, for a connection that no exchange is on: there is nothing to be read from it then.
func (c *h1Client) Err() error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	pending, err := peek(c.raw.Conn)
	if err != nil || !pending {
		return err
	}
	if c.nc == net.Conn(c.raw) {
		return errUnsolicited
	}
	// TLS sends messages of its own after the handshake, and says goodbye by one.
	if err := c.nc.SetReadDeadline(time.Now().Add(tlsMessageWait)); err != nil {
		return err
	}
	_, err = c.br.Peek(1)
	var timeout net.Error
	if err == nil {
		return errUnsolicited
	}
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	return c.nc.SetReadDeadline(time.Time{})
}

// tlsMessageWait is how long bytes that are there already may take to become a message.
const tlsMessageWait = time.Millisecond

var errUnsolicited = errors.New("the origin sent something that was not asked for")

// Close implements client.
func (c *h1Client) Close() error {
	c.closed.Store(true)
	return c.nc.Close()
}
