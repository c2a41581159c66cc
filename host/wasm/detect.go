package wasm

import (
	"bytes"
	"fmt"
)

var (
	magic       = []byte("\x00asm")
	coreVersion = []byte{1, 0, 0, 0}
)

// Detect says whether b looks like a core module, from its header and section headers alone. The error is one
// line for a person, with advice, and wraps ErrNotWasm, ErrText, ErrComponent, ErrVersion, ErrTruncated or
// ErrMalformed.
func Detect(b []byte) error {
	_, err := sections(b)
	return err
}

func checkHeader(b []byte) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: the file is empty", ErrNotWasm)
	case len(b) < 8 && bytes.HasPrefix(append(magic[:4:4], coreVersion...), b):
		return fmt.Errorf("%w: the file ends after %d bytes, inside the header: was it written or copied whole?", ErrTruncated, len(b))
	case !bytes.HasPrefix(b, magic):
		return notWasm(b)
	case len(b) < 8:
		return fmt.Errorf("%w: the file ends after %d bytes, inside the header: was it written or copied whole?", ErrTruncated, len(b))
	case bytes.Equal(b[4:8], coreVersion):
		return nil
	case b[6] != 0 || b[7] != 0:
		// Bytes 6 and 7 are the layer: 0 core modules, 1 components (component model, Binary.md).
		return fmt.Errorf("this is %w: build for wasm32-wasip1 (WASI preview 1), or skip the step that makes a component, such as `wasm-tools component new`", ErrComponent)
	}
	return fmt.Errorf("%w: expected 1, found %d", ErrVersion, uint16(b[4])|uint16(b[5])<<8)
}

func notWasm(b []byte) error {
	switch {
	case looksLikeText(b):
		return fmt.Errorf("this is %w: translate it first, for example with `wat2wasm`", ErrText)
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return fmt.Errorf("%w: this is a gzip file; if it is a package, unpack it and give its bin/main.wasm", ErrNotWasm)
	case bytes.HasPrefix(b, []byte("BC\xc0\xde")):
		return fmt.Errorf("%w: this is LLVM bitcode; link it first", ErrNotWasm)
	case bytes.HasPrefix(b, []byte("\x7fELF")), bytes.HasPrefix(b, []byte("MZ")), bytes.HasPrefix(b, []byte("\xcf\xfa\xed\xfe")):
		return fmt.Errorf("%w: this is a native program; build it for wasm32-wasip1", ErrNotWasm)
	}
	n := min(len(b), 4)
	return fmt.Errorf("%w: expected the bytes 00 61 73 6d first, found % x", ErrNotWasm, b[:n])
}

// looksLikeText skips space and comments and asks whether a module or component follows.
func looksLikeText(b []byte) bool {
	if len(b) > 4096 { // comments longer than this do not matter
		b = b[:4096]
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	for {
		b = bytes.TrimLeft(b, " \t\r\n")
		switch {
		case bytes.HasPrefix(b, []byte(";;")):
			_, rest, ok := bytes.Cut(b, []byte("\n"))
			if !ok {
				return false
			}
			b = rest
		case bytes.HasPrefix(b, []byte("(;")):
			_, rest, ok := bytes.Cut(b, []byte(";)"))
			if !ok {
				return false
			}
			b = rest
		case bytes.HasPrefix(b, []byte("(")):
			b = bytes.TrimLeft(b[1:], " \t\r\n")
			for _, w := range []string{"module", "component", "type", "import", "func", "memory"} {
				if bytes.HasPrefix(b, []byte(w)) {
					return true
				}
			}
			return false
		default:
			return false
		}
	}
}
