package wasm

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Producer is one tool with its version, which may be empty.
type Producer struct{ Name, Version string }

// String gives "name version".
func (p Producer) String() string {
	if p.Version == "" {
		return p.Name
	}
	return p.Name + " " + p.Version
}

// Producers is the producers section: what a module was made from and with (tool-conventions,
// ProducersSection.md).
type Producers struct{ Language, ProcessedBy, SDK []Producer }

// Producers decodes the producers section; all lists are empty when there is none.
func (m *Module) Producers() (Producers, error) {
	var p Producers
	s, ok := m.Custom("producers")
	if !ok {
		return p, nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "producers"}
	for n := r.count(2, "fields"); n > 0 && r.err == nil; n-- {
		field := r.name("a field's name")
		var list []Producer
		for k := r.count(2, "values"); k > 0 && r.err == nil; k-- {
			name := r.name("a value's name")
			list = append(list, Producer{Name: name, Version: r.name("a value's version")})
		}
		switch field {
		case "language":
			p.Language = append(p.Language, list...)
		case "processed-by":
			p.ProcessedBy = append(p.ProcessedBy, list...)
		case "sdk":
			p.SDK = append(p.SDK, list...)
		}
	}
	return p, r.done()
}

// Kind is how a module is run.
type Kind int

const (
	// Library has neither entry point.
	Library Kind = iota
	// Command runs from _start to its end.
	Command
	// Reactor is initialised by _initialize; its exports are called after that.
	Reactor
)

// String gives the kind's name in WASI's terms.
func (k Kind) String() string {
	switch k {
	case Command:
		return "command"
	case Reactor:
		return "reactor"
	}
	return "library"
}

// Kind tells a command from a reactor by the exports; _start wins over _initialize.
func (m *Module) Kind() Kind {
	switch {
	case m.exportsRun("_start"):
		return Command
	case m.exportsRun("_initialize"):
		return Reactor
	}
	return Library
}

func (m *Module) exportsRun(name string) bool {
	e, ok := m.Export(name)
	if !ok || e.Kind != engine.KindFunc {
		return false
	}
	t, ok := m.FuncType(e.Index)
	return ok && len(t.Params) == 0 && len(t.Results) == 0
}

// Toolchain is what a module was built with, as far as it can be told. Each field may be empty.
type Toolchain struct {
	Language string   // "Rust", "Go", "AssemblyScript", "JavaScript", "C", "C++", "Zig"
	Compiler Producer // rustc, Go, TinyGo, asc, StarlingMonkey, clang
	SDK      Producer // fastly (the Rust crate), compute-sdk-go, @fastly/js-compute, @fastly/as-compute
}

