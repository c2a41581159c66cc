package wazero

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/tetratelabs/wazero/api"
)

// callback is one hostcall as wazero calls it.
type callback struct {
	call   engine.Hostcall
	name   string
	slots  int
	narrow []int // results of 32 bits
}

func newCallback(c engine.Hostcall) *callback {
	cb := &callback{call: c, name: c.Module + "." + c.Name, slots: max(len(c.Type.Params), len(c.Type.Results))}
	for i, r := range c.Type.Results {
		if r == engine.I32 || r == engine.F32 {
			cb.narrow = append(cb.narrow, i)
		}
	}
	return cb
}

// lookEvery is how many hostcalls go by before the instance looks around: the guest's counter knows nothing
// of how long hostcalls take.
const lookEvery = 64

// Call implements api.GoModuleFunction.
func (cb *callback) Call(ctx context.Context, _ api.Module, stack []uint64) {
	in := ctx.(*runContext).inst
	in.checkStack()
	if in.calls++; in.calls%lookEvery == 0 {
		in.look()
	}
	stack = stack[:cb.slots:cb.slots]
	var err error
	if cb.call.MayBlock {
		in.pause()
		err = cb.run(in, stack)
		in.resume()
		if err == nil && in.running.Err() != nil {
			err = context.Cause(in.running.Context)
		}
	} else {
		err = cb.run(in, stack)
	}
	if err != nil {
		in.stop(err)
	}
	for _, i := range cb.narrow {
		stack[i] = uint64(uint32(stack[i]))
	}
}

// run calls the host's function and contains its panics.
func (cb *callback) run(in *instance, stack []uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			in.broken = true
			err = &engine.PanicError{Hostcall: cb.name, Value: r, Stack: debug.Stack()}
		}
	}()
	in.caller.Memory = in.Memory()
	return cb.call.Fn(&in.caller, stack)
}

// Budgets of the guest's counter, in its units of about a loop turn. The budget follows the guest's speed, so
// that it is looked at every fraction of a tick. The largest is small enough that a guest which earns it
// with fast code and spends it on slow code is still looked at soon.
const (
	firstBudget = 1 << 16
	minBudget   = 1 << 12
	maxBudget   = 1 << 18
)

// engineFunctions are what rewritten guests import from the engine.
func engineFunctions() hostFunctions {
	i32 := []engine.ValueType{engine.I32}
	return hostFunctions{
		interruptName: {fn: api.GoModuleFunc(interrupt), typ: engine.FuncType{Results: i32}},
		growName:      {fn: api.GoModuleFunc(grow), typ: engine.FuncType{Params: []engine.ValueType{engine.I32, engine.I32, engine.I32}, Results: i32}},
	}
}

// interrupt is called by the guest when its budget is used up; it gives a new one.
func interrupt(ctx context.Context, _ api.Module, stack []uint64) {
	in := ctx.(*runContext).inst
	in.checkStack()
	in.adapt(now() - in.since)
	in.look()
	stack[0] = uint64(uint32(in.budget))
}

// adapt sets the next budget from how long the last took.
func (in *instance) adapt(took time.Duration) {
	tick := in.t.e.cfg.Tick
	switch {
	case took > tick/2:
		in.budget = max(int32(int64(in.budget)*int64(tick/4)/int64(took)), minBudget)
	case took < tick/8:
		in.budget = min(in.budget*2, maxBudget)
	}
}

// grow is asked before memory or a table grows.
func grow(ctx context.Context, _ api.Module, stack []uint64) {
	in := ctx.(*runContext).inst
	what, want := uint32(stack[0]), uint64(uint32(stack[1]))+uint64(uint32(stack[2]))
	limit := uint64(in.maxTable)
	if what == 0 {
		limit = in.maxMemory >> 16
	}
	if want > limit {
		in.denied++
		stack[0] = 0
		return
	}
	stack[0] = 1
}
