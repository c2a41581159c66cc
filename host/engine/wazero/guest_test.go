package wazero

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// reports is the State of the guests of this package's tests.
type reports struct{ values []uint64 }

var errEnd = errors.New("ended by a hostcall")

// testCalls are their hostcalls.
func testCalls() []engine.Hostcall {
	return []engine.Hostcall{
		{Module: "env", Name: "report", Type: engine.FuncType{Params: []engine.ValueType{engine.I64}},
			Fn: func(c *engine.Caller, s []uint64) error {
				r := c.State.(*reports)
				r.values = append(r.values, s[0])
				return nil
			}},
		{Module: "env", Name: "end", Fn: func(*engine.Caller, []uint64) error { return errEnd }},
		{Module: "env", Name: "panic", MayBlock: true, Fn: func(*engine.Caller, []uint64) error { panic("a bug") }},
	}
}

// Functions that every guest imports.
const (
	callReport = "\x10\x00"
	callEnd    = "\x10\x01"
	callPanic  = "\x10\x02"
)

func u32(n int) string { return string(wasm.AppendU32(nil, uint32(n))) }
func i32(n int) string { return "\x41" + string(wasm.AppendS64(nil, int64(int32(n)))) }
func i64(n int64) string {
	return "\x42" + string(wasm.AppendS64(nil, n))
}

func vector[T any](list []T, f func(T) string) string {
	s := u32(len(list))
	for _, e := range list {
		s += f(e)
	}
	return s
}

// guest is a module in the making: the imports are testCalls, the types () -> (), (i64) -> () and () -> i64.
type guest struct {
	functions []string // bodies; those after f1 and f2 are exported by name
	names     []string
	globals   string // vector's elements
	nglobals  int
	exports   string // further ones
	nexports  int
	memory    string // limits; empty for no memory
	data      []string
	counted   bool   // there is a data count section
	start     string // name of the start function
}

// Every guest's table holds f1 and f2 from 1 on.
const (
	tableSize   = 6
	firstOwn    = 5 // index of functions[0]: behind imports, f1 and f2
	bodyF1      = "\x00\x42\x01\x0b"
	bodyF2      = "\x00\x42\x02\x0b"
	elements    = "\x03\x00\x41\x01\x0b\x02\x03\x04\x01\x00\x01\x04\x03\x00\x02\x03\x04" // active, passive, declared
	typesOfTest = "\x03\x60\x00\x00\x60\x01\x7e\x00\x60\x00\x01\x7e"
)

// function adds an exported function of type () -> () with two i32 locals.
func (g *guest) function(name, code string) {
	g.names = append(g.names, name)
	g.functions = append(g.functions, "\x01\x02\x7f"+code+"\x0b")
}

// global adds a mutable global.
func (g *guest) global(typ engine.ValueType, init, export string) {
	g.globals += string([]byte{byte(typ), 1}) + init + "\x0b"
	if export != "" {
		g.export(export, engine.KindGlobal, g.nglobals)
	}
	g.nglobals++
}

func (g *guest) export(name string, kind engine.ExternKind, index int) {
	g.exports += string(wasm.AppendName(nil, name)) + string([]byte{byte(kind)}) + u32(index)
	g.nexports++
}

func (g *guest) encode() []byte {
	all := append([]string{bodyF1, bodyF2}, g.functions...)
	exports := g.exports
	for i, name := range g.names {
		exports += string(wasm.AppendName(nil, name)) + "\x00" + u32(firstOwn+i)
	}
	list := []wasm.Section{
		{ID: wasm.SectionType, Body: []byte(typesOfTest)},
		{ID: wasm.SectionImport, Body: []byte("\x03\x03env\x06report\x00\x01\x03env\x03end\x00\x00\x03env\x05panic\x00\x00")},
		{ID: wasm.SectionFunction, Body: []byte(u32(len(all)) + "\x02\x02" + string(make([]byte, len(g.functions))))},
		{ID: wasm.SectionTable, Body: []byte("\x01\x70\x01" + u32(tableSize) + u32(tableSize+3))},
	}
	if g.memory != "" {
		list = append(list, wasm.Section{ID: wasm.SectionMemory, Body: []byte("\x01" + g.memory)})
	}
	if g.nglobals > 0 {
		list = append(list, wasm.Section{ID: wasm.SectionGlobal, Body: []byte(u32(g.nglobals) + g.globals)})
	}
	list = append(list, wasm.Section{ID: wasm.SectionExport, Body: []byte(u32(len(g.names)+g.nexports) + exports)})
	if g.start != "" {
		list = append(list, wasm.Section{ID: wasm.SectionStart, Body: []byte(u32(firstOwn + slices.Index(g.names, g.start)))})
	}
	list = append(list, wasm.Section{ID: wasm.SectionElement, Body: []byte(elements)})
	if g.counted {
		list = append(list, wasm.Section{ID: wasm.SectionDataCount, Body: []byte(u32(len(g.data)))})
	}
	list = append(list, wasm.Section{ID: wasm.SectionCode, Body: []byte(vector(all, func(s string) string { return u32(len(s)) + s }))})
	if len(g.data) > 0 {
		list = append(list, wasm.Section{ID: wasm.SectionData, Body: []byte(vector(g.data, func(s string) string { return s }))})
	}
	return wasm.Encode(list)
}

