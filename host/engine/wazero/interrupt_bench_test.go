package wazero

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/wasm"
	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// kernel instantiates the kernels of host/wasm/testdata on wazero, rewritten or not.
func kernel(tb testing.TB, src []byte) api.Module {
	ctx := context.Background()
	rt := wz.NewRuntime(ctx)
	tb.Cleanup(func() { rt.Close(ctx) })
	_, err := rt.NewHostModuleBuilder(hostModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 1 << 20 }), nil, []api.ValueType{api.ValueTypeI32}).
		Export(interruptName).Instantiate(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := rt.Instantiate(ctx, src)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// BenchmarkInterrupts tells what the counter costs: each kernel as it is, rewritten, and the ratio.
func BenchmarkInterrupts(b *testing.B) {
	plain, err := os.ReadFile("../../wasm/testdata/kernels.wasm")
	if err != nil {
		b.Fatal(err)
	}
	rewritten, err := wasm.InsertInterrupts(plain, wasm.InterruptOptions{Module: hostModule, Name: interruptName})
	if err != nil {
		b.Fatal(err)
	}
	with, without := kernel(b, rewritten), kernel(b, plain)
	for _, name := range []string{"count", "sum", "bytes", "copy", "nested", "dispatch", "leaf", "fib", "fills"} {
		b.Run(name, func(b *testing.B) {
			const turns = 300_000 // short, for the best of many to be undisturbed on a busy machine
			run := func(m api.Module) (time.Duration, uint64) {
				f := m.ExportedFunction(name)
				start := time.Now()
				r, err := f.Call(context.Background(), turns)
				if err != nil {
					b.Fatal(err)
				}
				return time.Since(start), r[0]
			}
			best := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() {
				d0, r0 := run(without)
				d1, r1 := run(with)
				if r0 != r1 {
					b.Fatalf("results %d and %d", r0, r1)
				}
				best[0], best[1] = min(best[0], d0), min(best[1], d1)
			}
			b.ReportMetric(float64(best[0].Nanoseconds())/turns, "ns/turn-plain")
			b.ReportMetric(float64(best[1].Nanoseconds())/turns, "ns/turn-interruptible")
			b.ReportMetric(float64(best[1])/float64(best[0]), "ratio")
		})
	}
}
