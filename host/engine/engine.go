// Package engine says what a Wasm engine must do for the host. It holds interfaces and value types
// only; the engines live in the folders below it and know nothing of what a hostcall means.
//
// A module is compiled (or loaded from an artifact) once, linked once against a hostcall table, and
// instantiated for each sandbox. Engines, Modules and Templates are safe for concurrent use. An Instance
// belongs to one goroutine at a time; it is not bound to an OS thread.
package engine

import (
	"context"
	"time"
)

// ValueType is a Wasm value type as encoded in the binary format.
type ValueType byte

// The value types that a hostcall or an export may use (Wasm core specification, section 5.3).
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// String gives the type's name in the text format.
func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return "unknown"
}

// ExternKind is what an import or export is.
type ExternKind byte

// Kinds in the order of the binary format's import and export descriptors.
const (
	KindFunc ExternKind = iota
	KindTable
	KindMemory
	KindGlobal
	KindTag
)

// String gives the kind's name in the text format.
func (k ExternKind) String() string {
	switch k {
	case KindFunc:
		return "func"
	case KindTable:
		return "table"
	case KindMemory:
		return "memory"
	case KindGlobal:
		return "global"
	case KindTag:
		return "tag"
	}
	return "unknown"
}

// FuncType is a function's signature.
type FuncType struct{ Params, Results []ValueType }

// Equal reports whether both signatures are the same.
func (t FuncType) Equal(o FuncType) bool {
	return equalTypes(t.Params, o.Params) && equalTypes(t.Results, o.Results)
}

func equalTypes(a, b []ValueType) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// String gives the signature in the form "(i32, i64) -> i32".
func (t FuncType) String() string {
	b := []byte{'('}
	for i, p := range t.Params {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, p.String()...)
	}
	b = append(b, ") -> "...)
	switch len(t.Results) {
	case 0:
		return string(append(b, "()"...))
	case 1:
		return string(append(b, t.Results[0].String()...))
	}
	b = append(b, '(')
	for i, r := range t.Results {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, r.String()...)
	}
	return string(append(b, ')'))
}

// Import is one import of a module. Func is set when Kind is KindFunc.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Func         FuncType
}

// Export is one export of a module. Func is set when Kind is KindFunc.
type Export struct {
	Name string
	Kind ExternKind
	Func FuncType
}

// HostFunc does the work of a hostcall. stack holds the arguments from index 0 on, one little-endian 64-bit
// slot each, and takes the results from index 0 on; it is as long as the longer of the two. Only the low
// 32 bits of an i32 slot mean anything. The slice and c.Memory are valid until HostFunc returns.
//
// A non-nil error ends the guest: Instance.Call returns that very error (errors.Is and errors.As see it).
// A panic is a bug of the host: the engine recovers it, ends the guest and returns a *PanicError.
//
// A HostFunc must not assume that successive hostcalls of one guest run on the same goroutine or thread.
type HostFunc func(c *Caller, stack []uint64) error

// Hostcall is one function that the host offers to guests.
type Hostcall struct {
	Module, Name string
	Type         FuncType

	// MayBlock marks a hostcall that can wait on something other than the CPU. Only such a hostcall may
	// park its goroutine; the others must return promptly, because an engine may run them on a stack that
	// pins an OS thread.
	MayBlock bool

	// Ready, if set on a MayBlock hostcall, reports whether Fn would return at once. It must not wait and
	// must not change anything. An engine may then run Fn without giving up the thread.
	Ready func(c *Caller, stack []uint64) bool

	Fn HostFunc
}

// Caller is the running guest as a hostcall sees it.
type Caller struct {
	// Memory is the guest's linear memory, empty when it exports none by the name "memory".
	// It may move when the guest grows it, so it must not be kept across hostcalls.
	Memory Memory
	// State is what was given to Instantiate.
	State any
	// Context is the one given to Call. It ends when the guest must stop waiting.
	Context context.Context
	// Instance is the running instance, for Usage.
	Instance Instance
}

// UnknownImports says what Link does with an import that the hostcall table lacks.
type UnknownImports int

const (
	// RefuseUnknown makes Link fail with an *UnknownImportError.
	RefuseUnknown UnknownImports = iota
	// TrapUnknown links a function that ends the guest with an *UnknownImportError when it is called.
	TrapUnknown
)

// LinkOptions are settings of Link.
type LinkOptions struct{ UnknownImports UnknownImports }

// Engine compiles and loads modules.
type Engine interface {
	// Name is "wasmtime" or "wazero".
	Name() string
	// Version is that of the library in use.
	Version() string
	// Fingerprint names everything besides the module's bytes that an artifact depends on: engine and
	// version, CPU features, settings. Artifacts are only loaded by an engine with an equal fingerprint.
	Fingerprint() string
	// Compile translates a core module. It may take seconds; ctx ends it early where the engine can.
	Compile(ctx context.Context, wasm []byte) (Module, error)
	// Load maps an artifact that Module.Serialize of an engine with the same Fingerprint wrote. The file is
	// trusted native code: the caller has checked that this host wrote it.
	Load(path string) (Module, error)
	// Suspends reports whether the engine can hand a running guest to another goroutine; see
	// InstanceConfig.Suspend.
	Suspends() bool
	// Close frees the engine. All instances must have been closed; modules and templates become unusable.
	Close() error
}

// Pooled is an Engine that tells how full its pool is.
type Pooled interface{ Pool() PoolStats }

