//go:build unix

package modcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// fakeEngine "compiles" by putting its name before the module, and loads by mapping the file.
type fakeEngine struct {
	fingerprint string
	noArtifact  bool
	compileErr  error
	delay       time.Duration
	pad         int // bytes that an artifact is longer than its module
	onCompile   func()

	compiles, loads atomic.Int64
	lastPath        atomic.Value
}

func (e *fakeEngine) Name() string        { return "fake" }
func (e *fakeEngine) Version() string     { return "1" }
func (e *fakeEngine) Suspends() bool      { return false }
func (e *fakeEngine) Fingerprint() string { return e.fingerprint }
func (e *fakeEngine) Close() error        { return nil }

func (e *fakeEngine) Compile(ctx context.Context, wasm []byte) (engine.Module, error) {
	e.compiles.Add(1)
	if e.onCompile != nil {
		e.onCompile()
	}
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(e.delay):
	}
	if e.compileErr != nil {
		return nil, e.compileErr
	}
	code := append([]byte("native:"+e.fingerprint+":"), wasm...)
	return &fakeModule{engine: e, code: append(code, bytes.Repeat([]byte{'p'}, e.pad)...)}, nil
}

func (e *fakeEngine) Load(path string) (engine.Module, error) {
	e.loads.Add(1)
	e.lastPath.Store(path)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	code, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(code, []byte("native:"+e.fingerprint+":")) {
		return nil, errors.New("not an artifact of mine")
	}
	return &fakeModule{engine: e, code: code}, nil
}

type fakeModule struct {
	engine.Module // the methods that no test calls
	engine        *fakeEngine
	code          []byte
}

func (m *fakeModule) Serialize() ([]byte, error) {
	if m.engine.noArtifact {
		return nil, engine.ErrNoArtifact
	}
	return m.code, nil
}

func (m *fakeModule) Close() {}

// wants fails the test unless mod is what e makes of wasm.
func (e *fakeEngine) wants(t *testing.T, mod engine.Module, wasm []byte) {
	t.Helper()
	prefix := []byte("native:" + e.fingerprint + ":")
	if got := mod.(*fakeModule).code; !bytes.Equal(got[:len(got)-e.pad], append(prefix, wasm...)) {
		t.Fatalf("the module holds other code: %.60q", got)
	}
}

// warnings collects what Options.Warn got.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(msg string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, msg)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}

func open(t testing.TB, dir string, opts Options) (*Cache, *warnings) {
	t.Helper()
	w := new(warnings)
	opts.Warn = w.add
	c, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, w
}

// get asks for a module and checks where it came from.
func get(t *testing.T, c *Cache, e *fakeEngine, wasm []byte, wantHit bool) engine.Module {
	t.Helper()
	mod, hit, err := c.Module(t.Context(), e, wasm)
	if err != nil {
		t.Fatal(err)
	}
	if hit != wantHit {
		t.Fatalf("hit is %v, want %v", hit, wantHit)
	}
	e.wants(t, mod, wasm)
	return mod
}

func entries(t *testing.T, c *Cache) []string {
	t.Helper()
	var found []string
	for _, name := range c.store.names() {
		if isEntry(name) {
			found = append(found, name)
		}
	}
	return found
}

func mustBe(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
