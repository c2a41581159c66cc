package wazero

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/enginetest"
	wz "github.com/tetratelabs/wazero"
)

// mode is a way in which instances are made and set back.
type mode struct {
	name string
	open func(engine.Config) (*Engine, error)
	find func(*pageFinder) *pageFinder // what of the system's ways to find pages is used
}

func asIs(p *pageFinder) *pageFinder { return p }

var modes = []mode{
	{"as it comes", New, asIs},
	{"without the kernel's scan of pages", New, func(p *pageFinder) *pageFinder {
		if p == nil {
			return nil
		}
		return &pageFinder{fd: p.fd}
	}},
	{"without knowing the pages that were written to", New, func(*pageFinder) *pageFinder { return nil }},
	{"with memory of Go's", func(cfg engine.Config) (*Engine, error) {
		e, err := New(cfg)
		if err == nil {
			e.mapped = false
		}
		return e, err
	}, asIs},
	{"interpreted", func(cfg engine.Config) (*Engine, error) { return open(cfg, wz.NewRuntimeConfigInterpreter()) }, asIs},
}

// engine opens an engine in the mode, which lasts until the end of the test.
func (m mode) engine(t *testing.T, cfg engine.Config) *Engine {
	t.Helper()
	old := pagemap
	p := m.find(old())
	pagemap = func() *pageFinder { return p }
	t.Cleanup(func() { pagemap = old })
	e, err := m.open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestNothingPassesFromOneInstanceToAnotherInAnyMode(t *testing.T) {
	for _, m := range modes {
		for _, noReset := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/NoReset=%t", m.name, noReset), func(t *testing.T) {
				enginetest.RunIsolation(t, func(t *testing.T, cfg engine.Config) engine.Engine {
					cfg.NoReset = noReset
					return m.engine(t, cfg)
				})
			})
		}
	}
}

func TestConformanceOfRebuiltInstances(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, cfg engine.Config) engine.Engine {
		cfg.NoReset = true
		return newEngine(t, cfg)
	})
}

func TestConformanceWithMemoryOfGos(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, cfg engine.Config) engine.Engine {
		e := newEngine(t, cfg)
		e.mapped = false
		return e
	})
}

// TestAResetInstanceIsLikeAFreshOne runs random guests on instances that are used again and again, and compares each
// with one that was made for the purpose, and with what the module declares.
func TestAResetInstanceIsLikeAFreshOne(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			again := m.engine(t, engine.Config{MaxInstances: 2})
			fresh := m.engine(t, engine.Config{MaxInstances: 2, NoReset: true})
			const guests = 40
			reset := 0
			for seed := range uint64(guests) {
				r := rand.New(rand.NewPCG(seed, 1))
				src, memory, hard := randomGuest(r)
				a, f := linkTest(t, again, src), linkTest(t, fresh, src)
				if a.resettable() == hard || f.resettable() {
					t.Fatalf("seed %d: resettable: %t, with NoReset %t; hard: %t", seed, a.resettable(), f.resettable(), hard)
				}
				want := newInstance(t, f, engine.InstanceConfig{State: &reports{}})
				if !bytes.Equal(want.slot.memory.buf, memory) {
					t.Fatalf("seed %d: a new instance's memory is not what the module declares", seed)
				}
				wantValues := values(t, want) // runs the start function
				started := bytes.Clone(want.slot.memory.buf)
				want.Close()
				for round := range 10 {
					in := newInstance(t, a, engine.InstanceConfig{State: &reports{}})
					// What an earlier run has grown is there, but unknown to the guest and zero.
					check := func(what string, want []byte) {
						got := in.slot.memory.buf
						n := min(len(got), len(want))
						if !bytes.Equal(got[:n], want[:n]) || len(bytes.Trim(got[n:], "\x00")) > 0 || n < len(want) {
							t.Fatalf("seed %d, round %d: memory differs %s", seed, round, what)
						}
					}
					check("at the start", memory)
					if got := values(t, in); got != wantValues {
						t.Fatalf("seed %d, round %d: reports %s, a fresh one %s", seed, round, got, wantValues)
					}
					check("after the start function", started)
					for range 1 + r.IntN(3) {
						if err := in.Call(context.Background(), fmt.Sprint("run", r.IntN(4))); err != nil {
							break
						}
					}
					if m := in.Memory(); len(m) > 0 && r.IntN(4) == 0 {
						m[r.IntN(len(m))] ^= 0xff // as hostcalls do
					}
					s := in.slot
					in.Close()
					if slices.Contains(a.parking.slots, s) {
						reset++
					}
				}
				a.Close()
				f.Close()
			}
			if reset < 4*guests {
				t.Errorf("%d resets only", reset)
			}
		})
	}
}

