package wasm_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

const statePrefix = "state:"

// stateModule writes a module with one function of this code, and these sections besides.
func stateModule(code string, more ...wasm.Section) []byte {
	body := "\x00" + code + "\x0b"
	list := append(slices.Clone(more),
		wasm.Section{ID: wasm.SectionType, Body: []byte("\x01\x60\x00\x00")},
		wasm.Section{ID: wasm.SectionFunction, Body: []byte("\x01\x00")},
		wasm.Section{ID: wasm.SectionCode, Body: append(wasm.AppendU32([]byte{1}, uint32(len(body))), body...)})
	order := []wasm.SectionID{wasm.SectionType, wasm.SectionImport, wasm.SectionFunction, wasm.SectionTable, wasm.SectionMemory,
		wasm.SectionTag, wasm.SectionGlobal, wasm.SectionExport, wasm.SectionStart, wasm.SectionElement, wasm.SectionDataCount,
		wasm.SectionCode, wasm.SectionData}
	slices.SortStableFunc(list, func(a, b wasm.Section) int {
		return slices.Index(order, a.ID) - slices.Index(order, b.ID)
	})
	return wasm.Encode(list)
}

func section(id wasm.SectionID, body string) wasm.Section {
	return wasm.Section{ID: id, Body: []byte(body)}
}

func TestExportState(t *testing.T) {
	const i32one, v128zero = "\x7f\x01\x41\x01\x0b", "\x7b\x01\xfd\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b"
	for _, tt := range []struct {
		name   string
		module []byte
		want   wasm.State
	}{
		{"nothing that changes", stateModule(""), wasm.State{}},
		{"a memory of its own", stateModule("", section(wasm.SectionMemory, "\x01\x00\x03")),
			wasm.State{Memory: "state:memory0", MemorySize: 3 << 16}},
		{"an exported memory", stateModule("", section(wasm.SectionMemory, "\x01\x00\x03"), section(wasm.SectionExport, "\x01\x03mem\x02\x00")),
			wasm.State{Memory: "mem", MemorySize: 3 << 16}},
		{"globals, one of them constant, one exported", stateModule("", section(wasm.SectionGlobal, "\x04"+i32one+v128zero+"\x7f\x00\x41\x01\x0b"+i32one),
			section(wasm.SectionExport, "\x01\x01g\x03\x03")),
			wasm.State{Globals: []string{"state:global0", "state:global1", "g"}}},
		{"an imported constant before its globals", stateModule("", section(wasm.SectionImport, "\x01\x01a\x01b\x03\x7f\x00"), section(wasm.SectionGlobal, "\x01"+i32one)),
			wasm.State{Globals: []string{"state:global1"}}},
		{"memory.init, memory.copy, memory.fill, table.get, table.size", stateModule("\xfc\x08\x00\x00\xfc\x0a\x00\x00\xfc\x0b\x00\x25\x00\xfc\x10\x00"), wasm.State{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := wasm.Parse(tt.module)
			if err != nil {
				t.Fatal(err)
			}
			out, st, err := m.ExportState(statePrefix)
			if err != nil {
				t.Fatal(err)
			}
			if st.Memory != tt.want.Memory || st.MemorySize != tt.want.MemorySize || !slices.Equal(st.Globals, tt.want.Globals) {
				t.Errorf("state is %+v, want %+v", *st, tt.want)
			}
			checkExported(t, m, out, st)
		})
	}
}

// checkExported compares a module with what ExportState made of it.
func checkExported(t *testing.T, m *wasm.Module, out []byte, st *wasm.State) {
	t.Helper()
	o, err := wasm.Parse(out)
	if err != nil {
		t.Fatalf("the rewritten module: %v", err)
	}
	if !slices.Equal(o.Exports[:len(m.Exports)], m.Exports) {
		t.Errorf("exports are %v, they were %v", o.Exports, m.Exports)
	}
	for _, e := range o.Exports[len(m.Exports):] {
		if !strings.HasPrefix(e.Name, statePrefix) {
			t.Errorf("export %q was added", e.Name)
		}
	}
	var globals []uint32
	for _, name := range st.Globals {
		e, _ := o.Export(name)
		if e.Kind != engine.KindGlobal {
			t.Errorf("%q is no global", name)
		}
		globals = append(globals, e.Index)
	}
	var want []uint32
	for i, g := range m.Globals {
		if g.Mutable {
			want = append(want, uint32(m.ImportedGlobals+i))
		}
	}
	if !slices.Equal(globals, want) {
		t.Errorf("globals %d are named, %d are mutable", globals, want)
	}
	if e, ok := o.Export(st.Memory); st.Memory != "" && (!ok || e.Kind != engine.KindMemory) || (st.Memory == "") != (m.NumMemories() == 0) {
		t.Errorf("memory is %q", st.Memory)
	}
	was, _ := m.Section(wasm.SectionCode)
	is, _ := o.Section(wasm.SectionCode)
	if is.Offset-was.Offset != st.Moved || string(is.Body) != string(was.Body) {
		t.Errorf("code moved by %d, not by %d, or changed", is.Offset-was.Offset, st.Moved)
	}
}

