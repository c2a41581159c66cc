package wasm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/tetratelabs/wazero"
)

// generator writes random valid modules that end: every loop and function spends fuel, a global, and traps when
// there is none left.
type generator struct {
	*rand.Rand
	b      []byte
	labels []label
	f      int  // function being written
	budget int  // nodes left
	plain  bool // no calls and nothing like them, so that loops are tight
}

type label struct {
	value byte // type of what a branch to it carries, or 0
	loop  bool
}

const (
	i32t = 0x7f
	i64t = 0x7e

	genFuncs   = 5 // all of type (i32, i64) -> i64
	genLocals  = 3 // of i32, then as many of i64; parameters come before
	genGlobals = 4 // fuel i32, and i32, i64, i64
)

func (g *generator) op(b ...byte) { g.b = append(g.b, b...) }

func (g *generator) constant(t byte) {
	if t == i32t {
		g.b = wasm.AppendS64(append(g.b, 0x41), int64(int32(g.Uint32()>>g.IntN(32))))
	} else {
		g.b = wasm.AppendS64(append(g.b, 0x42), int64(g.Uint64()>>g.IntN(64)))
	}
}

// local picks a local of a type: parameters are 0 (i32) and 1 (i64).
func (g *generator) local(t byte) byte {
	n := g.IntN(genLocals + 1)
	if n == genLocals {
		return i32t - t // the parameter
	}
	if t == i64t {
		n += genLocals
	}
	return byte(2 + n)
}

func (g *generator) spendFuel() {
	g.op(0x23, 0, 0x41, 1, 0x6b, 0x24, 0)                // fuel = fuel - 1
	g.op(0x23, 0, 0x41, 0, 0x4c, 0x04, 0x40, 0x00, 0x0b) // trap below one
}

// enoughFuel turns the condition on the stack to 0 when much fuel is spent, so that most loops end before it is.
func (g *generator) enoughFuel() {
	g.op(0x45, 0x45, 0x23, 0, 0x41)
	g.b = wasm.AppendS64(g.b, 3000)
	g.op(0x4a, 0x71)
}

// value writes an expression of a type.
func (g *generator) value(t byte) {
	g.budget--
	if g.budget <= 0 {
		if g.IntN(2) == 0 {
			g.constant(t)
		} else {
			g.op(0x20, g.local(t))
		}
		return
	}
	switch g.IntN(16) {
	case 0, 1:
		g.constant(t)
	case 2, 3, 4:
		g.op(0x20, g.local(t))
	case 5:
		g.op(0x23, byte(i32t-t)*2+1) // global 1 or 3
	case 6: // load within the first page
		g.value(i32t)
		g.op(0x41, 0xff, 0xff, 0x00, 0x71)
		if t == i32t {
			g.op(0x28, 0, 8)
		} else {
			g.op(0x29, 0, 8)
		}
	case 7: // convert
		if t == i32t {
			g.value(i64t)
			g.op(0xa7)
		} else {
			g.value(i32t)
			g.op(0xac)
		}
	case 8: // compare
		if t == i32t {
			g.value(i64t)
			g.value(i64t)
			g.op(0x51 + byte(g.IntN(10)))
		} else {
			g.value(i64t)
			g.value(i64t)
			g.op(0x7c)
		}
	case 9: // if
		g.value(i32t)
		g.block(0x04, t, func() {
			g.statements(2)
			g.value(t)
			g.op(0x05)
			g.statements(2)
			g.value(t)
		})
	case 10:
		g.block(0x02, t, func() { g.statements(3); g.value(t) })
	case 11:
		g.loop(t)
	case 12:
		if g.plain || t != i64t {
			g.constant(t)
			return
		}
		g.call()
	case 13:
		if g.plain || t != i32t {
			g.constant(t)
			return
		}
		switch g.IntN(3) {
		case 0:
			g.op(0x41, 0, 0x40, 0) // memory.grow 0
		case 1:
			g.op(0x3f, 0)
		case 2: // a loop with a parameter, type 1
			g.value(i32t)
			g.labels = append(g.labels, label{i32t, true})
			g.op(0x03, 1)
			g.op(0x21, g.local(i32t))
			g.spendFuel()
			g.statements(3)
			g.value(i32t)
			g.op(0x0b)
			g.labels = g.labels[:len(g.labels)-1]
		}
	default: // arithmetic that does not trap, or seldom
		g.value(t)
		g.value(t)
		ops := []byte{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77}
		if g.IntN(20) == 0 {
			ops = []byte{0x6e} // div_u
		}
		o := ops[g.IntN(len(ops))]
		if t == i64t {
			o += 0x12
		}
		g.op(o)
	}
}

