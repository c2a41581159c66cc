package wazero

import (
	"errors"
	"slices"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// What the rewritten module imports from the engine, and exports to it.
const (
	hostModule    = "wasmedge:engine"
	interruptName = "interrupt"
	growName      = "grow"
	startExport   = "wasmedge:start"
	statePrefix   = "wasmedge:state:" // memories and globals that the guest keeps to itself
	sizePrefix    = "wasmedge:grown:" // the guest's account of its memory's size
)

var rewriting = wasm.InterruptOptions{
	Module: hostModule, Name: interruptName, Grow: growName, ExportStart: startExport,
	Budget: firstBudget, DropCustom: true,
}

// rewritten is a guest's module as wazero gets it.
type rewritten struct {
	binary []byte
	data   []wasm.Span // taken out of it
	traits
}

// traits are what is known of a rewritten module besides its bytes. They are kept in artifacts.
type traits struct {
	State  *wasm.State  `json:"state,omitempty"`  // all that can change in an instance; nil when there may be more
	Growth *wasm.Growth `json:"growth,omitempty"` // where the module grows its memory and keeps account of it
}

// rewrite makes a module interruptible, its data an image, and its instances such that they can be set back; the
// latter two only where nobody can tell.
func rewrite(m *wasm.Module) (rewritten, error) {
	var r rewritten
	src, data, err := m.TakeData()
	if err != nil {
		return r, err
	}
	if _, worth := layout(data); worth {
		r.data = data
	} else {
		src = m.Bytes()
	}
	if r.binary, err = wasm.InsertInterrupts(src, rewriting); err != nil {
		return r, err
	}
	if binary, t, err := exportState(r.binary); err == nil {
		r.binary, r.traits = binary, t
	}
	return r, nil
}

// Why instances cannot be set back here where package wasm sees no reason.
var (
	errOwnSegments = errors.New("wazero: the module has data segments that are no part of its image")
	errWideGlobal  = errors.New("wazero: the module has a mutable global of 128 bits") // the API sets 64 bits and clears the rest
)

// exportState lets instances be set back. The start function is no obstacle, because it is an export by now. An error
// says why they cannot be.
func exportState(src []byte) ([]byte, traits, error) {
	var t traits
	m, err := wasm.Parse(src)
	if err != nil {
		return nil, t, err
	}
	kept, growth, err := m.KeepSize(sizePrefix)
	if err != nil {
		return nil, t, err
	}
	if growth != nil {
		t.Growth = &wasm.Growth{Size: growth.Size} // code offsets are of no use here
		if m, err = wasm.Parse(kept); err != nil {
			return nil, t, err
		}
	}
	// What wazero writes to memory when it makes an instance would be lost when it is set back.
	segments, err := m.Data()
	if err != nil {
		return nil, t, err
	}
	if slices.ContainsFunc(segments, func(s wasm.DataSegment) bool { return s.Active }) {
		return nil, t, errOwnSegments
	}
	for _, g := range m.Globals {
		if g.Mutable && g.Type == engine.V128 {
			return nil, t, errWideGlobal
		}
	}
	out, state, err := m.ExportState(statePrefix)
	t.State = state
	return out, t, err
}
