package wasi

import (
	"context"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Another implementation of the interface says which functions there are and of what type.
func TestTheTableIsComplete(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	other, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	types := func(in []api.ValueType) (out []engine.ValueType) {
		for _, v := range in {
			out = append(out, engine.ValueType(v))
		}
		return out
	}
	theirs := other.ExportedFunctions()
	seen := map[string]bool{}
	for _, h := range Hostcalls(func(any) *System { return nil }) {
		d, ok := theirs[h.Name]
		if !ok {
			t.Errorf("%s is not in the interface", h.Name)
			continue
		}
		if h.Module != "wasi_snapshot_preview1" || seen[h.Name] {
			t.Errorf("%s.%s is in the wrong module or there twice", h.Module, h.Name)
		}
		seen[h.Name] = true
		if want := (engine.FuncType{Params: types(d.ParamTypes()), Results: types(d.ResultTypes())}); !h.Type.Equal(want) {
			t.Errorf("%s has type %v, want %v", h.Name, h.Type, want)
		}
		waits := slices.Contains([]string{"fd_read", "fd_write", "poll_oneoff"}, h.Name)
		if h.MayBlock != waits || (h.Ready != nil) != waits {
			t.Errorf("%s: MayBlock is %v, Ready set is %v, want %v", h.Name, h.MayBlock, h.Ready != nil, waits)
		}
	}
	if len(seen) != len(theirs) || len(seen) != 46 {
		t.Errorf("%d functions, the interface has %d", len(seen), len(theirs))
	}
}

func TestErrnoStringsMatchTheInterface(t *testing.T) {
	for e, want := range map[Errno]string{
		ESUCCESS: "ESUCCESS", EBADF: "EBADF", EFAULT: "EFAULT", EINVAL: "EINVAL", EIO: "EIO", ENOTDIR: "ENOTDIR",
		ENOTSOCK: "ENOTSOCK", ESPIPE: "ESPIPE", ENOTCAPABLE: "ENOTCAPABLE", 77: "errno 77",
	} {
		if e.String() != want {
			t.Errorf("%d: %s, want %s", uint16(e), e, want)
		}
	}
	// Values from typenames.witx, which counts from 0.
	for e, want := range map[Errno]uint16{EAGAIN: 6, EBADF: 8, EFAULT: 21, EINVAL: 28, EIO: 29, ENOTDIR: 54,
		ENOTSOCK: 57, ENOTSUP: 58, EOVERFLOW: 61, EPIPE: 64, ESPIPE: 70, ENOTCAPABLE: 76} {
		if uint16(e) != want {
			t.Errorf("%v is %d, want %d", e, uint16(e), want)
		}
	}
	if len(errnoNames) != int(ENOTCAPABLE)+1 {
		t.Errorf("%d names for %d errors", len(errnoNames), ENOTCAPABLE+1)
	}
}
