package wazero

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// instance implements engine.Instance.
type instance struct {
	t         *template
	cfg       engine.InstanceConfig
	maxMemory uint64
	maxTable  uint32

	mod     api.Module
	memory  linearMemory
	caller  engine.Caller
	running runContext

	name    string // of the export that fn is
	fn      api.Function
	stack   reflect.Value // wazero's stack of fn, a []byte; invalid when it cannot be seen
	started bool          // the start function has run

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

func (in *instance) open() error {
	f := in.t.facts
	var err error
	if in.memory.region, err = reserve(min(in.maxMemory, f.max)); err != nil {
		return err
	}
	if f.min > 0 && in.memory.Reallocate(f.min) == nil { // wazero does not expect this to fail
		in.memory.release()
		return fmt.Errorf("wazero: the system has no %d bytes for a guest's memory", f.min)
	}
	ctx := experimental.WithMemoryAllocator(in.t.ctx, &in.memory)
	in.mod, err = in.t.code.runtime.InstantiateModule(ctx, in.t.code.compiled, anonymous)
	if err != nil {
		in.memory.release()
		return instantiateError(err)
	}
	return nil
}

// Call runs an export.
func (in *instance) Call(ctx context.Context, export string) error {
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

// Resume implements engine.Instance. A guest runs on the stack of its goroutine here and cannot be handed over.
func (in *instance) Resume(context.Context) error { return engine.ErrNotSuspended }

func (in *instance) run(ctx context.Context, export string) error {
	if in.fn == nil || in.name != export {
		in.name, in.fn = export, in.mod.ExportedFunction(export)
		in.stack = stackOf(in.fn)
	}
	in.running.Context, in.caller.Context = ctx, ctx
	in.end, in.overflow = nil, false
	in.resume()
	err := in.enter()
	in.pause()
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
func (in *instance) enter() (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ours := r.(stopped); !ours {
				panic(r)
			}
			err = stopped{}
		}
	}()
	return in.fn.CallWithStack(&in.running, nil)
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

// checkStack ends the guest when its stack has become too large. wazero doubles the stack when it is full,
// so one of twice the limit means that about the limit is in use.
func (in *instance) checkStack() {
	if in.stack.IsValid() && uint64(in.stack.Len()) > 2*in.t.e.cfg.MaxStack+initialStack {
		in.overflow = true
		panic(stopped{})
	}
}

// initialStack is what wazero starts with, about.
const initialStack = 10 << 10

// stackOf finds the stack of a function that wazero's compiler made. wazero itself lets a stack grow to
// 100 MB and has no setting for it. Where the field is gone, that is the bound.
func stackOf(fn api.Function) reflect.Value {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	s := v.Elem().FieldByName("stack")
	if s.Kind() != reflect.Slice || s.Type().Elem().Kind() != reflect.Uint8 {
		return reflect.Value{}
	}
	return s
}

// Memory is the linear memory if the guest exports it as "memory".
func (in *instance) Memory() engine.Memory {
	if !in.t.facts.memory {
		return nil
	}
	return in.memory.buf
}

// Usage is what the instance has consumed.
func (in *instance) Usage() engine.Usage {
	u := engine.Usage{CPU: in.cpu, Memory: uint64(len(in.memory.buf)), GrowDenied: in.denied}
	if in.inGuest {
		u.CPU += now() - in.since
	}
	return u
}

// Close frees the instance.
func (in *instance) Close() {
	if in.mod == nil {
		return
	}
	in.mod.Close(context.Background())
	in.mod, in.fn, in.stack = nil, nil, reflect.Value{}
	in.memory.release()
	<-in.t.e.slots
}
