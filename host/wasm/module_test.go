package wasm

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

// mod builds a module from sections given as id, body pairs.
func mod(parts ...any) []byte {
	b := AppendHeader(nil)
	for i := 0; i < len(parts); i += 2 {
		b = AppendSection(b, Section{ID: parts[i].(SectionID), Body: []byte(parts[i+1].(string))})
	}
	return b
}

func custom(name, body string) []byte {
	return AppendSection(nil, Section{ID: SectionCustom, Name: name, Body: []byte(body)})
}

const (
	typeRun    = "\x01\x60\x00\x00"                         // () -> ()
	typeAdd    = "\x02\x60\x00\x00\x60\x02\x7f\x7e\x01\x7d" // and (i32, i64) -> f32
	importCall = "\x01\x04fast\x04call\x00\x01"
	codeEmpty  = "\x01\x02\x00\x0b"
)

// sample has something in every section that Parse decodes.
func sample() []byte {
	b := mod(
		SectionType, typeAdd,
		SectionImport, "\x04\x04fast\x04call\x00\x01\x01e\x01t\x01\x70\x01\x02\x05\x01e\x01m\x02\x01\x03\x04\x01e\x01g\x03\x7e\x01",
		SectionFunction, "\x01\x00",
		SectionTable, "\x01\x6f\x00\x07",
		SectionGlobal, "\x01\x7f\x01\x41\xe4\x00\x0b",
		SectionExport, "\x04\x06_start\x00\x01\x06memory\x02\x00\x01g\x03\x01\x05table\x01\x00",
		SectionStart, "\x01",
		SectionElement, "\x00",
		SectionDataCount, "\x00",
		SectionCode, codeEmpty,
		SectionData, "\x00",
	)
	b = append(b, custom("name", "\x00\x06\x05hello\x01\x0d\x02\x00\x04call\x01\x04main")...)
	return append(b, custom("producers", "\x02\x08language\x01\x04Rust\x00\x0cprocessed-by\x01\x05rustc\x061.90.0")...)
}

func TestParseReadsEverySection(t *testing.T) {
	m, err := Parse(sample())
	if err != nil {
		t.Fatal(err)
	}
	if got := m.EngineImports()[0].Func.String(); got != "(i32, i64) -> f32" {
		t.Errorf("type of the imported function is %s", got)
	}
	if m.NumFuncs() != 2 || m.NumTables() != 2 || m.NumMemories() != 1 || m.NumGlobals() != 2 {
		t.Errorf("index spaces: %d functions, %d tables, %d memories, %d globals", m.NumFuncs(), m.NumTables(), m.NumMemories(), m.NumGlobals())
	}
	if mem, ok := m.Memory(); !ok || mem.Min != 3 || mem.Max != 4 || !mem.HasMax {
		t.Errorf("memory %+v %v", mem, ok)
	}
	if g := m.Globals[0]; g.Type != engine.I32 || !g.Mutable || !bytes.Equal(g.Init, []byte("\x41\xe4\x00\x0b")) {
		t.Errorf("global %+v", g)
	}
	if m.Tables[0].Elem != engine.ExternRef || m.Imports[1].Table.Elem != engine.FuncRef {
		t.Error("table types are not as written")
	}
	if e, ok := m.Export("table"); !ok || e.Kind != engine.KindTable {
		t.Errorf("export %+v %v", e, ok)
	}
	if m.Kind() != Command || !m.HasStart || m.Start != 1 || !m.HasDataCount {
		t.Errorf("kind %s, start %v %d, data count %v", m.Kind(), m.HasStart, m.Start, m.HasDataCount)
	}
	if m.Name() != "hello" || m.FuncName(0) != "call" || m.FuncName(1) != "main" || m.FuncName(2) != "" {
		t.Errorf("names %q %q %q %q", m.Name(), m.FuncName(0), m.FuncName(1), m.FuncName(2))
	}
	if got := m.Toolchain().String(); got != "Rust (rustc 1.90.0)" {
		t.Errorf("toolchain %q", got)
	}
	if again := Encode(m.Sections); !bytes.Equal(again, sample()) {
		t.Error("the sections encode to other bytes than were parsed")
	}
}

