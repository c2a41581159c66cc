package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wire"
)

// exchange is one client request.
//
// Where the engine can hand a running guest over, the server's goroutine runs the guest itself and writes the
// response afterwards; most guests end right after they have sent it. A guest that waits or computes on with a
// response sent is suspended and goes on in a goroutine of its own, while the server's writes the response. Elsewhere
// there are two goroutines from the start.
type exchange struct {
	service *Service
	id      uint64
	start   time.Time
	w       http.ResponseWriter
	r       *http.Request
	client  abi.ClientRequest
	box     *sandbox // that serves it

	// What the guest has sent. wake (capacity 1) tells the server's goroutine to look.
	mu    sync.Mutex
	hints []httpfield.List
	resp  *abi.Response
	body  *abi.Body
	// promise, once set, says that the response comes by itself; calling it makes that soon. gone says that nobody
	// waits for it any more.
	promise    func()
	gone       bool
	handOff    *abi.HandOff  // once set, the host answers in the guest's place
	turnedDown bool          // by the sandbox that it was offered to
	wake       chan struct{} // serves all requests of the exchange

	// How the guest ended, or went on to another request: set when ended is closed, or, with nil for ended, when Call
	// has returned.
	ended   chan struct{}
	err     error
	usage   engine.Usage
	runtime time.Duration

	upload *upload      // the client's body; nil when it has none
	status int          // sent to the client
	sent   int64        // bytes of body
	left   atomic.Int32 // goroutines that are not done

	facts    facts
	traceID  string
	entered  bool // passed the gate
	reusable bool // nothing outside can refer to the exchange or its sandbox once it is done
}

// maxHints bounds the interim responses that wait for the client.
const maxHints = 256

// heldResponse is how many bytes of a response may be sent before the sandbox is cleared away: what a socket takes
// without waiting.
const heldResponse = 64 << 10

// ServeHTTP runs the program once for r, in a fresh sandbox or in one whose guest has asked for another request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := newExchange(s, w, r)
	x.left.Store(1)
	defer x.done()
	defer x.leaveUpload()
	if !x.readMarks() {
		return
	}
	if why := s.gate.enter(r.Context()); why != admitted {
		x.refuse(why)
		return
	}
	x.entered = true
	s.running.Add(1)
	if s.offer(x) {
		if x.answered() {
			return
		}
		x.ended, x.turnedDown = nil, false
	} else {
		x.describeClient()
	}
	b, err := s.newSandbox(x)
	if err != nil {
		s.gate.leave()
		if errors.Is(err, engine.ErrNoSlot) {
			s.gate.refuse(enginesLack)
			x.refuse(enginesLack)
			return
		}
		x.err = s.ended(err, engine.Usage{}, nil)
		x.fail(http.StatusInternalServerError, x.err)
		return
	}
	if s.host.engine.Suspends() {
		err := b.inst.Call(&b.life, EntryPoint)
		if err != engine.ErrSuspended {
			b.conclude(err)
			// A small response goes out first. A long one must not keep the sandbox's place.
			if x.promise == nil && x.handOff == nil && (x.body == nil || x.body.Held(heldResponse)) {
				defer b.clear()
			} else {
				b.clear()
			}
			x.answer()
			return
		}
		b.split(b.inst.Resume)
	} else {
		b.split(func(ctx context.Context) error { return b.inst.Call(ctx, EntryPoint) })
	}
	x.answered()
}

// answered is answer for a guest that has a goroutine of its own. It is false when the exchange was turned down.
func (x *exchange) answered() bool {
	// A client that goes away stops the guest, as long as its response is not complete.
	defer x.box.life.detach(x)
	return x.answer()
}

// hasSent reports whether there is something for the client.
func (x *exchange) hasSent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.resp != nil || len(x.hints) > 0 || x.promise != nil || x.handOff != nil
}

// exchanges are those of finished requests.
var exchanges = sync.Pool{New: func() any { return &exchange{wake: make(chan struct{}, 1)} }}

func newExchange(s *Service, w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	x.service, x.w, x.r = s, w, r
	x.id = s.requests.Add(1) - 1
	x.start = time.Now()
	x.reusable = true
	return x
}

