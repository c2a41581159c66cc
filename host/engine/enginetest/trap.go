package enginetest

import (
	"errors"
	"slices"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

var trapTests = []test{
	{"every trap is told apart and shows where it happened", func(t *suite) {
		e := t.engine(engine.Config{})
		tmpl := t.link(e, "traps")
		size := uint64(len(guest(t, "traps")))
		for _, tt := range []struct {
			export string
			codes  []engine.TrapCode // any of them: not every engine tells the last apart
			inner  uint32            // index of the function that traps; its caller is the next
		}{
			{"unreachable", []engine.TrapCode{engine.TrapUnreachable}, 1},
			{"load", []engine.TrapCode{engine.TrapMemoryOutOfBounds}, 3},
			{"fill", []engine.TrapCode{engine.TrapMemoryOutOfBounds}, 5},
			{"tableget", []engine.TrapCode{engine.TrapTableOutOfBounds}, 7},
			{"callfar", []engine.TrapCode{engine.TrapTableOutOfBounds}, 9},
			{"callnull", []engine.TrapCode{engine.TrapIndirectCallToNull, engine.TrapTableOutOfBounds}, 11},
			{"signature", []engine.TrapCode{engine.TrapBadSignature}, 13},
			{"overflow", []engine.TrapCode{engine.TrapIntegerOverflow}, 15},
			{"division", []engine.TrapCode{engine.TrapIntegerDivisionByZero}, 17},
			{"conversion", []engine.TrapCode{engine.TrapBadConversionToInteger}, 19},
			{"range", []engine.TrapCode{engine.TrapIntegerOverflow}, 21},
		} {
			t.sub(tt.export, func(t *suite) {
				err := t.call(t.instance(tmpl, engine.InstanceConfig{}), tt.export)
				var trap *engine.TrapError
				if !errors.As(err, &trap) {
					t.Fatalf("Call = %v, want a TrapError", err)
				}
				if !slices.Contains(tt.codes, trap.Code) {
					t.Errorf("code %v (%q), want one of %v", trap.Code, trap.Message, tt.codes)
				}
				if len(trap.Frames) != 2 {
					t.Fatalf("backtrace:\n%swant two frames", trap.Backtrace())
				}
				for i, name := range []string{"inner_" + tt.export, "outer_" + tt.export} {
					f := trap.Frames[i]
					if f.Name != name || f.Index != tt.inner+uint32(i) {
						t.Errorf("frame %d is function %d %q, want %d %q", i, f.Index, f.Name, tt.inner+uint32(i), name)
					}
					if f.Offset >= size {
						t.Errorf("frame %d is at offset %d of a module of %d bytes", i, f.Offset, size)
					}
				}
				if !strings.Contains(trap.Error(), trap.Code.String()) {
					t.Errorf("%q does not say %q", trap.Error(), trap.Code)
				}
			})
		}
	}},
	{"a stack overflow is a trap, again and again", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "traps")
		for range 3 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			err = t.call(inst, "stack")
			inst.Close()
			var trap *engine.TrapError
			if !errors.As(err, &trap) || trap.Code != engine.TrapStackOverflow {
				t.Fatalf("Call = %v, want a TrapError with TrapStackOverflow", err)
			}
			if len(trap.Frames) == 0 || len(trap.Frames) > 1000 || trap.Frames[0].Name != "inner_stack" || trap.Frames[0].Index != 23 {
				t.Errorf("%d frames, first %+v, want a bounded number and inner_stack first", len(trap.Frames), trap.Frames[:min(1, len(trap.Frames))])
			}
		}
	}},
	{"a larger stack holds more frames", func(t *suite) {
		// Reports nothing but where the stack ends, through how deep the overflow backtrace could be: the
		// guest counts its depth in the argument, so run it with both sizes and compare what still returns.
		depth := func(stack uint64) int {
			n := 0
			tmpl := t.link(t.engine(engine.Config{MaxStack: stack}), "depth",
				fn("deeper", nil, nil, func(*engine.Caller, []uint64) error { n++; return nil }))
			err := t.call(t.instance(tmpl, engine.InstanceConfig{}), "run")
			var trap *engine.TrapError
			if !errors.As(err, &trap) || trap.Code != engine.TrapStackOverflow {
				t.Fatalf("Call = %v, want a stack overflow", err)
			}
			return n
		}
		small, large := depth(256<<10), depth(4<<20)
		if small == 0 || large < 2*small {
			t.Errorf("a 256 KiB stack held %d frames, a 4 MiB one %d", small, large)
		}
	}},
	{"an active segment that does not fit traps at the first call or before", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "segment_far")
		inst, err := tmpl.Instantiate(engine.InstanceConfig{})
		if err == nil {
			defer inst.Close()
			err = t.call(inst, "run")
		}
		var trap *engine.TrapError
		if !errors.As(err, &trap) || trap.Code != engine.TrapMemoryOutOfBounds {
			t.Errorf("got %v, want a TrapError with TrapMemoryOutOfBounds", err)
		}
	}},
}
