package enginetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// endless are the exports of the guest loops that never return, each in its own way.
var endless = []string{"loop", "busy", "tree", "chain", "fills", "plain"}

// loopCalls are the hostcalls of the guest loops; wait runs f.
func loopCalls(f func(c *engine.Caller) error) []engine.Hostcall {
	wait := fn("wait", nil, nil, func(c *engine.Caller, _ []uint64) error { return f(c) })
	wait.MayBlock = true
	return []engine.Hostcall{wait, fn("plain", nil, nil, func(*engine.Caller, []uint64) error { return nil })}
}

func noWait(*engine.Caller) error { return nil }

var interruptTests = []test{
	{"an endless guest ends when its context is cancelled", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(noWait)...)
		for _, export := range append(endless, "wait_always", "wait_then_loop") {
			t.sub(export, func(t *suite) {
				inst := t.instance(tmpl, engine.InstanceConfig{})
				cause := errors.New("the client went away")
				ctx, cancel := context.WithCancelCause(context.Background())
				time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
				if err := inst.Call(ctx, export); !errors.Is(err, cause) {
					t.Errorf("Call = %v, want the context's cause", err)
				}
			})
		}
	}},
	{"a limit of CPU time can be moved during hostcalls", func(t *suite) {
		const limit, enough = 30 * time.Millisecond, 120 * time.Millisecond
		calls := loopCalls(noWait)
		calls[1].Fn = func(c *engine.Caller, _ []uint64) error {
			if c.Instance.Usage().CPU < enough {
				c.Instance.GrantCPU(limit)
			}
			return nil
		}
		inst := t.instance(t.link(t.engine(engine.Config{}), "loops", calls...), engine.InstanceConfig{MaxCPU: limit})
		var cpu *engine.CPULimitError
		if err := inst.Call(context.Background(), "plain"); !errors.As(err, &cpu) || cpu.Used < enough {
			t.Errorf("Call = %v, want a CPU limit after %s", err, enough)
		}
	}},
	{"an endless guest ends when its deadline passes", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(noWait)...)
		inst := t.instance(tmpl, engine.InstanceConfig{})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := inst.Call(ctx, "loop"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call = %v, want context.DeadlineExceeded", err)
		}
	}},
	{"a context that has ended before stops an endless guest", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(noWait)...)
		inst := t.instance(tmpl, engine.InstanceConfig{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := inst.Call(ctx, "loop"); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want context.Canceled", err)
		}
	}},
	{"an endless guest ends at its CPU limit", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(noWait)...)
		for _, export := range append(endless, "wait_then_loop") {
			t.sub(export, func(t *suite) {
				const limit = 30 * time.Millisecond
				inst := t.instance(tmpl, engine.InstanceConfig{MaxCPU: limit})
				err := t.call(inst, export)
				var cpu *engine.CPULimitError
				if !errors.As(err, &cpu) {
					t.Fatalf("Call = %v, want a CPULimitError", err)
				}
				if cpu.Limit != limit || cpu.Used < limit || cpu.Used > 10*time.Second {
					t.Errorf("CPULimitError{Limit: %s, Used: %s}, want a limit of %s", cpu.Limit, cpu.Used, limit)
				}
				if used := inst.Usage().CPU; used < limit {
					t.Errorf("Usage().CPU = %s after the limit of %s was hit", used, limit)
				}
			})
		}
	}},
	{"the CPU limit holds over several calls of one instance", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "compute")
		inst := t.instance(tmpl, engine.InstanceConfig{MaxCPU: 50 * time.Millisecond})
		var err error
		for i := 0; err == nil; i++ {
			if i == 1_000_000 {
				t.Fatal("a million calls of a guest that computes stayed within 50 ms")
			}
			err = t.call(inst, "run")
		}
		var cpu *engine.CPULimitError
		if !errors.As(err, &cpu) {
			t.Errorf("Call = %v, want a CPULimitError", err)
		}
	}},
	{"a guest that is not stopped computes the right result", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "compute")
		var r record
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r, MaxCPU: time.Minute})
		for range 20 {
			t.mustCall(inst, "run")
			t.want(&r, computeResult)
		}
		if inst.Usage().CPU == 0 {
			t.Error("Usage().CPU is 0 after 80 million turns of a loop")
		}
	}},
	{"waiting in a hostcall is not CPU time", func(t *suite) {
		const nap = 15 * time.Millisecond
		for _, ready := range []bool{false, true} {
			t.sub(fmt.Sprintf("with a Ready=%t", ready), func(t *suite) {
				calls := loopCalls(func(*engine.Caller) error { time.Sleep(nap); return nil })
				if ready {
					calls[0].Ready = func(*engine.Caller, []uint64) bool { return false }
				}
				tmpl := t.link(t.engine(engine.Config{}), "loops", calls...)
				inst := t.instance(tmpl, engine.InstanceConfig{MaxCPU: 10 * nap})
				t.mustCall(inst, "wait_twenty")
				if used := inst.Usage().CPU; used >= 10*nap {
					t.Errorf("Usage().CPU = %s of a guest that only waited", used)
				}
			})
		}
	}},
	{"a context that ends while a hostcall waits reaches the hostcall", func(t *suite) {
		for _, tt := range []struct {
			name string
			wait func(c *engine.Caller) error
		}{
			{"which returns the cause", func(c *engine.Caller) error { <-c.Context.Done(); return context.Cause(c.Context) }},
			{"which lets the guest go on", func(c *engine.Caller) error { <-c.Context.Done(); return nil }},
		} {
			t.sub(tt.name, func(t *suite) {
				tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(tt.wait)...)
				inst := t.instance(tmpl, engine.InstanceConfig{})
				cause := errors.New("the client went away")
				ctx, cancel := context.WithCancelCause(context.Background())
				time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
				if err := inst.Call(ctx, "wait_then_loop"); !errors.Is(err, cause) {
					t.Errorf("Call = %v, want the context's cause", err)
				}
			})
		}
	}},
	{"tail calls for ever are refused or stopped", func(t *suite) {
		e := t.engine(engine.Config{})
		m, err := e.Compile(context.Background(), guest(t, "tailcalls"))
		if err != nil {
			t.Skipf("no tail calls: %v", err)
		}
		t.Cleanup(m.Close)
		inst := t.instance(t.linkModule(m), engine.InstanceConfig{MaxCPU: 20 * time.Millisecond})
		var cpu *engine.CPULimitError
		if err := t.call(inst, "run"); !errors.As(err, &cpu) {
			t.Errorf("Call = %v, want a CPULimitError", err)
		}
	}},
	{"guests that compute leave room for others", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "loops", loopCalls(noWait)...)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		const n = 8
		for range n {
			inst := t.instance(tmpl, engine.InstanceConfig{})
			go func() { ended <- inst.Call(ctx, "busy") }()
		}
		for range 20 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Error(err)
				break
			}
			if err := t.call(inst, "return"); err != nil {
				t.Error(err)
			}
			inst.Close()
		}
		cancel()
		for range n {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Call = %v, want context.Canceled", err)
			}
		}
	}},
}
