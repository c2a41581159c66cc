package enginetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// untouched is what the guest secrets reports when it finds nothing but what its module declares.
var untouched = []uint64{0, 4, 1, 2, uint64(math.Float32bits(3)), math.Float64bits(4), 5, 6}

// handOver asks for a guest's suspension once it waits.
type handOver struct{}

func (handOver) Suspend() bool { return true }

var secretTests = []test{
	{"a secret is gone however the run that hid it ended", func(t *suite) {
		e := t.engine(engine.Config{MaxInstances: 1})
		tmpl := t.link(e, "secrets",
			fn("end", nil, nil, func(*engine.Caller, []uint64) error { return &engine.ExitError{Code: 7} }),
			engine.Hostcall{Module: "env", Name: "wait", MayBlock: true, Fn: func(c *engine.Caller, _ []uint64) error {
				<-c.Context.Done()
				return context.Cause(c.Context)
			}})
		for round := range 4 {
			for _, way := range []struct {
				export string
				limit  engine.InstanceConfig
				end    func(error) bool
			}{
				{"hide", engine.InstanceConfig{}, func(err error) bool { return err == nil }},
				{"hide_and_trap", engine.InstanceConfig{}, isTrap(engine.TrapUnreachable)},
				{"hide_and_fault", engine.InstanceConfig{}, isTrap(engine.TrapMemoryOutOfBounds)},
				{"hide_and_overflow", engine.InstanceConfig{}, isTrap(engine.TrapStackOverflow)},
				{"hide_and_end", engine.InstanceConfig{}, func(err error) bool { return errors.As(err, new(*engine.ExitError)) }},
				{"hide_and_wait", engine.InstanceConfig{}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
				{"hide_and_wait", engine.InstanceConfig{Suspend: handOver{}}, func(err error) bool {
					return err == engine.ErrSuspended || !e.Suspends() && errors.Is(err, context.DeadlineExceeded)
				}},
				{"hide_and_loop", engine.InstanceConfig{MaxCPU: 5 * time.Millisecond}, func(err error) bool {
					return errors.As(err, new(*engine.CPULimitError))
				}},
				{"hide_and_grow", engine.InstanceConfig{}, func(err error) bool { return err == nil }},
			} {
				inst, err := tmpl.Instantiate(way.limit)
				if err != nil {
					t.Fatal(err)
				}
				wall := deadline
				if way.export == "hide_and_wait" {
					wall = 10 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(context.Background(), wall)
				err = inst.Call(ctx, way.export)
				cancel()
				if !way.end(err) {
					t.Fatalf("round %d: Call(%s) = %v", round, way.export, err)
				}
				inst.Close()

				var r record
				if inst, err = tmpl.Instantiate(engine.InstanceConfig{State: &r}); err != nil {
					t.Fatal(err)
				}
				t.mustCall(inst, "seek")
				if got := r.take(); !slices.Equal(got, untouched) {
					t.Fatalf("round %d, after %s: the guest reports %#x, want %#x", round, way.export, got, untouched)
				}
				inst.Close()
			}
		}
	}},
	{"what a host wrote to memory is gone as well", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 1}), "secrets", fn("end", nil, nil, nothing), fn("wait", nil, nil, nothing))
		for range 3 {
			var r record
			inst, err := tmpl.Instantiate(engine.InstanceConfig{State: &r})
			if err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "seek")
			t.want(&r, untouched...)
			for i := range inst.Memory() {
				inst.Memory()[i] = 0x5e
			}
			inst.Close()
		}
	}},
	{"an instance is bound by its own limits, not by those of the one before it", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 1}), "secrets", fn("end", nil, nil, nothing), fn("wait", nil, nil, nothing))
		for _, tt := range []struct {
			pages int
			grown bool
		}{{4, false}, {5, true}, {4, false}, {6, true}, {4, false}, {4, false}} {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{MaxMemory: uint64(tt.pages) * page})
			if err != nil {
				t.Fatal(err)
			}
			err = t.call(inst, "hide_and_grow") // writes to the page that it asked for
			if grown := err == nil; grown != tt.grown {
				t.Errorf("with a limit of %d pages, growing from 4: %v", tt.pages, err)
			}
			inst.Close()
			// One that grows nothing, to be used again.
			if inst, err = tmpl.Instantiate(engine.InstanceConfig{MaxMemory: 100 * page}); err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "hide")
			inst.Close()
		}
	}},
}

func nothing(*engine.Caller, []uint64) error { return nil }

func isTrap(code engine.TrapCode) func(error) bool {
	return func(err error) bool {
		var trap *engine.TrapError
		return errors.As(err, &trap) && trap.Code == code
	}
}
