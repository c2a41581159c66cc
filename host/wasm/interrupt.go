package wasm

import (
	"cmp"

	"github.com/edgewasm/wasmedge/host/engine"
)

// InterruptOptions are settings of InsertInterrupts. The zero value means the defaults named at each field.
type InterruptOptions struct {
	// Module and Name of the function import that is added, of type () -> i32. The guest calls it when its
	// counter has run out; what it answers is the next budget, from 1 to MaxBudget. Empty means "wasmedge"
	// and "interrupt".
	Module, Name string

	// Budget is what the counter starts with. 0 means 1, so that the first check calls.
	Budget int32

	// Grow, if not empty, names a second function import of type (what, size, delta i32) -> i32 that is asked
	// before each memory.grow and table.grow; when it answers 0 the instruction answers -1. What is 0 for
	// the memory and 1 more than its index for a table; size is the current one, in pages or elements.
	Grow string

	// ExportStart, if not empty, takes the start function's section away and exports the function under
	// this name instead.
	ExportStart string

	// DropCustom leaves custom sections out. Otherwise function names are kept, and sections that hold
	// offsets into the code (debug information, source maps, branch hints) are left out.
	DropCustom bool
}

// MaxBudget is the largest budget that the counter holds without overflowing.
const MaxBudget = 1 << 30

// Added is the number of function imports that InsertInterrupts adds with these options. They come after the
// module's own imports: its defined functions have indices higher by as much in the result, and functions
// behind those are helpers that it added.
func (o InterruptOptions) Added() int {
	if o.Grow != "" {
		return 2
	}
	return 1
}

// Original gives the index in m of a function of the module that InsertInterrupts made of m with these options;
// false for functions that it added.
func (o InterruptOptions) Original(m *Module, index uint32) (uint32, bool) {
	imported, added := uint32(m.ImportedFuncs), uint32(o.Added())
	switch {
	case index < imported:
		return index, true
	case index < imported+added || index-added >= uint32(m.NumFuncs()):
		return 0, false
	}
	return index - added, true
}

// What instructions cost, in units of about a simple instruction.
const (
	costDivide    = 8    // divisions, remainders, square roots
	costCall      = 4    // of a defined function, which is charged for itself
	costImport    = 40   // what crosses to the host; the host looks at the clock itself now and then
	costIndirect  = 32   // includes what the callee may do unchecked, on average
	costRefFunc   = 100  // goes through the host on some engines
	costGrow      = 2000 // memory.grow, table.grow
	costTryTable  = 2000 // may copy the stack
	costBulk      = 20   // besides what goes by length
	costUnchecked = 400  // a function that costs more is checked at its entry
	costRecursion = 256  // each entry of a function on a cycle of the call graph: bounds the stack between checks

	// A loop or function is charged for a share of its code, because most code is passed by: a loop around
	// a large switch runs a single case in each turn.
	costShare = 16
)

// maxLocals bounds the locals of a function, as other implementations do (Wasm JavaScript interface, limits).
const maxLocals = 50_000

// InsertInterrupts rewrites a module so that a host can interrupt it, on an engine that cannot do that
// cheaply. A counter, a new global, is decremented at loop heads, at the entries of functions that could keep
// running by calling alone, and before bulk instructions by their length; when it goes below zero, an added
// import is called. What the module computes stays the same.
//
// Between two calls the guest runs at most a small multiple of budget instructions. A function without a loop
// that calls nothing costs nothing: its instructions are counted where it is called.
//
// The module is not validated, but one that is invalid does not become valid.
func InsertInterrupts(src []byte, opt InterruptOptions) ([]byte, error) {
	m, err := Parse(src)
	if err != nil {
		return nil, err
	}
	opt.Module = cmp.Or(opt.Module, "wasmedge")
	opt.Name = cmp.Or(opt.Name, "interrupt")
	opt.Budget = min(max(opt.Budget, 1), MaxBudget)
	x := &interrupter{m: m, opt: opt, imported: uint32(m.ImportedFuncs), added: uint32(opt.Added())}
	return x.rewrite()
}

