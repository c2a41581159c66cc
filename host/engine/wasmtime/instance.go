//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #cgo noescape we_call_export
// #cgo nocallback we_cpu
// #cgo noescape we_cpu
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

var (
	errEnded   = errors.New("wasmtime: the instance has ended")
	errRunning = errors.New("wasmtime: the instance is in a call already")
)

// instance is the engine.Instance. Its C half lies in c, which is C memory.
type instance struct {
	slot     *slot
	c        *C.we_inst // the slot's
	template *template
	calls    []hostcall // the template's
	caller   engine.Caller
	max      time.Duration // of CPU; 0 is unbounded
	started  bool          // the start function has run, or there is none
	running  bool
	// suspender is asked at each halt; suspended tells that the guest waits for Resume, having halted with status.
	suspender engine.Suspender
	suspended bool
	status    C.int
	computing bool // counted by the ticker
	fresh     bool // counted by the engine's lane
	seated    bool // in it
	ended     bool // nothing can be called any more
	closed    bool
	broken    bool          // a hostcall did not return: not to be used again
	failure   error         // why a hostcall ended the guest
	used      time.Duration // CPU, once closed
}

// Instantiate implements engine.Template.
func (t *template) Instantiate(cfg engine.InstanceConfig) (engine.Instance, error) {
	e := t.engine
	memory, elements := e.cfg.MaxMemory, e.cfg.MaxTableElements
	if cfg.MaxMemory > 0 {
		memory = min(memory, cfg.MaxMemory)
	}
	if cfg.MaxTableElements > 0 {
		elements = min(elements, cfg.MaxTableElements)
	}
	if err := t.facts.check(memory, elements); err != nil {
		return nil, err
	}
	if e.closed.Load() {
		return nil, errClosed
	}
	if !t.used.Load() {
		t.used.Store(true)
	}
	if t.resettable {
		if s := e.lot.take(t); s != nil {
			// An earlier run's memory may be larger than this one's may become.
			if uint64(s.c.state_size) <= memory {
				return t.reuse(s, cfg, memory, elements), nil
			}
			s.destroy()
		}
	}
	return t.fresh(cfg, memory, elements)
}

// fresh is Instantiate with a new instance.
func (t *template) fresh(cfg engine.InstanceConfig, memory uint64, elements uint32) (engine.Instance, error) {
	e := t.engine
	if !t.refs.acquire() {
		return nil, errTemplateClosed
	}
	if !e.claim() {
		t.refs.release()
		return nil, engine.ErrNoSlot
	}
	i := newInstance(t, cfg)
	handle, ok := instances.put(i)
	if !ok {
		e.instances.Add(-1)
		t.refs.release()
		return nil, engine.ErrNoSlot
	}
	i.slot = &slot{handle: handle, template: t, memory: memory, elements: elements}
	if t.facts.Start {
		i.c = C.we_inst_new(t.c, C.uint32_t(handle), C.int64_t(memory), C.int64_t(elements))
		i.slot.c = i.c
		return i, nil
	}
	i.c = C.we_inst_open(t.c, C.uint32_t(handle), C.int64_t(memory), C.int64_t(elements))
	i.slot.c = i.c
	if i.c.status != C.WE_DONE {
		err := i.finish(i.c.status)
		i.Close()
		return nil, err
	}
	i.started = true
	if t.resettable {
		t.capture(i.c)
	}
	t.working.prefetch(i.slot)
	return i, nil
}

func newInstance(t *template, cfg engine.InstanceConfig) *instance {
	i := &instance{template: t, calls: t.calls, max: cfg.MaxCPU, suspender: cfg.Suspend}
	i.caller = engine.Caller{State: cfg.State, Instance: i}
	return i
}

