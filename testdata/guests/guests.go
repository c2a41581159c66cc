// Package guests gives tests the guest programs that are kept beside it: compiled ones from the tree, Go ones compiled
// on the spot, JavaScript ones from a folder that a build left, and malformed files.
//
// A guest is named FAMILY/NAME, as its source file is: "rust/echo" is rust/src/bin/echo.rs. README.md says what
// each one shows and how it is built. The bytes given out are the caller's own to change. All functions may be called from
// tests that run at the same time. Go's ./... skips this package, as it does everything below testdata.
package guests

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// JSEnv names the environment variable that tells JS where the built JavaScript guests are: the folder that was given
// to `build.sh -o` for the family js. Relative paths start at the test's working directory.
const JSEnv = "WASMEDGE_JS_GUESTS"

// Built by build.sh; the versions of the tools are in TOOLS.
//
//go:embed rust/*.wasm assemblyscript/*.wasm c/*.wasm wat/*.wasm
var prebuilt embed.FS

// Names lists the guests that Wasm can give, sorted. Given families ("rust", "wat", ...), it lists only theirs.
func Names(families ...string) []string {
	var names []string
	err := fs.WalkDir(prebuilt, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimSuffix(file, ".wasm")
		if len(families) == 0 || slices.Contains(families, path.Dir(name)) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("guests: walk embedded files: %v", err)) // an embedded tree cannot fail to be read
	}
	slices.Sort(names)
	return names
}

// Wasm gives a guest that was compiled beforehand, such as "rust/echo". It fails the test if there is no such guest.
func Wasm(t testing.TB, name string) []byte {
	t.Helper()
	wasm, err := prebuilt.ReadFile(name + ".wasm")
	if err != nil {
		t.Fatalf("guests: no guest %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return wasm
}

// GoNames lists the guests that BuildGo can compile, sorted.
func GoNames() []string { return []string{"echo", "hello", "wasi"} }

type goBuild struct {
	once sync.Once
	wasm []byte
	err  error
}

var goBuilds sync.Map // name -> *goBuild

// BuildGo compiles a Go guest with the toolchain that runs the test: the package go/NAME below this one. Each guest is
// compiled once per test binary (and Go's build cache makes the next test binary quick). It fails the test if the guest does
// not compile, and skips it if there is no go command to compile with.
func BuildGo(t testing.TB, name string) []byte {
	t.Helper()
	if !slices.Contains(GoNames(), name) {
		t.Fatalf("guests: no Go guest %q; there are %s", name, strings.Join(GoNames(), ", "))
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("guests: compiling the Go guest %q needs the go command: %v", name, err)
	}
	value, _ := goBuilds.LoadOrStore(name, new(goBuild))
	build := value.(*goBuild)
	build.once.Do(func() { build.wasm, build.err = compileGo(tool, name) })
	if build.err != nil {
		t.Fatalf("guests: compile Go guest %q: %v", name, build.err)
	}
	return slices.Clone(build.wasm)
}

func compileGo(tool, name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "guests-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name+".wasm")
	cmd := exec.Command(tool, "build", "-o", file, "./"+path.Join("go", name))
	cmd.Dir = sourceDir()
	// The flags of the build under test (-race, -tags, ...) are not the guest's.
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "CGO_ENABLED=0", "GOWORK=off", "PWD="+cmd.Dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v\n%s", err, out)
	}
	return os.ReadFile(file)
}

// sourceDir is the folder of this package's source.
func sourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// JSNames lists the JavaScript guests.
func JSNames() []string {
	return []string{"echo", "handoff", "headers", "hello", "outbound", "reuse", "stores", "work"}
}

// JS gives a JavaScript guest from the folder that the environment variable JSEnv names, and skips the test if the variable
// is not set: these guests are 11 MB each and built only where npm is at hand.
func JS(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv(JSEnv)
	if dir == "" {
		t.Skipf("guests: the JavaScript guest %q needs %s: see testdata/guests/README.md", name, JSEnv)
	}
	for _, file := range []string{filepath.Join(dir, "js", name+".wasm"), filepath.Join(dir, name+".wasm")} {
		if wasm, err := os.ReadFile(file); err == nil {
			return wasm
		}
	}
	t.Fatalf("guests: %s=%s holds no js/%s.wasm: build it with testdata/guests/build.sh -o DIR js", JSEnv, dir, name)
	return nil
}
