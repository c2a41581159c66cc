package guests

import (
	"encoding/binary"
	"testing"
)

// Malformed is an input that is no runnable module, and what is wrong with it.
type Malformed struct {
	Name string // a sentence
	Wasm []byte
}

// MalformedModules gives inputs that a host must refuse with an error: files that are not Wasm, that are a component
// rather than a module, that end early, or whose sections lie about their sizes.
func MalformedModules(t testing.TB) []Malformed {
	t.Helper()
	hello := Wasm(t, "wat/hello")
	with := func(at int, bytes ...byte) []byte {
		wasm := append([]byte(nil), hello...)
		copy(wasm[at:], bytes)
		return wasm
	}
	const header = 8
	module := hello[:header:header]
	section := func(id byte, body ...byte) []byte {
		return append(append([]byte(nil), module...), append([]byte{id, byte(len(body))}, body...)...)
	}
	return []Malformed{
		{"an empty file", nil},
		{"three bytes of the magic number", hello[:3]},
		{"the magic number alone", hello[:4]},
		{"a text file", []byte("this is not a Wasm file\n")},
		{"an HTML page", []byte("<!DOCTYPE html><title>not found</title>")},
		{"a gzip file", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")},
		{"an ELF program", []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		{"a module in the text format", []byte("(module (func (export \"_start\")))")},
		{"a component rather than a module", Component()},
		{"a module of a version that does not exist", with(4, 2, 0, 0, 0)},
		{"a module cut off in its last section", hello[:len(hello)-1]},
		{"a module cut off in the middle", hello[:len(hello)/2]},
		{"a module cut off after a section's id", hello[:header+1]},
		{"a section longer than the file", append(append([]byte(nil), module...), 1, 0xff, 0xff, 0xff, 0xff, 0x0f)},
		{"a section whose size does not end", append(append([]byte(nil), module...), 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80)},
		{"a section with an unknown id", section(0x7f, 0)},
		{"sections in the wrong order", append(section(3, 0), 1, 1, 0)},
		{"a count of four billion types", section(1, 0xff, 0xff, 0xff, 0xff, 0x0f)},
		{"a function of a type that does not exist", append(section(1, 0), 3, 2, 1, 5)},
		{"an export name that is not UTF-8", append(section(5, 1, 0, 1), 7, 5, 1, 1, 0xff, 2, 0)},
	}
}

// Component gives the smallest component: the binary format's other layer, which newer tools write by default.
func Component() []byte {
	const version, layer = 13, 1
	b := []byte("\x00asm")
	b = binary.LittleEndian.AppendUint16(b, version)
	return binary.LittleEndian.AppendUint16(b, layer)
}
