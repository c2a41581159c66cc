package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// Layout of the trampoline module's one page of memory.
const (
	argsAt   = 0xF000 // 8 bytes an argument
	resultAt = 0xFF00
	pageSize = 1 << 16
)

// trampoline builds a module that imports every hostcall and exports, for each, a function "c<number>" that calls
// it with the arguments in memory and stores its result there.
func trampoline(calls []engine.Hostcall) []byte {
	uleb := binary.AppendUvarint
	str := func(b []byte, s string) []byte { return append(uleb(b, uint64(len(s))), s...) }
	section := func(b []byte, id byte, body []byte) []byte {
		return append(uleb(append(b, id), uint64(len(body))), body...)
	}

	types := uleb(nil, uint64(len(calls)+1))
	imports := uleb(nil, uint64(len(calls)))
	funcs := uleb(nil, uint64(len(calls)))
	exports := uleb(nil, uint64(len(calls)+1))
	code := uleb(nil, uint64(len(calls)))
	for i, c := range calls {
		types = append(types, 0x60)
		types = uleb(types, uint64(len(c.Type.Params)))
		for _, p := range c.Type.Params {
			types = append(types, byte(p))
		}
		types = uleb(types, uint64(len(c.Type.Results)))
		for _, r := range c.Type.Results {
			types = append(types, byte(r))
		}
		imports = append(str(str(imports, c.Module), c.Name), 0)
		imports = uleb(imports, uint64(i))
		funcs = uleb(funcs, uint64(len(calls)))
		exports = append(str(exports, fmt.Sprint("c", i)), 0)
		exports = uleb(exports, uint64(len(calls)+i))

		body := []byte{0} // no locals
		konst := func(v int) {
			body = append(body, 0x41)
			body = appendSLEB(body, int64(v))
		}
		if len(c.Type.Results) > 0 {
			konst(resultAt)
		}
		for j, p := range c.Type.Params {
			konst(argsAt + 8*j)
			if p == engine.I64 {
				body = append(body, 0x29, 3, 0) // i64.load
			} else {
				body = append(body, 0x28, 2, 0) // i32.load
			}
		}
		body = uleb(append(body, 0x10), uint64(i)) // call
		if len(c.Type.Results) > 0 {
			body = append(body, 0x36, 2, 0) // i32.store
		}
		body = append(body, 0x0b)
		code = append(uleb(code, uint64(len(body))), body...)
	}
	types = append(types, 0x60, 0, 0)
	exports = append(str(exports, "memory"), 2, 0)

	m := []byte("\x00asm\x01\x00\x00\x00")
	m = section(m, 1, types)
	m = section(m, 2, imports)
	m = section(m, 3, funcs)
	m = section(m, 5, []byte{1, 1, 1, 1}) // one memory of exactly one page
	m = section(m, 7, exports)
	return section(m, 10, code)
}

func appendSLEB(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// TestHostileArguments calls every hostcall from a real guest on each engine with handles, pointers and lengths
// that no honest program would pass. Nothing may panic, wait for ever, or write where no pointer led.
func TestHostileArguments(t *testing.T) {
	values := []uint64{0, 1, 2, pageSize - 4, pageSize - 1, pageSize, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFF_FFFF_FFFF_FFFF}
	for _, name := range Engines() {
		t.Run(name, func(t *testing.T) {
			eng, err := NewEngine(name, engine.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer eng.Close()
			calls := abi.Hostcalls()
			mod, err := eng.Compile(t.Context(), trampoline(calls))
			if err != nil {
				t.Fatal(err)
			}
			defer mod.Close()
			template, err := mod.Link(calls, engine.LinkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer template.Close()
			for i, c := range calls {
				sandbox, inst := hostileSandbox(t, template)
				mem := inst.Memory()
				for i := range mem {
					mem[i] = '?'
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("a hostcall waits for ever"))
				for at := range c.Type.Params {
					for _, base := range []uint64{1, 0xFFFFFFF0} {
						for _, v := range values {
							for j := range c.Type.Params {
								binary.LittleEndian.PutUint64(mem[argsAt+8*j:], base)
							}
							binary.LittleEndian.PutUint64(mem[argsAt+8*at:], v)
							if c.Name == "select" && (at != 2 || v != 1) {
								binary.LittleEndian.PutUint64(mem[argsAt+16:], 1) // a timeout
							}
							if err := inst.Call(ctx, fmt.Sprint("c", i)); err != nil {
								var exit *engine.ExitError
								if !errors.As(err, &exit) && !strings.Contains(err.Error(), "signal") {
									t.Errorf("%s.%s: %v", c.Module, c.Name, err)
								}
								inst.Close()
								sandbox.Finish()
								sandbox, inst = hostileSandbox(t, template)
								mem = inst.Memory()
								for i := range mem {
									mem[i] = '?'
								}
							}
							// No value leads into this part of memory; only randomness is asked for up to there.
							if c.Name != "random_get" && bytes.Count(mem[0x8000:0x9000], []byte{'?'}) != 0x1000 {
								t.Fatalf("%s.%s wrote where no argument points", c.Module, c.Name)
							}
						}
					}
				}
				cancel()
				inst.Close()
				sandbox.Finish()
			}
		})
	}
}

func hostileSandbox(t *testing.T, template engine.Template) (*abi.Sandbox, engine.Instance) {
	t.Helper()
	sandbox := abi.NewSandbox(&abi.Environment{Logs: logs{}, ConfigStores: configStores{}, ACLs: acls{}, RateLimiter: ratelimit.New(ratelimit.Options{MaxBytes: 1 << 20})}, &abi.ClientRequest{
		ID: strings.Repeat("0", 32), Method: "GET", URI: "http://example.com/", Version: abi.HTTP11,
		Body: abi.NewBody(nil), Facts: commandFacts{}, Client: &commandClient{},
	})
	inst, err := template.Instantiate(engine.InstanceConfig{State: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	return sandbox, inst
}