func TestParseRefusals(t *testing.T) {
	huge := "\xff\xff\xff\xff\x0f"
	for _, c := range []struct {
		name string
		in   []byte
		is   error
		says string
	}{
		{"an empty file is no module", nil, ErrNotWasm, "empty"},
		{"half a magic number is a truncated module", []byte("\x00as"), ErrTruncated, "3 bytes"},
		{"a header without its last byte is a truncated module", []byte("\x00asm\x01\x00\x00"), ErrTruncated, "7 bytes"},
		{"a component is told apart and gets advice", []byte("\x00asm\x0d\x00\x01\x00"), ErrComponent, "wasm32-wasip1"},
		{"another version is named", []byte("\x00asm\x02\x00\x00\x00"), ErrVersion, "found 2"},
		{"text is told apart after comments", []byte("\n;; hi\n(; there ;) ( module)"), ErrText, "wat2wasm"},
		{"a package is told apart", []byte("\x1f\x8b\x08\x00...."), ErrNotWasm, "bin/main.wasm"},
		{"a native program is told apart", []byte("\x7fELF...."), ErrNotWasm, "native"},
		{"anything else shows its first bytes", []byte("hello"), ErrNotWasm, "68 65 6c 6c"},
		{"a section longer than the file is a truncation", []byte("\x00asm\x01\x00\x00\x00\x01\x10\x01"), ErrTruncated, "16 bytes"},
		{"a section header cut short is a truncation", []byte("\x00asm\x01\x00\x00\x00\x01\x80"), ErrTruncated, "header"},
		{"an unknown section id", mod(SectionID(14), ""), ErrMalformed, "id 14"},
		{"sections out of order", mod(SectionImport, "\x00", SectionType, "\x00"), ErrMalformed, "out of order"},
		{"a repeated section", mod(SectionType, "\x00", SectionType, "\x00"), ErrMalformed, "repeated"},
		{"the data count may not follow the code", mod(SectionCode, "\x00", SectionDataCount, "\x00"), ErrMalformed, "out of order"},
		{"a count beyond the section does not allocate", mod(SectionType, huge), ErrMalformed, "4294967295 types"},
		{"a count of imports beyond the section", mod(SectionImport, huge), ErrMalformed, "imports"},
		{"a count of exports beyond the section", mod(SectionExport, "\x05\x00\x00"), ErrMalformed, "5 exports"},
		{"bytes left over in a section", mod(SectionType, typeRun+"\x00"), ErrMalformed, "1 bytes are left"},
		{"a number with too many bytes", mod(SectionType, "\x80\x80\x80\x80\x80\x00"), ErrMalformed, "32 bits"},
		{"a number with stray high bits", mod(SectionType, "\x80\x80\x80\x80\x10"), ErrMalformed, "32 bits"},
		{"an unknown type form", mod(SectionType, "\x01\x61\x00\x00"), ErrMalformed, "form 0x61"},
		{"an unknown value type", mod(SectionType, "\x01\x60\x01\x40\x00"), ErrMalformed, "0x40 is no value type"},
		{"an import of a missing type", mod(SectionType, typeRun, SectionImport, importCall), ErrMalformed, "found 1"},
		{"an import's name that is not UTF-8", mod(SectionImport, "\x01\x01\xff\x01a\x00\x00"), ErrMalformed, "UTF-8"},
		{"an import of unknown kind", mod(SectionImport, "\x01\x01a\x01a\x05\x00"), ErrMalformed, "found 5"},
		{"a name longer than the section", mod(SectionImport, "\x01\x7fa\x01a\x05\x00"), ErrMalformed, "127 bytes"},
		{"limits upside down", mod(SectionMemory, "\x01\x01\x02\x01"), ErrMalformed, "exceeds"},
		{"unknown limit flags", mod(SectionMemory, "\x01\x10\x02\x01"), ErrMalformed, "0x10"},
		{"a table of numbers", mod(SectionTable, "\x01\x7f\x00\x01"), ErrMalformed, "no reference type"},
		{"a global's initialiser without end", mod(SectionGlobal, "\x01\x7f\x00\x41\x00"), ErrMalformed, "the bytes end"},
		{"a global's initialiser that computes", mod(SectionGlobal, "\x01\x7f\x00\x45\x0b"), ErrMalformed, "constant expression"},
		{"a global's mutability of 2", mod(SectionGlobal, "\x01\x7f\x02\x41\x00\x0b"), ErrMalformed, "mutability"},
		{"an export of a missing function", mod(SectionExport, "\x01\x01a\x00\x00"), ErrMalformed, "has 0"},
		{"an export twice", mod(SectionMemory, "\x01\x00\x00", SectionExport, "\x02\x01a\x02\x00\x01a\x02\x00"), ErrMalformed, `"a" is repeated`},
		{"a start function that is missing", mod(SectionStart, "\x00"), ErrMalformed, "has 0"},
		{"functions without bodies", mod(SectionType, typeRun, SectionFunction, "\x01\x00"), ErrMalformed, "0 bodies"},
		{"bodies without functions", mod(SectionCode, codeEmpty), ErrMalformed, "1 bodies"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.in)
			if !errors.Is(err, c.is) {
				t.Fatalf("error is %v, want one that wraps %q", err, c.is)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is more than one line", err)
			}
		})
	}
}

