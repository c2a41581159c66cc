package wasm_test

import (
	"context"
	"testing"

	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/edgewasm/wasmedge/testdata/guests"
	"github.com/tetratelabs/wazero"
)

// growing is a module with (size) -> i32, (grow i32) -> i32 and (load i32) -> i32, one page of at most four.
func growing() []byte {
	return wasm.Encode([]wasm.Section{
		{ID: wasm.SectionType, Body: []byte{2, 0x60, 0, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f}},
		{ID: wasm.SectionFunction, Body: []byte{3, 0, 1, 1}},
		{ID: wasm.SectionMemory, Body: []byte{1, 1, 1, 4}},
		{ID: wasm.SectionExport, Body: append([]byte{3},
			"\x04size\x00\x00\x04grow\x00\x01\x04load\x00\x02"...)},
		{ID: wasm.SectionCode, Body: append([]byte{3},
			"\x04\x00\x3f\x00\x0b"+"\x06\x00\x20\x00\x40\x00\x0b"+"\x07\x00\x20\x00\x28\x02\x00\x0b"...)},
	})
}

func TestKeepSizeKeepsTheMeaningOfGrowing(t *testing.T) {
	m, err := wasm.Parse(growing())
	if err != nil {
		t.Fatal(err)
	}
	rewritten, g, err := m.KeepSize("host:")
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	original, err := r.InstantiateWithConfig(ctx, growing(), wazero.NewModuleConfig().WithName("original"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := r.InstantiateWithConfig(ctx, rewritten, wazero.NewModuleConfig().WithName("kept"))
	if err != nil {
		t.Fatal(err)
	}
	for _, delta := range []uint64{0, 1, 5, 0xFFFFFFFF, 0x80000000, 1, 0, 2, 1, 1} {
		for _, call := range []string{"grow", "size"} {
			args := []uint64{delta}
			if call == "size" {
				args = nil
			}
			a, err1 := original.ExportedFunction(call).Call(ctx, args...)
			b, err2 := kept.ExportedFunction(call).Call(ctx, args...)
			if err1 != nil || err2 != nil || a[0] != b[0] {
				t.Errorf("%s %d gives %d, %v and rewritten %d, %v", call, int32(delta), a, err1, b, err2)
			}
		}
	}
}

func TestKeepSizeTakesGrowthBack(t *testing.T) {
	m, err := wasm.Parse(growing())
	if err != nil {
		t.Fatal(err)
	}
	rewritten, g, err := m.KeepSize("host:")
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	if p, err := wasm.Parse(rewritten); err != nil {
		t.Fatal(err)
	} else if e, ok := p.Export(g.Size); !ok || int(e.Index) != 0 {
		t.Fatalf("the global's export is %v", e)
	}
	// The global is not mutable from outside in wazero's public API; growing twice shows that the account is its own.
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	mod, err := r.Instantiate(ctx, rewritten)
	if err != nil {
		t.Fatal(err)
	}
	if mod.ExportedGlobal(g.Size).Get() != 1 {
		t.Errorf("size is %d at the start", mod.ExportedGlobal(g.Size).Get())
	}
	mod.ExportedFunction("grow").Call(ctx, 2)
	if mod.ExportedGlobal(g.Size).Get() != 3 {
		t.Errorf("size is %d after growing by 2", mod.ExportedGlobal(g.Size).Get())
	}
}

// Every byte of code that was not replaced is found again at its original offset.
func TestKeepSizeTellsWhereCodeWas(t *testing.T) {
	programs := map[string][]byte{"growing": growing()}
	for _, name := range guests.Names("rust", "assemblyscript", "c") {
		programs[name] = guests.Wasm(t, name)
	}
	for name, program := range programs {
		m, err := wasm.Parse(program)
		if err != nil {
			t.Fatal(name, err)
		}
		rewritten, g, err := m.KeepSize("host:")
		if err != nil {
			t.Fatal(name, err)
		}
		if g == nil {
			continue
		}
		p, err := wasm.Parse(rewritten)
		if err != nil {
			t.Fatal(name, err)
		}
		was, _ := m.Section(wasm.SectionCode)
		is, _ := p.Section(wasm.SectionCode)
		different := 0
		for i := range is.Body {
			at := int(g.Original(uint32(i)))
			if at >= len(was.Body) || was.Body[at] != is.Body[i] {
				different++
			}
		}
		// The added function, the counts and the replaced instructions with the sizes of their functions.
		if different > 64+8*len(g.Shifts) {
			t.Errorf("%s: %d of %d bytes are not where they should be; %d shifts", name, different, len(is.Body), len(g.Shifts))
		}
	}
}

func TestKeepSizeLeavesOthersAlone(t *testing.T) {
	m, err := wasm.Parse(guests.Wasm(t, "wat/loop"))
	if err != nil {
		t.Fatal(err)
	}
	if _, g, err := m.KeepSize("host:"); g != nil || err != nil {
		t.Errorf("%v, %v", g, err)
	}
}