func store64(at int, v int64) string { return i32(at) + i64(v) + "\x37\x00\x00" }

// growBy grows memory and drops the answer.
func growBy(pages int) string { return i32(pages) + "\x40\x00\x1a" }

// loop runs code until local 0, which it steps, reaches end.
func loop(code string, step, end int) string {
	return i32(0) + "\x21\x00\x03\x40" + code + "\x20\x00" + i32(step) + "\x6a\x22\x00" + i32(end) + "\x49\x0d\x00\x0b"
}

// look reports all that can change in an instance besides the bytes of memory.
func (g *guest) look(globals []engine.ValueType) {
	code := ""
	if g.memory != "" {
		code += "\x3f\x00\xad" + callReport
	}
	for i, typ := range globals {
		code += "\x23" + u32(i)
		switch typ {
		case engine.I32:
			code += "\xad"
		case engine.F32:
			code += "\xbc\xad"
		case engine.F64:
			code += "\xbd"
		case engine.V128:
			code += "\xfd\x1d\x00" + callReport + "\x23" + u32(i) + "\xfd\x1d\x01" // both lanes
		}
		code += callReport
	}
	code += "\xfc\x10\x00\xad" + callReport // table.size
	// Of each element what it answers, or 0 for null: local 0 is compared with the table's size, which may have grown.
	code += i32(0) + "\x21\x00\x03\x40\x20\x00\x25\x00\xd1\x04\x7e" + i64(0) + "\x05\x20\x00\x11\x02\x00\x0b" + callReport +
		"\x20\x00" + i32(1) + "\x6a\x22\x00\xfc\x10\x00\x49\x0d\x00\x0b"
	g.function("look", code)
}