// plainGuest has a large memory with something at the start, a global, and ways to end.
func plainGuest(pages, fill int) []byte {
	g := &guest{memory: "\x00" + u32(pages), data: []string{"\x00" + i32(8) + "\x0b\x05hello"}}
	g.export("memory", engine.KindMemory, 0)
	g.global(engine.I32, i32(5), "")
	g.function("run", i32(6)+"\x24\x00"+store64(4096, 1)+store64(70000, 1))
	g.function("fill", i32(0)+i32(1)+i32(fill)+"\xfc\x0b\x00")
	g.function("end", store64(4096, 1)+callEnd)
	g.function("panic", callPanic)
	g.function("grow", growBy(1))
	g.function("balloon", growBy(65))
	g.function("trap", store64(4096, 1)+"\x00")
	g.look([]engine.ValueType{engine.I32})
	return g.encode()
}

// parked counts the template's parked instances.
func parked(t *template) int {
	l := t.e.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(t.parking.slots)
}

func TestWhatIsNotParked(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			tmpl := linkTest(t, m.engine(t, engine.Config{MaxInstances: 4}), plainGuest(100, 100<<16))
			for _, tt := range []struct {
				export string
				want   int
			}{{"run", 1}, {"trap", 1}, {"end", 1}, {"panic", 0}, {"grow", 1}, {"balloon", 0}, {"fill", 1}, {"run", 1}, {"absent", 1}} {
				in := newInstance(t, tmpl, engine.InstanceConfig{})
				_ = in.Call(context.Background(), tt.export)
				in.Close()
				if n := parked(tmpl); n != tt.want {
					t.Errorf("after %s, %d instances are parked, want %d", tt.export, n, tt.want)
				}
			}
		})
	}
}

func TestAHostcallThatNeverReturnsLeavesNothingToUseAgain(t *testing.T) {
	e := newEngine(t, engine.Config{})
	m, err := e.Compile(context.Background(), reexport)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tmpl, err := m.Link([]engine.Hostcall{{Module: "env", Name: "f", Fn: func(*engine.Caller, []uint64) error {
		runtime.Goexit()
		return nil
	}}}, engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	in := newInstance(t, tmpl.(*template), engine.InstanceConfig{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = in.Call(context.Background(), "call")
	}()
	<-done
	in.Close()
	if n := parked(tmpl.(*template)); n != 0 {
		t.Errorf("%d instances are parked", n)
	}
}

func TestAClosedInstanceCannotReachTheNextOne(t *testing.T) {
	tmpl := linkTest(t, newEngine(t, engine.Config{MaxInstances: 1}), plainGuest(2, 100))
	first := newInstance(t, tmpl, engine.InstanceConfig{})
	s := first.slot
	first.Close()
	second := newInstance(t, tmpl, engine.InstanceConfig{})
	defer second.Close()
	if second.slot != s {
		t.Fatal("the instance was not used again")
	}
	first.Close()
	if first.Memory() != nil || first.Usage().Memory != 0 {
		t.Error("a closed instance shows memory")
	}
	if err := first.Call(context.Background(), "run"); err == nil {
		t.Error("a closed instance can be called")
	}
}

// TestAStackIsClearedOrDropped looks at wazero's stack, on which a guest's locals lie.
func TestAStackIsClearedOrDropped(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 1})
	g := &guest{}
	g.function("run", "\x01\x01\x01"+callEnd)
	g.function("look", "")
	tmpl := linkTest(t, e, g.encode())
	for range 3 {
		in := newInstance(t, tmpl, engine.InstanceConfig{})
		_ = in.Call(context.Background(), "run")
		s := in.slot
		if b := s.stack.Bytes(); len(bytes.Trim(b, "\x00")) == 0 {
			t.Fatal("a call left nothing on the stack: look elsewhere")
		}
		in.Close()
		if b := s.stack.Bytes(); len(bytes.Trim(b, "\x00")) > 0 {
			t.Error("the stack of a parked instance still holds something")
		}
	}
}

func TestALargeStackIsGivenBack(t *testing.T) {
	g := &guest{}
	g.function("run", "\x10"+u32(firstOwn)) // calls itself
	tmpl := linkTest(t, newEngine(t, engine.Config{MaxInstances: 1}), g.encode())
	in := newInstance(t, tmpl, engine.InstanceConfig{})
	s := in.slot
	if err := in.Call(context.Background(), "run"); err == nil {
		t.Fatal("the guest's recursion ended")
	}
	in.Close()
	if n := parked(tmpl); n != 1 || s.fn != nil {
		t.Errorf("%d instances are parked, with the function: %t", n, s.fn != nil)
	}
}

func TestNothingIsParkedOnceItsTemplateIsClosed(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 1})
	tmpl := linkTest(t, e, plainGuest(2, 100))
	in := newInstance(t, tmpl, engine.InstanceConfig{})
	tmpl.Close()
	in.Close()
	if n, _ := counted(e); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}
