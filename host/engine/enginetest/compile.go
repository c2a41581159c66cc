package enginetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

var compileTests = []test{
	{"the engine names itself, its version and its settings", func(t *suite) {
		e := t.engine(engine.Config{})
		if e.Name() == "" || e.Version() == "" || e.Fingerprint() == "" {
			t.Errorf("Name %q, Version %q, Fingerprint %q: none may be empty", e.Name(), e.Version(), e.Fingerprint())
		}
		if other := t.engine(engine.Config{}); other.Fingerprint() != e.Fingerprint() {
			t.Errorf("two engines of one configuration: fingerprints %q and %q", e.Fingerprint(), other.Fingerprint())
		}
	}},
	{"a function that a compiler could choke on is refused", func(t *suite) {
		// One function of 7 million instructions; it made a compiler end the process.
		body := append(append([]byte{0, 0x41, 0}, bytes.Repeat([]byte{0x45}, 7_000_000)...), 0x1a, 0x0b)
		code := append(binary.AppendUvarint([]byte{1}, uint64(len(body))), body...)
		m := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a")
		m = append(binary.AppendUvarint(m, uint64(len(code))), code...)
		if _, err := t.engine(engine.Config{}).Compile(context.Background(), m); err == nil || !strings.Contains(err.Error(), "complex") {
			t.Errorf("Compile = %v", err)
		}
	}},
	{"imports and exports are listed in order with their types", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "imports")
		known := engine.FuncType{Params: types(engine.I32), Results: types(engine.I32)}
		imports := []engine.Import{
			{Module: "env", Name: "known", Kind: engine.KindFunc, Func: known},
			{Module: "other", Name: "unknown", Kind: engine.KindFunc,
				Func: engine.FuncType{Params: types(engine.I64, engine.F32), Results: types(engine.F64)}},
			{Module: "env", Name: "known", Kind: engine.KindFunc, Func: known},
		}
		got := m.Imports()
		if len(got) != len(imports) {
			t.Fatalf("Imports() = %v, want %v", got, imports)
		}
		for i, want := range imports {
			g := got[i]
			if g.Module != want.Module || g.Name != want.Name || g.Kind != want.Kind || !g.Func.Equal(want.Func) {
				t.Errorf("Imports()[%d] = %v, want %v", i, g, want)
			}
		}
		exports := []engine.Export{
			{Name: "memory", Kind: engine.KindMemory},
			{Name: "table", Kind: engine.KindTable},
			{Name: "global", Kind: engine.KindGlobal},
			{Name: "known", Kind: engine.KindFunc},
			{Name: "unknown", Kind: engine.KindFunc},
			{Name: "with_types", Kind: engine.KindFunc,
				Func: engine.FuncType{Params: types(engine.I32, engine.I64), Results: types(engine.F32)}},
		}
		gotEx := m.Exports()
		if len(gotEx) != len(exports) {
			t.Fatalf("Exports() = %v, want %v", gotEx, exports)
		}
		for i, want := range exports {
			g := gotEx[i]
			if g.Name != want.Name || g.Kind != want.Kind || !g.Func.Equal(want.Func) {
				t.Errorf("Exports()[%d] = %v, want %v", i, g, want)
			}
		}
		if m.MinMemory() != 2<<16 {
			t.Errorf("MinMemory() = %d, want %d", m.MinMemory(), 2<<16)
		}
	}},
	{"a module without memory has none", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "nomemory")
		if m.MinMemory() != 0 {
			t.Errorf("MinMemory() = %d, want 0", m.MinMemory())
		}
	}},
	{"every import of another kind is listed by its kind", func(t *suite) {
		e := t.engine(engine.Config{})
		for _, kind := range []engine.ExternKind{engine.KindTable, engine.KindMemory, engine.KindGlobal} {
			m := t.compile(e, "import_"+kind.String())
			if im := m.Imports(); len(im) != 1 || im[0].Kind != kind || im[0].Module != "env" || im[0].Name != kind.String() {
				t.Errorf("Imports() of a module that imports a %s = %v", kind, im)
			}
		}
	}},
	{"what is not a core module is refused in words", func(t *suite) {
		e := t.engine(engine.Config{})
		whole := guest(t, "features")
		for _, tt := range []struct {
			name string
			wasm []byte
		}{
			{"nothing", nil},
			{"three bytes", whole[:3]},
			{"the header cut short", whole[:7]},
			{"text", []byte("this is not WebAssembly at all, it is prose")},
			{"an ELF file", append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 100)...)},
			{"a component", []byte("\x00asm\x0d\x00\x01\x00")},
			{"a version of the future", []byte("\x00asm\x02\x00\x00\x00")},
			{"a module cut in half", whole[:len(whole)/2]},
			{"a module without its last byte", trimCustom(whole)[:len(trimCustom(whole))-1]},
			{"a module with a wrong byte in its code", corruptCode(whole)},
			{"zeros", make([]byte, 1000)},
		} {
			m, err := e.Compile(context.Background(), tt.wasm)
			if err == nil {
				m.Close()
				t.Errorf("%s: compiled, want an error", tt.name)
			} else if len(err.Error()) < 10 {
				t.Errorf("%s: %q does not say what is wrong", tt.name, err)
			}
		}
	}},
	{"a module that needs a feature which is off is refused in words", func(t *suite) {
		e := t.engine(engine.Config{})
		for name, words := range map[string][]string{
			"memory64":    {"memory64", "64-bit", "limits flags", "invalid byte"},
			"shared":      {"thread", "shared"},
			"threads":     {"thread", "shared", "atomic"},
			"multimemory": {"multi", "memories"},
		} {
			m, err := e.Compile(context.Background(), guest(t, name))
			if err == nil {
				m.Close()
				t.Errorf("%s: compiled, want an error", name)
				continue
			}
			found := false
			for _, w := range words {
				found = found || strings.Contains(strings.ToLower(err.Error()), w)
			}
			if !found {
				t.Errorf("%s: %q names none of %q", name, err, words)
			}
		}
	}},
	{"every feature that toolchains use works", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "features")
		var r record
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
		for _, tt := range []struct {
			export string
			want   uint64
		}{
			{"data_segments", 0x04030201},
			{"bulk_memory", 0xffff0605},
			{"simd", 21},
			{"multi_value", 3},
			{"sign_extension", 0xffffffffffffff80},
			{"saturating", 0x7fffffff},
			{"reference_types", 6},
		} {
			t.mustCall(inst, tt.export)
			t.want(&r, tt.want)
		}
	}},
	{"an ended context stops Compile or is ignored", func(t *suite) {
		e := t.engine(engine.Config{})
		cause := errors.New("the caller went away")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		if m, err := e.Compile(ctx, guest(t, "features")); err == nil {
			m.Close()
		} else if !errors.Is(err, cause) {
			t.Errorf("Compile with an ended context: %v, want it to wrap %v", err, cause)
		}
	}},
	{"a template outlives the module it was linked from", func(t *suite) {
		e := t.engine(engine.Config{})
		m, err := e.Compile(context.Background(), guest(t, "compute"))
		if err != nil {
			t.Fatal(err)
		}
		tmpl := t.linkModule(m)
		m.Close()
		var r record
		t.mustCall(t.instance(tmpl, engine.InstanceConfig{State: &r}), "run")
		t.want(&r, computeResult)
	}},
}

// computeResult is what the guest compute reports: the sum of i*i for i below 4,000,000, in 64 bits.
const computeResult = ((4_000_000 - 1) * 4_000_000 / 2 * (2*4_000_000 - 1) / 3) % (1 << 64)

// trimCustom cuts the custom sections at the end of a module, where damage might go unnoticed.
func trimCustom(wasm []byte) []byte {
	end := 8
	for i := 8; i < len(wasm); {
		id := wasm[i]
		n, w := binary.Uvarint(wasm[i+1:])
		i += 1 + w + int(n)
		if id != 0 {
			end = i
		}
	}
	return wasm[:end]
}

// corruptCode puts an opcode that does not exist into the last function's end.
func corruptCode(wasm []byte) []byte {
	b := append([]byte(nil), wasm...)
	for i := 8; i < len(b); {
		id := b[i]
		n, w := binary.Uvarint(b[i+1:])
		end := i + 1 + w + int(n)
		if id == 10 {
			b[end-2] = 0xff
		}
		i = end
	}
	return b
}
