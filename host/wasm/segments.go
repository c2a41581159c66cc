package wasm

// ElementSegment is one element segment.
type ElementSegment struct {
	Active bool   // written to Table when the module is instantiated
	Table  uint32 // of an active one
	Offset []byte // constant expression of an active one
	Count  int    // of elements
}

// DataSegment is one data segment.
type DataSegment struct {
	Active bool   // written to Memory when the module is instantiated
	Memory uint32 // of an active one
	Offset []byte // constant expression of an active one
	Init   []byte
}

// Bits of an element segment's flags (Wasm core specification, section 5.5.12).
const (
	elemNotActive = 1
	elemExplicit  = 2 // active: names its table; else: declared only
	elemExprs     = 4 // elements are expressions rather than function indices
)

// Elements decodes the element segments.
func (m *Module) Elements() ([]ElementSegment, error) {
	s, ok := m.Section(SectionElement)
	if !ok {
		return nil, nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "element", types: len(m.Types)}
	var list []ElementSegment
	for n := r.count(3, "element segments"); n > 0 && r.err == nil; n-- {
		var e ElementSegment
		var flags uint32
		e.Active, e.Table, flags = r.elementHead()
		if e.Active {
			e.Offset = r.constExpr()
		}
		e.Count = r.elementKind(flags)
		for k := e.Count; k > 0 && r.err == nil; k-- {
			if flags&elemExprs != 0 {
				r.constExpr()
			} else {
				at := r.pos
				f := r.u32("a function index")
				m.checkIndex(r, at, f, m.NumFuncs(), "function")
			}
		}
		list = append(list, e)
	}
	return list, r.done()
}

// elementHead reads an element segment up to its offset.
func (r *reader) elementHead() (active bool, table, flags uint32) {
	start := r.pos
	flags = r.u32("the flags of an element segment")
	if r.err == nil && flags > 7 {
		r.fail(start, ErrMalformed, "expected an element segment, found flags %d", flags)
	}
	active = flags&elemNotActive == 0
	if active && flags&elemExplicit != 0 {
		table = r.u32("a table index")
	}
	return active, table, flags
}

// elementKind reads what is between an element segment's offset and its elements, and gives their number.
func (r *reader) elementKind(flags uint32) int {
	if flags&(elemNotActive|elemExplicit) != 0 {
		if flags&elemExprs != 0 {
			r.refType("the type of an element segment")
		} else {
			r.byte("the kind of an element segment")
		}
	}
	return r.count(1, "elements")
}

// Data decodes the data segments.
func (m *Module) Data() ([]DataSegment, error) {
	s, ok := m.Section(SectionData)
	if !ok {
		return nil, nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "data", types: len(m.Types)}
	n := r.count(2, "data segments")
	list := make([]DataSegment, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		start := r.pos
		var d DataSegment
		switch flags := r.u32("the flags of a data segment"); flags {
		case 0, 2:
			d.Active = true
			if flags == 2 {
				d.Memory = r.u32("a memory index")
			}
			d.Offset = r.constExpr()
		case 1:
		default:
			r.fail(start, ErrMalformed, "expected a data segment, found flags %d", flags)
		}
		d.Init = r.bytes(int(r.u32("the size of a data segment")), "a data segment")
		list = append(list, d)
	}
	return list, r.done()
}

// ConstI32 gives the value of a constant expression that is a plain i32.const; false for any other.
func ConstI32(expr []byte) (uint32, bool) {
	r := &reader{b: expr}
	if r.byte("an instruction") != opI32Const {
		return 0, false
	}
	v := r.sleb(32, "an i32 constant")
	if r.byte("an instruction") != opEnd || r.done() != nil {
		return 0, false
	}
	return uint32(v), true
}
