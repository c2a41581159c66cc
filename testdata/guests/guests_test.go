package guests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryCommittedGuestIsASmallModule(t *testing.T) {
	const most = 300_000
	// What sends requests brings the Rust SDK's own cache along.
	larger := map[string]int{"rust/proxy": 360_000, "rust/origins": 360_000, "rust/shield": 360_000}
	for _, name := range Names() {
		wasm := Wasm(t, name)
		if !bytes.HasPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00")) {
			t.Errorf("%s: not a Wasm module: starts with % x", name, wasm[:min(8, len(wasm))])
		}
		if limit := max(most, larger[name]); len(wasm) > limit {
			t.Errorf("%s: %d bytes: it may have at most %d", name, len(wasm), limit)
		}
	}
}

func TestEverySourceHasItsGuestAndEveryGuestItsSource(t *testing.T) {
	var sources []string
	for family, pattern := range map[string]string{
		"rust":           "rust/src/bin/*.rs",
		"assemblyscript": "assemblyscript/*.ts",
		"c":              "c/*.c",
		"wat":            "wat/*.wat",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			base := filepath.Base(file)
			sources = append(sources, family+"/"+strings.TrimSuffix(base, filepath.Ext(base)))
		}
	}
	slices.Sort(sources)
	if got := Names(); !slices.Equal(got, sources) {
		t.Errorf("guests: %q\nsources: %q\nrun testdata/guests/build.sh, or delete what has no source", got, sources)
	}
}

func TestListsOfNamesMatchTheFolders(t *testing.T) {
	list := func(pattern string) []string {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".js")
			if name != "internal" {
				names = append(names, name)
			}
		}
		return names
	}
	if got, want := GoNames(), list("go/*"); !slices.Equal(got, want) {
		t.Errorf("GoNames() = %q, the folder has %q", got, want)
	}
	if got, want := JSNames(), list("js/*.js"); !slices.Equal(got, want) {
		t.Errorf("JSNames() = %q, the folder has %q", got, want)
	}
}

func TestReadmeNamesEveryGuest(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := Names()
	for _, name := range GoNames() {
		names = append(names, "go/"+name)
	}
	for _, name := range JSNames() {
		names = append(names, "js/"+name)
	}
	for _, name := range names {
		if !bytes.Contains(readme, []byte("`"+name+"`")) {
			t.Errorf("README.md does not say what `%s` shows", name)
		}
	}
}

// The files were built on somebody's machine; they must not tell whose.
func TestNoGuestTellsWhereItWasBuilt(t *testing.T) {
	for _, name := range Names() {
		wasm := Wasm(t, name)
		for _, trace := range []string{"/root/", "/home/", "/Users/", "/work/", "registry/src"} {
			if bytes.Contains(wasm, []byte(trace)) {
				t.Errorf("%s contains %q", name, trace)
			}
		}
	}
}

func TestGoGuestsCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles three programs")
	}
	for _, name := range GoNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := BuildGo(t, name), BuildGo(t, name)
			if !bytes.HasPrefix(first, []byte("\x00asm\x01\x00\x00\x00")) {
				t.Fatalf("not a Wasm module: starts with % x", first[:min(8, len(first))])
			}
			if !bytes.Equal(first, second) {
				t.Error("two calls gave different bytes")
			}
			if first[0]++; bytes.Equal(first, BuildGo(t, name)) {
				t.Error("changing the given bytes changed what the next caller gets")
			}
		})
	}
}

func TestMalformedModulesAreRefusedByTheReferenceTools(t *testing.T) {
	tool, err := exec.LookPath("wasm-validate")
	if err != nil {
		t.Skip("wasm-validate is not installed")
	}
	for _, m := range MalformedModules(t) {
		file := filepath.Join(t.TempDir(), "m.wasm")
		if err := os.WriteFile(file, m.Wasm, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command(tool, file).Run(); err == nil {
			t.Errorf("%s: wasm-validate takes it", m.Name)
		}
	}
}