// interrupter is one run of InsertInterrupts.
type interrupter struct {
	m        *Module
	opt      InterruptOptions
	imported uint32 // function imports before ours
	added    uint32
	funcs    []funcFacts
	events   []event  // of all functions, in code order
	targets  []target // of branches within loops

	typeTick, typeInterrupt, typeRefill, typeGrow uint32 // type indices
	counter                                       uint32 // global index
	tick                                          uint32 // function index in the result of the first of two helpers
}

// shift gives a function's index in the result.
func (x *interrupter) shift(index uint32) uint32 {
	if index < x.imported {
		return index
	}
	return index + x.added
}

func (x *interrupter) interruptFunc() uint32 { return x.imported }
func (x *interrupter) growFunc() uint32      { return x.imported + 1 }

func (x *interrupter) rewrite() ([]byte, error) {
	m := x.m
	for _, t := range []struct {
		is   bool
		what string
	}{
		{m.any64(), "64-bit memories or tables (memory64)"},
		{m.NumMemories() > 1, "multiple memories (multi-memory)"},
	} {
		if t.is {
			return nil, &FormatError{Offset: 8, Err: ErrUnsupported, Problem: "the module uses " + t.what}
		}
	}
	x.counter = uint32(m.NumGlobals())
	x.tick = uint32(m.NumFuncs()) + x.added
	if err := x.scan(); err != nil {
		return nil, err
	}
	x.weigh()

	// The edited sections; those that the module lacks are made, at their place in the order.
	edited := map[SectionID]func(s Section, ok bool) ([]byte, error){
		SectionType:     x.types,
		SectionImport:   x.imports,
		SectionFunction: x.functions,
		SectionTable:    x.tables,
		SectionGlobal:   x.globals,
		SectionExport:   x.exports,
		SectionStart:    x.start,
		SectionElement:  x.elements,
		SectionCode:     x.code,
	}
	var out []Section
	emit := func(s Section, ok bool) error {
		if f := edited[s.ID]; f != nil {
			body, err := f(s, ok)
			if err != nil {
				return err
			}
			if body == nil {
				return nil
			}
			s.Body, ok = body, true
		}
		if ok {
			out = append(out, s)
		}
		return nil
	}
	next := 1 // rank to emit next
	var customs []Section
	for _, s := range m.Sections {
		if s.ID == SectionCustom {
			if s, keep := x.custom(s); keep {
				customs = append(customs, s) // made sections come before, so that names stay last
			}
			continue
		}
		for ; next < rank[s.ID]; next++ {
			if err := emit(Section{ID: atRank(next)}, false); err != nil {
				return nil, err
			}
		}
		out = append(out, customs...)
		customs = customs[:0]
		if err := emit(s, true); err != nil {
			return nil, err
		}
		next++
	}
	for ; next < len(rank); next++ {
		if err := emit(Section{ID: atRank(next)}, false); err != nil {
			return nil, err
		}
	}
	return Encode(append(out, customs...)), nil
}

func atRank(r int) SectionID {
	for id, k := range rank {
		if k == r {
			return SectionID(id)
		}
	}
	return SectionCustom
}

func (m *Module) any64() bool {
	for i := range m.Imports {
		if m.Imports[i].Memory.Is64 || m.Imports[i].Table.Limits.Is64 {
			return true
		}
	}
	for _, l := range m.Memories {
		if l.Is64 {
			return true
		}
	}
	for _, t := range m.Tables {
		if t.Limits.Is64 {
			return true
		}
	}
	return false
}

// splitCount parts a vector into its length and its entries.
func splitCount(s Section, ok bool) (uint32, []byte) {
	if !ok {
		return 0, nil
	}
	r := &reader{b: s.Body}
	n := r.u32("a count") // was decoded before
	return n, s.Body[r.pos:]
}

