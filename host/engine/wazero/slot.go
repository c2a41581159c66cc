package wazero

import (
	"context"
	"reflect"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// slot is the half of an instance that is used again: wazero's instance and its memory. It stays with its template.
type slot struct {
	t       *template
	mod     api.Module
	memory  linearMemory
	globals []api.MutableGlobal // all of them, where instances are set back
	first   []uint64            // their first values

	name  string // of the export that fn is
	fn    api.Function
	stack reflect.Value // wazero's stack of fn, a []byte; invalid when it cannot be seen

	resident     uint64 // bytes that it holds while it is parked
	newer, older *slot  // in the lot
}

// Bytes that an instance holds besides memory, about: of each table element wazero's reference and what it refers to, and
// everything else.
const (
	elementSize  = 48
	instanceSize = 32 << 10
)

// maxKeptStack is the largest stack of wazero's that a parked instance keeps.
const maxKeptStack = 64 << 10

// newSlot makes an instance of wazero's.
func (t *template) newSlot() (*slot, error) {
	f := t.facts
	s := &slot{t: t}
	s.memory = linearMemory{image: t.code.image, first: f.min, max: min(t.e.cfg.MaxMemory, f.max) &^ 0xffff, mapped: t.e.mapped}
	if err := s.memory.open(); err != nil {
		return nil, err
	}
	ctx := experimental.WithMemoryAllocator(t.ctx, &s.memory)
	mod, err := t.code.runtime.InstantiateModule(ctx, t.code.compiled, anonymous)
	if err != nil {
		s.memory.release()
		return nil, instantiateError(err)
	}
	s.mod = mod
	t.code.retain()
	if t.resettable() {
		for _, name := range t.code.State.Globals {
			g := mod.ExportedGlobal(name).(api.MutableGlobal)
			s.globals = append(s.globals, g)
			s.first = append(s.first, g.Get())
		}
	}
	return s, nil
}

// function gives an export, which stays the same object while only one is called.
func (s *slot) function(export string) api.Function {
	if s.fn == nil || s.name != export {
		s.name, s.fn = export, s.mod.ExportedFunction(export)
		s.stack = stackOf(s.fn)
	}
	return s.fn
}

// restore sets an instance back to what it was before it ran. When it answers false, it may be neither.
//
// That this is complete follows from what wasm.Module.ExportState refuses. The state of an instance is its memory,
// globals, tables and dropped segments. Of those only memory and mutable globals can change; memory by stores, in the
// guest or by hostcalls, all of which the kernel has seen. If it grew, the guest's own account of its size is one of the
// globals, and what lies beyond the first size was zeros. A start function runs again. wazero's instance holds no other
// state: a trap or a hostcall's end unwinds to the call, and wazero lets a function be called again after that. Its
// stack is cleared, though no guest can read what it has not written there. The counter of rewritten guests
// is one of their globals; limits and what Go keeps are made anew for each use.
func (s *slot) restore() bool {
	if grown := uint64(len(s.memory.buf)) - s.memory.first; grown > maxGrown || grown > 0 && s.t.code.Growth == nil {
		return false
	}
	for i, g := range s.globals {
		g.Set(s.first[i])
	}
	switch stack := s.stack; {
	case s.fn == nil:
	case stack.IsValid() && uint64(stack.Len()) <= min(maxKeptStack, s.t.e.maxStackSize()):
		clear(stack.Bytes())
	default:
		s.fn, s.stack = nil, reflect.Value{}
	}
	kept, ok := s.memory.reset()
	s.resident = kept + instanceSize
	for _, n := range s.t.facts.tables {
		s.resident += n * elementSize
	}
	return ok
}

// destroy takes an instance down.
func (s *slot) destroy() {
	s.mod.Close(context.Background())
	s.mod, s.fn, s.stack, s.globals = nil, nil, reflect.Value{}, nil
	s.memory.release()
	s.t.code.release()
}

// stackOf finds the stack of a function that wazero's compiler made. wazero itself lets a stack grow to
// 100 MB and has no setting for it. Where the field is gone, that is the bound.
func stackOf(fn api.Function) reflect.Value {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	s := v.Elem().FieldByName("stack")
	if s.Kind() != reflect.Slice || s.Type().Elem().Kind() != reflect.Uint8 {
		return reflect.Value{}
	}
	return s
}
