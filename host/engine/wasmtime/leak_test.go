//go:build cgo && linux && (amd64 || arm64)

package wasmtime_test

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

// resident is the process's resident memory in bytes, Go's heap given back first.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestInstancesLeakNothing ends instances in every way there is, many times, and looks at the process's size.
func TestInstancesLeakNothing(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector's own memory grows")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	e := open(t, engine.Config{MaxInstances: 4})
	tmpl := benchTemplate(t, engine.Config{MaxInstances: 4})
	trapping := text(t, e, faults, engine.LinkOptions{})
	starting := text(t, e, `(module (func $s) (start $s) (func (export "run")))`, engine.LinkOptions{})
	suspended := text(t, e, `(module (import "env" "end" (func $end)) (func (export "run") (call $end)))`, engine.LinkOptions{},
		engine.Hostcall{Module: "env", Name: "end", MayBlock: true, Fn: func(*engine.Caller, []uint64) error { return &engine.ExitError{} }})
	one := func() {
		for _, tt := range []struct {
			tmpl   engine.Template
			export string
			fails  bool
		}{
			{tmpl, "touch", false}, {tmpl, "exit", true}, {tmpl, "plain", false}, {tmpl, "wait", false}, {tmpl, "absent", true},
			{trapping, "load", true}, {trapping, "unreachable", true},
			{starting, "run", false}, {suspended, "run", true},
		} {
			if err := call(tt.tmpl, tt.export, engine.InstanceConfig{State: 3}); (err != nil) != tt.fails {
				t.Fatalf("Call(%s) = %v", tt.export, err)
			}
		}
	}
	interrupted := func() {
		inst := benchInstance(t, tmpl, 0)
		defer inst.Close()
		if err := inst.Call(cancelled, "loop"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	run := func(n int) {
		for k := range n {
			one()
			if k%100 == 0 {
				interrupted()
			}
		}
	}
	// Pools and caches grow at first, and the allocators waver; a leak grows every time.
	// 128 bytes leaked by one of the ways would be 256 KB.
	const parts, rounds, allowed = 6, 2000, 256 << 10
	least := math.MaxInt
	for part := 0; part < parts && least > allowed; part++ {
		before := resident(t)
		run(rounds)
		least = min(least, resident(t)-before)
	}
	if least > allowed {
		t.Errorf("each of %d times %d rounds of instances made the process larger, by %d bytes or more", parts, rounds, least)
	}
}
