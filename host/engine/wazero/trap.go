package wazero

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// trapCodes are wazero's runtime errors (internal/wasmruntime). It does not tell a null from an index out of
// bounds in an indirect call.
var trapCodes = map[string]engine.TrapCode{
	"stack overflow":                engine.TrapStackOverflow,
	"invalid conversion to integer": engine.TrapBadConversionToInteger,
	"integer overflow":              engine.TrapIntegerOverflow,
	"integer divide by zero":        engine.TrapIntegerDivisionByZero,
	"unreachable":                   engine.TrapUnreachable,
	"out of bounds memory access":   engine.TrapMemoryOutOfBounds,
	"invalid table access":          engine.TrapTableOutOfBounds,
	"indirect call type mismatch":   engine.TrapBadSignature,
	"null reference":                engine.TrapIndirectCallToNull,
}

// trapOf makes a TrapError of an error that wazero returned from a call.
func (f *facts) trapOf(err error) error {
	const prefix = "wasm error: "
	text := err.Error()
	cause := errors.Unwrap(err)
	if cause == nil || !strings.HasPrefix(text, prefix) {
		cause = err
	}
	code, known := trapCodes[cause.Error()]
	if !known && !strings.HasPrefix(text, prefix) {
		return fmt.Errorf("wazero: %w", err)
	}
	return &engine.TrapError{Code: code, Message: cause.Error(), Frames: f.frames(text)}
}

// framePattern is a line of wazero's backtrace: a function without a name in a module without a name.
var framePattern = regexp.MustCompile(`^\.\$(\d+)\(`)

// frames reads the backtrace from an error's text. The names of functions are not part of it, because the
// rewritten module has none: a guest cannot make lines up.
func (f *facts) frames(text string) []engine.Frame {
	_, trace, _ := strings.Cut(text, "wasm stack trace:")
	var list []engine.Frame
	for line := range strings.Lines(trace) {
		m := framePattern.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			continue
		}
		if index, ok := f.original(uint32(n)); ok {
			list = append(list, engine.Frame{Index: index, Name: f.module.FuncName(index)})
		}
	}
	return list
}

// original gives the index that a function of the rewritten module has in the guest's own; false for those
// that rewriting added.
func (f *facts) original(index uint32) (uint32, bool) { return rewriting.Original(f.module, index) }

// instantiateError makes sense of wazero's refusal to instantiate.
func instantiateError(err error) error {
	text := err.Error()
	if strings.Contains(text, "out of bounds memory access") {
		return &engine.TrapError{Code: engine.TrapMemoryOutOfBounds, Message: text}
	}
	return fmt.Errorf("wazero: %w", err)
}

// skeleton keeps of a guest's module what the engine needs to know later.
func skeleton(m *wasm.Module) (*wasm.Module, error) {
	return wasm.Parse(m.Skeleton(func(s wasm.Section) bool {
		switch s.ID {
		case wasm.SectionCustom:
			return s.Name == "name"
		case wasm.SectionElement, wasm.SectionData, wasm.SectionDataCount:
			return false
		}
		return true
	}))
}
