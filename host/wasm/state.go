package wasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

// ErrKeepsState is wrapped by ExportState when an instance of the module can hold state that a host cannot set
// back to what it was.
var ErrKeepsState = errors.New("the module's instances hold state that cannot be set back")

// State is all that can change in an instance of a module while it runs: its linear memory and its mutable
// globals, each by the name under which the host reaches it.
type State struct {
	// Memory is the export name of the memory, empty when the module has none.
	Memory string `json:"memory,omitempty"`
	// MemorySize is the memory's size in bytes at the start.
	MemorySize uint64 `json:"memorySize,omitempty"`
	// Globals are the export names of all mutable globals.
	Globals []string `json:"globals,omitempty"`
	// Moved is by how many bytes code lies further back in the rewritten module than in the original.
	Moved int `json:"moved,omitempty"`
}

// ExportState gives the module with its memory and all its mutable globals exported, and says by which names.
// What the module does not export itself gets a name that begins with prefix. Nothing else changes.
//
// An error that wraps ErrKeepsState names the first thing found that makes memory and globals not all there
// is: instructions that change tables or drop segments, globals that hold references, state shared with others
// by import, a start function, exceptions and objects of the garbage-collection proposal, more than one memory.
// Instructions that this package does not know give an error that wraps ErrUnsupported: what they do is not known.
func (m *Module) ExportState(prefix string) ([]byte, *State, error) {
	if err := m.checkDeclarations(prefix); err != nil {
		return nil, nil, err
	}
	if err := m.checkCode(); err != nil {
		return nil, nil, err
	}
	exports := slices.Clone(m.Exports)
	name := func(kind engine.ExternKind, index uint32) string {
		for _, e := range m.Exports {
			if e.Kind == kind && e.Index == index {
				return e.Name
			}
		}
		e := Export{Name: fmt.Sprintf("%s%s%d", prefix, kind, index), Kind: kind, Index: index}
		exports = append(exports, e)
		return e.Name
	}
	st := new(State)
	if len(m.Memories) > 0 {
		st.Memory = name(engine.KindMemory, 0)
		st.MemorySize = m.Memories[0].Min << m.Memories[0].PageSizeLog2
	}
	for i, g := range m.Globals {
		if g.Mutable {
			st.Globals = append(st.Globals, name(engine.KindGlobal, uint32(m.ImportedGlobals+i)))
		}
	}
	if len(exports) == len(m.Exports) {
		return m.src, st, nil
	}
	body := AppendU32(nil, uint32(len(exports)))
	for _, e := range exports {
		body = AppendU32(append(AppendName(body, e.Name), byte(e.Kind)), e.Index)
	}
	out := Encode(withSection(m.Sections, Section{ID: SectionExport, Body: body}))
	code, ok := m.Section(SectionCode)
	if !ok {
		return out, st, nil
	}
	rewritten, err := sections(out)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range rewritten {
		if s.ID == SectionCode {
			st.Moved = s.Offset - code.Offset
		}
	}
	return out, st, nil
}

// withSection gives the sections with s in its place, instead of one of the same id if there is one.
func withSection(list []Section, s Section) []Section {
	out := make([]Section, 0, len(list)+1)
	placed := false
	for _, o := range list {
		if o.ID != SectionCustom && !placed && rank[o.ID] >= rank[s.ID] {
			out = append(out, s)
			placed = true
		}
		if o.ID != s.ID {
			out = append(out, o)
		}
	}
	if !placed {
		out = append(out, s)
	}
	return out
}

func keepsState(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrKeepsState, fmt.Sprintf(format, args...))
}

// checkDeclarations looks at all but the code.
func (m *Module) checkDeclarations(prefix string) error {
	switch {
	case m.HasStart:
		return keepsState("it has a start function, whose effects may differ from run to run")
	case m.ImportedMemories > 0:
		return keepsState("it imports a memory")
	case m.ImportedTables > 0:
		return keepsState("it imports a table")
	case len(m.Memories) > 1:
		return keepsState("it has %d memories", len(m.Memories))
	case m.NumTags() > 0:
		return keepsState("it has exceptions")
	case len(m.notFunc) > 0:
		return keepsState("it has types of the garbage-collection proposal")
	}
	for _, im := range m.Imports {
		if im.Kind == engine.KindGlobal && im.Global.Mutable {
			return keepsState("it imports the mutable global %s.%s", im.Module, im.Name)
		}
	}
	for _, l := range m.Memories {
		if l.Shared || l.Is64 || l.PageSizeLog2 != 16 {
			return keepsState("its memory is shared, has 64-bit addresses or pages of another size")
		}
	}
	for i, g := range m.Globals {
		switch g.Type {
		case engine.I32, engine.I64, engine.F32, engine.F64, engine.V128:
		default:
			if g.Mutable {
				return keepsState("the mutable global %d holds references", m.ImportedGlobals+i)
			}
		}
	}
	for _, e := range m.Exports {
		if strings.HasPrefix(e.Name, prefix) {
			return keepsState("it exports %q, a name reserved for the host", e.Name)
		}
	}
	return nil
}

// Further opcodes that change what is not memory.
const (
	opTableSet   = 0x26
	miscDataDrop = 9
	miscElemDrop = 13
)

// stateful names what an instruction changes besides memory, mutable globals and the stack; empty for nothing.
// memory.init is not among them: it only reads its segment, which stays as it is where nothing is dropped.
func (in *instr) stateful() string {
	switch in.op {
	case opTableSet:
		return "table.set"
	case opThrow, opThrowRef, opTryTable:
		return "an instruction of the exception-handling proposal"
	case opPrefixAtomic:
		return "an instruction of the threads proposal"
	case opPrefixMisc:
		switch in.sub {
		case miscDataDrop:
			return "data.drop"
		case miscTableInit:
			return "table.init"
		case miscElemDrop:
			return "elem.drop"
		case miscTableCopy:
			return "table.copy"
		case miscTableGrow:
			return "table.grow"
		case miscTableFill:
			return "table.fill"
		}
	}
	return ""
}

// checkCode decodes every instruction.
func (m *Module) checkCode() error {
	s, ok := m.Section(SectionCode)
	if !ok {
		return nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "code", types: len(m.Types)}
	for n := r.count(2, "function bodies"); n > 0 && r.err == nil; n-- {
		size := int(r.u32("the size of a function body"))
		start := r.pos
		r.bytes(size, "a function body")
		if r.err != nil {
			break
		}
		f := &reader{b: s.Body[:r.pos], pos: start, base: s.Offset, section: "code", types: len(m.Types)}
		for k := f.count(2, "local declarations"); k > 0 && f.err == nil; k-- {
			f.u32("a number of locals")
			f.valueType("the type of locals")
		}
		var in instr
		for f.err == nil && f.pos < len(f.b) {
			f.next(&in, nil)
			if f.err != nil {
				break
			}
			if what := in.stateful(); what != "" {
				return keepsState("%s at byte %d", what, s.Offset+in.start)
			}
		}
		if err := f.done(); err != nil {
			return err
		}
	}
	return r.done()
}
