package wasi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

const (
	hostileMemory = 4096
	hostileGuard  = 64
)

// hostile is a guest whose memory lies between guards. Waiting ends at once.
type hostile struct {
	*guest
	arena []byte
}

var errStopped = errors.New("stopped")

func newHostile(t testing.TB) *hostile {
	sys := &System{
		Args: []string{"prog", "arg"}, Env: []string{"A=1"}, Stdin: strings.NewReader("some input"),
		Stdout: io.Discard, Stderr: io.Discard, Random: rand.NewChaCha8([32]byte{}),
		Realtime: func() uint64 { return 1 << 60 }, Monotonic: func() uint64 { return 1 << 40 },
	}
	h := &hostile{guest: newGuest(t, sys, 0)}
	h.arena = bytes.Repeat([]byte{'#'}, hostileMemory+2*hostileGuard)
	h.mem = h.arena[hostileGuard:][:hostileMemory]
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errStopped)
	h.ctx = ctx
	return h
}

// check makes the call and holds it to what every function promises: the guest ends only by its own wish or because
// its context has ended, a failed call leaves memory as it was, and nothing is written around memory.
func (h *hostile) check(name string, args []uint64) {
	h.t.Helper()
	before := bytes.Clone(h.mem)
	if ready := h.calls[name].Ready; ready != nil {
		ready(h.caller(), h.stack(name, args))
		if !bytes.Equal(before, h.mem) {
			h.t.Errorf("%s%#x: Ready changed memory", name, args)
		}
	}
	e, err := h.try(name, args...)
	var exit *engine.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && strings.HasPrefix(name, "proc_"):
	case err == errStopped && (name == "poll_oneoff" || name == "fd_read"):
	default:
		h.t.Errorf("%s%#x ended the guest: %v", name, args, err)
	}
	if (e != ESUCCESS || err != nil) && !bytes.Equal(before, h.mem) {
		h.t.Errorf("%s%#x failed with %v and changed memory", name, args, e)
	}
	for _, guard := range [][]byte{h.arena[:hostileGuard], h.arena[hostileGuard+hostileMemory:]} {
		if bytes.Count(guard, []byte{'#'}) != len(guard) {
			h.t.Fatalf("%s%#x wrote outside memory", name, args)
		}
	}
}

var extremes = []uint64{
	0, 1, 2, 3, 4, 7, 8, 24, 47, 48, 1024, 1025, hostileMemory - 65, hostileMemory - 64, hostileMemory - 32, hostileMemory - 24, hostileMemory - 8,
	hostileMemory - 4, hostileMemory - 1, hostileMemory, hostileMemory + 1, 0x10000, 0x0fffffff, 0x10000000, 0x20000000, 0x20000001,
	0x7ffffff8, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xfffffffc, 0xfffffffe, 0xffffffff,
	1 << 32, 1 << 63, 1<<63 - 1, 0xffffffffffffffff,
}

func TestHostileArguments(t *testing.T) {
	h := newHostile(t)
	random := rand.New(rand.NewPCG(1, 2))
	for name, call := range h.calls {
		params := len(call.Type.Params)
		args := make([]uint64, params)
		try := func() {
			h.sys.fds = [3]descriptor{}
			for i := range h.mem {
				h.mem[i] = '?'
			}
			if random.IntN(2) == 0 { // arrays of hostile numbers
				for i := 0; i < hostileMemory; i += 4 {
					binary.LittleEndian.PutUint32(h.mem[i:], uint32(extremes[random.IntN(len(extremes))]))
				}
			}
			h.check(name, args)
		}
		for i := range args { // one argument extreme, the others small
			for _, v := range extremes {
				for other := range uint64(3) {
					for j := range args {
						args[j] = other * 8
					}
					args[i] = v
					try()
				}
			}
		}
		for range 100 * min(params, 4) { // all of them extreme
			for i := range args {
				args[i] = extremes[random.IntN(len(extremes))]
			}
			if params > 1 && random.IntN(2) == 0 {
				args[0] = random.Uint64N(3) // a descriptor that exists
			}
			try()
		}
	}
}

// Every function answers EFAULT or an error of its descriptor when the guest has no memory at all.
func TestWithoutMemory(t *testing.T) {
	h := newHostile(t)
	h.mem = nil
	for name, call := range h.calls {
		args := make([]uint64, len(call.Type.Params))
		e, err := h.try(name, args...)
		switch {
		case err != nil && name != "proc_exit":
			t.Errorf("%s: %v", name, err)
		case e == ESUCCESS && (strings.HasSuffix(name, "_get") && name != "random_get" || name == "poll_oneoff"):
			t.Errorf("%s succeeded", name)
		}
	}
}

// FuzzHostcalls runs a program: each 1+8n bytes call one function, memory and descriptors carry over.
func FuzzHostcalls(f *testing.F) {
	f.Add([]byte{26, 1, 0, 0, 0, 0, 1, 0, 1}, []byte("\x10\x00\x00\x00\x05\x00\x00\x00"))
	f.Add([]byte{37, 0, 0, 2, 0, 0, 1, 3, 0}, bytes.Repeat([]byte{0}, 200))
	f.Add([]byte{20, 0, 0, 0, 0, 0, 1, 0, 1, 22, 1, 0, 0, 0}, []byte("\x10\x00\x00\x00\x05\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, program, memory []byte) {
		h := newHostile(t)
		copy(h.mem, memory)
		u16 := func() uint64 {
			if len(program) < 2 {
				program = nil
				return 0
			}
			v := binary.LittleEndian.Uint16(program)
			program = program[2:]
			// The upper half of the numbers stands for the upper half of addresses, and more.
			if v >= 0x8000 {
				return uint64(int64(int16(v)))
			}
			return uint64(v)
		}
		for steps := 0; len(program) > 0 && steps < 64; steps++ {
			name := functions[int(program[0])%len(functions)].name
			program = program[1:]
			args := make([]uint64, len(h.calls[name].Type.Params))
			for i := range args {
				args[i] = u16()
			}
			h.check(name, args)
		}
	})
}
