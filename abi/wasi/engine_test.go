package wasi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/abi/wasi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
	"github.com/edgewasm/wasmedge/host/engine/wazero"
)

// raceDetector is set in builds with -race.
var raceDetector bool

// TestGoProgram runs a program that the Go toolchain built, on every engine of this build.
func TestGoProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program with the Go toolchain")
	}
	file := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-o", file, "./testdata/goguest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the guest: %v\n%s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("wazero", func(t *testing.T) {
		if raceDetector {
			t.Skip("wazero takes minutes to compile a Go program under the race detector")
		}
		runProgram(t, program, func(cfg engine.Config) (engine.Engine, error) { return wazero.New(cfg) })
	})
	t.Run("wasmtime", func(t *testing.T) {
		if !wasmtime.Available {
			t.Skip("not in this build")
		}
		runProgram(t, program, wasmtime.New)
	})
}

// sandbox is a state of which the System is a part, as the host's is.
type sandbox struct {
	sys wasi.System
}

func runProgram(t *testing.T, program []byte, open func(engine.Config) (engine.Engine, error)) {
	e, err := open(engine.Config{MaxInstances: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	m, err := e.Compile(ctx, program)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tmpl, err := m.Link(wasi.Hostcalls(func(state any) *wasi.System { return &state.(*sandbox).sys }), engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	run := func(ctx context.Context, s *sandbox) error {
		i, err := tmpl.Instantiate(engine.InstanceConfig{State: s})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		return i.Call(ctx, "_start")
	}

	const want = `args ["prog" "one" "two words"]
env ["NAME=value" "EMPTY="]
year is plausible: true
slept long enough: true
random differs: true
woken in order: 1 2 3
timer fired
stdin "from the host" <nil>
open: false true
`
	for _, kind := range []string{"in memory", "may wait"} {
		var out, errs bytes.Buffer
		s := &sandbox{sys: wasi.System{
			Args: []string{"prog", "one", "two words"}, Env: []string{"NAME=value", "EMPTY="},
			Stdin: strings.NewReader("from the host"), Stdout: &out, Stderr: &errs,
		}}
		if kind == "may wait" {
			s.sys.Stdin = struct{ io.Reader }{s.sys.Stdin}
		}
		err := run(ctx, s)
		var exit *engine.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 {
			t.Errorf("stdin %s: ended with %v, want exit code 7", kind, err)
		}
		if out.String() != want || errs.String() != "going\n" {
			t.Errorf("stdin %s: output\n%swant\n%serrors\n%s", kind, out.String(), want, errs.String())
		}
	}

	// A guest asleep ends when its context does.
	gone := errors.New("client gone")
	asleep, stop := context.WithCancelCause(ctx)
	s := &sandbox{sys: wasi.System{Args: []string{"prog", "sleep"}, Stdout: writerFunc(func([]byte) { stop(gone) })}}
	if err := run(asleep, s); !errors.Is(err, gone) {
		t.Errorf("a sleeping guest ended with %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
