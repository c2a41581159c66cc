// Package docs_test holds the source to the architecture that ARCHITECTURE.md describes: which package may import
// which, where C is allowed, and that every package says what it is.
package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/edgewasm/wasmedge"

// rule refuses imports. Patterns are those of the go command, relative to this module ("abi" is that package alone,
// "abi/..." also all below it, "..." every package); several are separated by spaces.
type rule struct {
	from, except string // who may not import, and who of them may
	to, unless   string // what is refused, and what of it is not
	outside      string // what is refused of other modules and the standard library
	because      string
}

// The one-way rule: cmd -> host -> abi -> {host/engine, stores, host/httpfield, host/backend, host/cache, ...}.
// Test files are not bound by it: an end-to-end test beside the code it tests needs an engine.
var rules = []rule{
	{from: "...", except: "cmd/...", to: "cmd/...",
		because: "a command is the outermost layer: what others need of it belongs into a package of its own"},
	{from: "host/...", except: "host", to: "host",
		because: "package host wires the packages below it together, so none of them can know it"},
	{from: "host/...", except: "host", to: "abi/...",
		because: "an edge feature serves any caller; only package host knows that guests reach it by hostcalls"},
	{from: "abi/...", to: "host",
		because: "the hostcalls are wired by package host, from above"},
	{from: "abi/...", to: "host/engine/...", unless: "host/engine",
		because: "a hostcall works on every engine, so it sees the interfaces and value types alone"},
	{from: "abi/...", to: "host/control/... host/manifest/... host/modcache/... host/telemetry/... host/wire/...",
		because: "what a hostcall needs of these it states as a small interface of its own, which package host fills in"},
	{from: "abi/wasi/...", to: "abi",
		because: "WASI is usable by guests that know nothing of the platform"},
	{from: "host/engine", to: "...",
		because: "the engine boundary is interfaces and value types that everyone shares: it can depend on nobody"},
	{from: "host/engine/...", to: "...", unless: "host/engine/... host/wasm/...",
		because: "an engine does not know what a hostcall means or what runs on it"},
	{from: "host/wasm/...", to: "...", unless: "host/engine host/wasm/...",
		because: "reading and rewriting modules is below every engine"},
	{from: "host/cache", to: "...",
		because: "a cache keeps bytes for anybody: what HTTP or guests make of them is decided above it"},
	{from: "host/cache/httpcache", to: "...", unless: "host/httpfield",
		because: "the rules of HTTP caching are about messages alone, wherever these are kept"},
	{from: "kvstore/...", to: "...", unless: "kvstore/...",
		because: "a store is usable on its own, by programs that run no guest"},
	{from: "configstore/...", to: "...", unless: "configstore/...",
		because: "a store is usable on its own, by programs that run no guest"},
	{from: "secretstore/...", to: "...", unless: "secretstore/...",
		because: "a store is usable on its own, by programs that run no guest"},
	{from: "sdk/...", to: "...", unless: "sdk/...",
		because: "a guest SDK speaks the public guest ABI and shares no code with the host"},
	{from: "...", except: "sdk/...", to: "sdk/...",
		because: "a guest SDK is for programs inside a sandbox"},
	{from: "...", except: "host/engine/wasmtime", outside: "C runtime/cgo github.com/bytecodealliance/wasmtime-go/v39",
		because: "C lives in one small package, so that everything else is memory-safe and builds with CGO_ENABLED=0"},
	{from: "...", except: "host/engine/wazero/...", outside: "github.com/tetratelabs/wazero/...",
		because: "an engine's library is seen by its driver alone"},
}

// matches reports whether a package is one of the patterns.
func matches(patterns, pkg string) bool {
	for p := range strings.FieldsSeq(patterns) {
		below, wild := strings.CutSuffix(p, "...")
		if p == pkg || wild && (strings.HasPrefix(pkg, below) || pkg == strings.TrimSuffix(below, "/")) {
			return true
		}
	}
	return false
}

