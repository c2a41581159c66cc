package abi

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/kvstore"
)

// hostileValues are what a guest may pass where a handle, a pointer, a length or an enum is wanted.
var hostileValues = []uint64{0, 1, 2, 3, 7, guestMemory - 4, guestMemory - 1, guestMemory, guestMemory + 1,
	1 << 31, 0xFFFFFFFE, 0xFFFFFFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF}

// preparedGuest has one object of every kind open, under the handles 1, 2 and 3.
func preparedGuest(t testing.TB) *guest {
	g := newGuest(t, NewBody(source(strings.NewReader("body"), 4)))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	g.caller.Context = ctx
	// Backends can be defined, but nothing is reached: no name resolves and no address is permitted.
	nowhere := errors.New("nothing is reached from here")
	registry := backend.NewRegistry(backend.RegistryOptions{Options: backend.Options{
		Permit: func(netip.AddrPort) error { return nowhere },
		Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, nowhere
		}},
	}})
	g.sandbox.env.Dynamic = registry
	t.Cleanup(func() {
		g.sandbox.Finish()
		registry.Close()
	})
	g.ok("http_req.body_downstream_get", outA, outB)
	g.newRequest()
	g.newResponse()
	g.newBody()
	p, n := g.put(textA, "shop")
	g.ok("config_store.open", p, n, outA)
	g.ok("acl.open", p, n, outA)
	g.ok("secret_store.open", p, n, outA)
	g.ok("secret_store.from_bytes", p, n, outA)
	g.ok("log.endpoint_get", p, n, outA)
	stores := newStores(t)
	g.sandbox.env.KVStores, g.sandbox.env.KVUse = kvStores{stores}, new(KVUse)
	shop, _ := stores.Open(t.Context(), "shop")
	shop.Insert(t.Context(), "key", kvstore.BytesBody([]byte("value")), kvstore.InsertOptions{Metadata: []byte("metadata")})
	store := g.openKV()
	p, n = g.put(textB, "key")
	g.ok("kv_store.lookup", store, p, n, 0, 0, outHandle)
	return g
}

// run calls a hostcall with any arguments and checks what must hold whatever they are.
func (g *guest) run(c engine.Hostcall, args []uint64) {
	stack := make([]uint64, max(len(c.Type.Params), 1))
	copy(stack, args)
	g.sandbox.fault = nil
	if len(stack) > 2 && c.Name == "select" && stack[2] > 10 {
		stack[2] = 10 // do not wait for ever
	}
	if c.Name == "poll_oneoff" {
		return // tested where it lives, with a clock of its own
	}
	err := c.Fn(g.caller, stack)
	if strings.HasPrefix(c.Module, "wasi") {
		return
	}
	if err != nil && g.caller.Context.Err() == nil {
		g.t.Errorf("%s.%s%#x ended the guest: %v", c.Module, c.Name, args, err)
	}
	if st := Status(stack[0]); stack[0] > uint64(Again) {
		g.t.Errorf("%s.%s%#x == %d", c.Module, c.Name, args, st)
	}
}

func TestHostileArgumentsForEveryHostcall(t *testing.T) {
	for _, c := range Hostcalls() {
		t.Run(c.Module+"."+c.Name, func(t *testing.T) {
			g := preparedGuest(t)
			n := len(c.Type.Params)
			args := make([]uint64, n)
			for _, base := range []uint64{0, 1, guestMemory - 1, 0xFFFFFFFF} {
				for i := range n {
					for _, v := range hostileValues {
						for j := range args {
							args[j] = base
						}
						args[i] = v
						g.run(c, args)
					}
				}
			}
		})
	}
}

// Nothing may change when no pointer is good.
func TestFailedCallsWriteNothing(t *testing.T) {
	for _, c := range Hostcalls() {
		if strings.HasPrefix(c.Module, "wasi") {
			continue
		}
		g := preparedGuest(t)
		before := bytes.Clone(g.mem)
		args := make([]uint64, len(c.Type.Params))
		for i, name := range strings.Fields(specParams(c)) {
			args[i] = 0xFFFFFFF0 // outside, whatever it is
			if strings.HasSuffix(name, "_len") || strings.HasPrefix(name, "buf_len") {
				args[i] = 8
			}
		}
		g.run(c, args)
		if !bytes.Equal(before, g.mem) {
			t.Errorf("%s.%s wrote although every pointer is outside", c.Module, c.Name)
		}
	}
}

func specParams(c engine.Hostcall) string {
	for i := range spec {
		if spec[i].module == c.Module && spec[i].name == c.Name {
			return spec[i].params
		}
	}
	return ""
}

func FuzzHostcalls(f *testing.F) {
	table := Hostcalls()
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, []byte("host"))
	f.Fuzz(func(t *testing.T, program, memory []byte) {
		g := preparedGuest(t)
		copy(g.mem[textA:], memory)
		// Each call takes one byte for the call and one for each argument, which chooses among interesting values.
		values := append([]uint64{textA, textB, room, outA, outB, 4, 16, 100, 65535}, hostileValues...)
		for calls := 0; len(program) > 0 && calls < 64; calls++ {
			c := table[(int(program[0])*7+calls)%len(table)]
			n := min(len(program)-1, len(c.Type.Params))
			args := make([]uint64, len(c.Type.Params))
			for i := range n {
				args[i] = values[int(program[1+i])%len(values)]
			}
			program = program[1+n:]
			if c.MayBlock && c.Name == "write" {
				continue // a stream nobody reads is meant to wait
			}
			if c.MayBlock && c.Name == "append" {
				continue
			}
			g.run(c, args)
		}
		g.sandbox.Finish()
	})
}