// randomGuest has some of everything that instances can hold. Its exports run0 to run3 change it, look reports what
// there is. hard says that instances cannot be set back, memory is what an instance starts with.
func randomGuest(r *rand.Rand) (src []byte, memory []byte, hard bool) {
	g := &guest{counted: true}
	pages := r.IntN(12)
	size := pages << 16
	memory = make([]byte, size)
	if pages > 0 || r.IntN(2) == 0 {
		g.memory = "\x01" + u32(pages) + u32(pages+2)
		if name := []string{"memory", "", "other"}[r.IntN(3)]; name != "" {
			g.export(name, engine.KindMemory, 0)
		}
		for range r.IntN(8) {
			if size > 4096 {
				at, b := r.IntN(size-4096), bytes.Repeat([]byte{byte(r.IntN(256))}, 1+r.IntN(4000))
				g.data = append(g.data, "\x00"+i32(at)+"\x0b"+u32(len(b))+string(b))
				copy(memory[at:], b)
			}
		}
		g.data = append(g.data, "\x01\x04lazy")
	}
	lazy := len(g.data) - 1
	var globals []engine.ValueType
	for i := range r.IntN(8) {
		typ := []engine.ValueType{engine.I32, engine.I64, engine.F32, engine.F64}[r.IntN(4)]
		init := map[engine.ValueType]string{engine.I32: i32(r.IntN(1000)), engine.I64: i64(r.Int64()),
			engine.F32: "\x43\x01\x02\x03\x04", engine.F64: "\x44\x01\x02\x03\x04\x05\x06\x07\x08"}[typ]
		export := ""
		if r.IntN(3) == 0 {
			export = fmt.Sprint("global", i)
		}
		g.global(typ, init, export)
		globals = append(globals, typ)
	}
	if r.IntN(6) == 0 {
		hard = true
		g.global(engine.V128, "\xfd\x0c0123456789abcdef", "")
		globals = append(globals, engine.V128)
	}
	changeTables := r.IntN(4) == 0
	refF1, refF2 := "\xd2\x03", "\xd2\x04"
	for f := range 4 {
		code := ""
		for range 1 + r.IntN(8) {
			switch k := r.IntN(13); {
			case k < 4 && size > 0:
				code += store64(r.IntN(size-8), int64(r.Uint64()))
			case k == 4 && size > 0: // a stride
				step := 8 << r.IntN(12)
				code += loop("\x20\x00"+i64(int64(r.Uint64()))+"\x37\x00\x00", step, size-step)
			case k == 5 && size > 0: // memory.fill
				at := r.IntN(size)
				code += i32(at) + i32(r.IntN(256)) + i32(r.IntN(min(size-at, 100_000)+1)) + "\xfc\x0b\x00"
			case k == 6 && size > 0: // memory.copy
				code += i32(r.IntN(size/2)) + i32(r.IntN(size/2)) + i32(r.IntN(size/2)) + "\xfc\x0a\x00\x00"
			case k == 7 && len(globals) > 0:
				i := r.IntN(len(globals))
				code += map[engine.ValueType]string{engine.I32: i32(r.IntN(1000)), engine.I64: i64(r.Int64()), engine.F32: "\x43\x09\x02\x03\x04",
					engine.F64: "\x44\x09\x02\x03\x04\x05\x06\x07\x08", engine.V128: "\xfd\x0cfedcba9876543210"}[globals[i]] + "\x24" + u32(i)
			case k == 8 && g.memory != "":
				code += growBy(1 + r.IntN(2))
			case k == 9 && g.memory != "": // to the last byte of all that it knows of
				code += "\x3f\x00" + i32(16) + "\x74" + i32(1) + "\x6b" + i32(7) + "\x3a\x00\x00"
			case k == 10 && changeTables:
				hard = true
				code += []string{
					"\xfc\x0d\x01", // elem.drop
					i32(r.IntN(5)) + refF1 + "\x26\x00",
					refF2 + i32(1) + "\xfc\x0f\x00\x1a", // table.grow
					i32(r.IntN(5)) + refF1 + i32(1) + "\xfc\x11\x00",
					i32(r.IntN(5)) + i32(0) + i32(1) + "\xfc\x0c\x01\x00",
					i32(0) + i32(r.IntN(4)) + i32(2) + "\xfc\x0e\x00\x00",
				}[r.IntN(6)]
			case k == 11 && size > 0: // memory.init of a passive segment
				code += i32(r.IntN(size-4)) + i32(0) + i32(4) + "\xfc\x08" + u32(lazy) + "\x00"
			case k == 12 && size > 0 && changeTables:
				hard = true
				code += "\xfc\x09" + u32(lazy)
			}
		}
		code += []string{"\x00", callEnd, i32(-4) + "\x28\x00\x00\x1a", "", "", "", ""}[r.IntN(7)*min(1, size)]
		g.function(fmt.Sprint("run", f), code)
	}
	if size > 0 && len(globals) > 0 && r.IntN(4) == 0 {
		g.function("init", store64(r.IntN(size-8), 1)+growBy(1)) // before each first call
		g.start = "init"
	}
	g.look(globals)
	return g.encode(), memory, hard
}

func linkTest(tb testing.TB, e *Engine, src []byte) *template {
	tb.Helper()
	m, err := e.Compile(context.Background(), src)
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	t, err := m.Link(testCalls(), engine.LinkOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(t.Close)
	return t.(*template)
}

func newInstance(tb testing.TB, t *template, cfg engine.InstanceConfig) *instance {
	tb.Helper()
	in, err := t.Instantiate(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return in.(*instance)
}

// values is what look reports, as text: not-a-number is itself here.
func values(tb testing.TB, in *instance) string {
	tb.Helper()
	r := in.cfg.State.(*reports)
	r.values = nil
	if err := in.Call(context.Background(), "look"); err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprint(r.values)
}
