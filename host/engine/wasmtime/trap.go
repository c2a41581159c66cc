//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include "shim.h"
import "C"

import (
	"strings"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

// maxFrames bounds the backtrace of a trap; a stack overflow has many thousands.
const maxFrames = 64

var trapCodes = map[C.uint8_t]engine.TrapCode{
	C.CAPI_TRAP_CODE_STACK_OVERFLOW:            engine.TrapStackOverflow,
	C.CAPI_TRAP_CODE_MEMORY_OUT_OF_BOUNDS:      engine.TrapMemoryOutOfBounds,
	C.CAPI_TRAP_CODE_TABLE_OUT_OF_BOUNDS:       engine.TrapTableOutOfBounds,
	C.CAPI_TRAP_CODE_INDIRECT_CALL_TO_NULL:     engine.TrapIndirectCallToNull,
	C.CAPI_TRAP_CODE_BAD_SIGNATURE:             engine.TrapBadSignature,
	C.CAPI_TRAP_CODE_INTEGER_OVERFLOW:          engine.TrapIntegerOverflow,
	C.CAPI_TRAP_CODE_INTEGER_DIVISION_BY_ZERO:  engine.TrapIntegerDivisionByZero,
	C.CAPI_TRAP_CODE_BAD_CONVERSION_TO_INTEGER: engine.TrapBadConversionToInteger,
	C.CAPI_TRAP_CODE_UNREACHABLE_CODE_REACHED:  engine.TrapUnreachable,
}

// trapError describes the guest's end by a trap or by an error of wasmtime's.
func (i *instance) trapError() error {
	var f C.we_failure
	C.we_failure_get(i.c, maxFrames, &f)
	defer C.we_failure_free(&f)
	message := C.GoStringN(f.message.data, C.int(f.message.size))
	for _, im := range i.template.odd {
		if strings.Contains(message, "unknown import: `"+im.Module+"::"+im.Name+"`") {
			return &engine.UnknownImportError{Module: im.Module, Name: im.Name}
		}
	}
	t := &engine.TrapError{}
	if f.has_code {
		t.Code = trapCodes[f.code]
	}
	if t.Code == engine.TrapOther {
		t.Message = trapMessage(message)
	}
	frames := unsafe.Slice(f.frames, int(f.nframes))
	for k := range frames {
		t.Frames = append(t.Frames, engine.Frame{
			Index:  uint32(frames[k].index),
			Name:   C.GoStringN(frames[k].name, C.int(frames[k].name_size)),
			Offset: i.template.facts.originalOffset(uint64(frames[k].offset)),
		})
	}
	return t
}

// originalOffset is the place in the module as it was given of an instruction in the module as it was compiled.
func (f *facts) originalOffset(offset uint64) uint64 {
	if f.State == nil || offset == 0 {
		return offset
	}
	offset -= uint64(f.State.Moved)
	if g := f.Growth; g != nil && offset >= uint64(g.Is) {
		offset = uint64(g.Original(uint32(offset-uint64(g.Is)))) + uint64(g.Was)
	}
	return offset
}

// trapMessage takes the reason out of wasmtime's message, which begins with a backtrace in text.
func trapMessage(s string) string {
	if _, cause, ok := strings.Cut(s, "Caused by:"); ok {
		s = cause
	}
	return strings.TrimPrefix(oneLine(s), "wasm trap: ")
}
