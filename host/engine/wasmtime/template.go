//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

// template is the engine.Template.
type template struct {
	refs   refs
	engine *wasmtimeEngine
	c      *C.we_template
	calls  []hostcall
	facts  facts
	// odd are unknown imports with types that a hostcall cannot have; wasmtime itself makes traps of them.
	odd []engine.Import

	image C.we_region // the module's; it lives as long as c
	used  atomic.Bool // since the cooler last looked
	idle  int         // how often it has looked in vain; belongs to the cooler

	// resettable says that instances may be set back and used again, unless pristine finds otherwise.
	resettable bool
	pristine   pristine
	parking    parking // belongs to the engine's lot
	working    workingSet
}

// hostcall is a Hostcall that the module imports.
type hostcall struct {
	engine.Hostcall
	slots int // the longer of parameters and results
}

var errTemplateClosed = errors.New("wasmtime: the template is closed")

type importName struct{ module, name string }

// Link implements engine.Module.
func (m *module) Link(calls []engine.Hostcall, opts engine.LinkOptions) (engine.Template, error) {
	if !m.refs.acquire() {
		return nil, errModuleClosed
	}
	defer m.refs.release() // the template keeps the compiled code itself

	table := make(map[importName]*engine.Hostcall, len(calls))
	for i := range calls {
		table[importName{calls[i].Module, calls[i].Name}] = &calls[i]
	}
	t := &template{engine: m.engine, facts: m.facts, image: m.image}
	linker := C.we_linker_new(m.engine.c)
	defer C.wasmtime_linker_delete(linker)
	types := make(map[importName]engine.FuncType)
	for _, im := range m.ModuleImports {
		name := importName{im.Module, im.Name}
		h := table[name]
		switch {
		case im.Kind != engine.KindFunc:
			return nil, &engine.ImportTypeError{Import: im}
		case h == nil && opts.UnknownImports != engine.TrapUnknown:
			return nil, &engine.UnknownImportError{Module: im.Module, Name: im.Name}
		case h != nil && !h.Type.Equal(im.Func):
			return nil, &engine.ImportTypeError{Import: im, Want: h.Type}
		}
		if first, again := types[name]; again {
			if !first.Equal(im.Func) {
				// Two unknown imports of one name: nothing can be both.
				return nil, &engine.ImportTypeError{Import: im, Want: first}
			}
			continue
		}
		types[name] = im.Func
		if h == nil {
			if _, err := kinds(im.Func.Params); err != nil {
				t.odd = append(t.odd, im)
				continue
			}
			if _, err := kinds(im.Func.Results); err != nil {
				t.odd = append(t.odd, im)
				continue
			}
			h = unknown(im)
		}
		if err := t.define(linker, h); err != nil {
			return nil, err
		}
	}
	if len(t.odd) > 0 {
		if err := takeError(C.we_linker_define_traps(linker, m.c)); err != nil {
			return nil, err
		}
	}
	slots := 0
	for _, h := range t.calls {
		slots = max(slots, h.slots)
	}
	if err := takeError(C.we_template_new(m.engine.c, linker, m.c, C.uint32_t(slots), &t.c)); err != nil {
		return nil, err
	}
	if err := m.engine.acquire(); err != nil {
		C.we_template_delete(t.c)
		return nil, err
	}
	t.track(m.State)
	t.refs.init(func() {
		C.we_template_delete(t.c)
		t.engine.refs.release()
	})
	t.dropImage() // what was read to make it, which is not needed again
	t.engine.cooler.add(t)
	return t, nil
}

// unknown is a hostcall that ends the guest.
func unknown(im engine.Import) *engine.Hostcall {
	err := &engine.UnknownImportError{Module: im.Module, Name: im.Name}
	return &engine.Hostcall{Module: im.Module, Name: im.Name, Type: im.Func,
		Fn: func(*engine.Caller, []uint64) error { return err }}
}

// define adds a hostcall to the linker and to the template's table.
func (t *template) define(linker *C.wasmtime_linker_t, h *engine.Hostcall) error {
	params, err := kinds(h.Type.Params)
	if err == nil && h.Fn == nil {
		err = errors.New("it has no Fn")
	}
	results, err2 := kinds(h.Type.Results)
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("wasmtime: hostcall %s.%s: %w", h.Module, h.Name, err)
	}
	c := C.we_call{
		index:     C.uint32_t(len(t.calls)),
		params:    C.uint16_t(len(params)),
		results:   C.uint16_t(len(results)),
		wide:      C.bool(slices.ContainsFunc(params, func(k C.uint8_t) bool { return k == C.CAPI_I64 || k == C.CAPI_F64 })),
		may_block: C.bool(h.MayBlock),
		ask:       C.bool(h.Ready != nil),
	}
	err = takeError(C.we_linker_define(linker, cString(h.Module), C.size_t(len(h.Module)), cString(h.Name), C.size_t(len(h.Name)),
		unsafe.SliceData(params), unsafe.SliceData(results), &c))
	if err != nil {
		return err
	}
	t.calls = append(t.calls, hostcall{*h, max(len(params), len(results))})
	return nil
}

// kinds gives the C API's numbers for value types that fit a slot.
func kinds(types []engine.ValueType) ([]C.uint8_t, error) {
	if len(types) > math.MaxUint16 {
		return nil, fmt.Errorf("%d values are too many", len(types))
	}
	k := make([]C.uint8_t, len(types))
	for i, t := range types {
		switch t {
		case engine.I32:
			k[i] = C.CAPI_I32
		case engine.I64:
			k[i] = C.CAPI_I64
		case engine.F32:
			k[i] = C.CAPI_F32
		case engine.F64:
			k[i] = C.CAPI_F64
		default:
			return nil, fmt.Errorf("a value of type %s does not fit a 64-bit slot", t)
		}
	}
	return k, nil
}

// cString gives the bytes of s to C for the duration of a call.
func cString(s string) *C.char { return (*C.char)(unsafe.Pointer(unsafe.StringData(s))) }

// Close implements engine.Template. What instances need of it lives on until they are closed.
func (t *template) Close() {
	t.engine.cooler.remove(t)
	t.engine.lot.drain(t)
	t.refs.release()
}