func (x *interrupter) types(s Section, ok bool) ([]byte, error) {
	n, rest := splitCount(s, ok)
	next := uint32(len(x.m.Types))
	x.typeTick, x.typeInterrupt, x.typeRefill = next, next+1, next+2
	more := []byte{formFunc, 0, 0, formFunc, 0, 1, byte(engine.I32), formFunc, 1, byte(engine.I32), 1, byte(engine.I32)}
	n += 3
	if x.opt.Grow != "" {
		x.typeGrow = next + 3
		more = append(more, formFunc, 3, byte(engine.I32), byte(engine.I32), byte(engine.I32), 1, byte(engine.I32))
		n++
	}
	return append(append(AppendU32(nil, n), rest...), more...), nil
}

func (x *interrupter) imports(s Section, ok bool) ([]byte, error) {
	n, rest := splitCount(s, ok)
	b := append(AppendU32(nil, n+x.added), rest...)
	add := func(name string, typ uint32) {
		b = AppendName(AppendName(b, x.opt.Module), name)
		b = AppendU32(append(b, byte(engine.KindFunc)), typ)
	}
	add(x.opt.Name, x.typeInterrupt)
	if x.opt.Grow != "" {
		add(x.opt.Grow, x.typeGrow)
	}
	return b, nil
}

func (x *interrupter) functions(s Section, ok bool) ([]byte, error) {
	n, rest := splitCount(s, ok)
	b := AppendU32(append(AppendU32(nil, n+2), rest...), x.typeTick)
	return AppendU32(b, x.typeRefill), nil
}

func (x *interrupter) tables(s Section, ok bool) ([]byte, error) {
	if !ok {
		return nil, nil
	}
	n, rest := splitCount(s, ok)
	for _, t := range x.m.Tables {
		if t.Init != nil {
			b := AppendU32(nil, n)
			r := &reader{b: rest, base: s.Offset + len(s.Body) - len(rest), section: "table", types: len(x.m.Types)}
			for i := uint32(0); i < n && r.err == nil; i++ {
				start := r.pos
				hasInit := r.b[r.pos] == 0x40
				if hasInit {
					r.pos += 2
				}
				r.refType("a table's type")
				r.limits("a table")
				b = append(b, r.b[start:r.pos]...)
				if hasInit {
					b = x.constExpr(b, r)
				}
			}
			return b, r.err
		}
	}
	return s.Body, nil
}

func (x *interrupter) globals(s Section, ok bool) ([]byte, error) {
	n, rest := splitCount(s, ok)
	b := AppendU32(nil, n+1)
	r := &reader{b: rest, base: s.Offset + len(s.Body) - len(rest), section: "global", types: len(x.m.Types)}
	for i := uint32(0); i < n && r.err == nil; i++ {
		start := r.pos
		readGlobalType(r)
		b = append(b, r.b[start:r.pos]...)
		b = x.constExpr(b, r)
	}
	b = append(b, byte(engine.I32), 1, opI32Const)
	return append(AppendS64(b, int64(x.opt.Budget)), opEnd), r.err
}

// constExpr copies a constant expression with its function indices shifted.
func (x *interrupter) constExpr(b []byte, r *reader) []byte {
	var in instr
	for r.err == nil {
		if r.pos < len(r.b) && r.b[r.pos] == opPrefixGC {
			r.fail(r.pos, ErrUnsupported, "opcode 0xfb belongs to the garbage-collection proposal")
			return b
		}
		r.next(&in, nil)
		switch {
		case in.op == opRefFunc:
			x.m.checkIndex(r, in.start, in.index, x.m.NumFuncs(), "function")
			b = AppendU32(append(b, opRefFunc), x.shift(in.index))
			continue
		case in.op == opGlobalGet:
			x.m.checkIndex(r, in.start, in.index, x.m.NumGlobals(), "global")
		}
		b = append(b, r.b[in.start:r.pos]...)
		if in.op == opEnd {
			break
		}
	}
	return b
}