// recycle gives the exchange back when nobody can refer to it any more.
func (x *exchange) recycle() {
	if !x.reusable {
		return
	}
	select {
	case <-x.wake:
	default:
	}
	if x.box != nil {
		x.box.recycle()
	}
	*x = exchange{wake: x.wake, hints: x.hints[:0]}
	exchanges.Put(x)
}

// describeClient fills in what the guest is told of the request.
func (x *exchange) describeClient() {
	r := x.r
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	x.facts = facts{wire.FromRequest(r)}
	x.traceID = newTraceID()
	x.client = abi.ClientRequest{
		ID:      x.traceID[len(traceVariable):],
		Method:  r.Method,
		URI:     scheme + r.Host + target(r),
		Version: version(r),
		Passed:  x.client.Passed,
		Facts:   x.facts,
		Header:  x,
		Client:  x,
	}
	if len(x.service.env.FastlyKeys) > 0 {
		x.client.FastlyKey = r.Header.Get("Fastly-Key")
	}
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	control := http.NewResponseController(x.w)
	if r.ProtoMajor == 1 {
		control.EnableFullDuplex() // refused by writers that have it anyway
	}
	x.upload = &upload{
		body:    r.Body,
		control: control,
		timeout: x.service.limits.BodyTimeout,
		ended:   make(chan struct{}),
	}
	x.client.Body = abi.NewBody(abi.NewSource(x.upload, r.ContentLength, func(l *httpfield.List) {
		l.FromHTTP(r.Trailer, nil)
	}))
}

// AppendFields implements abi.HeaderSource.
func (x *exchange) AppendFields(l *httpfield.List) {
	names, _ := x.facts.OriginalHeaderNames()
	l.FromHTTP(x.r.Header, names)
	if x.r.Host != "" {
		l.Set("host", x.r.Host)
	}
	x.genuineMarks(l)
}

// target is path and query as received. An embedder may have rewritten the path on the way here, as
// http.StripPrefix does.
func target(r *http.Request) string {
	if uri := r.RequestURI; strings.HasPrefix(uri, "/") && strings.HasPrefix(uri, r.URL.Path) {
		return uri
	}
	if uri := r.URL.RequestURI(); strings.HasPrefix(uri, "/") {
		return uri
	}
	return "/"
}

func version(r *http.Request) abi.Version {
	switch r.ProtoMajor {
	case 2:
		return abi.HTTP2
	case 3:
		return abi.HTTP3
	}
	if r.ProtoMinor == 0 {
		return abi.HTTP10
	}
	return abi.HTTP11
}

const traceVariable = "FASTLY_TRACE_ID="

// newTraceID gives the variable that holds a request ID: 32 hexadecimal digits that no other request has.
func newTraceID() string {
	const digits = "0123456789abcdef"
	b := make([]byte, len(traceVariable), len(traceVariable)+32)
	copy(b, traceVariable)
	for range 2 {
		v := rand.Uint64()
		for range 16 {
			b = append(b, digits[v>>60])
			v <<= 4
		}
	}
	return string(b)
}

// guestError is how a guest ended: exiting with 0 is as good as returning.
func guestError(err error) error {
	if err == nil {
		return nil // exit costs an allocation
	}
	var exit *engine.ExitError
	if errors.As(err, &exit) && exit.Code == 0 {
		return nil
	}
	return err
}

// done is called by each goroutine; the last one writes the access record and lets the exchange go.
func (x *exchange) done() {
	if x.left.Add(-1) > 0 {
		return
	}
	s := x.service
	if x.err != nil && x.err != ErrClientGone {
		s.logFailure(x.id, x.err)
	}
	if s.cfg.AccessLog {
		facts := x.facts.Facts
		if facts == nil { // refused at the gate
			facts = wire.FromRequest(x.r)
		}
		remote, _ := facts.RemoteAddr()
		telemetry.Access{
			ID:      x.id,
			Client:  remote.Addr().String(),
			Method:  x.r.Method,
			Path:    target(x.r),
			Proto:   x.r.Proto,
			Status:  x.status,
			Bytes:   x.sent,
			Total:   time.Since(x.start),
			Sandbox: x.runtime,
			CPU:     x.usage.CPU,
			Memory:  x.usage.Memory,
		}.Log(s.log)
	}
	entered := x.entered
	x.recycle()
	if entered {
		s.running.Done()
	}
}