func TestDetectLooksAtHeadersOnly(t *testing.T) {
	if err := Detect(mod(SectionType, "garbage")); err != nil {
		t.Errorf("Detect looked into a section: %v", err)
	}
	if err := Detect(sample()); err != nil {
		t.Error(err)
	}
	for i := 8; i < len(sample()); i++ {
		// A cut at a section's end leaves a module; anywhere else Detect sees it.
		err := Detect(sample()[:i])
		if err != nil && !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
}

func TestOffsetsInErrorsPointIntoTheFile(t *testing.T) {
	b := mod(SectionType, typeRun, SectionMemory, "\x01\x10\x02\x01")
	_, err := Parse(b)
	var fe *FormatError
	if !errors.As(err, &fe) {
		t.Fatal(err)
	}
	if b[fe.Offset] != 0x10 || fe.Section != "memory" {
		t.Errorf("error %v points at 0x%02x", err, b[fe.Offset])
	}
}

func TestTypesOfNewerProposalsAreSteppedOver(t *testing.T) {
	m, err := Parse(mod(
		SectionType, "\x02\x4e\x02\x5f\x02\x78\x01\x64\x70\x00\x50\x00\x5e\x7f\x01\x60\x01\x63\x00\x00",
		SectionFunction, "\x01\x02", SectionCode, codeEmpty))
	if err != nil {
		t.Fatal(err)
	}
	if m.IsFunc(0) || m.IsFunc(1) || !m.IsFunc(2) || m.IsFunc(3) {
		t.Error("function types are not told from others")
	}
}

func TestSignedNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1<<31 - 1, -1 << 31, 1<<63 - 1, -1 << 63} {
		r := &reader{b: AppendS64(nil, v)}
		if got := r.sleb(64, "a number"); got != v || r.done() != nil {
			t.Errorf("%d reads back as %d, %v", v, got, r.err)
		}
		r = &reader{b: AppendS64(nil, v)}
		r.sleb(32, "a number")
		if fits := v == int64(int32(v)); fits != (r.err == nil) {
			t.Errorf("%d as 32 bits: %v", v, r.err)
		}
	}
	for _, s := range []string{"\xff\xff\xff\xff\x0f", "\x80\x80\x80\x80\x70", "\xff\xff\xff\xff\x4f"} {
		r := &reader{b: []byte(s)}
		if v := r.sleb(32, "a number"); r.err == nil {
			t.Errorf("% x was read as %d", s, v)
		}
	}
}

