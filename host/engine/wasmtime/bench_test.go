//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

//go:generate wat2wasm --debug-names -o testdata/bench.wasm testdata/bench.wat

//go:embed testdata/bench.wasm
var benchGuest []byte

// benchCalls are the hostcalls of benchGuest. count gives the State, an int.
func benchCalls() []engine.Hostcall {
	three := engine.FuncType{Params: []engine.ValueType{engine.I32, engine.I32, engine.I32}, Results: []engine.ValueType{engine.I32}}
	answer := func(_ *engine.Caller, s []uint64) error { s[0] = 0; return nil }
	return []engine.Hostcall{
		{Module: "env", Name: "plain", Type: three, Fn: answer},
		{Module: "env", Name: "ready", Type: three, Fn: answer, MayBlock: true,
			Ready: func(*engine.Caller, []uint64) bool { return true }},
		{Module: "env", Name: "wait", Type: three, Fn: answer, MayBlock: true},
		{Module: "env", Name: "count", Type: engine.FuncType{Results: []engine.ValueType{engine.I64}},
			Fn: func(c *engine.Caller, s []uint64) error { s[0] = uint64(c.State.(int)); return nil }},
		{Module: "env", Name: "exit", Type: engine.FuncType{Params: []engine.ValueType{engine.I32}},
			Fn: func(_ *engine.Caller, s []uint64) error { return &engine.ExitError{Code: uint32(s[0])} }},
	}
}

func benchTemplate(tb testing.TB, cfg engine.Config) engine.Template {
	m, err := open(tb, cfg).Compile(context.Background(), benchGuest)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	tmpl, err := m.Link(benchCalls(), engine.LinkOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(tmpl.Close)
	return tmpl
}

func benchInstance(tb testing.TB, tmpl engine.Template, count int) engine.Instance {
	inst, err := tmpl.Instantiate(engine.InstanceConfig{State: count})
	if err != nil {
		tb.Fatal(err)
	}
	return inst
}

// minorFaults is how many page faults the process has taken that needed no disk.
func minorFaults(tb testing.TB) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return int64(u.Minflt)
}

// BenchmarkPages makes instances, has them write to one word in each of so many pages, and closes them: set back and
// used again, or made anew.
func BenchmarkPages(b *testing.B) {
	for _, reset := range []bool{true, false} {
		e := open(b, engine.Config{NoReset: !reset})
		name := "rebuild"
		if reset {
			name = "reset"
		}
		for _, pages := range []int{0, 1, 10, 150, 1000} {
			tmpl := text(b, e, fmt.Sprintf(`(module (memory (export "memory") 80) (data (i32.const 8) "%s")
				(func (export "run") (local $p i32) (local.set $p (i32.const %d))
					(block $b (loop $l
						(br_if $b (i32.eqz (local.get $p)))
						(local.set $p (i32.sub (local.get $p) (i32.const 4096)))
						(i32.store (local.get $p) (i32.const 1))
						(br $l)))))`, strings.Repeat("x", 1<<19), pages*4096), engine.LinkOptions{})
			b.Run(fmt.Sprintf("%s/%d", name, pages), func(b *testing.B) {
				if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
					b.Fatal(err)
				}
				before := minorFaults(b)
				for b.Loop() {
					if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(minorFaults(b)-before)/float64(b.N), "faults/op")
			})
		}
	}
}

// BenchmarkPrefetch has guests whose instances cannot be set back write to pages in so many stretches of so many
// pages each: given them at once, or one by one as they fault.
func BenchmarkPrefetch(b *testing.B) {
	for _, tt := range []struct{ stretches, pages int }{{1, 8}, {4, 2}, {8, 1}, {1, 150}, {20, 7}, {75, 2}} {
		for _, prefetch := range []bool{true, false} {
			e := open(b, engine.Config{NoReset: !prefetch})
			tmpl := text(b, e, fmt.Sprintf(`(module (memory (export "memory") 80) (data (i32.const 8) "%s")
				(table 1 funcref) (func (export "never") (table.set (i32.const 0) (ref.null func)))
				(func (export "run") (local $p i32) (local $s i32) (local $n i32)
					(local.set $s (i32.const %d))
					(loop $outer
						(local.set $n (i32.const %d))
						(loop $inner
							(i32.store (local.get $p) (i32.const 1))
							(local.set $p (i32.add (local.get $p) (i32.const 4096)))
							(br_if $inner (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
						(local.set $p (i32.add (local.get $p) (i32.const 20480)))
						(br_if $outer (local.tee $s (i32.sub (local.get $s) (i32.const 1)))))))`,
				strings.Repeat("x", 1<<19), tt.stretches, tt.pages), engine.LinkOptions{})
			b.Run(fmt.Sprintf("%dx%d/prefetch=%t", tt.stretches, tt.pages, prefetch), func(b *testing.B) {
				for range 10 {
					if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
						b.Fatal(err)
					}
				}
				before := minorFaults(b)
				for b.Loop() {
					if err := call(tmpl, "run", engine.InstanceConfig{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(minorFaults(b)-before)/float64(b.N), "faults/op")
			})
		}
	}
}

// BenchmarkInstantiate makes and closes instances; with a call in between, the guest writes to one page.
func BenchmarkInstantiate(b *testing.B) {
	ctx := context.Background()
	tmpl := benchTemplate(b, engine.Config{})
	for _, export := range []string{"", "empty", "touch", "exit"} {
		name := "call=" + export
		if export == "" {
			name = "nocall"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				inst := benchInstance(b, tmpl, 0)
				if export != "" {
					var exit *engine.ExitError
					if err := inst.Call(ctx, export); err != nil && !errors.As(err, &exit) {
						b.Fatal(err)
					}
				}
				inst.Close()
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				inst := benchInstance(b, tmpl, 0)
				if err := inst.Call(ctx, "touch"); err != nil {
					b.Error(err)
				}
				inst.Close()
			}
		})
	})
}

// BenchmarkCall calls an export that does nothing on an instance that lives on.
func BenchmarkCall(b *testing.B) {
	ctx := context.Background()
	inst := benchInstance(b, benchTemplate(b, engine.Config{}), 0)
	defer inst.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := inst.Call(ctx, "empty"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHostcall makes hostcalls of three arguments from a loop in the guest; turns is the loop alone.
func BenchmarkHostcall(b *testing.B) {
	tmpl := benchTemplate(b, engine.Config{})
	for _, export := range []string{"plain", "ready", "wait", "turns"} {
		b.Run(export, func(b *testing.B) {
			b.ReportAllocs()
			inst := benchInstance(b, tmpl, b.N)
			defer inst.Close()
			if err := inst.Call(context.Background(), export); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkInterrupt reports how long after its context was cancelled an endless guest returns.
func BenchmarkInterrupt(b *testing.B) {
	tmpl := benchTemplate(b, engine.Config{})
	var late time.Duration
	for b.Loop() {
		inst := benchInstance(b, tmpl, 0)
		ctx, cancel := context.WithCancel(context.Background())
		var at time.Time
		time.AfterFunc(3*time.Millisecond, func() { at = time.Now(); cancel() })
		if err := inst.Call(ctx, "loop"); !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
		late += time.Since(at)
		inst.Close()
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "us-late/op")
}
