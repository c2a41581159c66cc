package enginetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

// artifactOf serialises a guest or skips the test.
func (t *suite) artifactOf(e engine.Engine, name string) []byte {
	t.Helper()
	b, err := t.compile(e, name).Serialize()
	if errors.Is(err, engine.ErrNoArtifact) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// file writes b to a file of its own.
func file(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var artifactTests = []test{
	{"a serialised module loads in another engine and is the same module", func(t *suite) {
		b := t.artifactOf(t.engine(engine.Config{}), "features")
		e := t.engine(engine.Config{})
		m, err := e.Load(file(t, b))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		if im := m.Imports(); len(im) != 1 || im[0].Name != "report" {
			t.Errorf("Imports() = %v", im)
		}
		if ex := m.Exports(); len(ex) != 8 {
			t.Errorf("Exports() = %v", ex)
		}
		if m.MinMemory() != page {
			t.Errorf("MinMemory() = %d, want %d", m.MinMemory(), page)
		}
		var r record
		inst := t.instance(t.linkModule(m), engine.InstanceConfig{State: &r})
		t.mustCall(inst, "bulk_memory")
		t.want(&r, 0xffff0605)
	}},
	{"a loaded module has its names, its start function and its limits", func(t *suite) {
		e := t.engine(engine.Config{})
		load := func(name string) engine.Template {
			m, err := e.Load(file(t, t.artifactOf(e, name)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Close)
			return t.linkModule(m)
		}
		err := t.call(t.instance(load("traps"), engine.InstanceConfig{}), "division")
		var trap *engine.TrapError
		if !errors.As(err, &trap) || len(trap.Frames) != 2 || trap.Frames[0].Name != "inner_division" {
			t.Errorf("Call = %v, want a TrapError with names", err)
		}
		var r record
		inst := t.instance(load("start"), engine.InstanceConfig{State: &r})
		t.want(&r)
		t.mustCall(inst, "run")
		t.want(&r, 1, 42)
		_, err = load("bigmemory").Instantiate(engine.InstanceConfig{MaxMemory: page})
		var limit *engine.LimitError
		if !errors.As(err, &limit) {
			t.Errorf("Instantiate = %v, want a LimitError", err)
		}
	}},
	{"the file may go away once it is loaded", func(t *suite) {
		e := t.engine(engine.Config{})
		path := file(t, t.artifactOf(e, "compute"))
		m, err := e.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		var r record
		t.mustCall(t.instance(t.linkModule(m), engine.InstanceConfig{State: &r}), "run")
		t.want(&r, computeResult)
	}},
	{"a file that is no artifact is an error", func(t *suite) {
		e := t.engine(engine.Config{})
		b := t.artifactOf(e, "features")
		for name, content := range map[string][]byte{
			"nothing":          nil,
			"text":             []byte("not an artifact"),
			"a Wasm module":    guest(t, "features"),
			"zeros":            make([]byte, 1<<16),
			"the first 100":    b[:100],
			"the first half":   b[:len(b)/2],
			"all but one page": b[:len(b)-4096],
			"garbage":          bytes.Repeat([]byte{0xa5, 0x01, 0x7f}, 30000),
		} {
			if m, err := e.Load(file(t, content)); err == nil {
				m.Close()
				t.Errorf("%s: loaded, want an error", name)
			}
		}
		if _, err := e.Load(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Load of an absent file = %v, want fs.ErrNotExist", err)
		}
	}},
}
