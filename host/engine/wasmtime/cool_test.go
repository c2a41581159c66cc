//go:build cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

// present counts the pages in [start, end) that are in this process's memory.
func present(t *testing.T, start, end uint64) int {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip("this system does not tell which pages there are:", err)
	}
	defer f.Close()
	entries := make([]byte, (end-start)/osPage*8)
	if _, err := f.ReadAt(entries, int64(start/osPage*8)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for entry := range slices.Chunk(entries, 8) {
		n += int(binary.LittleEndian.Uint64(entry) >> 63)
	}
	return n
}

// loadText is linkText by way of an artifact.
func loadText(t *testing.T, e *wasmtimeEngine, src string) *template {
	t.Helper()
	wasm, err := WatToWasm([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := e.Compile(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close()
	artifact, err := compiled.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, artifact, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := e.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tmpl, err := m.Link(testCalls(), engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tmpl.Close)
	return tmpl.(*template)
}

func TestAnIdleTemplateKeepsItsInstancesAndNotTheirPages(t *testing.T) {
	if pagemap().how == noPagemap {
		t.Skip("this system does not tell which pages were written to")
	}
	e := openEngine(t, engine.Config{MaxInstances: 4})
	tmpl := loadText(t, e, twoPages)
	if _, err := tmpl.Warm(1); err != nil {
		t.Fatal(err)
	}
	run := func() {
		t.Helper()
		var rec reports
		i := instantiate(t, tmpl, engine.InstanceConfig{State: &rec})
		defer i.Close()
		for _, export := range []string{"look", "grow", "run"} {
			if err := i.Call(context.Background(), export); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(rec.values, []uint64{5, 0}) {
			t.Errorf("a guest finds %d, not what its module declares", rec.values)
		}
	}
	held := func() (code, memory int) {
		t.Helper()
		e.lot.mu.Lock()
		defer e.lot.mu.Unlock()
		for _, s := range tmpl.parking.slots {
			base := uint64(uintptr(unsafe.Pointer(s.c.state_base)))
			memory += present(t, base, base+uint64(s.c.state_size))
		}
		return present(t, uint64(tmpl.image.start), uint64(tmpl.image.end)), memory
	}
	for round := range 3 {
		for range 3 {
			run() // the first times teach the template its pages
		}
		e.cooler.look() // it has been used
		for range coolAfter - 1 {
			e.cooler.look()
		}
		if code, memory := held(); code == 0 || memory == 0 {
			t.Errorf("round %d: a template that was used lately holds %d pages of code and %d of memory", round, code, memory)
		}
		e.cooler.look()
		code, memory := held()
		if code != 0 || memory != 0 || parked(tmpl) != 1 || e.lot.resident != 0 {
			t.Errorf("round %d: an idle template holds %d pages of code and %d of memory, %d bytes are counted, %d are parked, want 1 and nothing else",
				round, code, memory, e.lot.resident, parked(tmpl))
		}
	}
}

func TestCodeThatWasCompiledHereStays(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 4})
	tmpl := linkText(t, e, twoPages)
	if tmpl.image.start != tmpl.image.end {
		t.Fatalf("%#x to %#x would be dropped, and is in no file", tmpl.image.start, tmpl.image.end)
	}
	tmpl.cool()
	i := instantiate(t, tmpl, engine.InstanceConfig{State: new(reports)})
	defer i.Close()
	if err := i.Call(context.Background(), "look"); err != nil {
		t.Error(err)
	}
}

func TestTheCoolerForgetsClosedTemplates(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 4})
	tmpl := linkText(t, e, twoPages)
	for range coolAfter + 1 {
		e.cooler.look()
	}
	tmpl.Close()
	e.cooler.look()
	if n := len(e.cooler.templates); n != 0 {
		t.Errorf("%d templates are left", n)
	}
	if e.cooler.timer.Stop() {
		t.Error("the timer runs for no template")
	}
}