// PoolStats is how full an engine's pool is. Each instance has one slot for itself, its memory, its stack and each of its
// tables.
type PoolStats struct {
	Instances, MaxInstances     int    // slots taken, parked instances included
	Parked                      int    // instances that were set back and wait for the next request of their template
	ParkedBytes, MaxParkedBytes uint64 // of memory that parked instances have written to and hold
	Computing                   int    // guests that compute at this moment
}

// Warmer is a Template that can make instances ahead of requests.
type Warmer interface {
	// Warm sees to it that n instances are parked, or as many as there is room for, and tells how many it has made. A
	// template whose instances are not kept for the next request makes none.
	Warm(n int) (made int, err error)
}

// Starter is an Instance that can run its start function alone.
type Starter interface {
	// Start runs the start function, if the module has one and it has not run. Errors are those of Instance.Call.
	Start(ctx context.Context) error
}

// Module is compiled code, not yet linked.
type Module interface {
	Imports() []Import
	Exports() []Export
	// MinMemory is the linear memory in bytes that an instance starts with.
	MinMemory() uint64
	// Serialize gives the artifact that Engine.Load reads; nil with ErrNoArtifact when the engine has none.
	Serialize() ([]byte, error)
	// Link resolves every import once. Calls that the module does not import are ignored.
	Link(calls []Hostcall, opts LinkOptions) (Template, error)
	// Close frees the module. Templates linked from it stay usable.
	Close()
}

// Template is a module ready to be instantiated many times.
type Template interface {
	// Instantiate makes a fresh sandbox: memory, globals and tables as the module declares them. A start
	// function, if the module has one, runs at the beginning of the first Call.
	// ErrNoSlot means that all slots of the engine's pool are taken.
	Instantiate(cfg InstanceConfig) (Instance, error)
	// Close frees the template. Instances must have been closed.
	Close()
}

// InstanceConfig bounds one instance. The zero value means no bound but those of the engine.
type InstanceConfig struct {
	// State is handed to hostcalls in Caller.State.
	State any
	// MaxMemory in bytes of linear memory; growing past it makes memory.grow answer -1. 0 means the engine's bound.
	MaxMemory uint64
	// MaxTableElements bounds each table. 0 means the engine's bound.
	MaxTableElements uint32
	// Suspend, if set, is asked whenever the guest is about to wait in a hostcall or has computed for a tick.
	// When it answers true, Call returns ErrSuspended and the guest stays where it is until Resume. An engine
	// that cannot hand a guest over (see Engine.Suspends) never asks.
	Suspend Suspender
	// MaxCPU is the time the guest may compute, waiting excluded; past it Call returns a *CPULimitError.
	// 0 means unbounded.
	MaxCPU time.Duration
}

// Suspender says whether a guest should be handed over now.
type Suspender interface{ Suspend() bool }

// Instance is one running sandbox.
type Instance interface {
	// Call runs an exported function without parameters and results to its end. It returns nil, the error
	// of the hostcall that ended the guest (among them *ExitError), a *TrapError, a *CPULimitError, or
	// context.Cause(ctx) when ctx ended first: a computing guest is stopped within milliseconds.
	// After an error the instance must be closed.
	// ErrSuspended is no end: see Resume.
	Call(ctx context.Context, export string) error
	// Resume goes on with a Call or Resume that returned ErrSuspended, on any goroutine. Apart from that it is
	// like Call.
	Resume(ctx context.Context) error
	// Memory is the linear memory; see Caller.Memory for how long it may be used.
	Memory() Memory
	// Usage may be called during hostcalls and after Call.
	Usage() Usage
	// GrantCPU moves the limit InstanceConfig.MaxCPU, where there is one: the guest may compute for d from now on. It may
	// be called during hostcalls.
	GrantCPU(d time.Duration)
	// Close gives the slot back. It must be called once, not during Call.
	Close()
}

// Usage is what an instance has consumed so far.
type Usage struct {
	// CPU is the time spent computing in the guest; waiting in hostcalls is excluded.
	CPU time.Duration
	// Memory is the size of linear memory in bytes.
	Memory uint64
	// GrowDenied counts memory.grow and table.grow instructions refused because of a limit. It stays 0 in an
	// engine that is not told (wasmtime): there the guest's own failure is all there is to see.
	GrowDenied uint32
}

// Config sizes an engine. The zero value means the defaults named at each field.
type Config struct {
	MaxInstances     int           // sandboxes at once; 0 means 1000
	MaxMemory        uint64        // bytes of linear memory per instance; 0 means 128 MiB
	MaxTableElements uint32        // per table; 0 means 98765, the platform's limit
	MaxStack         uint64        // bytes of Wasm stack; 0 means 1 MiB
	Tick             time.Duration // how often a computing guest is looked at; 0 means 1 ms
	Exceptions, GC   bool          // engine features beyond the default set, where the engine has them
	ProfileGuest     bool          // emit what a native profiler needs to name guest functions
	NoReset          bool          // make every instance anew rather than set back one that has ended, where the engine does
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	if c.MaxInstances == 0 {
		c.MaxInstances = 1000
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = 128 << 20
	}
	if c.MaxTableElements == 0 {
		c.MaxTableElements = 98765
	}
	if c.MaxStack == 0 {
		c.MaxStack = 1 << 20
	}
	if c.Tick == 0 {
		c.Tick = time.Millisecond
	}
	return c
}
