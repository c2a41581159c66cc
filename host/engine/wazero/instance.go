package wazero

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/tetratelabs/wazero/api"
)

// instance implements engine.Instance.
type instance struct {
	t         *template
	cfg       engine.InstanceConfig
	maxMemory uint64
	maxTable  uint32

	slot    *slot // nil once closed
	caller  engine.Caller
	running runContext

	started bool // the start function has run
	inCall  bool // also when a call never returned
	broken  bool // a hostcall panicked: not to be used again

	end      error // why the guest was stopped; overrides what wazero returns
	overflow bool  // it was stopped because its stack is too large
	inGuest  bool  // the clock runs
	since    time.Duration
	cpu      time.Duration
	calls    uint32 // hostcalls, to look around now and then
	budget   int32  // of the next interval
	denied   uint32
}

var _ engine.Instance = (*instance)(nil)

// runContext is the context that wazero hands to hostcalls. It is that of Call and knows the instance.
type runContext struct {
	context.Context
	inst *instance
}

// epoch is where this package's clock starts; only differences count, which are monotonic.
var epoch = time.Now()

func now() time.Duration { return time.Since(epoch) }

// Call runs an export.
func (in *instance) Call(ctx context.Context, export string) error {
	if in.slot == nil {
		return errInstanceClosed
	}
	ex, ok := in.t.facts.module.Export(export)
	if !ok || ex.Kind != engine.KindFunc {
		return fmt.Errorf("%w: %q", engine.ErrNoExport, export)
	}
	if typ, _ := in.t.facts.module.FuncType(ex.Index); len(typ.Params)+len(typ.Results) != 0 {
		return fmt.Errorf("%w: %q has type %s", engine.ErrNoExport, export, typ)
	}
	if in.t.facts.start && !in.started {
		in.started = true
		if err := in.run(ctx, startExport); err != nil {
			return err
		}
	}
	return in.run(ctx, export)
}

var errInstanceClosed = errors.New("wazero: the instance is closed")

// Resume implements engine.Instance. A guest runs on the stack of its goroutine here and cannot be handed over.
func (in *instance) Resume(context.Context) error { return engine.ErrNotSuspended }

func (in *instance) run(ctx context.Context, export string) error {
	fn := in.slot.function(export)
	in.running.Context, in.caller.Context = ctx, ctx
	in.end, in.overflow, in.inCall = nil, false, true
	in.resume()
	err := in.enter(fn)
	in.pause()
	in.inCall = false
	in.running.Context, in.caller.Context = nil, nil
	switch {
	case in.end != nil:
		return in.end
	case err == nil:
		return nil
	case in.overflow:
		return &engine.TrapError{Code: engine.TrapStackOverflow, Frames: in.t.facts.frames(err.Error())}
	}
	return in.t.facts.trapOf(err)
}

// stopped is what ends a guest: it is thrown through the guest's frames.
type stopped struct{}

func (stopped) Error() string { return "stopped" }

// enter runs the function. An export that is a hostcall itself throws past wazero.
func (in *instance) enter(fn api.Function) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ours := r.(stopped); !ours {
				panic(r)
			}
			err = stopped{}
		}
	}()
	return fn.CallWithStack(&in.running, nil)
}

// stop ends the guest from within a hostcall.
func (in *instance) stop(err error) {
	in.end = err
	panic(stopped{})
}

// resume starts the clock.
func (in *instance) resume() {
	in.since, in.inGuest = now(), true
}

// pause stops the clock.
func (in *instance) pause() {
	in.cpu += now() - in.since
	in.inGuest = false
}

// look ends the guest if it must end, and lets other goroutines run.
func (in *instance) look() {
	in.pause()
	if in.cfg.MaxCPU > 0 && in.cpu > in.cfg.MaxCPU {
		in.stop(&engine.CPULimitError{Limit: in.cfg.MaxCPU, Used: in.cpu})
	}
	select {
	case <-in.running.Done():
		in.stop(context.Cause(in.running.Context))
	default:
	}
	runtime.Gosched()
	in.resume()
}

// checkStack ends the guest when its stack has become too large.
func (in *instance) checkStack() {
	if stack := in.slot.stack; stack.IsValid() && uint64(stack.Len()) > in.t.e.maxStackSize() {
		in.overflow = true
		panic(stopped{})
	}
}

// initialStack is what wazero starts with, about.
const initialStack = 10 << 10

// maxStackSize is how large wazero's stack may become. wazero doubles the stack when it is full, so one of twice the
// limit means that about the limit is in use.
func (e *Engine) maxStackSize() uint64 { return 2*e.cfg.MaxStack + initialStack }

// Memory is the linear memory if the guest exports it as "memory".
func (in *instance) Memory() engine.Memory {
	if in.slot == nil || !in.t.facts.memory {
		return nil
	}
	return in.slot.memory.buf
}

// Usage is what the instance has consumed.
func (in *instance) Usage() engine.Usage {
	u := engine.Usage{CPU: in.cpu, GrowDenied: in.denied}
	if in.slot != nil {
		u.Memory = uint64(len(in.slot.memory.buf))
	}
	if in.inGuest {
		u.CPU += now() - in.since
	}
	return u
}

// GrantCPU implements engine.Instance.
func (in *instance) GrantCPU(d time.Duration) {
	if in.cfg.MaxCPU > 0 {
		in.cfg.MaxCPU = in.Usage().CPU + d
	}
}

// Close sets the instance back and parks it, or frees it.
func (in *instance) Close() {
	s := in.slot
	if s == nil {
		return
	}
	in.slot = nil
	l := in.t.e.lot
	if in.t.resettable() && !in.inCall && !in.broken && s.restore() && l.put(s) {
		return
	}
	s.destroy()
	l.free()
}