var (
	rustCratePattern = regexp.MustCompile(`\bfastly-(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)[/\\]src\b`)
	goModulePattern  = regexp.MustCompile(`dep\tgithub\.com/fastly/compute-sdk-go\t(v[0-9][0-9A-Za-z.+-]*)`)
	goVersionPattern = regexp.MustCompile(`go1\.\d+(?:\.\d+)?`)
	wordPattern      = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]*`)
)

// Toolchain recognises the language, compiler and SDK of a guest: from the producers section where tools
// fill it in, else from habits of the compilers, and from strings that the SDKs leave in the data section.
// It is a guess for a person to read.
func (m *Module) Toolchain() Toolchain {
	p, _ := m.Producers() // what could be read is good enough for a guess
	var t Toolchain
	data, _ := m.Section(SectionData)
	has := func(s string) bool { return bytes.Contains(data.Body, []byte(s)) }
	by := func(list []Producer, name string) (Producer, bool) {
		for _, e := range list {
			if strings.EqualFold(e.Name, name) {
				return e, true
			}
		}
		return Producer{}, false
	}
	rust, isRust := by(p.ProcessedBy, "rustc")
	clang, isClang := by(p.ProcessedBy, "clang")
	tinygo, isTinyGo := by(p.ProcessedBy, "TinyGo")
	goc, isGo := by(p.Language, "Go")
	switch {
	// StarlingMonkey is made of C++ and Rust, TinyGo guests contain C: these come before those.
	case m.importsOrExports("wizer.resume", "starling_monkey") || has("StarlingMonkey") || has("js-compute-runtime") || has("SpiderMonkey"):
		t.Language, t.Compiler = "JavaScript", Producer{Name: "StarlingMonkey"}
		if has("fastly:") || has("js-compute") {
			t.SDK = Producer{Name: "@fastly/js-compute", Version: after(data.Body, "js-compute-runtime ", "@fastly/js-compute@")}
		}
	case isTinyGo || m.importsOrExports("tinygo_getCurrentStackPointer", "tinygo_rewind", "tinygo_unwind", "tinygo_launch") || has("tinygo"):
		t.Language = "Go"
		if tinygo.Name == "" {
			tinygo.Name = "TinyGo"
		}
		t.Compiler = tinygo
	case isGo || m.importsOrExports("gojs", "wasm_pc_f_loop") || m.hasCustom("go:buildid", "go.buildid"):
		t.Language = "Go"
		t.Compiler = Producer{Name: "Go", Version: strings.TrimPrefix(goc.Version, "go")}
		if t.Compiler.Version == "" {
			if g, ok := by(p.ProcessedBy, "Go cmd/compile"); ok {
				t.Compiler.Version = strings.TrimPrefix(g.Version, "go")
			} else if v := goVersionPattern.Find(data.Body); v != nil {
				t.Compiler.Version = string(v[2:])
			}
		}
	case m.importsOrExports("__pin", "__new", "__rtti_base") || m.importsFrom("env", "abort") && len(p.ProcessedBy) == 0 || hasUTF16(data.Body, "~lib/"):
		t.Language, t.Compiler = "AssemblyScript", Producer{Name: "asc"}
	case isRust || has("library/core/src/") || has("library/std/src/") || has("library/alloc/src/") || has("/rustc/"):
		rust.Name = "rustc" // panic messages tell after a linker that strips everything else
		t.Language, t.Compiler = "Rust", rust
	case isClang:
		t.Language, t.Compiler = "C", clang
		for _, l := range p.Language {
			if strings.HasPrefix(l.Name, "C_plus_plus") {
				t.Language = "C++"
			}
		}
	case len(p.Language) > 0:
		t.Language = p.Language[0].Name
		if len(p.ProcessedBy) > 0 {
			t.Compiler = p.ProcessedBy[0]
		}
	}
	switch t.Language {
	case "Rust":
		if v := rustCratePattern.FindSubmatch(data.Body); v != nil {
			t.SDK = Producer{Name: "fastly", Version: string(v[1])}
		}
	case "Go":
		if v := goModulePattern.FindSubmatch(data.Body); v != nil {
			t.SDK = Producer{Name: "compute-sdk-go", Version: string(v[1])}
		} else if has("github.com/fastly/compute-sdk-go") || m.namesContain("github.com/fastly/compute-sdk-go") {
			t.SDK = Producer{Name: "compute-sdk-go"}
		}
	case "AssemblyScript":
		if hasUTF16(data.Body, "@fastly/as-compute") || m.importsHostcalls() {
			t.SDK = Producer{Name: "@fastly/as-compute"}
		}
	}
	return t
}

// String gives one line: language, compiler, SDK.
func (t Toolchain) String() string {
	switch {
	case t.Language == "" && t.SDK.Name == "":
		return "unknown"
	case t.SDK.Name == "":
		return fmt.Sprintf("%s (%s)", t.Language, t.Compiler)
	}
	return fmt.Sprintf("%s (%s), SDK %s", t.Language, t.Compiler, t.SDK)
}

func (m *Module) hasCustom(names ...string) bool {
	for _, n := range names {
		if _, ok := m.Custom(n); ok {
			return true
		}
	}
	return false
}

func (m *Module) importsOrExports(names ...string) bool {
	for _, n := range names {
		if _, ok := m.Export(n); ok {
			return true
		}
		for i := range m.Imports {
			if m.Imports[i].Module == n {
				return true
			}
		}
	}
	return false
}

func (m *Module) importsFrom(module, name string) bool {
	for i := range m.Imports {
		if m.Imports[i].Module == module && m.Imports[i].Name == name {
			return true
		}
	}
	return false
}

func (m *Module) importsHostcalls() bool {
	for i := range m.Imports {
		if strings.HasPrefix(m.Imports[i].Module, "fastly_") {
			return true
		}
	}
	return false
}

func (m *Module) namesContain(sub string) bool {
	s, ok := m.Custom("name")
	return ok && bytes.Contains(s.Body, []byte(sub))
}

// hasUTF16 looks for an ASCII text in UTF-16, in which AssemblyScript keeps its strings.
func hasUTF16(b []byte, s string) bool {
	w := make([]byte, 0, 2*len(s))
	for i := 0; i < len(s); i++ {
		w = append(w, s[i], 0)
	}
	return bytes.Contains(b, w)
}

// after gives the version-like word that follows the first of the markers found.
func after(b []byte, markers ...string) string {
	for _, k := range markers {
		if i := bytes.Index(b, []byte(k)); i >= 0 {
			rest := b[i+len(k):]
			if len(rest) > 40 {
				rest = rest[:40]
			}
			if w := wordPattern.Find(rest); w != nil && w[0] >= '0' && w[0] <= '9' {
				return string(w)
			}
		}
	}
	return ""
}
