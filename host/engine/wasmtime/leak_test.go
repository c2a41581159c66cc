//go:build cgo && linux && (amd64 || arm64)

package wasmtime_test

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
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
	rounds := 6000
	if testing.Short() {
		rounds = 3000
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
	run(rounds / 6) // until pools and caches are full
	before := resident(t)
	run(rounds)
	after := resident(t)
	// 32 bytes leaked by one of the ways would be 192 KB; the allocators' own wavering is below 1 MB.
	if grown := after - before; grown > 2<<20 {
		t.Errorf("%d rounds of instances made the process %d bytes larger", rounds, grown)
	} else {
		t.Logf("%d rounds: %d bytes", rounds, grown)
	}
}
