package host

import (
	"context"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
)

// sandbox is one guest run: an instance, its handles, its context. It serves the request that it was made for and, when
// its program asks, further ones, one after the other.
type sandbox struct {
	service *Service
	abi     abi.Sandbox
	inst    engine.Instance
	output  output
	life    life // the guest's context
	environ []string

	// The guest's goroutine's own.
	serving *exchange     // whose client's request the guest has; nil between two
	came    time.Time     // when it got that
	cpu     time.Duration // that it had used by then
	made    time.Time
	served  int  // requests so far
	apart   bool // it has a goroutine of its own
	inside  bool // it holds a place of the gate's
	idle    bool // it counts in Host.idle
}

// sandboxes are those of ended runs whose tables and buffers serve again.
var sandboxes = sync.Pool{New: func() any { return new(sandbox) }}

var defaultArgs = []string{"compute-app"}

// newSandbox makes the sandbox for a client's request, which has been described. The caller has a place of the gate's,
// which is the sandbox's from then on, unless there is an error.
func (s *Service) newSandbox(x *exchange) (*sandbox, error) {
	b := sandboxes.Get().(*sandbox)
	b.service = s
	b.life.begin(s, x, s.limits.Wall)
	if x.upload != nil {
		x.upload.life = &b.life
	}
	b.abi.Begin(&s.env, &x.client)
	b.abi.Arrivals = b
	b.output = output{open: s.cfg.Output, request: x.id}
	b.abi.Args = defaultArgs
	b.environ = append(append(b.environ[:0], s.environ...), x.traceID)
	b.abi.Env = b.environ
	b.abi.Stdout = (*stdoutStream)(&b.output)
	b.abi.Stderr = (*stderrStream)(&b.output)
	var err error
	b.inst, err = s.template.Instantiate(engine.InstanceConfig{
		State:     &b.abi,
		Suspend:   b,
		MaxMemory: s.limits.Memory,
		MaxCPU:    s.limits.CPU,
	})
	if err != nil {
		b.abi.Finish()
		return nil, err
	}
	b.made = time.Now()
	b.came = b.made
	b.serving, b.served, b.inside = x, 1, true
	x.box = b
	return b, nil
}

// split lets the guest go on in a goroutine of its own. The caller does not touch what is the guest's after that.
func (b *sandbox) split(guest func(context.Context) error) {
	b.apart = true
	x := b.serving
	x.ended = make(chan struct{})
	x.left.Add(1)
	go func() {
		b.conclude(guest(&b.life))
		s, x, reused := b.service, b.serving, b.served > 1 || b.serving == nil
		if x != nil {
			close(x.ended)
		}
		b.clear()
		if x != nil {
			x.done() // b may serve others from here on
		}
		if reused {
			s.reused.Done()
		}
	}()
}

// Suspend implements engine.Suspender: the guest goes apart once there is something to send.
func (b *sandbox) Suspend() bool { return !b.apart && b.serving.hasSent() }

// conclude takes note of how the guest ended and breaks off what it left open, so that readers can tell.
func (b *sandbox) conclude(err error) {
	s, x := b.service, b.serving
	reusable := b.life.finish()
	usage := b.inst.Usage()
	if err = guestError(err); err != nil {
		var u *upload
		if x != nil {
			u = x.upload
		}
		err = s.ended(err, usage, u)
	}
	b.abi.Finish()
	if x == nil {
		// It has answered all that it was asked.
		if err != nil && err != ErrShutdown {
			s.logFailure(b.output.request, err)
		}
		return
	}
	x.reusable = reusable && b.served == 1 && x.promise == nil && x.handOff == nil
	x.err = err
	b.account(x, usage)
}

// account charges a request for what it took.
func (b *sandbox) account(x *exchange, usage engine.Usage) {
	x.usage = usage
	x.usage.CPU -= b.cpu
	x.runtime = time.Since(b.came)
}

// clear gives back what the guest used.
func (b *sandbox) clear() {
	b.inst.Close()
	b.output.close()
	b.stopIdling()
	if b.inside {
		b.inside = false
		b.service.gate.leave()
	}
}

// recycle lets the sandbox serve again, when nobody can refer to it any more.
func (b *sandbox) recycle() {
	clear(b.environ)
	*b = sandbox{abi: b.abi, environ: b.environ[:0]}
	sandboxes.Put(b)
}
