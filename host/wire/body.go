package wire

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// bodyReader is a request body with a deadline for each read and a minimum rate. Read belongs to one
// goroutine at a time.
type bodyReader struct {
	io.ReadCloser
	rc      *http.ResponseController
	broken  func() *BodyError // what the follower has against the body; nil for HTTP/2
	timeout time.Duration     // per read; 0 means none
	minRate int               // bytes a second, over the time spent waiting; 0 means none

	outer, inner *http.Request // the handler's request and that of net/http, which learns the trailers

	armed  time.Time
	waited time.Duration
	total  int64

	started atomic.Bool
	eof     atomic.Bool
	failed  atomic.Pointer[BodyError]
}

// rateGrace is how long a client may take before its rate is judged.
const rateGrace = 10 * time.Second

func (b *bodyReader) Read(p []byte) (int, error) {
	if bad := b.failed.Load(); bad != nil {
		return 0, bad
	}
	b.started.Store(true)
	start := time.Now()
	if b.timeout > 0 && start.Sub(b.armed) > b.timeout/4 {
		// Not at every read: a deadline costs more than a small read does.
		b.armed = start
		b.rc.SetReadDeadline(start.Add(b.timeout))
	}
	n, err := b.ReadCloser.Read(p)
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
