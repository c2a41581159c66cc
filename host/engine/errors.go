package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrNoSlot is returned by Instantiate when every slot of the pool is taken.
	ErrNoSlot = errors.New("engine: every instance slot is taken")
	// ErrSuspended is returned by Call and Resume when InstanceConfig.Suspend asked for the guest.
	ErrSuspended = errors.New("engine: the guest is suspended")
	// ErrNotSuspended is returned by Resume when there is nothing to go on with.
	ErrNotSuspended = errors.New("engine: the guest is not suspended")
	// ErrNoArtifact is returned by Serialize when the engine has no artifact format.
	ErrNoArtifact = errors.New("engine: this engine has no artifacts")
	// ErrNoExport is wrapped by Call when the export is absent or is not a function without parameters and results.
	ErrNoExport = errors.New("engine: no such function export")
)

// ExitError is the guest's own end through WASI proc_exit. Code 0 is success.
type ExitError struct{ Code uint32 }

func (e *ExitError) Error() string { return fmt.Sprintf("guest exited with code %d", e.Code) }

// TrapCode is why a guest trapped.
type TrapCode int

// The traps of the Wasm core specification that a person is told apart.
const (
	TrapOther TrapCode = iota
	TrapUnreachable
	TrapMemoryOutOfBounds
	TrapTableOutOfBounds
	TrapIndirectCallToNull
	TrapBadSignature
	TrapIntegerOverflow
	TrapIntegerDivisionByZero
	TrapBadConversionToInteger
	TrapStackOverflow
)

var trapTexts = map[TrapCode]string{
	TrapOther:                  "trap",
	TrapUnreachable:            "unreachable instruction executed",
	TrapMemoryOutOfBounds:      "out of bounds memory access",
	TrapTableOutOfBounds:       "out of bounds table access",
	TrapIndirectCallToNull:     "indirect call to a null function",
	TrapBadSignature:           "indirect call with another signature",
	TrapIntegerOverflow:        "integer overflow",
	TrapIntegerDivisionByZero:  "integer division by zero",
	TrapBadConversionToInteger: "float that fits no integer",
	TrapStackOverflow:          "call stack exhausted",
}

// String says the reason in words.
func (c TrapCode) String() string { return trapTexts[c] }

// Frame is one function of a guest backtrace, innermost first.
type Frame struct {
	Index  uint32 // of the function in the module's index space
	Name   string // from the name section; empty when there is none
	Offset uint64 // of the instruction in the module's bytes; 0 when unknown
}

// TrapError is a guest that trapped.
type TrapError struct {
	Code    TrapCode
	Message string // the engine's words, when they say more than Code
	Frames  []Frame
}

func (e *TrapError) Error() string {
	if e.Code == TrapOther && e.Message != "" {
		return "guest trapped: " + e.Message
	}
	return "guest trapped: " + e.Code.String()
}

// Backtrace writes one frame a line.
func (e *TrapError) Backtrace() string {
	var b strings.Builder
	for i, f := range e.Frames {
		name := f.Name
		if name == "" {
			name = fmt.Sprintf("function %d", f.Index)
		}
		fmt.Fprintf(&b, "%3d: %s", i, name)
		if f.Offset != 0 {
			fmt.Fprintf(&b, " @ 0x%x", f.Offset)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// CPULimitError is a guest that computed longer than it may.
type CPULimitError struct{ Limit, Used time.Duration }

func (e *CPULimitError) Error() string {
	return fmt.Sprintf("guest used %s of vCPU time, the limit is %s", e.Used.Round(time.Millisecond/10), e.Limit)
}

// UnknownImportError is an import that the hostcall table lacks.
type UnknownImportError struct{ Module, Name string }

func (e *UnknownImportError) Error() string {
	return fmt.Sprintf("unknown import %s.%s", e.Module, e.Name)
}

// ImportTypeError is an import whose kind or signature is not the host's.
type ImportTypeError struct {
	Import Import
	Want   FuncType
}

func (e *ImportTypeError) Error() string {
	if e.Import.Kind != KindFunc {
		return fmt.Sprintf("import %s.%s is a %s, the host offers functions only", e.Import.Module, e.Import.Name, e.Import.Kind)
	}
	return fmt.Sprintf("import %s.%s has type %s, the host's is %s", e.Import.Module, e.Import.Name, e.Import.Func, e.Want)
}

// PanicError is a hostcall that panicked: a bug of the host, contained to one sandbox.
type PanicError struct {
	Hostcall string // module.name
	Value    any
	Stack    []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("hostcall %s panicked: %v", e.Hostcall, e.Value)
}

// LimitKind is what a LimitError is about.
type LimitKind string

// The things of which a module may declare more than it may have.
const (
	LimitMemory LimitKind = "bytes of linear memory"
	LimitTable  LimitKind = "table elements"
)

// LimitError is a module that needs more from the start than the engine's or the instance's configuration
// allows. Compile, Load, Link or Instantiate returns it, whichever knows first.
type LimitError struct {
	What        LimitKind
	Need, Limit uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("module needs %d %s, the limit is %d", e.Need, e.What, e.Limit)
}
