package wazero

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

func kernels(tb testing.TB) []byte {
	b, err := os.ReadFile("../../wasm/testdata/kernels.wasm")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func artifact(tb testing.TB, e *Engine, src []byte) string {
	m, err := e.Compile(context.Background(), src)
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	b, err := m.Serialize()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "artifact")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func newEngine(tb testing.TB, cfg engine.Config) *Engine {
	e, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { e.Close() })
	if !e.compiler {
		tb.Skip("wazero has no compiler for this platform")
	}
	return e
}

func TestALoadedModuleSerializesToTheSameArtifact(t *testing.T) {
	e := newEngine(t, engine.Config{})
	path := artifact(t, e, kernels(t))
	m, err := e.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	again, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := os.ReadFile(path); !bytes.Equal(again, want) {
		t.Error("the artifact of a loaded module is another one")
	}
}

// An artifact whose machine code wazero does not take must not turn into a module without code.
func TestAnArtifactThatWazeroDoesNotTakeIsRefused(t *testing.T) {
	e := newEngine(t, engine.Config{})
	good, err := os.ReadFile(artifact(t, e, kernels(t)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "artifact")
	for name, change := range map[string]func(b []byte) []byte{
		"another version":           func(b []byte) []byte { b[8] ^= 1; return b },
		"another kind of file":      func(b []byte) []byte { b[0] ^= 1; return b },
		"damaged code":              func(b []byte) []byte { b[300] ^= 1; return b },
		"damaged stub":              func(b []byte) []byte { b[len(b)-artifactFooter-200] ^= 1; return b },
		"a key of another":          func(b []byte) []byte { return rekey(b, "0000") },
		"a key outside the folder":  func(b []byte) []byte { return rekey(b, "../x") },
		"lengths beyond the file":   func(b []byte) []byte { b[len(b)-artifactFooter+7] = 0x7f; return b },
		"a length short of it":      func(b []byte) []byte { b[len(b)-artifactFooter]++; return b },
		"a footer and nothing else": func(b []byte) []byte { return b[len(b)-artifactFooter:] },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, change(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			if m, err := e.Load(path); err == nil {
				m.Close()
				t.Error("it was loaded")
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(e.dir, "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// rekey writes the artifact with another key and the right checksum.
func rekey(b []byte, key string) []byte {
	f, err := os.CreateTemp("", "rekey")
	if err != nil {
		panic(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		panic(err)
	}
	p, err := readParts(f)
	if err != nil {
		panic(err)
	}
	code := len(b) - artifactFooter - len(p.stub) - len(p.facts) - len(p.key)
	p.key = key
	return p.append(b[:code:code])
}

func TestEngineLeavesNothingBehind(t *testing.T) {
	e, err := New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Compile(context.Background(), wasm.AppendHeader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Link(nil, engine.LinkOptions{}); err != nil { // not closed, on purpose
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(e.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", e.dir, err)
	}
	if _, err := e.Compile(context.Background(), wasm.AppendHeader(nil)); err == nil {
		t.Error("a closed engine compiles")
	}
	m.Close()
}