func (g *generator) block(op, t byte, body func()) {
	g.op(op, t)
	l := label{value: t}
	if t == 0x40 {
		l.value = 0
	}
	g.labels = append(g.labels, l)
	body()
	g.labels = g.labels[:len(g.labels)-1]
	g.op(0x0b)
}

// loop writes a loop that gives a value, or nothing for 0x40. A branch to it carries nothing.
func (g *generator) loop(t byte) {
	plain := g.plain
	g.plain = plain || g.IntN(3) > 0
	g.op(0x03, t)
	g.labels = append(g.labels, label{loop: true})
	g.spendFuel()
	g.statements(1 + g.IntN(4))
	if g.IntN(2) == 0 {
		g.value(i32t)
		g.enoughFuel()
		g.op(0x0d, 0)
	}
	if t != 0x40 {
		g.value(t)
	}
	g.labels = g.labels[:len(g.labels)-1]
	g.op(0x0b)
	g.plain = plain
}

// call calls a function; its result is left on the stack.
func (g *generator) call() {
	g.value(i32t)
	g.value(i64t)
	f := byte(1 + g.IntN(genFuncs)) // function 0 is imported
	switch g.IntN(4) {
	case 0: // through the table, by a type index of 0
		g.op(0x41, f-1, 0x11, 0, 0)
	case 1:
		g.op(0x12, f) // return_call
	default:
		g.op(0x10, f)
	}
}

func (g *generator) statements(n int) {
	for range n {
		if g.budget <= 0 {
			return
		}
		g.statement()
	}
}

func (g *generator) statement() {
	g.budget--
	t := byte(i32t - g.IntN(2))
	switch g.IntN(14) {
	case 0, 1, 2, 3:
		g.value(t)
		g.op(0x21, g.local(t))
	case 4:
		g.value(t)
		g.op(0x24, byte(i32t-t)*2+1)
	case 5:
		g.value(i32t)
		g.op(0x41, 0xff, 0xff, 0x00, 0x71)
		g.value(t)
		if t == i32t {
			g.op(0x36, 0, 16)
		} else {
			g.op(0x37, 0, 16)
		}
	case 6:
		g.value(i32t)
		g.block(0x04, 0x40, func() { g.statements(3) })
	case 7:
		g.block(0x02, 0x40, func() { g.statements(4) })
	case 8, 9:
		g.loop(0x40)
	case 10: // br_if or br
		depth := g.IntN(len(g.labels))
		l := g.labels[len(g.labels)-1-depth]
		v := l.value
		if v != 0 {
			g.value(v)
		}
		if g.IntN(8) == 0 && !l.loop {
			g.op(0x0c, byte(depth))
			return
		}
		g.value(i32t)
		if l.loop {
			g.enoughFuel()
		}
		g.op(0x0d, byte(depth))
		if v != 0 {
			g.op(0x1a)
		}
	case 11: // br_table to labels that take nothing
		var free []byte
		for d := range g.labels {
			if l := g.labels[len(g.labels)-1-d]; l.value == 0 && (!l.loop || g.IntN(3) == 0) {
				free = append(free, byte(d))
			}
		}
		if len(free) == 0 {
			return
		}
		g.block(0x02, 0x40, func() {
			g.value(i32t)
			g.op(0x41, 7, 0x71, 0x0e, 3)
			for range 4 {
				// One block more than when the list was made; the block itself counts too.
				d := g.IntN(len(free) + 1)
				if d == len(free) {
					g.op(0)
				} else {
					g.op(free[d] + 1)
				}
			}
		})
	case 12:
		if g.plain {
			return
		}
		g.op(0x41, byte(g.IntN(64)))
		g.value(i32t)
		g.op(0x41, byte(g.IntN(64)), 0xfc, 11, 0) // memory.fill
	case 13:
		if g.IntN(4) == 0 {
			g.value(i64t)
			g.op(0x0f)
			return
		}
		g.value(t)
		g.op(0x1a)
	}
}

