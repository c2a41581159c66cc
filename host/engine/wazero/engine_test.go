package wazero

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/enginetest"
	"github.com/edgewasm/wasmedge/host/wasm"
	wz "github.com/tetratelabs/wazero"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, cfg engine.Config) engine.Engine {
		e, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		return e
	})
}

// sections builds a small module by hand: a type section of () -> (), then what is given.
func sections(parts ...any) []byte {
	list := []wasm.Section{{ID: wasm.SectionType, Body: []byte("\x01\x60\x00\x00")}}
	for i := 0; i < len(parts); i += 2 {
		list = append(list, wasm.Section{ID: parts[i].(wasm.SectionID), Body: []byte(parts[i+1].(string))})
	}
	return wasm.Encode(list)
}

// endlessLoop exports run, which loops for ever.
var endlessLoop = sections(
	wasm.SectionFunction, "\x01\x00", wasm.SectionExport, "\x01\x03run\x00\x00",
	wasm.SectionCode, "\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b")

func instantiate(t *testing.T, e *Engine, src []byte, calls []engine.Hostcall, cfg engine.InstanceConfig) (engine.Instance, error) {
	m, err := e.Compile(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	tmpl, err := m.Link(calls, engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tmpl.Close)
	in, err := tmpl.Instantiate(cfg)
	if err == nil {
		t.Cleanup(in.Close)
	}
	return in, err
}

func TestTheInterpreterStopsEndlessGuestsToo(t *testing.T) {
	e, err := open(engine.Config{}, wz.NewRuntimeConfigInterpreter())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	in, err := instantiate(t, e, endlessLoop, nil, engine.InstanceConfig{MaxCPU: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var cpu *engine.CPULimitError
	if err := in.Call(context.Background(), "run"); !errors.As(err, &cpu) {
		t.Errorf("Call = %v, want a CPULimitError", err)
	}
	m, err := e.Compile(context.Background(), endlessLoop)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Serialize(); !errors.Is(err, engine.ErrNoArtifact) {
		t.Errorf("Serialize = %v, want ErrNoArtifact", err)
	}
	if c := newEngine(t, engine.Config{}); c.Fingerprint() == e.Fingerprint() {
		t.Error("compiler and interpreter have one fingerprint")
	}
}

// The bound of the stack rests on a field of wazero's that is not part of its interface.
func TestTheStackOfACallCanBeSeen(t *testing.T) {
	e := newEngine(t, engine.Config{})
	in, err := instantiate(t, e, endlessLoop, nil, engine.InstanceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := stackOf(in.(*instance).slot.mod.ExportedFunction("run"))
	if !s.IsValid() || s.Len() < initialStack/2 || s.Len() > 4*initialStack {
		t.Error("wazero's stack is not where it was: MaxStack does not hold with this version")
	}
}

func TestASegmentOutsideItsTableTraps(t *testing.T) {
	e := newEngine(t, engine.Config{})
	for offset, fits := range map[string]bool{"\x01": true, "\x02": false} {
		src := sections(wasm.SectionFunction, "\x01\x00", wasm.SectionTable, "\x01\x70\x00\x02",
			wasm.SectionElement, "\x01\x00\x41"+offset+"\x0b\x01\x00", wasm.SectionCode, "\x01\x02\x00\x0b")
		_, err := instantiate(t, e, src, nil, engine.InstanceConfig{})
		var trap *engine.TrapError
		if fits && err != nil || !fits && (!errors.As(err, &trap) || trap.Code != engine.TrapTableOutOfBounds) {
			t.Errorf("offset %q: %v", offset, err)
		}
		m, err := e.Load(artifact(t, e, src))
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := m.Link(nil, engine.LinkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := tmpl.Instantiate(engine.InstanceConfig{})
		if fits != (err == nil) {
			t.Errorf("offset %q, loaded: %v", offset, err)
		}
		if err == nil {
			in.Close()
		}
		tmpl.Close()
		m.Close()
	}
}

// reexport imports env.f and exports it as run and calls it in call.
var reexport = sections(
	wasm.SectionImport, "\x01\x03env\x01f\x00\x00", wasm.SectionFunction, "\x01\x00",
	wasm.SectionExport, "\x02\x03run\x00\x00\x04call\x00\x01", wasm.SectionCode, "\x01\x04\x00\x10\x00\x0b")

func TestAHostcallThatTheGuestExportsMayFail(t *testing.T) {
	e := newEngine(t, engine.Config{})
	fail := errors.New("no")
	call := engine.Hostcall{Module: "env", Name: "f", Fn: func(*engine.Caller, []uint64) error { return fail }}
	for _, export := range []string{"run", "call"} {
		in, err := instantiate(t, e, reexport, []engine.Hostcall{call}, engine.InstanceConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Call(context.Background(), export); err != fail {
			t.Errorf("Call(%s) = %v, want the hostcall's error", export, err)
		}
	}
}

func TestHostcallsDoNotAllocate(t *testing.T) {
	e := newEngine(t, engine.Config{})
	n := 0
	call := engine.Hostcall{Module: "env", Name: "f", Fn: func(*engine.Caller, []uint64) error { n++; return nil }}
	for _, call.MayBlock = range []bool{false, true} {
		in, err := instantiate(t, e, reexport, []engine.Hostcall{call}, engine.InstanceConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if got := testing.AllocsPerRun(200, func() { _ = in.Call(ctx, "call") }); got != 0 {
			t.Errorf("a call with a hostcall allocates %v times (MayBlock=%v)", got, call.MayBlock)
		}
	}
	if n == 0 {
		t.Error("the hostcall was not called")
	}
}
