package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Conn is a connection that an origin has switched to another protocol. Both directions are independent.
type Conn interface {
	net.Conn
	// CloseWrite ends the caller's direction (a TCP FIN, or TLS close_notify), so that the peer reads end of file.
	CloseWrite() error
	// TCPConn gives the TCP connection itself where its bytes pass through unchanged, that is without TLS; else nil. It
	// serves to copy within the kernel and is not to be closed. What Buffered tells of is not read from it.
	TCPConn() *net.TCPConn
	// Buffered is the number of bytes that came with the origin's head and that Read has yet to give. It belongs to the
	// goroutine that reads.
	Buffered() int
}

// Dial makes a connection of its own to the origin: TCP, and TLS as configured with ALPN "http/1.1". It counts in
// Stats but not in the pool's limits. ctx and Config.ConnectTimeout bound the making only. Errors are of type
// *SendError.
func (b *Backend) Dial(ctx context.Context) (net.Conn, error) {
	nc, err := b.dialTunnel(ctx)
	if err != nil {
		return nil, b.failure(err)
	}
	return nc, nil
}

func (b *Backend) dialTunnel(ctx context.Context) (*tunnel, error) {
	select {
	case <-b.closed:
		return nil, errClosed
	default:
	}
	nc, raw, err := b.connect(ctx, "http/1.1")
	if err != nil {
		return nil, err
	}
	return &tunnel{Conn: nc, raw: raw}, nil
}

// Upgrade sends an HTTP/1.1 request that asks for another protocol (RFC 9110 section 7.8) over a connection of its
// own. Here the request's Connection and Upgrade fields are sent as given ("Connection: Upgrade" is added if missing);
// a request without Upgrade fails.
//
// If the origin switches, the response has status 101 and conn is the connection, which the caller must close; bytes
// that the origin sent right after its head are read from conn first. Any other response is a plain one and conn is
// nil. ctx bounds the wait for the head, and for a plain response also its body. The body of the request must be nil.
func (b *Backend) Upgrade(ctx context.Context, r *Request) (resp *Response, conn Conn, err error) {
	b.stats.requests.Add(1)
	resp, conn, err = b.upgrade(ctx, r)
	if err != nil {
		b.stats.failures.Add(1)
		return nil, nil, b.failure(err)
	}
	return resp, conn, nil
}