// Call implements engine.Instance.
func (i *instance) Call(ctx context.Context, export string) error {
	switch {
	case i.closed || i.ended:
		return errEnded
	case i.running || i.suspended:
		return errRunning
	case !i.template.facts.entries[export]:
		return fmt.Errorf("%w: %q", engine.ErrNoExport, export)
	}
	i.enter(ctx)
	defer i.leave()
	if !i.admitted() {
		return context.Cause(ctx)
	}
	if !i.started {
		if err := i.run(C.we_instantiate(i.c)); err != nil {
			return err
		}
		i.started = true
	}
	return i.end(i.run(C.we_call_export(i.c, cString(export), C.size_t(len(export)))))
}

// Resume implements engine.Instance.
func (i *instance) Resume(ctx context.Context) error {
	if !i.suspended || i.closed {
		return engine.ErrNotSuspended
	}
	i.enter(ctx)
	defer i.leave()
	i.suspended = false
	if !i.admitted() {
		return context.Cause(ctx)
	}
	return i.end(i.run(i.status))
}

// enter begins a call, leave ends it.
func (i *instance) enter(ctx context.Context) {
	i.running = true
	// It stays there after Call: a goroutine that a hostcall left behind may still look at it.
	i.caller.Context = ctx
	i.compute(true)
	i.ended = true // unless it comes through; runtime.Goexit in a hostcall leaves here, too
}

func (i *instance) leave() {
	i.compute(false)
	i.running = false
}

// end notes that the guest can go on after this.
func (i *instance) end(err error) error {
	if err == nil || err == engine.ErrSuspended {
		i.ended = false
	}
	return err
}

// halt reports whether the guest is wanted elsewhere.
func (i *instance) halt(status C.int) bool {
	if i.suspender == nil || !i.started || !i.suspender.Suspend() {
		return false
	}
	i.status, i.suspended = status, true
	return true
}

// run polls until the guest has ended. A guest that is given up stays suspended until Close.
func (i *instance) run(status C.int) error {
	ctx := i.caller.Context
	for {
		switch status {
		case C.WE_WAITING:
			if i.halt(status) {
				return engine.ErrSuspended
			}
			h := &i.template.calls[i.c.waiting.index]
			i.refresh()
			i.c.faulted = true // it may write to memory, in whatever thread
			i.compute(false)
			if err := i.perform(h, i.stack(h)); err != nil {
				return err
			}
			i.compute(true)
			if !i.admitted() {
				return context.Cause(ctx)
			}
			i.c.answered = true
		case C.WE_YIELDED:
			// The epoch moved on.
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if i.halt(status) {
				return engine.ErrSuspended
			}
			if i.fresh {
				i.fresh = false
				i.template.engine.lane.leaveFresh(false)
			}
			i.seated = i.template.engine.lane.turn(ctx, i.seated, time.Duration(i.c.cpu))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		default:
			return i.finish(status)
		}
		if i.max > 0 {
			if used := time.Duration(i.c.cpu); used >= i.max {
				return &engine.CPULimitError{Limit: i.max, Used: used}
			}
		}
		status = C.we_poll(i.c)
	}
}

// admitted reports whether the guest may compute; its context has ended otherwise.
func (i *instance) admitted() bool { return i.fresh || i.seated }

// compute tells the ticker whether the guest computes, as opposed to waiting or having ended.
func (i *instance) compute(yes bool) {
	if i.computing == yes {
		return // also when runtime.Goexit in a hostcall unwinds Call
	}
	i.computing = yes
	if yes {
		i.template.engine.ticker.enter()
		i.fresh = i.template.engine.lane.enter(i.caller.Context)
	} else {
		if i.fresh {
			i.fresh = false
			i.template.engine.lane.leaveFresh(true)
		} else if i.seated {
			i.seated = false
			i.template.engine.lane.leave()
		}
		i.template.engine.ticker.leave()
	}
}