func TestModulesThatKeepState(t *testing.T) {
	memory := section(wasm.SectionMemory, "\x01\x00\x01")
	for _, tt := range []struct {
		name   string
		module []byte
		want   string
		is     error
	}{
		{"table.set", stateModule("\x26\x00"), "table.set at byte 23", wasm.ErrKeepsState},
		{"data.drop", stateModule("\xfc\x09\x00"), "data.drop", wasm.ErrKeepsState},
		{"table.init", stateModule("\xfc\x0c\x00\x00"), "table.init", wasm.ErrKeepsState},
		{"elem.drop", stateModule("\xfc\x0d\x00"), "elem.drop", wasm.ErrKeepsState},
		{"table.copy", stateModule("\xfc\x0e\x00\x00"), "table.copy", wasm.ErrKeepsState},
		{"table.grow", stateModule("\xfc\x0f\x00"), "table.grow", wasm.ErrKeepsState},
		{"table.fill", stateModule("\xfc\x11\x00"), "table.fill", wasm.ErrKeepsState},
		{"the same with a longer number", stateModule("\xfc\x91\x80\x00\x00"), "table.fill", wasm.ErrKeepsState},
		{"throw", stateModule("\x08\x00"), "exception", wasm.ErrKeepsState},
		{"throw_ref", stateModule("\x0a"), "exception", wasm.ErrKeepsState},
		{"try_table", stateModule("\x1f\x40\x00\x0b"), "exception", wasm.ErrKeepsState},
		{"a legacy try", stateModule("\x06\x40\x0b"), "0x06", wasm.ErrUnsupported},
		{"an atomic", stateModule("\xfe\x03\x00"), "threads", wasm.ErrKeepsState},
		{"an unknown instruction", stateModule("\xfc\x7f"), "0xfc 127", wasm.ErrUnsupported},
		{"struct.new", stateModule("\xfb\x00\x00"), "0xfb", wasm.ErrUnsupported},
		{"a start function", stateModule("", section(wasm.SectionStart, "\x00")), "start function", wasm.ErrKeepsState},
		{"an imported memory", stateModule("", section(wasm.SectionImport, "\x01\x01a\x01b\x02\x00\x01")), "imports a memory", wasm.ErrKeepsState},
		{"an imported table", stateModule("", section(wasm.SectionImport, "\x01\x01a\x01b\x01\x70\x00\x01")), "imports a table", wasm.ErrKeepsState},
		{"an imported mutable global", stateModule("", section(wasm.SectionImport, "\x01\x01a\x01b\x03\x7f\x01")), "a.b", wasm.ErrKeepsState},
		{"two memories", stateModule("", section(wasm.SectionMemory, "\x02\x00\x01\x00\x01")), "2 memories", wasm.ErrKeepsState},
		{"a shared memory", stateModule("", section(wasm.SectionMemory, "\x01\x03\x01\x01")), "shared", wasm.ErrKeepsState},
		{"a 64-bit memory", stateModule("", section(wasm.SectionMemory, "\x01\x04\x01")), "64-bit", wasm.ErrKeepsState},
		{"small pages", stateModule("", section(wasm.SectionMemory, "\x01\x08\x01\x00")), "another size", wasm.ErrKeepsState},
		{"a tag", stateModule("", section(wasm.SectionTag, "\x01\x00\x00")), "exceptions", wasm.ErrKeepsState},
		{"a mutable funcref", stateModule("", section(wasm.SectionGlobal, "\x01\x70\x01\xd0\x70\x0b")), "global 0 holds references", wasm.ErrKeepsState},
		{"an export of a reserved name", stateModule("", memory, section(wasm.SectionExport, "\x01\x07state:x\x02\x00")), "reserved", wasm.ErrKeepsState},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := wasm.Parse(tt.module)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = m.ExportState(statePrefix)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ExportState = %v, want an error that contains %q", err, tt.want)
			}
		})
	}
}

// TestStateOfRealGuests: what the toolchains write is understood.
func TestStateOfRealGuests(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/guests/*/*.wasm")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no guests: %v", err)
	}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := wasm.Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		out, st, err := m.ExportState(statePrefix)
		if errors.Is(err, wasm.ErrKeepsState) && filepath.Base(filepath.Dir(path)) == "wat" {
			continue // written by hand, some of them for that
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		checkExported(t, m, out, st)
	}
}

// FuzzExportState wants valid modules to stay valid, with the exports that they had.
func FuzzExportState(f *testing.F) {
	for seed := range uint64(20) {
		f.Add((&generator{Rand: rand.New(rand.NewPCG(seed, 1))}).module())
	}
	f.Add(stateModule("\xfc\x08\x00\x00", section(wasm.SectionMemory, "\x01\x00\x03"), section(wasm.SectionGlobal, "\x01\x7f\x01\x41\x01\x0b")))
	plain := newInterpreter(f, false)
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := wasm.Parse(src)
		if err != nil {
			return
		}
		out, st, err := m.ExportState(statePrefix)
		if err != nil {
			return
		}
		checkExported(t, m, out, st)
		if m.CheckComplexity() != nil {
			return // the compiler would take too long
		}
		noCustom := func(b []byte) []byte {
			m, err := wasm.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			return wasm.Encode(slices.DeleteFunc(slices.Clone(m.Sections), func(s wasm.Section) bool { return s.ID == wasm.SectionCustom }))
		}
		p, perr := plain.compile(noCustom(src))
		r, rerr := plain.compile(noCustom(out))
		for _, c := range []interface{ Close(context.Context) error }{p, r} {
			if perr == nil && rerr == nil {
				c.Close(context.Background())
			}
		}
		if (perr == nil) != (rerr == nil) {
			t.Errorf("compiles with %v, rewritten with %v", perr, rerr)
		}
	})
}
