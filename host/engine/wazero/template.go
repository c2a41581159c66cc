package wazero

import (
	"context"
	"fmt"
	"sync"

	"github.com/edgewasm/wasmedge/host/engine"
	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// template implements engine.Template.
type template struct {
	e     *Engine
	code  *code
	facts *facts
	ctx   context.Context // resolves imports
	hosts []hostCode
	once  sync.Once

	parking parking // belongs to the engine's lot
}

// hostCode is one instantiated module of hostcalls.
type hostCode struct {
	compiled wz.CompiledModule
	module   api.Module
}

var _ engine.Template = (*template)(nil)

// anonymous instances are many at once, and run nothing by themselves.
var anonymous = wz.NewModuleConfig().WithName("").WithStartFunctions()

// Link makes host modules of the hostcalls that the guest imports.
func (m *module) Link(calls []engine.Hostcall, opts engine.LinkOptions) (engine.Template, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errModuleClosed
	}
	functions, err := m.resolve(calls, opts)
	if err != nil {
		return nil, err
	}
	functions[hostModule] = engineFunctions()
	t := &template{e: m.e, code: m.code, facts: m.facts}
	t.code.retain()
	resolved := make(map[string]api.Module, len(functions))
	for name, list := range functions {
		h, err := t.code.instantiateHost(list)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("wazero: linking %s: %w", name, err)
		}
		t.hosts = append(t.hosts, h)
		resolved[name] = h.module
	}
	t.ctx = experimental.WithImportResolver(context.Background(), func(name string) api.Module { return resolved[name] })
	return t, nil
}

// hostFunctions is what one imported module offers, by name.
type hostFunctions map[string]hostFunction

type hostFunction struct {
	fn  api.GoModuleFunction
	typ engine.FuncType
}

// resolve finds a hostcall for each import.
func (m *module) resolve(calls []engine.Hostcall, opts engine.LinkOptions) (map[string]hostFunctions, error) {
	type key struct{ module, name string }
	offered := make(map[key]*engine.Hostcall, len(calls))
	for i := range calls {
		offered[key{calls[i].Module, calls[i].Name}] = &calls[i]
	}
	functions := map[string]hostFunctions{}
	for _, im := range m.Imports() {
		if im.Kind != engine.KindFunc {
			return nil, &engine.ImportTypeError{Import: im}
		}
		if im.Module == hostModule {
			return nil, &engine.UnknownImportError{Module: im.Module, Name: im.Name}
		}
		var call engine.Hostcall
		if c := offered[key{im.Module, im.Name}]; c != nil {
			call = *c
		} else if opts.UnknownImports == engine.TrapUnknown {
			unknown := &engine.UnknownImportError{Module: im.Module, Name: im.Name}
			call = engine.Hostcall{Module: im.Module, Name: im.Name, Type: im.Func,
				Fn: func(*engine.Caller, []uint64) error { return unknown }}
		} else {
			return nil, &engine.UnknownImportError{Module: im.Module, Name: im.Name}
		}
		if functions[im.Module] == nil {
			functions[im.Module] = hostFunctions{}
		}
		if f, dup := functions[im.Module][im.Name]; dup {
			call.Type = f.typ // imported twice; an unknown one with two signatures can only be refused
		}
		if !call.Type.Equal(im.Func) {
			return nil, &engine.ImportTypeError{Import: im, Want: call.Type}
		}
		functions[im.Module][im.Name] = hostFunction{fn: newCallback(call), typ: call.Type}
	}
	return functions, nil
}

func (c *code) instantiateHost(list hostFunctions) (hostCode, error) {
	ctx := context.Background()
	b := c.runtime.NewHostModuleBuilder("host") // the name is not used: imports are resolved by the template
	for name, f := range list {
		b.NewFunctionBuilder().WithGoModuleFunction(f.fn, valueTypes(f.typ.Params), valueTypes(f.typ.Results)).Export(name)
	}
	compiled, err := b.Compile(ctx)
	if err != nil {
		return hostCode{}, err
	}
	mod, err := c.runtime.InstantiateModule(ctx, compiled, anonymous)
	if err != nil {
		compiled.Close(ctx)
		return hostCode{}, err
	}
	return hostCode{compiled, mod}, nil
}

func valueTypes(list []engine.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(list))
	for i, t := range list {
		out[i] = api.ValueType(t)
	}
	return out
}

// Close frees the template.
func (t *template) Close() {
	t.once.Do(func() {
		t.e.lot.drain(t)
		ctx := context.Background()
		for _, h := range t.hosts {
			h.module.Close(ctx)
			h.compiled.Close(ctx)
		}
		t.code.release()
	})
}

// Instantiate makes a sandbox.
func (t *template) Instantiate(cfg engine.InstanceConfig) (engine.Instance, error) {
	limit, tables := t.e.cfg.MaxMemory, t.e.cfg.MaxTableElements
	if cfg.MaxMemory != 0 {
		limit = min(limit, cfg.MaxMemory)
	}
	if cfg.MaxTableElements != 0 {
		tables = min(tables, cfg.MaxTableElements)
	}
	if err := t.facts.check(limit, tables); err != nil {
		return nil, err
	}
	if t.facts.trap != nil {
		return nil, t.facts.trap
	}
	limit &^= 0xffff
	s, err := t.e.lot.take(t)
	if err != nil {
		return nil, err
	}
	if s != nil && uint64(len(s.memory.buf)) > limit { // an earlier run's memory became larger than this one's may
		s.destroy()
		s = nil
	}
	if s == nil {
		if s, err = t.newSlot(); err != nil {
			t.e.lot.free()
			return nil, err
		}
	}
	in := &instance{t: t, cfg: cfg, maxMemory: limit, maxTable: tables, budget: firstBudget, slot: s}
	in.caller = engine.Caller{State: cfg.State, Instance: in}
	in.running.inst = in
	return in, nil
}

// resettable says that instances are set back and used again.
func (t *template) resettable() bool { return t.code.State != nil && !t.e.cfg.NoReset }
