package wazero

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// facts is what the engine keeps about a guest's own module, in which functions are numbered as the guest's
// tools number them.
type facts struct {
	module *wasm.Module // without code and data
	tables []uint64     // elements each table starts with
	max    uint64       // bytes that memory may grow to by the module's own word
	min    uint64
	memory bool // exported by the name "memory"
	start  bool
	trap   *engine.TrapError // instantiating traps: an active segment lies outside its table
}

func factsOf(m *wasm.Module) *facts {
	f := &facts{module: m, start: m.HasStart}
	if l, ok := m.Memory(); ok {
		f.min, f.max = l.Min<<16, maxMemory
		if l.HasMax {
			f.max = min(l.Max<<16, maxMemory)
		}
	}
	for _, t := range m.Tables {
		f.tables = append(f.tables, t.Limits.Min)
	}
	if e, ok := m.Export("memory"); ok && e.Kind == engine.KindMemory {
		f.memory = true
	}
	return f
}

// checkElements finds active element segments that do not fit; wazero would leave them out without a word.
// Offsets that are not constants depend on imported globals, which no guest has, or on proposals.
func (f *facts) checkElements(m *wasm.Module) error {
	segments, err := m.Elements()
	if err != nil {
		return err
	}
	for i, s := range segments {
		offset, known := wasm.ConstI32(s.Offset)
		if !s.Active || !known || int(s.Table) >= len(f.tables) {
			continue
		}
		if uint64(offset)+uint64(s.Count) > f.tables[s.Table] {
			f.trap = &engine.TrapError{Code: engine.TrapTableOutOfBounds, Message: fmt.Sprintf("element segment %d lies outside its table", i)}
			break
		}
	}
	return nil
}

// check holds the sizes that the guest starts with against limits.
func (f *facts) check(maxMemory uint64, maxTable uint32) error {
	if f.min > maxMemory {
		return &engine.LimitError{What: engine.LimitMemory, Need: f.min, Limit: maxMemory}
	}
	for _, n := range f.tables {
		if n > uint64(maxTable) {
			return &engine.LimitError{What: engine.LimitTable, Need: n, Limit: uint64(maxTable)}
		}
	}
	return nil
}

// module implements engine.Module.
type module struct {
	e     *Engine
	code  *code
	facts *facts

	mu     sync.Mutex
	entry  *os.File // what the compiler left, or the artifact that was loaded; nil when closed
	loaded bool     // entry is a whole artifact
	parts  parts    // for Serialize, of a module that was compiled
	closed bool
}

var _ engine.Module = (*module)(nil)

// Compile rewrites and compiles a core module.
func (e *Engine) Compile(ctx context.Context, src []byte) (engine.Module, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m, err := wasm.Parse(src)
	if err != nil {
		return nil, err
	}
	// The compiler's time and memory grow faster than the functions it is given.
	if err := m.CheckComplexity(); err != nil {
		return nil, err
	}
	slim, err := skeleton(m)
	if err != nil {
		return nil, err
	}
	f := factsOf(slim)
	if err := f.checkElements(m); err != nil {
		return nil, err
	}
	if err := f.check(e.cfg.MaxMemory, e.cfg.MaxTableElements); err != nil {
		return nil, err
	}
	r, err := rewrite(m)
	if err != nil {
		return nil, err
	}
	c, err := e.build(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("module does not compile: %w", err)
	}
	mod := &module{e: e, code: c, facts: f}
	if e.compiler {
		mod.entry, err = c.takeEntry()
		if err == nil {
			mod.parts, err = r.parts()
		}
		if err != nil {
			mod.Close()
			return nil, err
		}
	}
	return mod, nil
}

func (m *module) Imports() []engine.Import { return m.facts.module.EngineImports() }
func (m *module) Exports() []engine.Export { return m.facts.module.EngineExports() }
func (m *module) MinMemory() uint64        { return m.facts.min }

func (m *module) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	if m.entry != nil {
		m.entry.Close()
		m.entry = nil
	}
	m.parts = parts{}
	m.code.release()
}

var errModuleClosed = errors.New("wazero: the module is closed")