// forbids reports whether the rule refuses the import, which is written as the patterns are.
func (r rule) forbids(from, imported string, outside bool) bool {
	if !matches(r.from, from) || matches(r.except, from) {
		return false
	}
	if outside {
		return matches(r.outside, imported)
	}
	return matches(r.to, imported) && !matches(r.unless, imported)
}

// check gives a line for each breach in a tree of Go files, whatever their build tags. Folders named testdata or
// node_modules, and those that begin with a dot or an underscore, are left out as the go command does.
func check(tree fs.FS) ([]string, error) {
	var breaches []string
	breach := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	type pkg struct {
		name string
		docs []string
	}
	packages := map[string]*pkg{}
	fset := token.NewFileSet()
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(file)
		if d.IsDir() {
			if file != "." && (base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || base[0] == '.' || base[0] == '_' {
			return nil
		}
		source, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, file, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(file)
		usesC := false
		for _, i := range f.Imports {
			imported := strings.Trim(i.Path.Value, "`\"")
			usesC = usesC || imported == "C"
			if strings.HasSuffix(base, "_test.go") {
				continue
			}
			outside := true
			if rest, ok := strings.CutPrefix(imported+"/", module+"/"); ok {
				imported, outside = path.Clean(rest), false // the root package is "."
			}
			for _, r := range rules {
				if r.forbids(dir, imported, outside) {
					breach("%s: %s may not import %s: %s", fset.Position(i.Pos()), dir, imported, r.because)
				}
			}
		}
		if usesC {
			for _, name := range exportedC(f) {
				breach("%s: exported %s has a C type: say it in Go types, so that callers need no C",
					fset.Position(name.Pos()), name.Name)
			}
		}
		if !strings.HasSuffix(base, "_test.go") {
			p := packages[dir]
			if p == nil {
				p = &pkg{name: f.Name.Name}
				packages[dir] = p
			}
			if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
				p.docs = append(p.docs, f.Doc.Text())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for dir, p := range packages {
		wellBegun := func(doc string) bool {
			return p.name == "main" || strings.HasPrefix(doc, "Package "+p.name+" ")
		}
		switch {
		case len(p.docs) == 0:
			breach("%s: package %s has no doc comment: say what it is and what it promises", dir, p.name)
		case !slices.ContainsFunc(p.docs, wellBegun):
			breach("%s: the doc comment does not begin with %q", dir, "Package "+p.name+" ")
		}
	}
	slices.Sort(breaches)
	return breaches, nil
}

// exportedC gives the exported names of a file whose declaration says C.something, directly or by an alias.
func exportedC(f *ast.File) []*ast.Ident {
	aliases := map[string]bool{}
	var mentionsC func(n ast.Node) bool
	mentionsC = func(n ast.Node) (found bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit: // what a function does inside is its own affair
				return false
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "C" {
					found = true
				}
				return false
			case *ast.Ident:
				found = found || aliases[n.Name]
			case *ast.StructType: // only what others can see
				for _, field := range n.Fields.List {
					if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
						found = found || mentionsC(field.Type)
					}
				}
				return false
			}
			return !found
		})
		return found
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok {
			for _, s := range g.Specs {
				if t, ok := s.(*ast.TypeSpec); ok && t.Assign.IsValid() && mentionsC(t.Type) {
					aliases[t.Name.Name] = true
				}
			}
		}
	}
	var names []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) && mentionsC(d.Type) {
				names = append(names, d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && mentionsC(s.Type) {
						names = append(names, s.Name)
					}
				case *ast.ValueSpec:
					for i, n := range s.Names {
						if n.IsExported() && (s.Type != nil && mentionsC(s.Type) || s.Type == nil && i < len(s.Values) && mentionsC(s.Values[i])) {
							names = append(names, n)
						}
					}
				}
			}
		}
	}
	return names
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	for {
		switch u := t.(type) {
		case *ast.StarExpr:
			t = u.X
		case *ast.IndexExpr:
			t = u.X
		case *ast.IndexListExpr:
			t = u.X
		case *ast.Ident:
			return u.IsExported()
		default:
			return true
		}
	}
}