func (x *interrupter) exports(s Section, ok bool) ([]byte, error) {
	list := x.m.Exports
	if x.m.HasStart && x.opt.ExportStart != "" {
		if t, _ := x.m.FuncType(x.m.Start); len(t.Params)+len(t.Results) != 0 {
			return nil, &FormatError{Offset: s.Offset, Section: "start", Err: ErrMalformed, Problem: "the start function has type " + t.String()}
		}
		if _, taken := x.m.Export(x.opt.ExportStart); taken {
			return nil, &FormatError{Offset: s.Offset, Section: "export", Err: ErrUnsupported, Problem: "the export " + x.opt.ExportStart + " is the host's own"}
		}
		list = append(list[:len(list):len(list)], Export{Name: x.opt.ExportStart, Kind: engine.KindFunc, Index: x.m.Start})
	} else if !ok {
		return nil, nil
	}
	b := AppendU32(nil, uint32(len(list)))
	for _, e := range list {
		if e.Kind == engine.KindFunc {
			e.Index = x.shift(e.Index)
		}
		b = append(AppendName(b, e.Name), byte(e.Kind))
		b = AppendU32(b, e.Index)
	}
	return b, nil
}

func (x *interrupter) start(_ Section, ok bool) ([]byte, error) {
	if !ok || x.opt.ExportStart != "" {
		return nil, nil
	}
	return AppendU32(nil, x.shift(x.m.Start)), nil
}

// elements shifts the functions of element segments .
func (x *interrupter) elements(s Section, ok bool) ([]byte, error) {
	if !ok {
		return nil, nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "element", types: len(x.m.Types)}
	n := r.count(3, "element segments")
	b := AppendU32(make([]byte, 0, len(s.Body)+len(s.Body)/8), uint32(n))
	for i := 0; i < n && r.err == nil; i++ {
		start := r.pos
		active, _, flags := r.elementHead()
		if active {
			b = append(b, r.b[start:r.pos]...)
			b = x.constExpr(b, r)
			start = r.pos
		}
		k := r.elementKind(flags)
		if r.err != nil {
			break
		}
		b = append(b, r.b[start:r.pos]...)
		for ; k > 0 && r.err == nil; k-- {
			if flags&elemExprs != 0 {
				b = x.constExpr(b, r)
				continue
			}
			at := r.pos
			f := r.u32("a function index")
			x.m.checkIndex(r, at, f, x.m.NumFuncs(), "function")
			b = AppendU32(b, x.shift(f))
		}
	}
	return b, r.done()
}

// custom says what becomes of a custom section.
func (x *interrupter) custom(s Section) (Section, bool) {
	switch {
	case x.opt.DropCustom:
		return s, false
	case s.Name == "name":
		s.Body = x.shiftNames(s)
		return s, true
	case len(s.Name) > 7 && s.Name[:7] == ".debug_", s.Name == "sourceMappingURL", s.Name == "metadata.code.branch_hint",
		len(s.Name) >= 6 && s.Name[:6] == "reloc.", s.Name == "linking", s.Name == "dylink.0":
		return s, false
	}
	return s, true
}

// shiftNames keeps the names of the module, its functions and what is not in functions.
func (x *interrupter) shiftNames(s Section) []byte {
	const namesLocals, namesLabels = 2, 3
	r := &reader{b: s.Body, base: s.Offset, section: "name"}
	var b []byte
	for r.pos < len(r.b) {
		start := r.pos
		id := r.byte("a subsection")
		body := r.bytes(int(r.u32("the size of a subsection")), "a subsection")
		if r.err != nil {
			break // a damaged name section counts as far as it could be read
		}
		switch id {
		case namesFunctions:
			var ns names
			ns.read(&reader{b: body})
			sub := AppendU32(nil, uint32(len(ns.index)))
			for i, f := range ns.index {
				sub = AppendName(AppendU32(sub, x.shift(f)), ns.name[i])
			}
			b = append(AppendU32(append(b, id), uint32(len(sub))), sub...)
		case namesLocals, namesLabels:
		default:
			b = append(b, r.b[start:r.pos]...)
		}
	}
	return b
}
