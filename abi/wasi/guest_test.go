package wasi

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// guest stands for a running program: a memory full of '?', so that stray writes show, and its hostcalls.
type guest struct {
	t     testing.TB
	calls map[string]engine.Hostcall
	sys   *System
	mem   engine.Memory
	ctx   context.Context
	cpu   time.Duration
}

// instance is all of an engine that these functions see.
type instance struct {
	engine.Instance
	g *guest
}

func (i instance) Usage() engine.Usage { return engine.Usage{CPU: i.g.cpu} }

func newGuest(t testing.TB, sys *System, memory int) *guest {
	g := &guest{t: t, sys: sys, ctx: context.Background(), calls: map[string]engine.Hostcall{}}
	for _, c := range Hostcalls(func(state any) *System { return state.(*System) }) {
		g.calls[c.Name] = c
	}
	g.mem = bytes.Repeat([]byte{'?'}, memory)
	return g
}

func (g *guest) caller() *engine.Caller {
	return &engine.Caller{Memory: g.mem, State: g.sys, Context: g.ctx, Instance: instance{g: g}}
}

// stack holds arguments whose unused upper halves are garbage, as they may be.
func (g *guest) stack(name string, args []uint64) []uint64 {
	h, ok := g.calls[name]
	if !ok {
		g.t.Fatalf("no function %s", name)
	}
	if len(args) != len(h.Type.Params) {
		g.t.Fatalf("%s takes %d arguments, got %d", name, len(h.Type.Params), len(args))
	}
	stack := make([]uint64, max(len(args), len(h.Type.Results)))
	for i, a := range args {
		if h.Type.Params[i] == engine.I32 {
			a = a&0xffffffff | 0xdeadbeef<<32
		}
		stack[i] = a
	}
	return stack
}

// try calls a function and gives what ended the guest, if it did.
func (g *guest) try(name string, args ...uint64) (Errno, error) {
	g.t.Helper()
	stack := g.stack(name, args)
	if err := g.calls[name].Fn(g.caller(), stack); err != nil {
		return 0, err
	}
	if stack[0] > uint64(ENOTCAPABLE) {
		g.t.Fatalf("%s: the result %#x is no errno", name, stack[0])
	}
	return Errno(stack[0]), nil
}

// call is try for calls that do not end the guest.
func (g *guest) call(name string, args ...uint64) Errno {
	g.t.Helper()
	e, err := g.try(name, args...)
	if err != nil {
		g.t.Fatalf("%s ended the guest: %v", name, err)
	}
	return e
}

// ready asks whether the call would return at once.
func (g *guest) ready(name string, args ...uint64) bool {
	g.t.Helper()
	if g.calls[name].Ready == nil {
		g.t.Fatalf("%s has no Ready", name)
	}
	return g.calls[name].Ready(g.caller(), g.stack(name, args))
}

// want fails unless the call answers so.
func (g *guest) want(want Errno, name string, args ...uint64) {
	g.t.Helper()
	if e := g.call(name, args...); e != want {
		g.t.Fatalf("%s%v: got %v, want %v", name, args, e, want)
	}
}

// iovecs writes an array of pairs at ptr.
func (g *guest) iovecs(ptr int, pairs ...uint32) {
	for i, v := range pairs {
		binary.LittleEndian.PutUint32(g.mem[ptr+4*i:], v)
	}
}

func (g *guest) u32(ptr int) uint32 { return binary.LittleEndian.Uint32(g.mem[ptr:]) }
func (g *guest) u64(ptr int) uint64 { return binary.LittleEndian.Uint64(g.mem[ptr:]) }

// wantMemory compares a stretch of memory.
func (g *guest) wantMemory(at int, want string) {
	g.t.Helper()
	if got := string(g.mem[at : at+len(want)]); got != want {
		g.t.Fatalf("memory at %d:\n got %q\nwant %q", at, got, want)
	}
}

// wantUntouched fails when anything was written.
func (g *guest) wantUntouched() {
	g.t.Helper()
	if bytes.Count(g.mem, []byte{'?'}) != len(g.mem) {
		g.t.Fatalf("memory was written: %q", []byte(g.mem))
	}
}
