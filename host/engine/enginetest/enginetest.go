// Package enginetest is the conformance suite of host/engine: whatever an engine's interfaces promise, one
// test here holds the engine to it. A driver's own test calls Run; both drivers must pass all of it.
//
// The guests are hand-written text modules under testdata with the binaries beside them, so that running
// the suite needs no toolchain.
package enginetest

import (
	"context"
	"embed"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

//go:generate sh -c "for f in testdata/*.wat; do wat2wasm --enable-memory64 --enable-threads --enable-multi-memory --enable-tail-call --debug-names -o ${f%.wat}.wasm $f || exit 1; done"

//go:embed testdata/*.wasm
var guests embed.FS

// deadline ends a guest that an engine failed to stop, so that a broken engine fails its tests instead of
// hanging them. It is far above what any guest here needs on a busy machine.
const deadline = 60 * time.Second

// Run holds the engine that open gives to the whole suite. open is called once or more for each test with
// the settings that the test needs; it must arrange (t.Cleanup) for the engine to be closed and fail t when
// there is no engine.
func Run(t *testing.T, open func(t *testing.T, cfg engine.Config) engine.Engine) {
	run(t, open, []group{
		{"compile", compileTests},
		{"link", linkTests},
		{"hostcall", hostcallTests},
		{"trap", trapTests},
		{"interrupt", interruptTests},
		{"limits", limitTests},
		{"isolation", append(slices.Clip(isolationTests), secretTests...)},
		{"start", startTests},
		{"blocking", blockingTests},
		{"suspend", suspendTests},
		{"artifact", artifactTests},
		{"hammer", hammerTests},
	})
}

// RunIsolation is the part of Run that is about what one instance may see of another, for the ways of working in which
// an engine differs by nothing else.
func RunIsolation(t *testing.T, open func(t *testing.T, cfg engine.Config) engine.Engine) {
	run(t, open, []group{{"isolation", append(slices.Clip(isolationTests), secretTests...)}, {"start", startTests}})
}

// group is a set of tests about one thing.
type group struct {
	name  string
	tests []test
}

func run(t *testing.T, open func(t *testing.T, cfg engine.Config) engine.Engine, groups []group) {
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					tt.run(&suite{T: t, open: open})
				})
			}
		})
	}
}

// test is one promise, named by a sentence.
type test struct {
	name string
	run  func(t *suite)
}

// suite is a running test together with the way to get an engine.
type suite struct {
	*testing.T
	open func(t *testing.T, cfg engine.Config) engine.Engine
}

// sub runs a subtest.
func (t *suite) sub(name string, f func(t *suite)) {
	t.Helper()
	t.Run(name, func(tt *testing.T) { f(&suite{T: tt, open: t.open}) })
}

// guest gives the binary of testdata/name.wasm.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := guests.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// engine opens an engine with few slots unless cfg says otherwise.
func (t *suite) engine(cfg engine.Config) engine.Engine {
	t.Helper()
	if cfg.MaxInstances == 0 {
		cfg.MaxInstances = 16
	}
	return t.open(t.T, cfg)
}

// compile compiles a guest and closes it at the end of the test.
func (t *suite) compile(e engine.Engine, name string) engine.Module {
	t.Helper()
	m, err := e.Compile(context.Background(), guest(t, name))
	if err != nil {
		t.Fatalf("Compile(%s): %v", name, err)
	}
	t.Cleanup(m.Close)
	return m
}

// link compiles and links a guest against calls and the report hostcall.
func (t *suite) link(e engine.Engine, name string, calls ...engine.Hostcall) engine.Template {
	t.Helper()
	return t.linkModule(t.compile(e, name), calls...)
}

func (t *suite) linkModule(m engine.Module, calls ...engine.Hostcall) engine.Template {
	t.Helper()
	tmpl, err := m.Link(append(slices.Clone(calls), report), engine.LinkOptions{})
	if err != nil {
		t.Fatalf("Link: %v", err)
	}
	t.Cleanup(tmpl.Close)
	return tmpl
}

// instance makes an instance and closes it at the end of the test.
func (t *suite) instance(tmpl engine.Template, cfg engine.InstanceConfig) engine.Instance {
	t.Helper()
	inst, err := tmpl.Instantiate(cfg)
	if err != nil {
		t.Fatalf("Instantiate: %v", err)
	}
	t.Cleanup(inst.Close)
	return inst
}

// call runs an export of an instance, with the suite's deadline.
func (t *suite) call(inst engine.Instance, export string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return inst.Call(ctx, export)
}

// mustCall is call for a guest that must return.
func (t *suite) mustCall(inst engine.Instance, export string) {
	t.Helper()
	if err := t.call(inst, export); err != nil {
		t.Fatalf("Call(%s): %v", export, err)
	}
}

// record is the State of most tests' instances: it keeps what the guest reported.
type record struct {
	mu     sync.Mutex
	values []uint64
}

// take gives what was reported since the last take.
func (r *record) take() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.values
	r.values = nil
	return v
}

// report is the hostcall env.report(i64) that most guests import.
var report = engine.Hostcall{
	Module: "env", Name: "report",
	Type: engine.FuncType{Params: []engine.ValueType{engine.I64}},
	Fn: func(c *engine.Caller, stack []uint64) error {
		if r, ok := c.State.(*record); ok {
			r.mu.Lock()
			r.values = append(r.values, stack[0])
			r.mu.Unlock()
		}
		return nil
	},
}

// want compares what the guest reported.
func (t *suite) want(r *record, want ...uint64) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Fatalf("guest reported %#x, want %#x", got, want)
	}
}

// fn is a hostcall of module env.
func fn(name string, params, results []engine.ValueType, f engine.HostFunc) engine.Hostcall {
	return engine.Hostcall{Module: "env", Name: name, Type: engine.FuncType{Params: params, Results: results}, Fn: f}
}

// types makes a list of value types.
func types(v ...engine.ValueType) []engine.ValueType { return v }