func TestArchitecture(t *testing.T) {
	breaches, err := check(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	for _, r := range rules {
		if r.because == "" || r.from == "" || r.to+r.outside == "" {
			t.Errorf("%+v is not complete", r)
		}
	}
}

func TestCheckerFindsBreaches(t *testing.T) {
	const doc = "// Package p is.\npackage p\n"
	imports := func(list ...string) string {
		return doc + "import (\n_ \"" + strings.Join(list, "\"\n_ \"") + "\"\n)\n"
	}
	const m = module + "/"
	for _, tt := range []struct {
		name string
		file string
		text string
		want []string // parts of the breaches, in order
	}{
		{name: "a package without a doc comment", file: "host/p.go", text: "package p\n", want: []string{"host: package p has no doc comment"}},
		{name: "a comment apart from the package clause is none", file: "host/p.go", text: "// Package p is.\n\npackage p\n", want: []string{"no doc comment"}},
		{name: "a build tag is no doc comment", file: "host/p.go", text: "//go:build cgo\n\npackage p\n", want: []string{"no doc comment"}},
		{name: "a directive alone is no doc comment", file: "host/p.go", text: "//go:generate true\npackage p\n", want: []string{"no doc comment"}},
		{name: "a doc comment that does not name its package", file: "host/p.go", text: "// Helpers.\npackage p\n", want: []string{"does not begin"}},
		{name: "a command's doc comment is free", file: "cmd/x/main.go", text: "// Wasmedge serves.\npackage main\n"},
		{name: "a command without one", file: "cmd/x/main.go", text: "package main\n", want: []string{"no doc comment"}},
		{name: "a test file needs none", file: "abi/p_test.go", text: "package p\n"},

		{name: "what the layers allow", file: "abi/p.go", text: imports(m+"host/engine", m+"host/httpfield", m+"host/cache", m+"kvstore", m+"configstore", m+"secretstore", m+"abi/wasi", "fmt", "golang.org/x/net/html")},
		{name: "host uses everything below", file: "host/p.go", text: imports(m+"abi", m+"host/engine/wasmtime", m+"host/engine/wazero", m+"kvstore/bolt", m+"host/wire")},
		{name: "a command uses everything", file: "cmd/wasmedge/p.go", text: imports(m+"abi", m+"host", m+"host/engine/wazero", m+"cmd/wasmedge/internal/x")},
		{name: "host imports a command", file: "host/p.go", text: imports(m + "cmd/wasmedge"), want: []string{"host may not import cmd/wasmedge"}},
		{name: "abi imports host", file: "abi/p.go", text: imports(m + "host"), want: []string{"abi/p.go:4:1: abi may not import host: the hostcalls are wired"}},
		{name: "below abi too", file: "abi/internal/x/p.go", text: imports(m + "host"), want: []string{"abi/internal/x may not import host"}},
		{name: "abi imports an engine", file: "abi/p.go", text: imports(m + "host/engine/wazero"), want: []string{"abi may not import host/engine/wazero"}},
		{name: "abi imports the server", file: "abi/p.go", text: imports(m + "host/wire"), want: []string{"abi may not import host/wire"}},
		{name: "wasi imports abi", file: "abi/wasi/p.go", text: imports(m + "abi"), want: []string{"abi/wasi may not import abi:"}},
		{name: "build tags hide nothing", file: "abi/p_windows.go", text: "//go:build ignore\n\n" + imports(m+"host"), want: []string{"may not import host"}},
		{name: "tests may", file: "abi/p_test.go", text: imports(m + "host/engine/wazero")},
		{name: "an engine imports abi", file: "host/engine/wazero/p.go", text: imports(m + "abi"), want: []string{"may not import abi: an edge feature", "may not import abi: an engine does not know"}},
		{name: "an engine imports a feature", file: "host/engine/wasmtime/p.go", text: imports(m + "host/cache"), want: []string{"may not import host/cache"}},
		{name: "the boundary imports anything", file: "host/engine/p.go", text: imports(m + "host/wasm"), want: []string{"host/engine may not import host/wasm"}},
		{name: "an engine rewrites modules", file: "host/engine/wazero/p.go", text: imports(m+"host/engine", m+"host/wasm", "github.com/tetratelabs/wazero/api")},
		{name: "a feature imports host", file: "host/cache/p.go", text: imports(m + "host"), want: []string{"host/cache may not import host: package host", "host/cache may not import host: a cache keeps"}},
		{name: "a feature imports abi", file: "host/cache/p.go", text: imports(m + "abi"), want: []string{"host/cache may not import abi: an edge", "host/cache may not import abi: a cache keeps"}},
		{name: "a store imports host", file: "kvstore/p.go", text: imports(m + "host/telemetry"), want: []string{"kvstore may not import host/telemetry"}},
		{name: "a store's driver imports abi", file: "kvstore/bolt/p.go", text: imports(m + "abi"), want: []string{"kvstore/bolt may not import abi"}},
		{name: "a store's driver imports the store", file: "kvstore/bolt/p.go", text: imports(m+"kvstore", "go.etcd.io/bbolt")},
		{name: "a store imports another", file: "secretstore/p.go", text: imports(m + "kvstore"), want: []string{"secretstore may not import kvstore"}},
		{name: "a config store imports host", file: "configstore/p.go", text: imports(m + "host"), want: []string{"configstore may not import host"}},
		{name: "the root package is of the module", file: "kvstore/p.go", text: imports(module), want: []string{"kvstore may not import ."}},
		{name: "an SDK imports the host", file: "sdk/go/p.go", text: imports(m + "abi"), want: []string{"sdk/go may not import abi"}},
		{name: "the host imports an SDK", file: "host/p.go", text: imports(m + "sdk/go"), want: []string{"host may not import sdk/go"}},
		{name: "a name alike is not below", file: "abiding/p.go", text: imports(m + "host")},
		{name: "a standard package named like a folder", file: "kvstore/p.go", text: imports("host")},
		{name: "an engine's library elsewhere", file: "host/p.go", text: imports("github.com/tetratelabs/wazero"), want: []string{"host may not import github.com/tetratelabs/wazero"}},
		{name: "wasmtime-go elsewhere", file: "host/engine/wazero/p.go", text: imports("github.com/bytecodealliance/wasmtime-go/v39"), want: []string{"may not import github.com/bytecodealliance"}},

		{name: "C in its place", file: "host/engine/wasmtime/p.go", text: doc + "import \"C\"\nvar x C.int\n"},
		{name: "C elsewhere", file: "host/engine/p.go", text: doc + "import \"C\"\n", want: []string{"host/engine may not import C: C lives in one small package"}},
		{name: "C below its place", file: "host/engine/wasmtime/sub/p.go", text: doc + "import \"C\"\n", want: []string{"may not import C"}},
		{name: "C handles elsewhere", file: "host/p.go", text: imports("runtime/cgo"), want: []string{"may not import runtime/cgo"}},
		{name: "exported C types", file: "host/engine/wasmtime/p.go", text: doc + `import "C"
type T C.int
type S struct { F *C.char; f C.int }
type G struct { f C.int }
type I interface { M(n C.int) }
type hidden = C.long
type U []hidden
var V C.int
var W = C.int(1)
const K = 1
func F(n C.int) {}
func R() (n *C.int) { return nil }
func Fine() { C.f() }
func (T) M(C.int) {}
func (hiddenToo) M(C.int) {}
type hiddenToo struct { C C.int }
var OK = func() { _ = C.int(1) }
func unexported(n C.int) {}
`, want: []string{"exported U ", "exported V ", "exported W ", "exported F ", "exported R ", "exported M ", "exported T ", "exported S ", "exported I "}},

		{name: "fixtures are left out", file: "host/testdata/p.go", text: "package p\n"},
		{name: "so are hidden folders", file: ".ci/p.go", text: "package p\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := check(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, want) }) {
					t.Errorf("got %q, want one that says %q", got, want)
				}
			}
		})
	}
	if _, err := check(fstest.MapFS{"p.go": {Data: []byte("pack")}}); err == nil {
		t.Error("a file that does not parse is no error")
	}
}