// logFailure tells operators why a guest failed.
func (s *Service) logFailure(request uint64, err error) {
	fields := []zap.Field{telemetry.Request(request), zap.String("service", s.cfg.Name)}
	var trap *engine.TrapError
	if errors.As(err, &trap) && len(trap.Frames) > 0 {
		s.log.Error(err.Error()+"\n"+strings.TrimSuffix(trap.Backtrace(), "\n"), fields...)
		return
	}
	var panicked *engine.PanicError
	if errors.As(err, &panicked) {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	s.log.Error(err.Error(), fields...)
}

// Inform implements abi.Client.
func (x *exchange) Inform(status int, h *httpfield.List) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.hints) >= maxHints {
		return false
	}
	x.hints = append(x.hints, h.Clone())
	x.poke()
	return true
}

// Respond implements abi.Client.
func (x *exchange) Respond(r *abi.Response, b *abi.Body) {
	x.mu.Lock()
	x.resp, x.body = r, b
	gone := x.gone
	x.mu.Unlock()
	if gone {
		b.Abandon(abi.ErrReaderGone)
	}
	x.poke()
}

// Promise implements abi.Client.
func (x *exchange) Promise(cancel func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.promise = cancel
}

func (x *exchange) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// answer writes what the guest sends until the response is complete. It is false when a sandbox that the exchange was
// offered to has turned it down.
func (x *exchange) answer() bool {
	for {
		over := x.over()
		x.mu.Lock()
		hints, resp, body, promise, handOff, down := x.hints, x.resp, x.body, x.promise, x.handOff, x.turnedDown
		x.hints = nil
		x.mu.Unlock()
		for i := range hints {
			x.inform(&hints[i])
		}
		switch {
		case down:
			return false
		case resp != nil:
			x.respond(resp, body)
			return true
		case handOff != nil:
			x.serveHandOff(handOff)
			return true
		case promise != nil:
			x.awaitPromise(promise)
			continue
		case over:
			x.answerFor()
			return true
		}
		select {
		case <-x.wake:
		case <-x.ended:
		}
	}
}

// awaitPromise waits for a response that comes by itself, whether the guest has ended or not.
func (x *exchange) awaitPromise(cancel func()) {
	select {
	case <-x.wake:
		return
	case <-x.r.Context().Done():
	case <-x.service.stopped:
	}
	cancel()
	x.mu.Lock()
	x.gone = true
	body := x.body
	x.mu.Unlock()
	if body != nil {
		body.Abandon(abi.ErrReaderGone)
	}
	x.box.life.lose(x)
	x.leaveUpload()
	panic(http.ErrAbortHandler)
}

// over reports whether the guest has ended.
func (x *exchange) over() bool {
	if x.ended == nil {
		return true
	}
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

// answerFor answers for a guest that ended without a response.
func (x *exchange) answerFor() {
	switch err := x.err; {
	case err == nil:
		x.status = http.StatusOK
		x.w.Header()["Content-Type"] = nil
		x.w.WriteHeader(http.StatusOK)
	case errors.Is(err, ErrClientGone):
		panic(http.ErrAbortHandler)
	case errors.Is(err, ErrShutdown):
		x.refuse(gateClosed)
	case errors.Is(err, ErrWallTime):
		x.fail(http.StatusGatewayTimeout, err)
	default:
		x.fail(http.StatusInternalServerError, err)
	}
}

// fail answers with an error of the host's own.
func (x *exchange) fail(status int, err error) {
	text := fmt.Sprintf("%d %s\n", status, http.StatusText(status))
	if x.service.cfg.ExposeErrors {
		text += err.Error() + "\n"
		var trap *engine.TrapError
		if errors.As(err, &trap) {
			text += trap.Backtrace()
		}
	}
	if x.client.ID != "" {
		text += "request " + x.client.ID + "\n"
	}
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	x.status = status
	x.w.WriteHeader(status)
	n, _ := io.WriteString(x.w, text)
	x.sent = int64(n)
}
