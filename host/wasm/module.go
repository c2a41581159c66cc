// Package wasm reads and writes core WebAssembly modules in the binary format.
//
// Parse indexes a module and decodes its small sections: types, imports, functions, tables, memories, globals
// and exports. Code, data, elements and names are decoded when asked for, so that facts about a large guest
// cost no more than a walk over its section headers. Slices in a Module refer to the bytes given to Parse;
// neither may be changed. A Module is safe for concurrent use.
//
// Everything read is taken to be hostile: numbers are bounds-checked, a count never makes the reader allocate
// more than a small multiple of the module's own size, and every error says where it is and what was expected.
// The reader checks the format, not the types of code: an engine does that when it compiles.
package wasm

import (
	"fmt"
	"sync"

	"github.com/edgewasm/wasmedge/host/engine"
)

// SectionID is the kind of a section.
type SectionID byte

// The sections of a core module (Wasm core specification, section 5.5.2; Tag: exception handling).
const (
	SectionCustom SectionID = iota
	SectionType
	SectionImport
	SectionFunction
	SectionTable
	SectionMemory
	SectionGlobal
	SectionExport
	SectionStart
	SectionElement
	SectionCode
	SectionData
	SectionDataCount
	SectionTag
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export",
	"start", "element", "code", "data", "data count", "tag"}

// String gives the section's name in the specification.
func (id SectionID) String() string {
	if int(id) < len(sectionNames) {
		return sectionNames[id]
	}
	return fmt.Sprintf("unknown (%d)", byte(id))
}

// rank is the place of a section in the prescribed order, which differs from that of the ids.
var rank = [...]int{SectionType: 1, SectionImport: 2, SectionFunction: 3, SectionTable: 4, SectionMemory: 5,
	SectionTag: 6, SectionGlobal: 7, SectionExport: 8, SectionStart: 9, SectionElement: 10, SectionDataCount: 11,
	SectionCode: 12, SectionData: 13}

// Section is one section as it stands in the module.
type Section struct {
	ID     SectionID
	Name   string // of a custom section
	Offset int    // of Body in the module
	Body   []byte // contents; for a custom section those after its name
}

// Import is one import. Which of the last fields mean something depends on Kind.
type Import struct {
	Module, Name string
	Kind         engine.ExternKind
	Type         uint32 // type index of a function or tag
	Table        Table
	Memory       Limits // in pages
	Global       Global
}

// Table is a table's type.
type Table struct {
	Elem   engine.ValueType
	Limits Limits // in elements
	Init   []byte // initialiser expression, when there is one
}

// Global is a global's type and initialiser expression; an imported one has no initialiser.
type Global struct {
	Type    engine.ValueType
	Mutable bool
	Init    []byte // includes the final end instruction
}

// Export is one export.
type Export struct {
	Name  string
	Kind  engine.ExternKind
	Index uint32 // in the index space of its kind
}

// Module is a core module. The slices must not be changed.
type Module struct {
	Sections []Section // all of them, in file order

	Types    []engine.FuncType // by type index; see IsFunc for those that are no function types
	Imports  []Import
	Funcs    []uint32 // type index of each defined function
	Tables   []Table  // defined ones
	Memories []Limits // defined ones, in pages
	Tags     []uint32 // type index of each defined tag
	Globals  []Global // defined ones
	Exports  []Export
	// Start is the index of the start function; HasStart says whether there is one.
	Start    uint32
	HasStart bool
	// DataCount is what the data count section says; HasDataCount whether there is one.
	DataCount    uint32
	HasDataCount bool

	// How many of each kind are imported; the defined ones follow in the index spaces.
	ImportedFuncs, ImportedTables, ImportedMemories, ImportedGlobals, ImportedTags int

	src      []byte
	notFunc  map[int]bool // type indices of struct and array types
	names    names
	nameOnce sync.Once
}