// module writes a whole module.
func (g *generator) module() []byte {
	section := func(list []wasm.Section, id wasm.SectionID, body ...byte) []wasm.Section {
		return append(list, wasm.Section{ID: id, Body: body})
	}
	var list []wasm.Section
	list = section(list, wasm.SectionType, 3, 0x60, 2, i32t, i64t, 1, i64t, 0x60, 1, i32t, 1, i32t, 0x60, 0, 0)
	list = section(list, wasm.SectionImport, append([]byte("\x01\x0dinterruptions\x09untouched\x00"), 2)...)
	types := []byte{genFuncs + 1}
	exports := []byte{genFuncs + 1}
	elems := []byte{1, 0, 0x41, 0, 0x0b, genFuncs}
	for i := range byte(genFuncs) {
		types = append(types, 0)
		exports = append(wasm.AppendName(exports, string('a'+rune(i))), 0, i+1)
		elems = append(elems, i+1)
	}
	types = append(types, 2)
	exports = append(wasm.AppendName(exports, "refuel"), 0, genFuncs+1)
	list = section(list, wasm.SectionFunction, types...)
	list = section(list, wasm.SectionTable, 1, 0x70, 0, genFuncs)
	list = section(list, wasm.SectionMemory, 1, 1, 2, 3)
	list = section(list, wasm.SectionGlobal, append([]byte{genGlobals, i32t, 1, 0x41}, append(wasm.AppendS64(nil, 4000),
		0x0b, i32t, 1, 0x41, 5, 0x0b, i64t, 1, 0x42, 7, 0x0b, i64t, 1, 0x42, 9, 0x0b)...)...)
	list = section(list, wasm.SectionExport, exports...)
	list = section(list, wasm.SectionElement, elems...)
	code := []byte{genFuncs + 1}
	for g.f = range genFuncs {
		g.b = []byte{2, genLocals, i32t, genLocals, i64t}
		g.labels = []label{{value: i64t}}
		g.budget = 20 + g.IntN(200)
		g.plain = false
		g.spendFuel()
		g.statements(2 + g.IntN(10))
		g.budget = 10
		g.value(i64t)
		g.op(0x0b)
		code = append(wasm.AppendU32(code, uint32(len(g.b))), g.b...)
	}
	g.b = append(wasm.AppendS64([]byte{0, 0x41}, 4000), 0x24, 0, 0x0b)
	code = append(append(code, byte(len(g.b))), g.b...)
	return wasm.Encode(section(list, wasm.SectionCode, code...))
}

// compareRandom generates a module and compares it with its rewritten self.
func compareRandom(t *testing.T, seed uint64) (calls int) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	src := g.module()
	plain, rewritten := newWorld(t, false, allFeatures), newWorld(t, true, allFeatures)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("seed %d: %s", seed, fmt.Sprintf(format, args...))
	}
	p, err := plain.instantiate(src, "")
	if err != nil {
		_ = os.WriteFile(os.TempDir()+"/generated.wasm", src, 0o600)
		fail("the generator's module is not valid: %v", err)
	}
	r, err := rewritten.instantiate(src, "")
	if err != nil {
		fail("the rewritten module is not valid: %v", err)
	}
	for i := range genFuncs {
		for _, args := range [][]uint64{{0, 0}, {1, 2}, {0xfffffff0, 1 << 40}} {
			name := string('a' + rune(i))
			outcome(p, "refuel", nil)
			outcome(r, "refuel", nil)
			want := outcome(p, name, args) + " " + state(p)
			if got := outcome(r, name, args) + " " + state(r); got != want {
				fail("%s%v gives %s, rewritten %s", name, args, want, got)
			}
		}
	}
	plain.rt.Close(context.Background())
	rewritten.rt.Close(context.Background())
	return rewritten.calls
}

// TestInterruptsKeepTheMeaningOfRandomModules holds generated modules, with loops, branches and calls of all
// shapes, against their rewritten selves.
func TestInterruptsKeepTheMeaningOfRandomModules(t *testing.T) {
	n := uint64(400)
	if testing.Short() {
		n = 50
	}
	calls := 0
	for seed := range n {
		calls += compareRandom(t, seed)
	}
	if calls < 1000 {
		t.Errorf("the host was called %d times only: the counters hardly ran out", calls)
	}
}

func FuzzInterruptsKeepMeaning(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { compareRandom(t, seed) })
}

// FuzzInsertInterrupts wants valid modules to stay valid, and invalid ones to stay invalid.
func FuzzInsertInterrupts(f *testing.F) {
	kernels, err := os.ReadFile("testdata/kernels.wasm")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kernels)
	for seed := range uint64(20) {
		f.Add((&generator{Rand: rand.New(rand.NewPCG(seed, 1))}).module())
	}
	plain, rewritten := newInterpreter(f, false), newInterpreter(f, true) // validates alike, and compiles faster
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := wasm.Parse(src)
		if err != nil {
			return // wazero would believe in any count; guests are parsed here first
		}
		// wazero refuses damaged names; the specification says that custom sections make nothing invalid.
		src = wasm.Encode(slices.DeleteFunc(m.Sections, func(s wasm.Section) bool { return s.ID == wasm.SectionCustom }))
		p, perr := plain.compile(src)
		r, rerr := rewritten.compile(src)
		for _, c := range []wazero.CompiledModule{p, r} {
			if c != nil {
				c.Close(context.Background())
			}
		}
		if (perr == nil) != (rerr == nil) {
			t.Errorf("compiles with %v, rewritten with %v", perr, rerr)
		}
	})
}
