//go:build unix

package main

import (
	"github.com/edgewasm/wasmedge/host/wasm"
)

const preview1 = "wasi_snapshot_preview1"

// module makes a command with one page of memory. imports are functions of WASI with their type index; the types are
// 0: () -> (), 1: (i32) -> (), 2: (i32 i32) -> i32, 3: (i32 i32 i32 i32) -> i32.
func module(imports map[byte][]string, order []byte, body []byte) []byte {
	var list []byte
	n := byte(0)
	for _, typ := range order {
		for _, name := range imports[typ] {
			list = append(wasm.AppendName(wasm.AppendName(list, preview1), name), 0, typ)
			n++
		}
	}
	code := append([]byte{0}, append(body, 0x0b)...)
	return wasm.Encode([]wasm.Section{
		{ID: wasm.SectionType, Body: []byte{4,
			0x60, 0, 0,
			0x60, 1, 0x7f, 0,
			0x60, 2, 0x7f, 0x7f, 1, 0x7f,
			0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}},
		{ID: wasm.SectionImport, Body: append([]byte{n}, list...)},
		{ID: wasm.SectionFunction, Body: []byte{1, 0}},
		{ID: wasm.SectionMemory, Body: []byte{1, 0, 1}},
		{ID: wasm.SectionExport, Body: append(wasm.AppendName(append(wasm.AppendName([]byte{2}, "memory"), 2, 0), "_start"), 0, n)},
		{ID: wasm.SectionCode, Body: append(wasm.AppendU32([]byte{1}, uint32(len(code))), code...)},
	})
}

func i32(v int64) []byte { return wasm.AppendS64([]byte{0x41}, v) } // i32.const

func joinBytes(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// exitModule ends with the code.
func exitModule(code int64) []byte {
	return module(map[byte][]string{1: {"proc_exit"}}, []byte{1}, joinBytes(i32(code), []byte{0x10, 0}))
}

// argsModule writes its arguments to standard output, each with a NUL behind it.
func argsModule() []byte {
	const drop, call, load, store = 0x1a, 0x10, 0x28, 0x36
	return module(map[byte][]string{2: {"args_sizes_get", "args_get"}, 3: {"fd_write"}}, []byte{2, 3}, joinBytes(
		i32(0), i32(4), []byte{call, 0, drop}, // number at 0, bytes at 4
		i32(64), i32(4096), []byte{call, 1, drop}, // pointers at 64, bytes at 4096
		i32(8), i32(4096), []byte{store, 2, 0}, // the buffer's address
		i32(12), i32(4), []byte{load, 2, 0, store, 2, 0}, // and size
		i32(1), i32(8), i32(1), i32(16), []byte{call, 2, drop},
	))
}
