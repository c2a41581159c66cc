package host

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/telemetry"
)

// popName is the POP that programs see.
const popName = "XXX"

// newChain makes what marks a service's requests to backends. Hosts without a key of their own share one with
// their process.
func (h *Host) newChain(cfg *ServiceConfig) *backend.Chain {
	key := h.chainKey
	if len(key) == 0 {
		key = processKey()
	}
	return backend.NewChain(key, popName, cfg.ID+"\x00"+cfg.Name, 0)
}

var processKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
})

// readMarks takes note of the services that the request has passed, and answers one that goes round in circles.
func (x *exchange) readMarks() bool {
	s := x.service
	passed, err := s.env.Chain.Read(x.r.Header)
	x.client.Passed = passed
	if err == nil {
		return true
	}
	// Who is caught in a loop must be able to tell, also where errors are not exposed otherwise: this one says nothing
	// of the program.
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	x.status = http.StatusLoopDetected
	x.w.WriteHeader(x.status)
	n, _ := io.WriteString(x.w, fmt.Sprintf("%d %s\n%v\n", x.status, http.StatusText(x.status), err))
	x.sent = int64(n)
	if loopsTold.now() {
		s.log.Warn("request refused: "+err.Error(), telemetry.Request(x.id), zap.String("service", s.cfg.Name))
	}
	return false
}

var loopsTold sometimes

// genuineMarks removes the marks of a client's request that nobody with the key has made: programs take the field's presence
// for a request from one of their own.
func (x *exchange) genuineMarks(l *httpfield.List) {
	if x.r.Header["Fastly-Ff"] == nil {
		return
	}
	if ff := x.client.Passed.FastlyFF(); ff != "" {
		l.Set("fastly-ff", ff)
	} else {
		l.Del("fastly-ff")
	}
}