func (b *Backend) upgrade(ctx context.Context, r *Request) (*Response, Conn, error) {
	if r.Body != nil {
		_ = r.Body.Close()
		return nil, nil, errors.New("a request for another protocol with a body")
	}
	req, err := b.request(r, true)
	if err != nil {
		return nil, nil, err
	}
	asked := req.Header["Upgrade"]
	if len(asked) == 0 {
		return nil, nil, &SendError{Detail: DetailHTTPUpgradeFailed, Err: errors.New("the request asks for no protocol")}
	}
	if !httpguts.HeaderValuesContainsToken(req.Header["Connection"], "upgrade") {
		req.Header["Connection"] = append(req.Header["Connection"], "Upgrade")
	}
	t, err := b.dialTunnel(ctx)
	if err != nil {
		return nil, nil, err
	}
	// Until the head has come, the end of ctx and silence break the connection off.
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(waiting, func() { _ = t.raw.Close() })
	firstByte, betweenBytes := r.timeouts(&b.conf)
	if firstByte > 0 {
		timer := time.AfterFunc(firstByte, func() { cancel(errFirstByte) })
		defer timer.Stop()
	}
	limit := &io.LimitedReader{R: t.Conn, N: b.transport.MaxResponseHeaderBytes}
	br := bufio.NewReader(limit)
	hresp, err := func() (*http.Response, error) {
		if err := req.Write(t.Conn); err != nil {
			return nil, err
		}
		for n := 0; ; n++ {
			h, err := http.ReadResponse(br, req)
			if err != nil {
				if errors.Is(err, io.ErrUnexpectedEOF) && limit.N == b.transport.MaxResponseHeaderBytes {
					err = io.EOF // not a byte came
				}
				if limit.N <= 0 {
					err = &SendError{Detail: DetailHTTPResponseHeaderTooLarge, Err: fmt.Errorf("more than %d bytes", b.transport.MaxResponseHeaderBytes)}
				}
				return nil, err
			}
			if h.StatusCode == http.StatusSwitchingProtocols || h.StatusCode >= 200 {
				return h, nil
			}
			if n >= maxInterim {
				return nil, errInterim
			}
			if h.StatusCode < 100 {
				return nil, &SendError{Detail: DetailHTTPResponseStatusInvalid, Err: fmt.Errorf("status %d", h.StatusCode)}
			}
			if r.Interim != nil && h.StatusCode != http.StatusContinue {
				var l httpfield.List
				l.FromHTTP(h.Header, nil)
				removeHopByHop(&l)
				r.Interim(h.StatusCode, &l)
			}
		}
	}()
	limit.N = 1<<63 - 1
	t.br = br
	if err == nil && hresp.StatusCode == http.StatusSwitchingProtocols && !offered(asked, hresp.Header["Upgrade"]) {
		err = &SendError{Detail: DetailHTTPUpgradeFailed, Err: errors.New("the origin switched to a protocol that was not asked for")}
	}
	if err == nil && hresp.StatusCode == http.StatusSwitchingProtocols && !stop() {
		err = context.Cause(waiting)
	}
	if err != nil {
		if cause := context.Cause(waiting); cause != nil {
			err = cause
		}
		stop()
		_ = t.raw.Close()
		return nil, nil, err
	}
	resp := &Response{
		Status:        hresp.StatusCode,
		Proto:         hresp.Proto,
		ContentLength: hresp.ContentLength,
		Remote:        t.raw.remote,
		Trailers:      func(*httpfield.List) {},
	}
	resp.Header.FromHTTP(hresp.Header, nil)
	if hresp.StatusCode == http.StatusSwitchingProtocols {
		resp.ContentLength = 0
		resp.Body = http.NoBody
		return resp, t, nil
	}
	// A plain answer: the rest is an exchange on a connection that is not pooled.
	stop()
	removeHopByHop(&resp.Header)
	x := &exchange{b: b, conn: nil, raw: t.raw, head: true, betweenBytes: betweenBytes}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	x.stop = context.AfterFunc(ctx, func() { x.abort(context.Cause(ctx)) })
	b.stats.inFlight.Add(1)
	resp.Body = &responseBody{x: x, src: hresp.Body}
	resp.Trailers = func(l *httpfield.List) {
		var tr httpfield.List
		tr.FromHTTP(hresp.Trailer, nil)
		for _, f := range tr.Fields() {
			l.Add(f.Name, f.Value)
		}
	}
	return resp, nil, nil
}

// offered reports whether the protocol that an origin chose is one of those that were asked for.
func offered(asked, chosen []string) bool {
	if len(chosen) != 1 {
		return false
	}
	found := false
	for _, line := range asked {
		eachListItem(line, func(item string) { found = found || strings.EqualFold(item, strings.TrimSpace(chosen[0])) })
	}
	return found
}

// tunnel is a whole connection.
type tunnel struct {
	net.Conn // a *tls.Conn or raw
	raw      *rawConn
	br       *bufio.Reader // holds what came with the head; nil: nothing
}

func (t *tunnel) Read(p []byte) (int, error) {
	if t.Buffered() > 0 {
		return t.br.Read(p)
	}
	return t.Conn.Read(p)
}

func (t *tunnel) TCPConn() *net.TCPConn {
	if net.Conn(t.raw) != t.Conn {
		return nil
	}
	tcp, _ := t.raw.Conn.(*net.TCPConn)
	return tcp
}

func (t *tunnel) Buffered() int {
	if t.br == nil {
		return 0
	}
	return t.br.Buffered()
}

func (t *tunnel) CloseWrite() error {
	if tc, ok := t.Conn.(*tls.Conn); ok {
		return tc.CloseWrite()
	}
	if tcp, ok := t.raw.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return errors.New("backend: this connection cannot be closed in one direction")
}
