package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// maxInterim bounds the interim responses to one request that are passed on.
const maxInterim = 64

// Causes of an exchange that was broken off from this side.
var (
	errFirstByte    = errors.New("no response came in time")
	errBetweenBytes = errors.New("the response stopped coming")
	errBodyClosed   = errors.New("the response's body was closed")
	errInterim      = errors.New("too many interim responses")
	errSwitch       = errors.New("the origin switched protocols without being asked to")
	errUnhealthy    = errors.New("its health check fails")
)

// exchange is a request and its response. It ends when the response's body is at its end, closed or broken.
type exchange struct {
	b    *Backend
	conn *conn

	// ctx is not derived from the caller's, whose end cancels it through stop's function: canceling a context that is
	// of no use any more would reset an HTTP/2 stream just as it ends.
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func() bool

	firstByte    time.Duration // silence before the response's head; 0 or less: none
	betweenBytes time.Duration // silence within its body; 0 or less: none

	mu     sync.Mutex
	timer  *time.Timer // the first byte's; later that between bytes
	head   bool        // the response's head has come, or nobody waits for it
	upload *upload     // nil: no body
	broken bool        // aborted
	over   bool        // finished
	raw    *rawConn    // to be broken off with the exchange; nil with HTTP/2
}

// Send sends a request and waits for the head of the response. ctx covers the whole exchange, so it must last until
// the response's body is closed or has ended. The request's body is sent meanwhile, and further on after Send has
// returned, as long as the response's body is neither closed nor at its end. Errors are of type *SendError; one that
// ctx caused matches context.Cause(ctx).
func (b *Backend) Send(ctx context.Context, r *Request) (*Response, error) {
	b.stats.requests.Add(1)
	resp, err := b.send(ctx, r)
	if err != nil {
		b.stats.failures.Add(1)
	}
	return resp, err
}

func (b *Backend) send(ctx context.Context, r *Request) (*Response, error) {
	var body *upload
	if r.Body != nil {
		body = &upload{src: r.Body, trailers: r.Trailers, left: -1}
	}
	req, err := b.request(r, false)
	if err == nil && body != nil && r.ManualFraming {
		body.left = req.ContentLength
	}
	if err == nil && req.ContentLength == 0 {
		body.close()
		body = nil
	}
	if err == nil && b.checker != nil && b.Health() == HealthUnhealthy {
		err = &SendError{Detail: DetailDestinationUnavailable, Err: errUnhealthy}
	}
	if err != nil {
		body.close()
		return nil, b.failure(err)
	}
	if body != nil && r.Trailers != nil {
		// net/http sends what the map holds when the body has ended, announced or not.
		// Servers that keep only announced ones are served if the request announces them.
		body.filled = make(http.Header)
		if r.Header != nil {
			announce(body.filled, r.Header)
		}
		req.Trailer = body.filled
	}
	resp, err := b.exchange(ctx, r, req, body)
	if err != nil {
		return nil, b.failure(err)
	}
	return resp, nil
}

// exchange sends a request, again if that is safe, and waits for the head.
func (b *Backend) exchange(ctx context.Context, r *Request, req *http.Request, body *upload) (*Response, error) {
	for attempt := 0; ; attempt++ {
		if err := context.Cause(ctx); ctx.Err() != nil {
			body.close()
			return nil, err
		}
		c, reused, err := b.pool.take(ctx, attempt > 0)
		if err != nil {
			body.close()
			return nil, err
		}
		resp, err := b.roundTrip(ctx, r, req, body, c)
		if err == nil {
			resp.Reused = reused
			if reused {
				b.stats.reused.Add(1)
			}
			return resp, nil
		}
		if attempt > 0 || !reused || !replayable(req, body) || ctx.Err() != nil || !unanswered(err) {
			return nil, err
		}
		b.stats.retries.Add(1)
	}
}

