package wasm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

const allFeatures = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst |
	experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesThreads

var testOptions = wasm.InterruptOptions{Module: "interruptions", Name: "interrupt", Grow: "grow"}

// world is a runtime in which modules run as they are, or rewritten.
type world struct {
	rt      wazero.Runtime
	rewrite bool
	calls   int // of the host by counters that have run out
	budget  func(call int) uint32
}

func newWorld(t testing.TB, rewrite bool, features api.CoreFeatures) *world {
	return newWorldWith(t, rewrite, wazero.NewRuntimeConfig().WithCoreFeatures(features))
}

func newInterpreter(t testing.TB, rewrite bool) *world {
	return newWorldWith(t, rewrite, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(allFeatures))
}

func newWorldWith(t testing.TB, rewrite bool, config wazero.RuntimeConfig) *world {
	ctx := context.Background()
	w := &world{rewrite: rewrite, rt: wazero.NewRuntimeWithConfig(ctx, config)}
	t.Cleanup(func() { w.rt.Close(ctx) })
	// Small budgets of changing size, so that the host is called at every kind of place.
	w.budget = func(n int) uint32 { return []uint32{1, 2, 3, 7, 1, 50, 300, 5}[n%8] }
	i32 := api.ValueTypeI32
	_, err := w.rt.NewHostModuleBuilder("interruptions").
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, s []uint64) {
		w.calls++
		s[0] = uint64(w.budget(w.calls))
	}), nil, []api.ValueType{i32}).Export("interrupt").
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, s []uint64) { s[0] = 1 }), []api.ValueType{i32, i32, i32}, []api.ValueType{i32}).Export("grow").
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {}), nil, nil).Export("untouched").
		Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// compile compiles src as it is or rewritten.
func (w *world) compile(src []byte) (wazero.CompiledModule, error) {
	if w.rewrite {
		var err error
		if src, err = wasm.InsertInterrupts(src, testOptions); err != nil {
			return nil, err
		}
	}
	return w.rt.CompileModule(context.Background(), src)
}

func (w *world) instantiate(src []byte, name string) (api.Module, error) {
	c, err := w.compile(src)
	if err != nil {
		return nil, err
	}
	return w.rt.InstantiateModule(context.Background(), c, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
}

// outcome is what can be seen of a call: results or the trap.
func outcome(m api.Module, name string, args []uint64) string {
	f := m.ExportedFunction(name)
	if f == nil {
		return "no such function"
	}
	if len(args) != paramSlots(f) {
		return "wrong number of arguments"
	}
	r, err := f.Call(context.Background(), args...)
	if err != nil {
		return trapText(err)
	}
	for i, t := range f.Definition().ResultTypes() {
		if t == 0x70 || t == api.ValueTypeExternref {
			return "references" // host addresses, which differ
		}
		if (t == api.ValueTypeI32 || t == api.ValueTypeF32) && i < len(r) {
			r[i] = uint64(uint32(r[i]))
		}
	}
	return fmt.Sprintf("%#x", r)
}

func paramSlots(f api.Function) int {
	n := 0
	for _, t := range f.Definition().ParamTypes() {
		n++
		if t == 0x7b { // v128
			n++
		}
	}
	return n
}

// trapText is the reason of a trap without the backtrace, in which indices differ.
func trapText(err error) string {
	if u := errors.Unwrap(err); u != nil {
		return u.Error()
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// state is what remains of a module: its memory and exported globals.
func state(m api.Module) string {
	var b strings.Builder
	if mem := m.Memory(); !reflect.ValueOf(mem).IsNil() { // a nil *MemoryInstance when there is none
		if buf, ok := mem.Read(0, mem.Size()); ok {
			fmt.Fprintf(&b, "memory %d bytes, hash %x;", len(buf), hash(buf))
		}
	}
	return b.String()
}

func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// specTests finds the WebAssembly specification's test suite in the module cache, where wazero's own tests
// have it as binaries.
func specTests(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "v2", "testdata"))
	}
	if err != nil {
		t.Skipf("the specification's tests are not in the module cache: %v", err)
	}
	return dir
}

type specScript struct {
	Commands []struct {
		Type, Filename, Name, As string
		Line                     int
		ModuleType               string `json:"module_type"`
		Action                   struct {
			Type, Module, Field string
			Args                []specValue
		}
	}
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    json.RawMessage
}

// slots gives the value as wazero takes it; false for what it cannot.
func (v specValue) slots() ([]uint64, bool) {
	if v.Type == "v128" {
		var lanes []string
		if json.Unmarshal(v.Value, &lanes) != nil || len(lanes) == 0 || 128%len(lanes) != 0 {
			return nil, false
		}
		var out [2]uint64
		width := 128 / len(lanes)
		for i, l := range lanes {
			n, err := strconv.ParseUint(l, 10, 64)
			if err != nil {
				s, err := strconv.ParseInt(l, 10, 64)
				if err != nil {
					return nil, false
				}
				n = uint64(s)
			}
			if width < 64 {
				n &= 1<<width - 1
			}
			at := i * width
			out[at/64] |= n << (at % 64)
		}
		return out[:], true
	}
	var s string
	if json.Unmarshal(v.Value, &s) != nil {
		return nil, false
	}
	if s == "null" {
		return []uint64{0}, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, false
	}
	return []uint64{n}, v.Type != "funcref"
}

