package wasm

import (
	"fmt"
	"slices"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Growth says what KeepSize did to a module.
type Growth struct {
	// Size is the export name of the global that holds the memory's size in pages, an i32.
	Size string `json:"size"`
	// Shifts tell where code moved, in the order of Offset.
	Shifts []Shift `json:"shifts,omitempty"`
}

// Shift says that code from Offset on, in the rewritten code section's body, lies By bytes further back than in
// the original's.
type Shift struct {
	Offset uint32 `json:"offset"`
	By     int32  `json:"by"`
}

// KeepSize lets a host take back what a guest has grown: the size of a memory never shrinks, so the module is
// rewritten to keep its own account of it, in a mutable global that is exported under a name that begins with prefix. memory.size
// reads the global; memory.grow becomes the call of a function that grows the memory where it is not large enough
// already. Setting the global back, and the memory's further pages to zero, leaves an instance that grows as a new one
// does. What remains different: loads and stores between the size that the guest knows and what the memory once grew to do
// not trap but reach zeros.
//
// Nothing is done, and a nil Growth given, when the module does not grow its memory, has not exactly one of its
// own, or exports it with a maximum that leaves no room. The module must be one that Parse has read without error;
// code that does not decode is an error.
func (m *Module) KeepSize(prefix string) ([]byte, *Growth, error) {
	code, ok := m.Section(SectionCode)
	if !ok || len(m.Memories) != 1 || m.ImportedMemories > 0 {
		return m.src, nil, nil
	}
	memory := m.Memories[0]
	if memory.Is64 || memory.Shared || memory.PageSizeLog2 != 16 {
		return m.src, nil, nil
	}
	size := uint32(m.NumGlobals())
	grow := uint32(m.NumFuncs())
	body, g, err := m.growCode(code, size, grow)
	if err != nil || g == nil {
		return m.src, nil, err
	}

	// The type of the function: an own one if need be, behind the others.
	typ := slices.IndexFunc(m.Types, func(t engine.FuncType) bool {
		return slices.Equal(t.Params, []engine.ValueType{engine.I32}) && slices.Equal(t.Results, []engine.ValueType{engine.I32})
	})
	if typ >= 0 && !m.IsFunc(uint32(typ)) {
		typ = -1
	}
	list := m.Sections
	replace := func(id SectionID, add ...byte) error {
		s, ok := m.Section(id)
		if !ok {
			list = withSection(list, Section{ID: id, Body: append([]byte{1}, add...)})
			return nil
		}
		r := &reader{b: s.Body, base: s.Offset, section: id.String()}
		n := r.u32("a count")
		if r.err != nil {
			return r.err
		}
		b := AppendU32(make([]byte, 0, len(s.Body)+len(add)+1), n+1)
		list = withSection(list, Section{ID: id, Body: append(append(b, s.Body[r.pos:]...), add...)})
		return nil
	}
	if typ < 0 {
		if len(m.notFunc) > 0 {
			return m.src, nil, nil // types that come in groups are not counted one by one
		}
		typ = len(m.Types)
		err = replace(SectionType, 0x60, 1, byte(engine.I32), 1, byte(engine.I32))
	}
	if err == nil {
		err = replace(SectionFunction, AppendU32(nil, uint32(typ))...)
	}
	if err == nil {
		init := AppendS64([]byte{byte(engine.I32), 1, opI32Const}, int64(int32(memory.Min)))
		err = replace(SectionGlobal, append(init, opEnd)...)
	}
	if err == nil {
		g.Size = prefix + "size"
		for _, e := range m.Exports {
			if e.Name == g.Size {
				return nil, nil, fmt.Errorf("%w: it exports %q, a name reserved for the host", ErrKeepsState, e.Name)
			}
		}
		err = replace(SectionExport, AppendU32(append(AppendName(nil, g.Size), byte(engine.KindGlobal)), size)...)
	}
	if err != nil {
		return nil, nil, err
	}
	return Encode(withSection(list, Section{ID: SectionCode, Body: body})), g, nil
}

// growCode rewrites the code section; a nil Growth means that there was nothing to rewrite.
func (m *Module) growCode(code Section, size, grow uint32) ([]byte, *Growth, error) {
	r := &reader{b: code.Body, base: code.Offset, section: "code", types: len(m.Types)}
	n := r.count(2, "function bodies")
	out := AppendU32(make([]byte, 0, len(code.Body)+64), uint32(n)+1)
	g := new(Growth)
	shift := func(original int) {
		by := int32(len(out) - original)
		if k := len(g.Shifts); k > 0 && g.Shifts[k-1].By == by {
			return
		}
		g.Shifts = append(g.Shifts, Shift{uint32(len(out)), by})
	}
	found := false
	var body []byte
	type patch struct{ from, to int } // positions behind a replaced instruction, in the original and in body
	var patches []patch
	for range n {
		sized := r.pos
		length := int(r.u32("the size of a function body"))
		start := r.pos
		r.bytes(length, "a function body")
		if r.err != nil {
			return nil, nil, r.err
		}
		f := &reader{b: code.Body[:r.pos], pos: start, base: code.Offset, section: "code", types: len(m.Types)}
		for k := f.count(2, "local declarations"); k > 0 && f.err == nil; k-- {
			f.u32("a number of locals")
			f.valueType("the type of locals")
		}
		body, patches = body[:0], patches[:0]
		copied := start
		var in instr
		for f.err == nil && f.pos < len(f.b) {
			f.next(&in, nil)
			if f.err != nil || in.op != opMemorySize && in.op != opMemoryGrow {
				continue
			}
			body = append(body, code.Body[copied:in.start]...)
			if in.op == opMemorySize {
				body = AppendU32(append(body, opGlobalGet), size)
			} else {
				body = AppendU32(append(body, opCall), grow)
			}
			copied = f.pos
			patches = append(patches, patch{f.pos, len(body)})
		}
		if err := f.done(); err != nil {
			return nil, nil, err
		}
		if len(patches) == 0 {
			if found {
				shift(sized)
			}
			out = append(out, code.Body[sized:r.pos]...)
			continue
		}
		found = true
		body = append(body, code.Body[copied:r.pos]...)
		out = AppendU32(out, uint32(len(body)))
		shift(start)
		at := 0
		for _, p := range patches {
			out = append(out, body[at:p.to]...)
			at = p.to
			shift(p.from)
		}
		out = append(out, body[at:]...)
	}
	if err := r.done(); err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, nil
	}
	fn := growFunction(size)
	return append(AppendU32(out, uint32(len(fn))), fn...), g, nil
}