// Parse reads a core module. Errors wrap ErrNotWasm, ErrText, ErrComponent, ErrVersion, ErrTruncated,
// ErrMalformed or ErrUnsupported.
func Parse(b []byte) (*Module, error) {
	m := &Module{src: b}
	var err error
	if m.Sections, err = sections(b); err != nil {
		return nil, err
	}
	for i := range m.Sections {
		s := &m.Sections[i]
		r := &reader{b: s.Body, base: s.Offset, section: s.ID.String(), types: len(m.Types)}
		switch s.ID {
		case SectionType:
			m.readTypes(r)
		case SectionImport:
			m.readImports(r)
		case SectionFunction:
			m.readFunctions(r)
		case SectionTable:
			m.readTables(r)
		case SectionMemory:
			m.readMemories(r)
		case SectionTag:
			m.readTags(r)
		case SectionGlobal:
			m.readGlobals(r)
		case SectionExport:
			m.readExports(r)
		case SectionStart:
			m.Start, m.HasStart = r.u32("the start function's index"), true
			m.checkIndex(r, 0, m.Start, m.NumFuncs(), "function")
		case SectionDataCount:
			m.DataCount, m.HasDataCount = r.u32("the number of data segments"), true
		default:
			continue
		}
		if err := r.done(); err != nil {
			return nil, err
		}
	}
	if n := m.codeCount(); n != len(m.Funcs) {
		return nil, &FormatError{Offset: len(b), Err: ErrMalformed,
			Problem: fmt.Sprintf("%d functions are declared, the code section has %d bodies", len(m.Funcs), n)}
	}
	return m, nil
}

// sections walks the section headers: known ids, each at most once, in order, and inside the module.
func sections(b []byte) ([]Section, error) {
	if err := checkHeader(b); err != nil {
		return nil, err
	}
	var list []Section
	r := &reader{b: b, pos: 8}
	last := 0
	for r.pos < len(b) {
		start := r.pos
		id := SectionID(r.byte("a section"))
		if id > SectionTag {
			r.fail(start, ErrMalformed, "expected a section, found id %d", id)
			return nil, r.err
		}
		size := r.u32("the size of the " + id.String() + " section")
		if r.err != nil {
			if r.pos >= len(b) {
				return nil, &FormatError{Offset: start, Section: id.String(), Err: ErrTruncated, Problem: "the file ends in the section's header"}
			}
			return nil, r.err
		}
		if uint64(size) > uint64(r.left()) {
			r.fail(start, ErrTruncated, "the %s section says it has %d bytes, the file ends after %d: is it whole?", id, size, r.left())
			return nil, r.err
		}
		s := Section{ID: id, Offset: r.pos}
		s.Body = r.bytes(int(size), "a section")
		if id == SectionCustom {
			cr := &reader{b: s.Body, base: s.Offset, section: "custom"}
			s.Name = cr.name("the custom section's name")
			if cr.err != nil {
				return nil, cr.err
			}
			s.Offset += cr.pos
			s.Body = s.Body[cr.pos:]
		} else {
			if rank[id] <= last {
				r.fail(start, ErrMalformed, "the %s section is repeated or out of order", id)
				return nil, r.err
			}
			last = rank[id]
		}
		list = append(list, s)
	}
	return list, nil
}

// Section finds the only section of an id other than custom.
func (m *Module) Section(id SectionID) (Section, bool) {
	for _, s := range m.Sections {
		if s.ID == id && id != SectionCustom {
			return s, true
		}
	}
	return Section{}, false
}

