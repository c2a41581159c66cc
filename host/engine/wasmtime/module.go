//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"bytes"
	"context"
	"errors"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// module is the engine.Module.
type module struct {
	refs   refs
	engine *wasmtimeEngine
	c      *C.wasmtime_module_t
	image  C.we_region // where a file with the code is mapped; empty when it is in memory
	facts
}

// facts are what the engine must know about a module besides its code. They are stored in artifacts, because
// the C API does not tell them (start function, memories that are not exported) or ends
// the process on types that it does not know.
type facts struct {
	ModuleImports []engine.Import `json:"imports"`
	ModuleExports []engine.Export `json:"exports"`
	Memory        uint64          `json:"memory"` // bytes at the start
	Table         uint64          `json:"table"`  // elements of the largest table at the start
	Start         bool            `json:"start"`
	State         *wasm.State     `json:"state,omitempty"` // all that can change; nil when there may be more
	Growth        *growth         `json:"growth,omitempty"`
	entries       map[string]bool // exports that Call accepts
}

// growth is a module's own account of its memory's size, with where its code section lay before and after it got that.
type growth struct {
	wasm.Growth
	Was int `json:"was"`
	Is  int `json:"is"`
}

// exportState rewrites a module so that its instances can be set back.
func exportState(m *wasm.Module) ([]byte, *wasm.State, *growth, error) {
	kept, g, err := m.KeepSize(sizePrefix)
	if err != nil {
		return nil, nil, nil, err
	}
	var own *growth
	if g != nil {
		was, _ := m.Section(wasm.SectionCode)
		if m, err = wasm.Parse(kept); err != nil {
			return nil, nil, nil, err
		}
		is, _ := m.Section(wasm.SectionCode)
		own = &growth{*g, was.Offset, is.Offset}
	}
	src, st, err := m.ExportState(statePrefix)
	return src, st, own, err
}

func factsOf(m *wasm.Module) facts {
	f := facts{ModuleImports: m.EngineImports(), ModuleExports: m.EngineExports(), Start: m.HasStart}
	for _, l := range m.Memories {
		f.Memory = max(f.Memory, l.Min<<l.PageSizeLog2)
	}
	for _, t := range m.Tables {
		f.Table = max(f.Table, t.Limits.Min)
	}
	return f
}

// check compares the facts with the most that the engine allows.
func (f *facts) check(memory uint64, tableElements uint32) error {
	if f.Memory > memory {
		return &engine.LimitError{What: engine.LimitMemory, Need: f.Memory, Limit: memory}
	}
	if f.Table > uint64(tableElements) {
		return &engine.LimitError{What: engine.LimitTable, Need: f.Table, Limit: uint64(tableElements)}
	}
	return nil
}

// Compile implements engine.Engine. When ctx ends first, compilation goes on in the background and its result
// is dropped: wasmtime cannot be stopped.
func (e *wasmtimeEngine) Compile(ctx context.Context, src []byte) (engine.Module, error) {
	if err := e.acquire(); err != nil {
		return nil, err
	}
	parsed, err := wasm.Parse(src)
	if err != nil {
		e.refs.release()
		return nil, err
	}
	// wasmtime ends the process when a function needs more numbers than it has (GHSA-897f-g5gm-fmxm).
	// The proposals that are only there when asked for have instructions that package wasm does not read.
	if err := parsed.CheckComplexity(); err != nil && !(e.cfg.GC && errors.Is(err, wasm.ErrUnsupported)) {
		e.refs.release()
		return nil, err
	}
	f := factsOf(parsed)
	if rewritten, st, growth, err := exportState(parsed); err == nil {
		src, f.State, f.Growth = rewritten, st, growth
	}
	if err := f.check(e.cfg.MaxMemory, e.cfg.MaxTableElements); err != nil {
		e.refs.release()
		return nil, err
	}
	if ctx.Done() == nil {
		return e.compile(src, f)
	}
	if ctx.Err() != nil {
		e.refs.release()
		return nil, context.Cause(ctx)
	}
	type result struct {
		m   engine.Module
		err error
	}
	done := make(chan result)
	src = bytes.Clone(src) // if it is the caller's, who may change it once we have returned
	go func() {
		m, err := e.compile(src, f)
		select {
		case done <- result{m, err}:
		case <-ctx.Done():
			if err == nil {
				m.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.m, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// compile takes over the caller's reference to the engine.
func (e *wasmtimeEngine) compile(src []byte, f facts) (engine.Module, error) {
	var c *C.wasmtime_module_t
	err := takeError(C.we_module_new(e.c, (*C.uint8_t)(unsafe.SliceData(src)), C.size_t(len(src)), &c))
	e.cooler.compiled.Store(true)
	if err != nil {
		e.refs.release()
		return nil, err
	}
	return newModule(e, c, f), nil
}

// newModule takes over the caller's reference to the engine.
func newModule(e *wasmtimeEngine, c *C.wasmtime_module_t, f facts) *module {
	m := &module{engine: e, c: c, facts: f}
	m.entries = make(map[string]bool)
	for _, x := range f.ModuleExports {
		if x.Kind == engine.KindFunc && len(x.Func.Params) == 0 && len(x.Func.Results) == 0 {
			m.entries[x.Name] = true
		}
	}
	m.refs.init(func() {
		C.wasmtime_module_delete(m.c)
		e.refs.release()
	})
	return m
}

var errModuleClosed = errors.New("wasmtime: the module is closed")

func (m *module) Imports() []engine.Import { return m.ModuleImports }
func (m *module) Exports() []engine.Export { return m.ModuleExports }
func (m *module) MinMemory() uint64        { return m.Memory }
func (m *module) Close()                   { m.refs.release() }