// growFunction is what memory.grow becomes: (delta i32) -> i32, the size before, or -1.
func growFunction(size uint32) []byte {
	global := func(op byte) []byte { return AppendU32([]byte{op}, size) }
	const delta, before, after = 0, 1, 2
	return slices.Concat(
		[]byte{1, 2, byte(engine.I32)}, // before, after
		global(opGlobalGet), []byte{opLocalTee, before, opLocalGet, delta, 0x6a, opLocalTee, after},
		[]byte{opLocalGet, before, 0x49, opIf, 0x40}, // after < before: the sum wrapped around
		[]byte{opI32Const, 0x7f, opReturn, opEnd},
		[]byte{opLocalGet, after, opMemorySize, 0, 0x4b, opIf, 0x40}, // after > memory.size
		[]byte{opLocalGet, after, opMemorySize, 0, opI32Sub, opMemoryGrow, 0},
		[]byte{opI32Const, 0x7f, 0x46, opIf, 0x40, opI32Const, 0x7f, opReturn, opEnd, opEnd},
		[]byte{opLocalGet, after}, global(opGlobalSet),
		[]byte{opLocalGet, before, opEnd},
	)
}

// Original gives the offset in the original code section's body of an offset in the rewritten one's.
func (g *Growth) Original(offset uint32) uint32 {
	by := int32(0)
	for _, s := range g.Shifts {
		if s.Offset > offset {
			break
		}
		by = s.By
	}
	return uint32(int32(offset) - by)
}
