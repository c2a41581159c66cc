//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
)

// library finds the Go module that carries wasmtime, by the import in link.go.
func library(t *testing.T) (dir, version string) {
	t.Helper()
	src, err := os.ReadFile("link.go")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`(?m)^\t_ "(.*)"$`).FindSubmatch(src)
	if path == nil {
		t.Fatal("link.go has no blank import")
	}
	out, err := exec.Command("go", "list", "-m", "-json", string(path[1])).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", path[1], err)
	}
	var m struct{ Dir, Version string }
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m.Dir, strings.TrimPrefix(m.Version, "v")
}

// TestDeclarations compiles our declarations of the C API together with the real ones.
func TestDeclarations(t *testing.T) {
	dir, _ := library(t)
	out, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	cc := strings.Fields(string(out))
	args := append(cc[1:], "-std=gnu11", "-fsyntax-only", "-Wall", "-Werror", "-I", filepath.Join(dir, "build", "include"), "-I", ".",
		filepath.Join("testdata", "declarations.c"))
	if out, err := exec.Command(cc[0], args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(append(cc[:1], args...), " "), err, out)
	}
}

// TestVersion sees to it that the version in the source is that of go.mod.
func TestVersion(t *testing.T) {
	if _, version := library(t); wasmtime.Version() != version {
		t.Errorf("Version() = %q, go.mod says %q: change testedVersion in link.go", wasmtime.Version(), version)
	}
}
