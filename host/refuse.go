package host

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/host/telemetry"
)

// refuse answers a request that got no sandbox.
func (x *exchange) refuse(why refusal) {
	if why == clientLeft {
		x.err = ErrClientGone
		panic(http.ErrAbortHandler)
	}
	s := x.service
	x.w.Header().Set("Retry-After", strconv.Itoa(retryAfter(s.limits.QueueWait)))
	x.fail(http.StatusServiceUnavailable, errors.New(why.String()))
	if !s.told[why].now() {
		return
	}
	s.log.Warn("request refused: "+why.String(), telemetry.Request(x.id), zap.String("service", s.cfg.Name),
		zap.Uint64("refused", s.gate.refused[why].Load()))
}

// retryAfter is for how many seconds a refused client is asked to stay away: about as long as a queue lasts. Clients that
// were refused together are not asked to come back together.
func retryAfter(wait time.Duration) int {
	seconds := int(min((wait+time.Second-1)/time.Second, maxRetryAfter))
	return 1 + rand.IntN(max(seconds, 1))
}

const maxRetryAfter = 30 // seconds

// sometimes says now and then that it is time: a host that must refuse thousands of requests a second should not
// write as many lines to its log.
type sometimes struct{ next atomic.Int64 }

// sometimesEvery is how often.
const sometimesEvery = time.Second

// started is when time began, for clocks that only count from somewhere.
var started = time.Now()

func (s *sometimes) now() bool {
	t := time.Since(started)
	next := s.next.Load()
	return int64(t) >= next && s.next.CompareAndSwap(next, int64(t+sometimesEvery))
}
