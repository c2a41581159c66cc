//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime_test

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
)

// text compiles and links a guest in the text format.
func text(tb testing.TB, e engine.Engine, src string, opts engine.LinkOptions, calls ...engine.Hostcall) engine.Template {
	tb.Helper()
	wasm, err := wasmtime.WatToWasm([]byte(src))
	if err != nil {
		tb.Fatal(err)
	}
	m, err := e.Compile(context.Background(), wasm)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	tmpl, err := m.Link(calls, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(tmpl.Close)
	return tmpl
}

// call runs an export on a fresh instance.
func call(tmpl engine.Template, export string, cfg engine.InstanceConfig) error {
	inst, err := tmpl.Instantiate(cfg)
	if err != nil {
		return err
	}
	defer inst.Close()
	return inst.Call(context.Background(), export)
}

const faults = `(module (memory (export "memory") 1)
	(func (export "load") (drop (i32.load (i32.const 0x7fffffff))))
	(func (export "divide") (drop (i32.div_u (i32.const 1) (i32.load (i32.const 0)))))
	(func (export "unreachable") unreachable))`

// dereference faults in Go and gives the runtime's error.
func dereference(p *int) (err error) {
	defer func() { err, _ = recover().(error) }()
	*p = 1
	return nil
}

// TestFaultsOfGoAndOfGuests: wasmtime's signal handlers and Go's get what is theirs, in any order, on any thread,
// also once a program has asked os/signal for all signals.
func TestFaultsOfGoAndOfGuests(t *testing.T) {
	tmpl := text(t, open(t, engine.Config{}), faults, engine.LinkOptions{})
	both := func() {
		for export, code := range map[string]engine.TrapCode{
			"load":        engine.TrapMemoryOutOfBounds,
			"divide":      engine.TrapIntegerDivisionByZero,
			"unreachable": engine.TrapUnreachable,
		} {
			var trap *engine.TrapError
			if err := call(tmpl, export, engine.InstanceConfig{}); !errors.As(err, &trap) || trap.Code != code {
				t.Errorf("Call(%s) = %v, want %v", export, err, code)
			}
			var fault runtime.Error
			if err := dereference(nil); !errors.As(err, &fault) {
				t.Errorf("a nil dereference gave %v, want a runtime.Error", err)
			}
		}
	}
	everywhere := func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				runtime.LockOSThread() // and end with the goroutine: new threads each time
				both()
			})
		}
		wg.Wait()
	}
	both()
	everywhere()
	c := make(chan os.Signal, 100)
	signal.Notify(c)
	both()
	everywhere()
	signal.Stop(c)
	both()
	everywhere()
}

// TestPreemptionSignals runs guests in all states while Go sends preemption signals to every thread and collects
// garbage as often as it can.
func TestPreemptionSignals(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	tmpl := benchTemplate(t, engine.Config{MaxInstances: 64})
	trapping := text(t, open(t, engine.Config{MaxInstances: 64}), faults, engine.LinkOptions{})
	duration := time.Second
	if s := os.Getenv("WASMTIME_STRESS"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	stop := time.After(duration)
	var ended atomic.Bool
	go func() { <-stop; ended.Store(true) }()
	var wg sync.WaitGroup
	var calls atomic.Int64
	for n := range 16 {
		wg.Go(func() {
			for k := n; !ended.Load(); k++ {
				export := []string{"plain", "ready", "wait", "turns", "touch", "exit", "loop"}[k%7]
				inst, err := tmpl.Instantiate(engine.InstanceConfig{State: 3000, MaxCPU: 2 * time.Millisecond})
				if err != nil {
					t.Error(err)
					return
				}
				err = inst.Call(context.Background(), export)
				var exit *engine.ExitError
				var cpu *engine.CPULimitError
				if err != nil && !errors.As(err, &exit) && !errors.As(err, &cpu) {
					t.Errorf("Call(%s): %v", export, err)
				}
				inst.Close()
				var trap *engine.TrapError
				if err := call(trapping, "load", engine.InstanceConfig{}); !errors.As(err, &trap) {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	// Goroutines that Go must preempt, and garbage.
	for range 2 {
		wg.Go(func() {
			for !ended.Load() {
				b := make([]byte, 1<<16)
				for i := range b {
					b[i] = byte(i)
				}
			}
		})
	}
	wg.Wait()
	if calls.Load() == 0 {
		t.Error("nothing ran")
	}
	t.Logf("%d rounds in %s", calls.Load(), duration)
}
