package wasm

import (
	"sort"
	"unicode/utf8"
)

// names is the function subsection of the name section: where each name is, sorted by function index.
type names struct {
	module string
	index  []uint32
	name   []string // refers to the module's bytes through a copy per subsection
}

// Subsections of the name section (Wasm core specification, appendix "Name Section").
const (
	namesModule    = 0
	namesFunctions = 1
)

// FuncName gives the name of a function by its index from the name section; empty when there is none. The
// section is decoded at the first call. A damaged name section counts as far as it could be read.
func (m *Module) FuncName(index uint32) string {
	m.nameOnce.Do(m.readNames)
	i := sort.Search(len(m.names.index), func(i int) bool { return m.names.index[i] >= index })
	if i < len(m.names.index) && m.names.index[i] == index {
		return m.names.name[i]
	}
	return ""
}

// Name gives the module's own name from the name section; empty when there is none.
func (m *Module) Name() string {
	m.nameOnce.Do(m.readNames)
	return m.names.module
}

// NumFuncNames is how many functions the name section names.
func (m *Module) NumFuncNames() int {
	m.nameOnce.Do(m.readNames)
	return len(m.names.index)
}

func (m *Module) readNames() {
	s, ok := m.Custom("name")
	if !ok {
		return
	}
	r := &reader{b: s.Body, base: s.Offset, section: "name"}
	for r.pos < len(r.b) && r.err == nil {
		id := r.byte("a subsection")
		body := r.bytes(int(r.u32("the size of a subsection")), "a subsection")
		sub := &reader{b: body, base: r.base + r.pos - len(body), section: "name"}
		switch id {
		case namesModule:
			m.names.module = sub.name("the module's name")
		case namesFunctions:
			m.names.read(sub)
		}
	}
}

func (ns *names) read(r *reader) {
	n := r.count(2, "function names")
	index, name := make([]uint32, 0, n), make([]string, 0, n)
	all := string(r.b) // one copy for all names, which may outlive the module's bytes
	sorted := true
	for i := 0; i < n; i++ {
		at := r.u32("a function index")
		b := r.bytes(int(r.u32("the length of a name")), "a name")
		if r.err != nil {
			break
		}
		s := all[r.pos-len(b) : r.pos]
		if !utf8.ValidString(s) {
			continue
		}
		sorted = sorted && (len(index) == 0 || index[len(index)-1] < at)
		index, name = append(index, at), append(name, s)
	}
	ns.index, ns.name = index, name
	if !sorted {
		sort.Stable(ns)
	}
}

// Len, Less and Swap sort names by function index.
func (ns *names) Len() int           { return len(ns.index) }
func (ns *names) Less(i, j int) bool { return ns.index[i] < ns.index[j] }
func (ns *names) Swap(i, j int) {
	ns.index[i], ns.index[j] = ns.index[j], ns.index[i]
	ns.name[i], ns.name[j] = ns.name[j], ns.name[i]
}
