package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

// i32Garbage is put into the upper half of i32 results: the engine must not let it through.
const i32Garbage = 0xdeadbeef << 32

var hostcallTests = []test{
	{"arguments and results of every type arrive as they were sent", func(t *suite) {
		var mix, many []uint64
		calls := []engine.Hostcall{
			fn("mix", types(engine.I32, engine.I64, engine.F32, engine.F64), types(engine.I64), func(_ *engine.Caller, s []uint64) error {
				mix = slices.Clone(s)
				s[0] = 0x8877665544332211
				return nil
			}),
			fn("swap", types(engine.I64, engine.I32), types(engine.I32, engine.I64), func(_ *engine.Caller, s []uint64) error {
				s[0], s[1] = uint64(uint32(s[1]))|i32Garbage, s[0]
				return nil
			}),
			fn("i32", types(engine.I32), types(engine.I32), func(_ *engine.Caller, s []uint64) error {
				s[0] = uint64(uint32(s[0])-1) | i32Garbage
				return nil
			}),
			fn("i64", types(engine.I64), types(engine.I64), func(_ *engine.Caller, s []uint64) error { s[0]--; return nil }),
			fn("f32", types(engine.F32), types(engine.F32), func(_ *engine.Caller, s []uint64) error {
				s[0] = uint64(math.Float32bits(math.Float32frombits(uint32(s[0])) * 3))
				return nil
			}),
			fn("f64", types(engine.F64), types(engine.F64), func(_ *engine.Caller, s []uint64) error {
				s[0] = math.Float64bits(math.Float64frombits(s[0]) * 3)
				return nil
			}),
			fn("many", slices.Repeat(types(engine.I32), 14), types(engine.I32), func(_ *engine.Caller, s []uint64) error {
				many = slices.Clone(s)
				s[0] = 99
				return nil
			}),
			fn("nothing", nil, nil, func(_ *engine.Caller, s []uint64) error {
				if len(s) != 0 {
					return fmt.Errorf("a hostcall without parameters and results got %d slots", len(s))
				}
				return nil
			}),
		}
		// The same again through the engine's other path.
		for _, mayBlock := range []bool{false, true} {
			t.sub(fmt.Sprintf("MayBlock=%t", mayBlock), func(t *suite) {
				calls := slices.Clone(calls)
				for i := range calls {
					calls[i].MayBlock = mayBlock
				}
				tmpl := t.link(t.engine(engine.Config{}), "hostcalls", calls...)
				var r record
				inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
				for _, tt := range []struct {
					export string
					want   []uint64
				}{
					{"mix", []uint64{0x8877665544332211}},
					{"swap", []uint64{3, 0x100000002}},
					{"i32", []uint64{0xfffffffe}},
					{"i64", []uint64{0xfffffffffffffffe}},
					{"f32", []uint64{uint64(math.Float32bits(1.5))}},
					{"f64", []uint64{math.Float64bits(1.5)}},
					{"many", []uint64{99}},
					{"nothing", []uint64{7}},
				} {
					t.mustCall(inst, tt.export)
					t.want(&r, tt.want...)
				}
				if len(mix) != 4 || uint32(mix[0]) != 0xfffffffe || mix[1] != 0x1122334455667788 ||
					uint32(mix[2]) != math.Float32bits(1.5) || mix[3] != math.Float64bits(-2.25) {
					t.Errorf("mix got %#x", mix)
				}
				if len(many) != 14 {
					t.Fatalf("many got %d slots, want 14", len(many))
				}
				for i, v := range many {
					if uint32(v) != uint32(i+1) {
						t.Errorf("many: argument %d is %d, want %d", i, uint32(v), i+1)
					}
				}
			})
		}
	}},
	{"memory is read and written in a hostcall, also after it grew", func(t *suite) {
		for _, mayBlock := range []bool{false, true} {
			t.sub(fmt.Sprintf("MayBlock=%t", mayBlock), func(t *suite) {
				var sizes []int
				look := fn("look", types(engine.I32), types(engine.I32), func(c *engine.Caller, s []uint64) error {
					sizes = append(sizes, len(c.Memory))
					if got := c.Instance.Usage().Memory; got != uint64(len(c.Memory)) {
						t.Errorf("Usage().Memory is %d in a hostcall that sees %d bytes", got, len(c.Memory))
					}
					b, ok := c.Memory.View(uint32(s[0]), 2)
					if !ok {
						return errors.New("the address lies outside memory")
					}
					b[1] = 0xab
					s[0] = uint64(b[0])
					return nil
				})
				look.MayBlock = mayBlock
				tmpl := t.link(t.engine(engine.Config{}), "memory", look)
				var r record
				inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
				if n := len(inst.Memory()); n != 1<<16 {
					t.Errorf("memory before the first call has %d bytes, want %d", n, 1<<16)
				}
				t.mustCall(inst, "grow_between")
				t.want(&r, 'f', 0xab, 77, 0xab)
				if want := []int{1 << 16, 21 << 16}; !slices.Equal(sizes, want) {
					t.Errorf("hostcalls saw memory sizes %v, want %v", sizes, want)
				}
				if n := len(inst.Memory()); n != 21<<16 {
					t.Errorf("memory after the call has %d bytes, want %d", n, 21<<16)
				}
				if n := inst.Usage().Memory; n != 21<<16 {
					t.Errorf("Usage().Memory = %d, want %d", n, 21<<16)
				}
				if b, _ := inst.Memory().String(8, 4); b != "f\xabom" {
					t.Errorf("memory holds %q at 8, want what guest and host wrote", b)
				}
			})
		}
	}},
	{"a guest without memory shows an empty one", func(t *suite) {
		seen := -1
		tmpl := t.link(t.engine(engine.Config{}), "nomemory",
			fn("look", types(engine.I32), types(engine.I32), func(c *engine.Caller, _ []uint64) error { seen = len(c.Memory); return nil }))
		inst := t.instance(tmpl, engine.InstanceConfig{})
		t.mustCall(inst, "run")
		if seen != 0 || len(inst.Memory()) != 0 {
			t.Errorf("hostcall saw %d bytes, Memory() has %d, want 0", seen, len(inst.Memory()))
		}
	}},
	{"a hostcall sees the state, the context and the instance", func(t *suite) {
		type key struct{}
		state := new(int)
		var seen engine.Caller
		tmpl := t.link(t.engine(engine.Config{}), "nomemory",
			fn("look", types(engine.I32), types(engine.I32), func(c *engine.Caller, _ []uint64) error { seen = *c; return nil }))
		inst := t.instance(tmpl, engine.InstanceConfig{State: state})
		ctx := context.WithValue(context.Background(), key{}, "here")
		if err := inst.Call(ctx, "run"); err != nil {
			t.Fatal(err)
		}
		if seen.State != state {
			t.Errorf("State = %v, want what Instantiate was given", seen.State)
		}
		if seen.Context.Value(key{}) != "here" {
			t.Error("Context is not the one given to Call")
		}
		if seen.Instance != inst {
			t.Error("Instance is not the one that runs")
		}
	}},
	{"an error of a hostcall ends the guest and is what Call returns", func(t *suite) {
		e := t.engine(engine.Config{})
		sentinel := errors.New("the sentinel")
		for _, mayBlock := range []bool{false, true} {
			for _, tt := range []struct {
				name  string
				err   error
				check func(err error) bool
			}{
				{"a sentinel", sentinel, func(err error) bool { return err == sentinel }},
				{"a wrapped sentinel", fmt.Errorf("wrapped: %w", sentinel), func(err error) bool { return errors.Is(err, sentinel) }},
				{"an exit", &engine.ExitError{Code: 3}, func(err error) bool {
					var exit *engine.ExitError
					return errors.As(err, &exit) && exit.Code == 3
				}},
				{"an exit of code 0", &engine.ExitError{}, func(err error) bool {
					var exit *engine.ExitError
					return errors.As(err, &exit) && exit.Code == 0
				}},
			} {
				t.sub(fmt.Sprintf("%s, MayBlock=%t", tt.name, mayBlock), func(t *suite) {
					end := fn("end", types(engine.I32), nil, func(*engine.Caller, []uint64) error { return tt.err })
					end.MayBlock = mayBlock
					var r record
					inst := t.instance(t.link(e, "ending", end), engine.InstanceConfig{State: &r})
					if err := t.call(inst, "run"); !tt.check(err) {
						t.Errorf("Call = %v, want %v", err, tt.err)
					}
					t.want(&r) // the guest must not have gone on
				})
			}
		}
	}},
	{"a panic in a hostcall is contained", func(t *suite) {
		e := t.engine(engine.Config{})
		var nothing *int
		boom := errors.New("boom")
		for _, tt := range []struct {
			name string
			call engine.Hostcall
			want string
		}{
			{"in a plain hostcall", engine.Hostcall{Fn: func(*engine.Caller, []uint64) error { panic(boom) }}, "boom"},
			{"in one that may wait", engine.Hostcall{MayBlock: true, Fn: func(*engine.Caller, []uint64) error { panic(boom) }}, "boom"},
			{"in one that is ready", engine.Hostcall{MayBlock: true,
				Ready: func(*engine.Caller, []uint64) bool { return true },
				Fn:    func(*engine.Caller, []uint64) error { panic(boom) }}, "boom"},
			{"in Ready", engine.Hostcall{MayBlock: true,
				Ready: func(*engine.Caller, []uint64) bool { panic(boom) },
				Fn:    func(*engine.Caller, []uint64) error { panic(boom) }}, "boom"},
			{"of the runtime", engine.Hostcall{Fn: func(*engine.Caller, []uint64) error { *nothing = 1; return nil }}, "nil pointer"},
			{"past the slots", engine.Hostcall{Fn: func(_ *engine.Caller, s []uint64) error { s[len(s)] = 1; return nil }}, "out of range"},
			{"deep below", engine.Hostcall{Fn: func(*engine.Caller, []uint64) error { return deepPanic(200) }}, "deep"},
		} {
			t.sub(tt.name, func(t *suite) {
				tt.call.Module, tt.call.Name, tt.call.Type = "env", "end", engine.FuncType{Params: types(engine.I32)}
				inst := t.instance(t.link(e, "ending", tt.call), engine.InstanceConfig{})
				err := t.call(inst, "run")
				var p *engine.PanicError
				if !errors.As(err, &p) {
					t.Fatalf("Call = %v, want a PanicError", err)
				}
				if p.Hostcall != "env.end" || !strings.Contains(fmt.Sprint(p.Value), tt.want) || len(p.Stack) == 0 {
					t.Errorf("PanicError{%q, %v, %d bytes of stack}", p.Hostcall, p.Value, len(p.Stack))
				}
			})
		}
	}},
	{"a hostcall may use much stack and collect garbage", func(t *suite) {
		for _, mayBlock := range []bool{false, true} {
			end := fn("end", types(engine.I32), nil, func(c *engine.Caller, s []uint64) error {
				if deepSum(2000) != 2000 {
					return errors.New("wrong sum")
				}
				runtime.GC()
				return nil
			})
			end.MayBlock = mayBlock
			var r record
			inst := t.instance(t.link(t.engine(engine.Config{}), "ending", end), engine.InstanceConfig{State: &r})
			t.mustCall(inst, "run")
			t.want(&r, 1)
		}
	}},
	{"a hostcall may run another guest", func(t *suite) {
		e := t.engine(engine.Config{})
		inner := t.link(e, "compute")
		for _, mayBlock := range []bool{false, true} {
			end := fn("end", types(engine.I32), nil, func(c *engine.Caller, s []uint64) error {
				inst, err := inner.Instantiate(engine.InstanceConfig{State: c.State})
				if err != nil {
					return err
				}
				defer inst.Close()
				return inst.Call(c.Context, "run")
			})
			end.MayBlock = mayBlock
			var r record
			inst := t.instance(t.link(e, "ending", end), engine.InstanceConfig{State: &r})
			t.mustCall(inst, "run")
			t.want(&r, computeResult, 1)
		}
	}},
}

//go:noinline
func deepPanic(n int) error {
	if n == 0 {
		panic("deep")
	}
	return deepPanic(n - 1)
}

//go:noinline
func deepSum(n int) int {
	var pad [256]byte
	pad[n%256] = 1
	if n == 0 {
		return 0
	}
	return deepSum(n-1) + int(pad[n%256])
}
