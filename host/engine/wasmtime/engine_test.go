//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
)

func TestNewRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  engine.Config
		want string
	}{
		{"fewer than no instances", engine.Config{MaxInstances: -1}, "MaxInstances is -1,"},
		{"a billion instances", engine.Config{MaxInstances: 1e9}, "MaxInstances is 1000000000"},
		{"memory below one page", engine.Config{MaxMemory: 100}, "MaxMemory is 100"},
		{"memory above 4 GiB", engine.Config{MaxMemory: 5 << 30}, "MaxMemory is 5368709120"},
		{"tables without end", engine.Config{MaxTableElements: 1 << 31}, "MaxTableElements is 2147483648"},
		{"no stack to speak of", engine.Config{MaxStack: 4096}, "MaxStack is 4096"},
		{"a stack of a gigabyte", engine.Config{MaxStack: 1 << 30}, "MaxStack is 1073741824"},
		{"time running backwards", engine.Config{Tick: -1}, "Tick is -1ns"},
		{"more address space than there is", engine.Config{MaxInstances: 90_000, MaxMemory: 4 << 30}, "90000 instances"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := wasmtime.New(tt.cfg)
			if err == nil {
				e.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want an error that contains %q", err, tt.want)
			}
		})
	}
}

func TestExtremeSettingsWork(t *testing.T) {
	for _, cfg := range []engine.Config{
		{MaxInstances: 1, MaxMemory: 64 << 10, MaxTableElements: 1, MaxStack: 64 << 10},
		{MaxInstances: 2, MaxMemory: 4 << 30, MaxStack: 256 << 20},
		{MaxInstances: 1, MaxTableElements: 10_000_000},
		{MaxInstances: 10_000},
		{Exceptions: true},
		{GC: true},
		{GC: true, Exceptions: true},
		{Tick: 100 * time.Microsecond},
	} {
		tmpl := text(t, open(t, cfg), `(module (memory (export "memory") 1) (func (export "run") (drop (memory.grow (i32.const 1)))))`, engine.LinkOptions{})
		if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestOptionalFeaturesAreOffUnlessAsked(t *testing.T) {
	for name, src := range map[string]string{
		"exceptions": `(module (tag $e) (func (export "run") (block $b (try_table (catch $e $b) (throw $e)))))`,
		"gc":         `(module (type $s (struct (field i32))) (func (export "run") (drop (struct.new $s (i32.const 1)))))`,
	} {
		t.Run(name, func(t *testing.T) {
			wasm, err := wasmtime.WatToWasm([]byte(src))
			if err != nil {
				t.Fatal(err)
			}
			if m, err := open(t, engine.Config{}).Compile(context.Background(), wasm); err == nil {
				m.Close()
				t.Error("compiled without being asked for")
			}
			e := open(t, engine.Config{Exceptions: true, GC: true})
			if err := call(text(t, e, src, engine.LinkOptions{}), "run", engine.InstanceConfig{}); err != nil {
				t.Errorf("with the feature on: %v", err)
			}
		})
	}
}

// TestUncaughtException: an exception that nothing catches ends the guest like a trap.
func TestUncaughtException(t *testing.T) {
	e := open(t, engine.Config{Exceptions: true, GC: true})
	tmpl := text(t, e, `(module (tag $e) (func (export "run") (throw $e)))`, engine.LinkOptions{})
	var trap *engine.TrapError
	if err := call(tmpl, "run", engine.InstanceConfig{}); !errors.As(err, &trap) {
		t.Errorf("Call = %v, want a TrapError", err)
	}
}

// TestUnknownImportOfAnyType: imports whose types no hostcall can have are told by name as well.
func TestUnknownImportOfAnyType(t *testing.T) {
	src := `(module (import "env" "odd" (func $odd (param v128) (result externref))) (import "env" "plain" (func $plain))
		(func (export "odd") (drop (call $odd (v128.const i64x2 1 2)))) (func (export "run")))`
	tmpl := text(t, open(t, engine.Config{}), src, engine.LinkOptions{UnknownImports: engine.TrapUnknown})
	if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
		t.Error(err)
	}
	var unknown *engine.UnknownImportError
	if err := call(tmpl, "odd", engine.InstanceConfig{}); !errors.As(err, &unknown) || unknown.Name != "odd" {
		t.Errorf("Call = %v, want an UnknownImportError for env.odd", err)
	}
}

func TestHostcallOfAnImpossibleTypeIsRefused(t *testing.T) {
	wasm, err := wasmtime.WatToWasm([]byte(`(module (import "env" "odd" (func (param v128))) (func (export "run")))`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := open(t, engine.Config{}).Compile(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Link([]engine.Hostcall{{Module: "env", Name: "odd", Type: engine.FuncType{Params: []engine.ValueType{engine.V128}},
		Fn: func(*engine.Caller, []uint64) error { return nil }}}, engine.LinkOptions{})
	if err == nil || !strings.Contains(err.Error(), "env.odd") {
		t.Errorf("Link = %v, want an error that names env.odd", err)
	}
}

func TestEverythingOutlivesTheEnginesClose(t *testing.T) {
	e, err := wasmtime.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Compile(context.Background(), benchGuest)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := m.Link(benchCalls(), engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	inst := benchInstance(t, tmpl, 10)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err == nil {
		t.Error("a second Close gave no error")
	}
	m.Close()
	tmpl.Close()
	if err := inst.Call(context.Background(), "plain"); err != nil {
		t.Errorf("Call after the engine was closed: %v", err)
	}
	inst.Close()
	if _, err := e.Compile(context.Background(), benchGuest); err == nil {
		t.Error("Compile after Close gave no error")
	}
	if _, err := m.Link(benchCalls(), engine.LinkOptions{}); err == nil {
		t.Error("Link after Close gave no error")
	}
	if _, err := m.Serialize(); err == nil {
		t.Error("Serialize after Close gave no error")
	}
	if _, err := tmpl.Instantiate(engine.InstanceConfig{}); err == nil {
		t.Error("Instantiate after Close gave no error")
	}
}

func TestMisuseOfAnInstanceIsAnError(t *testing.T) {
	var inst engine.Instance
	var again error
	tmpl := text(t, open(t, engine.Config{}), `(module (import "env" "f" (func $f)) (func (export "run") (call $f)) (func (export "trap") unreachable))`,
		engine.LinkOptions{}, engine.Hostcall{Module: "env", Name: "f", Fn: func(c *engine.Caller, _ []uint64) error {
			again = inst.Call(c.Context, "run")
			return nil
		}})
	inst, err := tmpl.Instantiate(engine.InstanceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := inst.Call(context.Background(), "run"); err != nil || again == nil {
		t.Errorf("Call = %v; a call inside of it = %v, want an error", err, again)
	}
	if err := inst.Call(context.Background(), "trap"); err == nil {
		t.Error("no trap")
	}
	if err := inst.Call(context.Background(), "run"); err == nil {
		t.Error("a call after a trap gave no error")
	}
	inst.Close()
	inst.Close()
	if err := inst.Call(context.Background(), "run"); err == nil {
		t.Error("a call after Close gave no error")
	}
	if inst.Memory() != nil || inst.Usage().CPU == 0 {
		t.Errorf("after Close: %d bytes of memory, %s of CPU", len(inst.Memory()), inst.Usage().CPU)
	}
}

// TestGoexitInAWaitingHostcall: it ends the goroutine, as it says, and leaves an instance that can only be closed.
func TestGoexitInAWaitingHostcall(t *testing.T) {
	tmpl := text(t, open(t, engine.Config{MaxInstances: 1}), `(module (import "env" "f" (func $f)) (func (export "run") (call $f)))`,
		engine.LinkOptions{}, engine.Hostcall{Module: "env", Name: "f", MayBlock: true, Fn: func(*engine.Caller, []uint64) error {
			runtime.Goexit()
			return nil
		}})
	inst, err := tmpl.Instantiate(engine.InstanceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = inst.Call(context.Background(), "run")
		t.Error("Call returned")
	}()
	<-done
	if err := inst.Call(context.Background(), "run"); err == nil {
		t.Error("a second call gave no error")
	}
	inst.Close()
	if inst, err = tmpl.Instantiate(engine.InstanceConfig{}); err != nil {
		t.Fatalf("the slot did not come back: %v", err)
	}
	inst.Close()
}

func TestArtifactOfOtherSettingsIsRefused(t *testing.T) {
	m, err := open(t, engine.Config{}).Compile(context.Background(), benchGuest)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	other := open(t, engine.Config{Exceptions: true})
	if other.Fingerprint() == open(t, engine.Config{}).Fingerprint() {
		t.Error("settings that change code do not change the fingerprint")
	}
	if _, err := other.Load(path); err == nil || !strings.Contains(err.Error(), "made by") {
		t.Errorf("Load = %v, want a refusal that names both fingerprints", err)
	}
	// Settings that only size the pool share artifacts.
	m2, err := open(t, engine.Config{MaxInstances: 5, MaxStack: 2 << 20, MaxMemory: 32 << 20}).Load(path)
	if err != nil {
		t.Fatal(err)
	}
	m2.Close()
	var limit *engine.LimitError
	if _, err := open(t, engine.Config{MaxMemory: 64 << 10}).Load(path); !errors.As(err, &limit) {
		t.Errorf("Load = %v, want a LimitError", err)
	}
}

// TestEmptyNames: names in a module may be empty.
func TestEmptyNames(t *testing.T) {
	calls := 0
	tmpl := text(t, open(t, engine.Config{}), `(module (import "" "" (func $f)) (func (export "") (call $f)))`, engine.LinkOptions{},
		engine.Hostcall{Fn: func(*engine.Caller, []uint64) error { calls++; return nil }})
	if err := call(tmpl, "", engine.InstanceConfig{}); err != nil || calls != 1 {
		t.Errorf("Call = %v after %d hostcalls, want one", err, calls)
	}
}

// TestTheSuspendingFunctionIsNotForGuests: a guest cannot import what the shim suspends guests with.
func TestTheSuspendingFunctionIsNotForGuests(t *testing.T) {
	tmpl := text(t, open(t, engine.Config{}), `(module (import "" "suspend" (func $f)) (func (export "run") (call $f)))`,
		engine.LinkOptions{UnknownImports: engine.TrapUnknown})
	var unknown *engine.UnknownImportError
	if err := call(tmpl, "run", engine.InstanceConfig{}); !errors.As(err, &unknown) {
		t.Errorf("Call = %v, want an UnknownImportError", err)
	}
}

func TestWatToWasm(t *testing.T) {
	wasm, err := wasmtime.WatToWasm([]byte(`(module)`))
	if err != nil || !bytes.Equal(wasm, []byte("\x00asm\x01\x00\x00\x00")) {
		t.Errorf("WatToWasm = %x, %v", wasm, err)
	}
	for _, src := range []string{"(module", "(module (func $f (call $g)))", "", "\xff\xfe"} {
		if wasm, err := wasmtime.WatToWasm([]byte(src)); err == nil && src != "" {
			t.Errorf("WatToWasm(%q) = %x, want an error", src, wasm)
		} else if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("WatToWasm(%q): the error has several lines: %q", src, err)
		}
	}
}

// TestHostcallsDoNotAllocate counts what a thousand hostcalls allocate.
func TestHostcallsDoNotAllocate(t *testing.T) {
	tmpl := benchTemplate(t, engine.Config{})
	for _, export := range []string{"plain", "ready", "wait"} {
		inst := benchInstance(t, tmpl, 1000)
		n := testing.AllocsPerRun(10, func() {
			if err := inst.Call(context.Background(), export); err != nil {
				t.Fatal(err)
			}
		})
		inst.Close()
		if n != 0 {
			t.Errorf("%s: %v allocations in a call with a thousand hostcalls, want none", export, n)
		}
	}
}

// TestCPULimitIsKeptClosely takes the best of several runs, so that a busy machine does not matter.
func TestCPULimitIsKeptClosely(t *testing.T) {
	tmpl := benchTemplate(t, engine.Config{})
	const limit = 20 * time.Millisecond
	best := time.Hour
	for range 5 {
		var cpu *engine.CPULimitError
		if err := call(tmpl, "loop", engine.InstanceConfig{MaxCPU: limit}); !errors.As(err, &cpu) {
			t.Fatalf("Call = %v, want a CPULimitError", err)
		}
		best = min(best, cpu.Used-limit)
	}
	if best > 10*time.Millisecond {
		t.Errorf("at best the guest used %s more than its %s", best, limit)
	}
}

// TestCPUTimeIsNotWallTime: many guests on few CPUs are together charged for no more than the CPUs can give.
func TestCPUTimeIsNotWallTime(t *testing.T) {
	tmpl := benchTemplate(t, engine.Config{})
	n := 12 * runtime.NumCPU()
	used := make(chan time.Duration, n)
	began := time.Now()
	for range n {
		go func() {
			inst := benchInstance(t, tmpl, 20_000_000)
			defer inst.Close()
			if err := inst.Call(context.Background(), "turns"); err != nil {
				t.Error(err)
			}
			used <- inst.Usage().CPU
		}()
	}
	var sum time.Duration
	for range n {
		sum += <-used
	}
	if most := time.Since(began) * time.Duration(runtime.NumCPU()); sum > most*3/2 {
		t.Errorf("%d guests were charged %s in a time in which %d CPUs give %s", n, sum, runtime.NumCPU(), most)
	}
}
