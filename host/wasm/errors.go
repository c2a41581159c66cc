package wasm

import (
	"errors"
	"fmt"
)

var (
	// ErrNotWasm is wrapped when the bytes are no WebAssembly binary at all.
	ErrNotWasm = errors.New("not a WebAssembly module")
	// ErrText is wrapped when the bytes are WebAssembly text (.wat) rather than the binary format.
	ErrText = errors.New("WebAssembly text, not a binary module")
	// ErrComponent is wrapped when the bytes are a component (or another layer above core modules).
	ErrComponent = errors.New("a component, not a core module")
	// ErrVersion is wrapped when the header names a version of the binary format that is not 1.
	ErrVersion = errors.New("unknown version of the WebAssembly binary format")
	// ErrTruncated is wrapped when the bytes end inside a header or a section.
	ErrTruncated = errors.New("truncated WebAssembly module")
	// ErrMalformed is wrapped when a section does not decode.
	ErrMalformed = errors.New("malformed WebAssembly module")
	// ErrUnsupported is wrapped when a module uses a feature of WebAssembly that this package does not know.
	ErrUnsupported = errors.New("unsupported WebAssembly feature")
)

// FormatError says where a module does not follow the binary format. It wraps one of this package's
// sentinel errors.
type FormatError struct {
	Offset  int    // in bytes from the start of the module
	Section string // name of the section; empty outside of any
	Problem string // what was expected, and what is there
	Err     error
}

func (e *FormatError) Error() string {
	where := fmt.Sprintf("at byte %d (0x%x)", e.Offset, e.Offset)
	if e.Section != "" {
		where += ", " + e.Section + " section"
	}
	return fmt.Sprintf("%v %s: %s", e.Err, where, e.Problem)
}

// Unwrap gives the sentinel error.
func (e *FormatError) Unwrap() error { return e.Err }