// replayable reports whether sending a request twice does the same as once (RFC 9110 section 9.2.2).
func replayable(req *http.Request, body *upload) bool {
	if body != nil {
		return false
	}
	switch req.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// roundTrip does one request on a connection that was taken for it.
func (b *Backend) roundTrip(ctx context.Context, r *Request, req *http.Request, body *upload, c *conn) (*Response, error) {
	x := &exchange{b: b, conn: c, upload: body}
	x.firstByte, x.betweenBytes = r.timeouts(&b.conf)
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	if !c.h2 {
		x.raw = c.raw
	}
	x.stop = context.AfterFunc(ctx, func() { x.abort(context.Cause(ctx)) })
	b.stats.inFlight.Add(1)

	if body != nil {
		body.x = x
	}
	if x.firstByte > 0 {
		x.mu.Lock()
		x.timer = time.AfterFunc(x.firstByte, func() { x.abort(errFirstByte) })
		x.mu.Unlock()
	}
	var hresp *http.Response
	var err error
	if c.h1 != nil {
		delete(req.Header, "Te") // concerns HTTP/2, see request
		hresp, err = c.h1.roundTrip(req, body, r.Interim)
	} else {
		hresp, err = x.roundTrip2(r, req, c)
	}
	x.mu.Lock()
	x.head = true
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
	x.mu.Unlock()
	if err == nil && hresp.StatusCode == http.StatusSwitchingProtocols {
		_ = hresp.Body.Close()
		err = errSwitch
	}
	if err == nil && (hresp.StatusCode < 200 || hresp.StatusCode > 999) {
		_ = hresp.Body.Close()
		err = &SendError{Detail: DetailHTTPResponseStatusInvalid, Err: fmt.Errorf("status %d", hresp.StatusCode)}
	}
	if err != nil {
		// What this side did counts for more than what net/http made of it.
		if cause := context.Cause(x.ctx); cause != nil {
			err = cause
		} else if body != nil {
			if failed := body.failed(); failed != nil {
				err = failed
			}
		}
		x.finish(false, err)
		return nil, err
	}
	return x.response(r, hresp), nil
}

// roundTrip2 does it on an HTTP/2 connection.
func (x *exchange) roundTrip2(r *Request, req *http.Request, c *conn) (*http.Response, error) {
	ctx := x.ctx
	if r.Interim != nil {
		ctx = httptrace.WithClientTrace(ctx, interimTrace(r.Interim))
	}
	out := req.WithContext(ctx)
	if x.upload != nil {
		out.Body = x.upload
	}
	return c.cc.(*http.ClientConn).RoundTrip(out)
}

// interimTrace passes interim responses on.
func interimTrace(pass func(int, *httpfield.List)) *httptrace.ClientTrace {
	n := 0
	return &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if n++; n > maxInterim {
			return errInterim
		}
		if code == http.StatusContinue {
			return nil
		}
		var l httpfield.List
		l.FromHTTP(http.Header(h), nil)
		removeHopByHop(&l)
		pass(code, &l)
		return nil
	}}
}

// abort breaks the exchange off. Everything that waits for it returns.
func (x *exchange) abort(cause error) {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return
	}
	x.broken = true
	x.cancel(cause)
	if x.raw != nil {
		// net/http would first try to say goodbye in TLS, for up to five seconds.
		_ = x.raw.Close()
	}
	x.mu.Unlock()
	// The body's Read may be waiting, and net/http for it.
	x.upload.close()
}

// finish ends the exchange once. whole says that nothing was left undone, so that the connection is good for more.
func (x *exchange) finish(whole bool, cause error) {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return
	}
	x.over = true
	if x.timer != nil {
		x.timer.Stop()
	}
	raw := x.raw
	x.raw = nil // belongs to the next one
	whole = whole && !x.broken
	x.mu.Unlock()
	x.stop()
	if x.upload != nil && !x.upload.complete() || whole && x.conn != nil && x.conn.h1 != nil && !x.conn.h1.settled() {
		whole = false
	}
	if !whole {
		if cause == nil {
			cause = errBodyClosed
		}
		x.cancel(cause)
	}
	x.upload.close()
	if x.conn == nil {
		_ = raw.Close()
	} else {
		x.b.pool.give(x.conn, whole)
	}
	x.b.stats.inFlight.Add(-1)
}
