package enginetest

import (
	"context"
	"errors"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

var startTests = []test{
	{"a start function runs once, inside the first call", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "start")
		var r record
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
		t.want(&r)
		t.mustCall(inst, "run")
		t.want(&r, 1, 42)
		t.mustCall(inst, "run")
		t.want(&r, 42)
	}},
	{"an instance with a start function may be closed without a call", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 1}), "start")
		for range 10 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			_ = inst.Usage()
			_ = inst.Memory()
			inst.Close()
		}
	}},
	{"a trap in a start function is what the first call returns", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "start_traps")
		err := t.call(t.instance(tmpl, engine.InstanceConfig{}), "run")
		var trap *engine.TrapError
		if !errors.As(err, &trap) || trap.Code != engine.TrapUnreachable || len(trap.Frames) != 1 || trap.Frames[0].Name != "start" {
			t.Errorf("Call = %v, want a TrapError in start", err)
		}
	}},
	{"a start function that never ends is stopped", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "start_loops")
		var cpu *engine.CPULimitError
		if err := t.call(t.instance(tmpl, engine.InstanceConfig{MaxCPU: 20 * time.Millisecond}), "run"); !errors.As(err, &cpu) {
			t.Errorf("Call = %v, want a CPULimitError", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := t.instance(tmpl, engine.InstanceConfig{}).Call(ctx, "run"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call = %v, want context.DeadlineExceeded", err)
		}
	}},
	{"a start function may wait in a hostcall", func(t *suite) {
		wait := fn("wait", nil, nil, func(c *engine.Caller, _ []uint64) error {
			if len(c.Memory) == 0 {
				// An instance that is still starting has exports already.
				return errors.New("no memory in a start function's hostcall")
			}
			time.Sleep(time.Millisecond)
			return nil
		})
		wait.MayBlock = true
		tmpl := t.link(t.engine(engine.Config{}), "start_waits", wait)
		var r record
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
		t.mustCall(inst, "run")
		t.want(&r, 9)
	}},
	{"a hostcall's error in a start function is what the first call returns", func(t *suite) {
		for _, mayBlock := range []bool{false, true} {
			wait := fn("wait", nil, nil, func(*engine.Caller, []uint64) error { return &engine.ExitError{Code: 4} })
			wait.MayBlock = mayBlock
			tmpl := t.link(t.engine(engine.Config{}), "start_waits", wait)
			err := t.call(t.instance(tmpl, engine.InstanceConfig{}), "run")
			var exit *engine.ExitError
			if !errors.As(err, &exit) || exit.Code != 4 {
				t.Errorf("Call = %v, want an ExitError with code 4", err)
			}
		}
	}},
}