// TestInterruptsKeepTheMeaningOfTheSpecificationsTests runs every script of the suite twice, with modules as
// they are and rewritten, and compares all that can be seen. Valid modules must stay valid, invalid ones
// must stay invalid.
func TestInterruptsKeepTheMeaningOfTheSpecificationsTests(t *testing.T) {
	dir := specTests(t)
	scripts, err := filepath.Glob(filepath.Join(dir, "*", "testdata", "*.json"))
	if err != nil || len(scripts) < 100 {
		t.Fatalf("%d scripts in %s, %v", len(scripts), dir, err)
	}
	compared, called := 0, 0
	for _, path := range scripts {
		rel, _ := filepath.Rel(dir, path)
		suite := strings.Split(filepath.ToSlash(rel), "/")[0]
		if suite == "v1" || suite == "typed-function-references" {
			continue // v2 holds all of v1; the other is nothing that the engine offers
		}
		t.Run(strings.TrimSuffix(suite+"/"+filepath.Base(path), ".json"), func(t *testing.T) {
			features := allFeatures
			if suite == "exception-handling" {
				features |= experimental.CoreFeaturesTypedFunctionReferences // its scripts need both
			}
			n, c := runSpecScript(t, path, filepath.Join(dir, "testdata", "spectest.wasm"), features)
			compared, called = compared+n, called+c
		})
	}
	t.Logf("%d calls compared, the host was called %d times", compared, called)
	if !t.Failed() && (compared < 40000 || called < 1_000_000) {
		t.Errorf("only %d calls were compared, the host was called %d times", compared, called)
	}
}

func runSpecScript(t *testing.T, path, spectest string, features api.CoreFeatures) (compared, called int) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var script specScript
	if err := json.Unmarshal(b, &script); err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(spectest)
	if err != nil {
		t.Fatal(err)
	}
	worlds := [2]*world{newWorld(t, false, features), newWorld(t, true, features)}
	for _, w := range worlds {
		if _, err := w.rt.InstantiateWithConfig(context.Background(), host, wazero.NewModuleConfig()); err != nil {
			t.Fatal(err)
		}
	}
	var last [2]api.Module
	named := map[string][2]api.Module{}
	for i := 0; i < len(script.Commands); i++ {
		c := script.Commands[i]
		where := fmt.Sprintf("line %d, %s", c.Line, c.Type)
		var src []byte
		if strings.HasSuffix(c.Filename, ".wasm") {
			if src, err = os.ReadFile(filepath.Join(filepath.Dir(path), c.Filename)); err != nil {
				t.Fatal(err)
			}
			_, plain := worlds[0].compile(src)
			_, rewritten := worlds[1].compile(src)
			if (plain == nil) != (rewritten == nil) {
				t.Errorf("%s %s: compiles with %v, rewritten with %v", where, c.Filename, plain, rewritten)
				continue
			}
		}
		switch c.Type {
		case "module":
			name := ""
			if next := i + 1; next < len(script.Commands) && script.Commands[next].Type == "register" {
				name = script.Commands[next].As
			}
			var errs [2]error
			for k, w := range worlds {
				last[k], errs[k] = w.instantiate(src, name)
			}
			if fmt.Sprint(errs[0]) != fmt.Sprint(errs[1]) {
				t.Fatalf("%s: instantiates with %v, rewritten with %v", where, errs[0], errs[1])
			}
			if errs[0] != nil {
				t.Skipf("%s: %v", where, errs[0]) // beyond wazero
			}
			if c.Name != "" {
				named[c.Name] = last
			}
		case "assert_trap", "assert_return", "action", "assert_exhaustion", "assert_uninstantiable", "assert_unlinkable", "assert_exception":
			if c.Filename != "" {
				var got [2]string
				for k, w := range worlds {
					m, err := w.instantiate(src, "")
					got[k] = fmt.Sprint(err)
					if err == nil {
						got[k] = state(m)
					} else if strings.HasPrefix(got[k], "start ") {
						got[k] = trapText(errors.Unwrap(err))
					}
				}
				if got[0] != got[1] {
					t.Errorf("%s: %s, rewritten %s", where, got[0], got[1])
				}
				continue
			}
			mods := last
			if c.Action.Module != "" {
				mods = named[c.Action.Module]
			}
			if c.Action.Type != "invoke" || mods[0] == nil {
				continue
			}
			var args []uint64
			ok := true
			for _, a := range c.Action.Args {
				s, can := a.slots()
				args, ok = append(args, s...), ok && can
			}
			if !ok {
				continue
			}
			var got [2]string
			for k, m := range mods {
				got[k] = outcome(m, c.Action.Field, args)
				if c.Type != "assert_exhaustion" {
					got[k] += " " + state(m)
				}
			}
			compared++
			if got[0] != got[1] {
				t.Errorf("%s %s%v: %s, rewritten %s", where, c.Action.Field, args, got[0], got[1])
			}
		}
	}
	return compared, worlds[1].calls
}
