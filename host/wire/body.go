package wire

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// watchdog ends an operation on a request that waits too long for the client. Only the time within the
// operation counts, not that between two of them: a guest may wait for a backend as long as it likes.
type watchdog struct {
	timeout time.Duration
	expire  func()
	timer   *time.Timer
	busy    atomic.Bool
}

func (d *watchdog) begin() {
	if d.timeout <= 0 {
		return
	}
	d.busy.Store(true)
	if d.timer != nil {
		d.timer.Reset(d.timeout)
		return
	}
	d.timer = time.AfterFunc(d.timeout, func() {
		if d.busy.Load() {
			d.expire()
		}
	})
}

func (d *watchdog) end() {
	if d.timer != nil {
		d.busy.Store(false)
		d.timer.Stop()
	}
}

// bodyReader is a request body with a deadline for each read and a minimum rate. Read belongs to one
// goroutine at a time.
type bodyReader struct {
	io.ReadCloser
	broken  func() *BodyError // what the follower has against the body; nil for HTTP/2
	dog     watchdog
	minRate int // bytes a second, over the time spent waiting; 0 means none

	outer, inner *http.Request // the handler's request and that of net/http, which learns the trailers

	waited time.Duration
	total  int64

	started atomic.Bool
	eof     atomic.Bool
	failed  atomic.Pointer[BodyError]
}

// rateGrace is how long a client may take before its rate is judged.
const rateGrace = 10 * time.Second

// wrapBody guards the body of outer, a copy of r. It must be a copy: net/http finds out from the body of
// its own request whether to send 100 Continue.
func (s *serving) wrapBody(w http.ResponseWriter, r, outer *http.Request) *bodyReader {
	b := &bodyReader{ReadCloser: r.Body, minRate: s.minBodyRate, outer: outer, inner: r}
	b.dog.timeout = s.bodyTimeout
	b.dog.expire = func() { http.NewResponseController(w).SetReadDeadline(time.Now()) }
	outer.Body = b
	return b
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if bad := b.failed.Load(); bad != nil {
		return 0, bad
	}
	b.started.Store(true)
	start := time.Now()
	b.dog.begin()
	n, err := b.ReadCloser.Read(p)
	b.dog.end()
	b.total += int64(n)
	b.waited += time.Since(start)
	switch {
	case err == io.EOF:
		b.outer.Trailer = b.inner.Trailer
		b.eof.Store(true)
		return n, err
	case err != nil:
		var bad *BodyError
		if b.broken != nil {
			bad = b.broken() // net/http does not always pass on what it read
		}
		if bad == nil && errors.Is(err, os.ErrDeadlineExceeded) {
			bad = errBodyStalled
		}
		if bad != nil {
			b.failed.Store(bad)
			err = bad
		}
		return n, err
	}
	if b.minRate > 0 && b.waited > rateGrace && float64(b.total) < b.waited.Seconds()*float64(b.minRate) {
		b.failed.Store(errBodySlow)
		return n, errBodySlow
	}
	return n, nil
}

// h2Writer bounds how long one write of a response may wait for the client's flow-control window. The
// connection's own write timeout does not: the connection is fine.
type h2Writer struct {
	http.ResponseWriter
	dog watchdog
}

func newH2Writer(w http.ResponseWriter, timeout time.Duration) *h2Writer {
	h := &h2Writer{ResponseWriter: w}
	h.dog.timeout = timeout
	h.dog.expire = func() { http.NewResponseController(w).SetWriteDeadline(time.Now()) }
	return h
}

func (h *h2Writer) Write(p []byte) (int, error) {
	h.dog.begin()
	n, err := h.ResponseWriter.Write(p)
	h.dog.end()
	return n, err
}

// FlushError is what http.ResponseController calls.
func (h *h2Writer) FlushError() error {
	h.dog.begin()
	err := http.NewResponseController(h.ResponseWriter).Flush()
	h.dog.end()
	return err
}

// Flush implements http.Flusher.
func (h *h2Writer) Flush() { h.FlushError() }

// Unwrap lets http.ResponseController reach the rest.
func (h *h2Writer) Unwrap() http.ResponseWriter { return h.ResponseWriter }
