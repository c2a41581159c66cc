package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

var hammerTests = []test{
	{"everything at once, with garbage collections all the time", func(t *suite) {
		rounds := 40
		if testing.Short() {
			rounds = 8
		}
		const workers = 24
		e := t.engine(engine.Config{MaxInstances: workers})
		traps := t.link(e, "traps")
		state := t.link(e, "state")
		compute := t.link(e, "compute")
		loops := t.link(e, "loops", loopCalls(func(*engine.Caller) error { time.Sleep(50 * time.Microsecond); return nil })...)
		ending := t.link(e, "ending", fn("end", types(engine.I32), nil, func(_ *engine.Caller, s []uint64) error {
			if rand.IntN(2) == 0 {
				panic("hammer")
			}
			return &engine.ExitError{Code: uint32(s[0])}
		}))
		blocking := t.link(e, "blocking", blockingCalls(func(c *engine.Caller, s []uint64) error {
			switch uint32(s[0]) % 16 {
			case 3:
				runtime.Gosched()
			case 7:
				time.Sleep(20 * time.Microsecond)
			case 9:
				b := make([]byte, 64<<10)
				b[len(b)-1] = 1
				runtime.KeepAlive(&b)
			}
			return answer(c, s)
		}, func(_ *engine.Caller, s []uint64) bool { return uint32(s[0])%4 == 0 })...)

		stop := make(chan struct{})
		var collector sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
					runtime.GC()
				}
			}
		})
		one := func(kind int) error {
			var r record
			cfg := engine.InstanceConfig{State: &r}
			run := func(tmpl engine.Template, export string) error {
				inst, err := tmpl.Instantiate(cfg)
				if err != nil {
					return fmt.Errorf("instantiate: %w", err)
				}
				defer inst.Close()
				return t.call(inst, export)
			}
			wantTrap := func(err error, code engine.TrapCode) error {
				var trap *engine.TrapError
				if !errors.As(err, &trap) || trap.Code != code {
					return fmt.Errorf("got %v, want %v", err, code)
				}
				return nil
			}
			switch kind {
			case 0:
				return wantTrap(run(traps, "load"), engine.TrapMemoryOutOfBounds)
			case 1:
				return wantTrap(run(traps, "stack"), engine.TrapStackOverflow)
			case 2:
				return wantTrap(run(traps, "division"), engine.TrapIntegerDivisionByZero)
			case 3:
				if err := run(state, "look"); err != nil {
					return err
				}
				if v := r.take(); fmt.Sprint(v) != fmt.Sprint(pristine) {
					return fmt.Errorf("fresh state is %#x", v)
				}
				return run(state, "dirty")
			case 4:
				if err := run(compute, "run"); err != nil {
					return err
				}
				if v := r.take(); len(v) != 1 || v[0] != computeResult {
					return fmt.Errorf("computed %d", v)
				}
				return nil
			case 5:
				cfg.MaxCPU = 3 * time.Millisecond
				var cpu *engine.CPULimitError
				if err := run(loops, endless[rand.IntN(len(endless))]); !errors.As(err, &cpu) {
					return fmt.Errorf("got %v, want a CPULimitError", err)
				}
				return nil
			case 6:
				inst, err := loops.Instantiate(cfg)
				if err != nil {
					return err
				}
				defer inst.Close()
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				defer cancel()
				if err := inst.Call(ctx, "wait_always"); !errors.Is(err, context.DeadlineExceeded) {
					return fmt.Errorf("got %v, want DeadlineExceeded", err)
				}
				return nil
			case 7:
				err := run(ending, "run")
				var exit *engine.ExitError
				var p *engine.PanicError
				if !errors.As(err, &exit) && !errors.As(err, &p) {
					return fmt.Errorf("got %v, want an exit or a panic", err)
				}
				return nil
			default:
				if err := run(blocking, "hundred"); err != nil {
					return err
				}
				if v := r.take(); len(v) != 1 || v[0] != sumOf(100) {
					return fmt.Errorf("blocking gave %d", v)
				}
				return nil
			}
		}
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range rounds {
					kind := rand.IntN(12)
					if err := one(kind); err != nil {
						t.Errorf("kind %d: %v", kind, err)
						return
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		collector.Wait()
	}},
}