func TestToolchainGuesses(t *testing.T) {
	data := func(s string) string { return "\x01\x00\x41\x00\x0b" + string(AppendName(nil, s)) }
	withData := func(s string) []byte { return mod(SectionMemory, "\x01\x00\x01", SectionData, data(s)) }
	producers := func(lang, by, version string) []byte {
		body := "\x02\x08language\x01" + string(AppendName(AppendName(nil, lang), "")) +
			"\x0cprocessed-by\x01" + string(AppendName(AppendName(nil, by), version))
		return custom("producers", body)
	}
	utf16 := func(s string) string {
		w := ""
		for _, c := range s {
			w += string(c) + "\x00"
		}
		return w
	}
	for _, c := range []struct {
		want string
		in   []byte
	}{
		{"unknown", mod()},
		{"Rust (rustc 1.90.0), SDK fastly 0.11.9", append(withData("registry/src/index-1/fastly-0.11.9/src/http.rs"), producers("Rust", "rustc", "1.90.0")...)},
		{"Rust (rustc), SDK fastly 0.13.2", withData("library/core/src/fmt.rs fastly-0.13.2/src/http/body.rs")},
		{"Go (Go 1.26), SDK compute-sdk-go v1.4.2", append(withData("dep\tgithub.com/fastly/compute-sdk-go\tv1.4.2\th1:x"), producers("Go", "Go cmd/compile", "go1.26")...)},
		{"Go (TinyGo 0.39.0)", append(mod(), producers("C99", "TinyGo", "0.39.0")...)},
		{"C (clang 20.1.8)", append(mod(), producers("C11", "clang", "20.1.8")...)},
		{"C++ (clang 20.1.8)", append(mod(), producers("C_plus_plus_17", "clang", "20.1.8")...)},
		{"JavaScript (StarlingMonkey), SDK @fastly/js-compute 3.35.1", append(withData("StarlingMonkey fastly: js-compute-runtime 3.35.1"), producers("Rust", "clang", "20")...)},
		{"AssemblyScript (asc)", withData(utf16("~lib/rt/itcms.ts"))},
	} {
		m, err := Parse(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Toolchain().String(); got != c.want {
			t.Errorf("toolchain %q, want %q", got, c.want)
		}
	}
}

func TestSegments(t *testing.T) {
	m, err := Parse(mod(
		SectionType, typeRun, SectionFunction, "\x01\x00", SectionTable, "\x02\x70\x00\x05\x70\x00\x05", SectionMemory, "\x01\x00\x01",
		SectionElement, "\x04"+
			"\x00\x41\x03\x0b\x01\x00"+ // active in table 0
			"\x01\x00\x02\x00\x00"+ // passive
			"\x06\x01\x41\x02\x0b\x70\x02\xd0\x70\x0b\xd2\x00\x0b"+ // active in table 1, expressions
			"\x03\x00\x00", // declared
		SectionDataCount, "\x02", SectionCode, codeEmpty,
		SectionData, "\x02\x00\x41\x90\xce\x00\x0b\x02hi\x01\x03abc"))
	if err != nil {
		t.Fatal(err)
	}
	elems, err := m.Elements()
	if err != nil {
		t.Fatal(err)
	}
	want := []ElementSegment{
		{Active: true, Offset: []byte("\x41\x03\x0b"), Count: 1}, {Count: 2},
		{Active: true, Table: 1, Offset: []byte("\x41\x02\x0b"), Count: 2}, {},
	}
	if !reflect.DeepEqual(elems, want) {
		t.Errorf("elements %+v, want %+v", elems, want)
	}
	data, err := m.Data()
	if err != nil || len(data) != 2 || string(data[0].Init) != "hi" || string(data[1].Init) != "abc" || !data[0].Active || data[1].Active {
		t.Fatalf("data %+v, %v", data, err)
	}
	if v, ok := ConstI32(data[0].Offset); v != 10000 || !ok {
		t.Errorf("offset %d %v", v, ok)
	}
	if _, ok := ConstI32([]byte("\x23\x00\x0b")); ok {
		t.Error("a global's value was taken for a constant")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample())
	f.Add([]byte("(module)"))
	f.Add(mod(SectionType, "\x02\x4e\x02\x5f\x02\x78\x01\x64\x70\x00\x50\x00\x5e\x7f\x01\x60\x01\x63\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if Detect(b) != nil {
			t.Error("Parse takes what Detect refuses")
		}
		m.EngineImports()
		m.EngineExports()
		_, _ = m.Elements()
		_, _ = m.Data()
		m.FuncName(1)
		m.Toolchain()
		m.Kind()
		if _, err := Parse(Encode(m.Sections)); err != nil {
			t.Errorf("written again it does not parse: %v", err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	src := sample()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}