// Custom finds the first custom section of a name.
func (m *Module) Custom(name string) (Section, bool) {
	for _, s := range m.Sections {
		if s.ID == SectionCustom && s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Bytes gives the whole module.
func (m *Module) Bytes() []byte { return m.src }

// NumFuncs is the size of the function index space: imported and defined functions.
func (m *Module) NumFuncs() int { return m.ImportedFuncs + len(m.Funcs) }

// NumGlobals is the size of the global index space.
func (m *Module) NumGlobals() int { return m.ImportedGlobals + len(m.Globals) }

// NumTables is the size of the table index space.
func (m *Module) NumTables() int { return m.ImportedTables + len(m.Tables) }

// NumMemories is the size of the memory index space.
func (m *Module) NumMemories() int { return m.ImportedMemories + len(m.Memories) }

// NumTags is the size of the tag index space.
func (m *Module) NumTags() int { return m.ImportedTags + len(m.Tags) }

// CodeSize is the size of the code section in bytes.
func (m *Module) CodeSize() int {
	s, _ := m.Section(SectionCode)
	return len(s.Body)
}

// IsFunc reports whether a type index names a function type.
func (m *Module) IsFunc(typ uint32) bool {
	return int64(typ) < int64(len(m.Types)) && !m.notFunc[int(typ)]
}

// FuncType gives the signature of a function by its index.
func (m *Module) FuncType(index uint32) (engine.FuncType, bool) {
	t, ok := m.funcTypeIndex(index)
	if !ok || !m.IsFunc(t) {
		return engine.FuncType{}, false
	}
	return m.Types[t], true
}

func (m *Module) funcTypeIndex(index uint32) (uint32, bool) {
	if i := int64(index) - int64(m.ImportedFuncs); i >= 0 {
		if i >= int64(len(m.Funcs)) {
			return 0, false
		}
		return m.Funcs[i], true
	}
	n := uint32(0)
	for i := range m.Imports {
		if m.Imports[i].Kind == engine.KindFunc {
			if n == index {
				return m.Imports[i].Type, true
			}
			n++
		}
	}
	return 0, false
}

// Export finds an export by name.
func (m *Module) Export(name string) (Export, bool) {
	for _, e := range m.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// Memory gives the limits of memory 0 in pages, imported or defined.
func (m *Module) Memory() (Limits, bool) {
	for i := range m.Imports {
		if m.Imports[i].Kind == engine.KindMemory {
			return m.Imports[i].Memory, true
		}
	}
	if len(m.Memories) > 0 {
		return m.Memories[0], true
	}
	return Limits{}, false
}

func (m *Module) checkIndex(r *reader, at int, index uint32, n int, what string) {
	if r.err == nil && uint64(index) >= uint64(n) {
		r.fail(at, ErrMalformed, "expected the index of a %s, found %d, the module has %d", what, index, n)
	}
}

// Forms of the type section.
const (
	formFunc   = 0x60
	formStruct = 0x5f
	formArray  = 0x5e
	formSub    = 0x50
	formFinal  = 0x4f
	formRec    = 0x4e
)

func (m *Module) readTypes(r *reader) {
	n := r.count(1, "types")
	m.Types = make([]engine.FuncType, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		form := r.byte("a type")
		if form != formRec {
			m.readSubType(r, at, form)
			continue
		}
		for k := r.count(1, "types of a group"); k > 0 && r.err == nil; k-- {
			at := r.pos
			m.readSubType(r, at, r.byte("a type"))
		}
	}
}

func (m *Module) readSubType(r *reader, at int, form byte) {
	if form == formSub || form == formFinal {
		for k := r.count(1, "supertypes"); k > 0 && r.err == nil; k-- {
			r.u32("a supertype")
		}
		at = r.pos
		form = r.byte("a type")
	}
	var t engine.FuncType
	switch form {
	case formFunc:
		t.Params = readValueTypes(r, "parameters")
		t.Results = readValueTypes(r, "results")
	case formStruct, formArray:
		n := 1
		if form == formStruct {
			n = r.count(2, "fields")
		}
		for ; n > 0 && r.err == nil; n-- {
			if r.pos < len(r.b) && (r.b[r.pos] == 0x78 || r.b[r.pos] == 0x77) { // i8, i16
				r.pos++
			} else {
				r.valueType("a field's type")
			}
			r.byte("a field's mutability")
		}
		if m.notFunc == nil {
			m.notFunc = map[int]bool{}
		}
		m.notFunc[len(m.Types)] = true
	default:
		r.fail(at, ErrMalformed, "expected a type, found form 0x%02x", form)
	}
	m.Types = append(m.Types, t)
}

func readValueTypes(r *reader, what string) []engine.ValueType {
	n := r.count(1, what)
	if n == 0 {
		return nil
	}
	list := make([]engine.ValueType, n)
	for i := range list {
		list[i] = r.valueType("a value type")
	}
	return list
}

func (m *Module) readTypeIndex(r *reader, what string) uint32 {
	at := r.pos
	t := r.u32("the type of a " + what)
	if r.err == nil && !m.IsFunc(t) {
		r.fail(at, ErrMalformed, "expected the index of a function type, found %d, the module has %d types", t, len(m.Types))
	}
	return t
}

func (m *Module) readImports(r *reader) {
	n := r.count(4, "imports")
	m.Imports = make([]Import, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		im := Import{Module: r.name("an import's module")}
		im.Name = r.name("an import's name")
		at := r.pos
		im.Kind = engine.ExternKind(r.byte("an import's kind"))
		if r.err != nil {
			return
		}
		switch im.Kind {
		case engine.KindFunc:
			im.Type = m.readTypeIndex(r, "function")
			m.ImportedFuncs++
		case engine.KindTable:
			im.Table.Elem = r.refType("a table's type")
			im.Table.Limits = r.limits("a table")
			m.ImportedTables++
		case engine.KindMemory:
			im.Memory = r.limits("a memory")
			m.ImportedMemories++
		case engine.KindGlobal:
			im.Global = readGlobalType(r)
			m.ImportedGlobals++
		case engine.KindTag:
			r.byte("a tag's attribute")
			im.Type = m.readTypeIndex(r, "tag")
			m.ImportedTags++
		default:
			r.fail(at, ErrMalformed, "expected an import's kind, found %d", byte(im.Kind))
		}
		m.Imports = append(m.Imports, im)
	}
}

func (m *Module) readFunctions(r *reader) {
	m.Funcs = make([]uint32, r.count(1, "functions"))
	for i := range m.Funcs {
		if r.err != nil {
			return
		}
		m.Funcs[i] = m.readTypeIndex(r, "function")
	}
}

func (m *Module) readTables(r *reader) {
	n := r.count(3, "tables")
	for i := 0; i < n && r.err == nil; i++ {
		var t Table
		hasInit := r.left() >= 2 && r.b[r.pos] == 0x40 && r.b[r.pos+1] == 0
		if hasInit {
			r.pos += 2
		}
		t.Elem = r.refType("a table's type")
		t.Limits = r.limits("a table")
		if hasInit {
			t.Init = r.constExpr()
		}
		m.Tables = append(m.Tables, t)
	}
}

func (m *Module) readMemories(r *reader) {
	n := r.count(2, "memories")
	for i := 0; i < n && r.err == nil; i++ {
		m.Memories = append(m.Memories, r.limits("a memory"))
	}
}

func (m *Module) readTags(r *reader) {
	n := r.count(2, "tags")
	for i := 0; i < n && r.err == nil; i++ {
		r.byte("a tag's attribute")
		m.Tags = append(m.Tags, m.readTypeIndex(r, "tag"))
	}
}

func readGlobalType(r *reader) Global {
	g := Global{Type: r.valueType("a global's type")}
	at := r.pos
	mut := r.byte("a global's mutability")
	if r.err == nil && mut > 1 {
		r.fail(at, ErrMalformed, "expected a global's mutability 0 or 1, found %d", mut)
	}
	g.Mutable = mut == 1
	return g
}

func (m *Module) readGlobals(r *reader) {
	n := r.count(3, "globals")
	m.Globals = make([]Global, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		g := readGlobalType(r)
		g.Init = r.constExpr()
		m.Globals = append(m.Globals, g)
	}
}

func (m *Module) readExports(r *reader) {
	n := r.count(3, "exports")
	m.Exports = make([]Export, 0, n)
	seen := make(map[string]struct{}, n)
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		e := Export{Name: r.name("an export's name")}
		if _, dup := seen[e.Name]; dup {
			r.fail(at, ErrMalformed, "the export %q is repeated", e.Name)
		}
		seen[e.Name] = struct{}{}
		at = r.pos
		e.Kind = engine.ExternKind(r.byte("an export's kind"))
		if r.err == nil && e.Kind > engine.KindTag {
			r.fail(at, ErrMalformed, "expected an export's kind, found %d", byte(e.Kind))
		}
		at = r.pos
		e.Index = r.u32("an export's index")
		m.checkIndex(r, at, e.Index, m.space(e.Kind), e.Kind.String())
		m.Exports = append(m.Exports, e)
	}
}

func (m *Module) space(k engine.ExternKind) int {
	switch k {
	case engine.KindFunc:
		return m.NumFuncs()
	case engine.KindTable:
		return m.NumTables()
	case engine.KindMemory:
		return m.NumMemories()
	case engine.KindGlobal:
		return m.NumGlobals()
	}
	return m.NumTags()
}

func (m *Module) codeCount() int {
	s, ok := m.Section(SectionCode)
	if !ok {
		return 0
	}
	r := &reader{b: s.Body, base: s.Offset, section: "code"}
	return int(r.u32("the number of function bodies"))
}

// EngineImports lists the imports in the engine's terms.
func (m *Module) EngineImports() []engine.Import {
	list := make([]engine.Import, len(m.Imports))
	for i, im := range m.Imports {
		list[i] = engine.Import{Module: im.Module, Name: im.Name, Kind: im.Kind}
		if im.Kind == engine.KindFunc {
			list[i].Func = m.Types[im.Type]
		}
	}
	return list
}

// EngineExports lists the exports in the engine's terms.
func (m *Module) EngineExports() []engine.Export {
	list := make([]engine.Export, len(m.Exports))
	for i, e := range m.Exports {
		list[i] = engine.Export{Name: e.Name, Kind: e.Kind}
		if e.Kind == engine.KindFunc {
			list[i].Func, _ = m.FuncType(e.Index)
		}
	}
	return list
}
