package wasm

import (
	"errors"
	"fmt"
)

// ErrTooComplex is wrapped when a function is larger than a compiler should be given.
var ErrTooComplex = errors.New("function too complex to compile")

// maxValues bounds the estimate of a function's intermediate values. A compiler's numbers for them are narrow: 24 bits
// in Cranelift, which ends the process when they do not suffice. The largest functions of real programs come to a
// thirtieth of this bound.
const maxValues = 8 << 20

// CheckComplexity refuses functions that could make a compiler run out of numbers, memory or time. A function's
// cost is estimated from above: what its instructions give, what its blocks pass on, and, because each local may
// need a value of its own wherever control flow joins, its joins times its locals. Errors wrap ErrTooComplex, or
// say where the code does not decode.
func (m *Module) CheckComplexity() error {
	_, err := m.complexity()
	return err
}

// complexity gives the largest estimate of all functions.
func (m *Module) complexity() (largest uint64, err error) {
	s, ok := m.Section(SectionCode)
	if !ok {
		return 0, nil
	}
	width := uint64(1) // values that one instruction may give or take
	for _, t := range m.Types {
		width = max(width, uint64(len(t.Results)))
	}
	r := &reader{b: s.Body, base: s.Offset, section: "code", types: len(m.Types)}
	for i := range r.count(2, "function bodies") {
		size := int(r.u32("the size of a function body"))
		start := r.pos
		r.bytes(size, "a function body")
		if r.err != nil {
			return 0, r.err
		}
		f := &reader{b: s.Body[:r.pos], pos: start, base: s.Offset, section: "code", types: len(m.Types)}
		v, err := m.bodyComplexity(f, i, width)
		if err != nil {
			return 0, err
		}
		if v > maxValues {
			index := uint32(m.ImportedFuncs + i)
			return v, fmt.Errorf("%w: function %d (%s) has %d bytes, and about %d intermediate values where %d are allowed: split it up, or compile with less inlining",
				ErrTooComplex, index, m.FuncName(index), size, v, maxValues)
		}
		largest = max(largest, v)
	}
	return largest, r.done()
}

func (m *Module) bodyComplexity(r *reader, i int, width uint64) (uint64, error) {
	locals := uint64(len(m.Types[m.Funcs[i]].Params))
	for n := r.count(2, "local declarations"); n > 0 && r.err == nil; n-- {
		locals += uint64(r.u32("a number of locals"))
		r.valueType("a local's type")
	}
	var values, joins, uses uint64
	var in instr
	for r.err == nil && r.left() > 0 {
		r.next(&in, nil)
		values += 2
		switch in.op {
		case opBlock, opLoop, opIf, opElse, opTryTable:
			joins++
			if in.block >= 0 && in.block < int64(len(m.Types)) {
				t := m.Types[in.block]
				values += uint64(len(t.Params) + len(t.Results))
			}
		case opCall, opCallIndirect, opCallRef:
			values += width
		case opLocalGet, opLocalTee, opLocalSet:
			uses++
		}
		if values > maxValues {
			return values, nil
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	return values + joins*min(locals, uses), nil
}
