package wazero

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// goGuest builds a small program with the Go toolchain: a guest of a few MB with the shape of real ones.
func goGuest(tb testing.TB) []byte {
	dir := tb.TempDir()
	src := "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(src), 0o600); err != nil {
		tb.Fatal(err)
	}
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-o", out, "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GO111MODULE=off")
	if b, err := cmd.CombinedOutput(); err != nil {
		tb.Skipf("no Go toolchain for guests: %v %s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// exits answers every hostcall of a guest with 0, and proc_exit with its end.
func exits(m engine.Module) []engine.Hostcall {
	var calls []engine.Hostcall
	for _, im := range m.Imports() {
		c := engine.Hostcall{Module: im.Module, Name: im.Name, Type: im.Func, Fn: func(_ *engine.Caller, s []uint64) error {
			if len(s) > 0 {
				s[0] = 0
			}
			return nil
		}}
		switch im.Name {
		case "proc_exit":
			c.Fn = func(_ *engine.Caller, s []uint64) error { return &engine.ExitError{Code: uint32(s[0])} }
		case "fd_prestat_get", "fd_fdstat_get":
			c.Fn = func(_ *engine.Caller, s []uint64) error { s[0] = 8; return nil } // bad descriptor
		case "fd_write":
			c.Fn = func(c *engine.Caller, s []uint64) error { // all of the first buffer is written
				n, _ := c.Memory.U32(uint32(s[1]) + 4)
				c.Memory.PutU32(uint32(s[3]), n)
				s[0] = 0
				return nil
			}
		case "clock_time_get": // Go's runtime refuses a clock that stands at zero
			c.Fn = func(c *engine.Caller, s []uint64) error {
				c.Memory.PutU64(uint32(s[2]), 1<<50)
				s[0] = 0
				return nil
			}
		}
		calls = append(calls, c)
	}
	return calls
}

func linked(tb testing.TB, e *Engine, src []byte) engine.Template {
	m, err := e.Compile(context.Background(), src)
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	t, err := m.Link(exits(m), engine.LinkOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(t.Close)
	return t
}

func BenchmarkCompileGoGuest(b *testing.B) {
	e, src := newEngine(b, engine.Config{}), goGuest(b)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		m, err := e.Compile(context.Background(), src)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}

func BenchmarkLoadGoGuest(b *testing.B) {
	e := newEngine(b, engine.Config{})
	path := artifact(b, e, goGuest(b))
	for b.Loop() {
		m, err := e.Load(path)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}

func BenchmarkInstantiate(b *testing.B) {
	e := newEngine(b, engine.Config{})
	for name, src := range map[string][]byte{"small": kernels(b), "go": goGuest(b)} {
		t := linked(b, e, src)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in, err := t.Instantiate(engine.InstanceConfig{})
				if err != nil {
					b.Fatal(err)
				}
				in.Close()
			}
		})
	}
}

func BenchmarkRunGoGuest(b *testing.B) {
	t := linked(b, newEngine(b, engine.Config{}), goGuest(b))
	b.ReportAllocs()
	for b.Loop() {
		in, err := t.Instantiate(engine.InstanceConfig{})
		if err != nil {
			b.Fatal(err)
		}
		err = in.Call(context.Background(), "_start")
		if exit, ok := err.(*engine.ExitError); !ok || exit.Code != 0 {
			b.Fatal(err)
		}
		in.Close()
	}
}

// BenchmarkHostcall runs a guest that makes 100,000 hostcalls.
func BenchmarkHostcall(b *testing.B) {
	loop := sections( // 100,000 turns of calling env.f
		wasm.SectionImport, "\x01\x03env\x01f\x00\x00", wasm.SectionFunction, "\x01\x00", wasm.SectionExport, "\x01\x03run\x00\x01",
		wasm.SectionCode, "\x01\x17\x01\x01\x7f\x03\x40\x10\x00\x20\x00\x41\x01\x6a\x22\x00\x41\xa0\x8d\x06\x49\x0d\x00\x0b\x0b")
	e := newEngine(b, engine.Config{})
	m, err := e.Compile(context.Background(), loop)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for _, mayBlock := range []bool{false, true} {
		t, err := m.Link([]engine.Hostcall{{Module: "env", Name: "f", MayBlock: mayBlock,
			Fn: func(*engine.Caller, []uint64) error { return nil }}}, engine.LinkOptions{})
		if err != nil {
			b.Fatal(err)
		}
		defer t.Close()
		in, err := t.Instantiate(engine.InstanceConfig{})
		if err != nil {
			b.Fatal(err)
		}
		defer in.Close()
		b.Run(map[bool]string{false: "plain", true: "may block"}[mayBlock], func(b *testing.B) {
			for b.Loop() {
				if err := in.Call(context.Background(), "run"); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/hostcall")
		})
	}
}

// BenchmarkCall runs a function that returns at once.
func BenchmarkCall(b *testing.B) {
	t := linked(b, newEngine(b, engine.Config{}), sections(wasm.SectionFunction, "\x01\x00",
		wasm.SectionExport, "\x01\x03run\x00\x00", wasm.SectionCode, "\x01\x02\x00\x0b"))
	in, err := t.Instantiate(engine.InstanceConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := in.Call(context.Background(), "run"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTightLoop runs ten million turns of counting through the engine, and without it as the module was
// written.
func BenchmarkTightLoop(b *testing.B) {
	src := sections(wasm.SectionFunction, "\x01\x00", wasm.SectionExport, "\x01\x03run\x00\x00", wasm.SectionCode,
		"\x01\x16\x01\x01\x7f\x03\x40\x20\x00\x41\x01\x6a\x22\x00\x41\x80\xad\xe2\x04\x49\x0d\x00\x0b\x0b")
	in, err := linked(b, newEngine(b, engine.Config{}), src).Instantiate(engine.InstanceConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	plain := kernel(b, src).ExportedFunction("run")
	for name, run := range map[string]func(context.Context) error{
		"interruptible": func(ctx context.Context) error { return in.Call(ctx, "run") },
		"plain":         func(ctx context.Context) error { return plain.CallWithStack(ctx, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				if err := run(context.Background()); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best.Nanoseconds())/10e6, "ns/turn-at-best")
		})
	}
}