// finish says how the guest ended.
func (i *instance) finish(status C.int) error {
	switch {
	case i.failure != nil:
		return i.failure
	case status == C.WE_DONE:
		return nil
	case status == C.WE_FAILED:
		return i.trapError()
	case status == C.WE_NO_EXPORT:
		return engine.ErrNoExport
	}
	return fmt.Errorf("wasmtime: unexpected status %d", int(status))
}

// stack is the hostcall's arguments and results.
func (i *instance) stack(h *hostcall) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(i.c.slots)), h.slots)
}

// refresh brings caller.Memory up to date with what C saw last.
func (i *instance) refresh() {
	base, size := (*byte)(unsafe.Pointer(i.c.memory_base)), int(i.c.memory_size)
	if size != len(i.caller.Memory) || base != unsafe.SliceData(i.caller.Memory) {
		i.caller.Memory = unsafe.Slice(base, size)
	}
}

func init() { C.we_set_hostcall(C.uintptr_t(reflect.ValueOf(onHostcall).Pointer())) }

// onHostcall is called by the shim with a we_inst, on the stack of the polling thread, when a guest makes a hostcall. A
// panic must not pass through C or wasmtime, so it becomes an error here.
func onHostcall(inst unsafe.Pointer) {
	c := (*C.we_inst)(inst)
	i := instances.get(uint32(c.handle))
	h := &i.calls[c.call]
	returned := false
	defer func() {
		if !returned {
			i.broken = true
			i.failure = panicked(h, recover(), true)
			c.answer = C.WE_ENDED
		}
	}()
	i.refresh()
	stack := i.stack(h)
	if c.mode == C.WE_TRY && !h.Ready(&i.caller, stack) {
		c.answer = C.WE_NOT_READY
	} else if err := h.Fn(&i.caller, stack); err != nil {
		i.failure = err
		c.answer = C.WE_ENDED
	} else {
		c.answer = C.WE_ANSWERED
	}
	returned = true
}

// perform runs a hostcall for which the guest is suspended.
func (i *instance) perform(h *hostcall, stack []uint64) (err error) {
	returned := false
	defer func() {
		if !returned {
			i.broken = true
			err = panicked(h, recover(), false)
		}
	}()
	err = h.Fn(&i.caller, stack)
	returned = true
	return err
}

// panicked makes an error of a hostcall that did not return.
func panicked(h *hostcall, v any, inC bool) error {
	name := h.Module + "." + h.Name
	if v == nil && inC {
		// runtime.Goexit would leave the frames of C and of the guest behind; nothing can be trusted after that.
		message := "wasmtime: hostcall " + name + " called runtime.Goexit"
		go panic(message)
		select {}
	}
	return &engine.PanicError{Hostcall: name, Value: v, Stack: debug.Stack()}
}

// Memory implements engine.Instance.
func (i *instance) Memory() engine.Memory {
	if i.closed {
		return nil
	}
	i.refresh()
	i.c.faulted = true // by what the caller writes
	return i.caller.Memory
}

// Usage implements engine.Instance. GrowDenied stays 0: wasmtime's C API does not tell.
func (i *instance) Usage() engine.Usage {
	if i.closed {
		return engine.Usage{CPU: i.used}
	}
	used := time.Duration(i.c.cpu)
	if i.c.polling {
		used = time.Duration(C.we_cpu(i.c))
	}
	return engine.Usage{CPU: used, Memory: uint64(i.c.memory_size)}
}

// GrantCPU implements engine.Instance.
func (i *instance) GrantCPU(d time.Duration) {
	if i.max > 0 {
		i.max = i.Usage().CPU + d
	}
}

// Close implements engine.Instance.
func (i *instance) Close() {
	if i.closed {
		return
	}
	i.used = time.Duration(i.c.cpu)
	i.closed = true
	i.caller.Memory = nil
	if !i.park() {
		if i.started && !i.template.engine.cfg.NoReset {
			i.template.working.sample(i.slot)
		}
		i.slot.destroy()
	}
	i.c, i.slot = nil, nil
}
