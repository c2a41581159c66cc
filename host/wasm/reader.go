package wasm

import (
	"fmt"
	"unicode/utf8"

	"github.com/edgewasm/wasmedge/host/engine"
)

// reader decodes values of the binary format from a piece of a module. The first error sticks: later reads
// answer zero values, so that a decoder checks once for each entry rather than at each byte.
type reader struct {
	b       []byte
	pos     int
	base    int // offset of b in the module, for errors
	section string
	types   int // how many types there are, for references to them; 0 when not known yet
	err     error
}

func (r *reader) fail(at int, sentinel error, format string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{Offset: r.base + at, Section: r.section, Problem: fmt.Sprintf(format, args...), Err: sentinel}
	}
}

func (r *reader) left() int { return len(r.b) - r.pos }

// done insists that all bytes were used.
func (r *reader) done() error {
	if r.err == nil && r.pos != len(r.b) {
		r.fail(r.pos, ErrMalformed, "expected the section to end, %d bytes are left", r.left())
	}
	return r.err
}

func (r *reader) byte(what string) byte {
	if r.err != nil {
		return 0
	}
	if r.pos >= len(r.b) {
		r.fail(r.pos, ErrMalformed, "expected %s, the bytes end", what)
		return 0
	}
	c := r.b[r.pos]
	r.pos++
	return c
}

func (r *reader) bytes(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > r.left() {
		r.fail(r.pos, ErrMalformed, "expected %s of %d bytes, %d are left", what, n, r.left())
		return nil
	}
	b := r.b[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b
}

// uleb reads an unsigned LEB128 number of at most bits bits (Wasm core specification, section 5.2.2).
func (r *reader) uleb(bits uint, what string) uint64 {
	if r.err != nil {
		return 0
	}
	if r.pos < len(r.b) && r.b[r.pos] < 0x80 { // by far the most frequent
		c := r.b[r.pos]
		r.pos++
		return uint64(c)
	}
	start := r.pos
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if r.pos >= len(r.b) {
			r.fail(start, ErrMalformed, "expected %s, the bytes end inside the number", what)
			return 0
		}
		c := r.b[r.pos]
		r.pos++
		if shift+7 > bits {
			// The last byte that may follow: its unused bits and its continuation bit must be clear.
			if c>>(bits-shift) != 0 {
				r.fail(start, ErrMalformed, "expected %s, the number does not fit %d bits", what, bits)
				return 0
			}
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

// sleb reads a signed LEB128 number of at most bits bits.
func (r *reader) sleb(bits uint, what string) int64 {
	if r.err != nil {
		return 0
	}
	start := r.pos
	var v int64
	for shift := uint(0); ; shift += 7 {
		if r.pos >= len(r.b) {
			r.fail(start, ErrMalformed, "expected %s, the bytes end inside the number", what)
			return 0
		}
		c := r.b[r.pos]
		r.pos++
		if shift+7 > bits {
			// The last byte: the bits above must all repeat the sign bit, and nothing may follow.
			top := int8(c<<1) >> (bits - shift) // bits from the sign bit on, moved down; c's bit 6 is extended
			if c >= 0x80 || (top != 0 && top != -1) {
				r.fail(start, ErrMalformed, "expected %s, the number does not fit %d bits", what, bits)
				return 0
			}
		}
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if s := shift + 7; s < 64 && c&0x40 != 0 {
				v |= -1 << s
			}
			return v
		}
	}
}

func (r *reader) u32(what string) uint32 { return uint32(r.uleb(32, what)) }

// count reads the length of a vector whose entries take at least min bytes each, so that no count can make
// a decoder allocate more than a small multiple of the module's own size.
func (r *reader) count(min int, what string) int {
	start := r.pos
	n := r.u32("the number of " + what)
	if r.err == nil && uint64(n)*uint64(min) > uint64(r.left()) {
		r.fail(start, ErrMalformed, "expected %d %s, only %d bytes are left", n, what, r.left())
		return 0
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) name(what string) string {
	start := r.pos
	n := r.u32("the length of " + what)
	b := r.bytes(int(n), what)
	if r.err == nil && !utf8.Valid(b) {
		r.fail(start, ErrMalformed, "expected %s, the name is not UTF-8", what)
		return ""
	}
	return string(b)
}

// Lead bytes of reference types that carry a heap type (function references and GC proposals).
const (
	refNull    = 0x63
	refNonNull = 0x64
)

// valueType reads a value type. A reference to something other than plain functions or externals is given by
// its lead byte: callers of this package need to tell numbers from references only.
func (r *reader) valueType(what string) engine.ValueType {
	start := r.pos
	c := r.byte(what)
	switch {
	case r.err != nil:
		return 0
	case c >= 0x7b, isShortRef(c):
		return engine.ValueType(c)
	case c == refNull, c == refNonNull:
		r.heapType()
		return engine.ValueType(c)
	}
	r.fail(start, ErrMalformed, "expected %s, 0x%02x is no value type", what, c)
	return 0
}

// isShortRef reports whether c is a reference type of one byte: funcref, externref, exnref, anyref, ...
func isShortRef(c byte) bool { return c >= 0x69 && c <= 0x74 }

func (r *reader) refType(what string) engine.ValueType {
	start := r.pos
	t := r.valueType(what)
	if r.err == nil && t >= engine.V128 {
		r.fail(start, ErrMalformed, "expected %s, %s is no reference type", what, t)
	}
	return t
}

func (r *reader) heapType() int64 {
	start := r.pos
	h := r.sleb(33, "a heap type")
	if r.err == nil && h < 0 && (h < -64 || !isShortRef(byte(h&0x7f))) {
		r.fail(start, ErrMalformed, "expected a heap type, found %d", h)
	}
	if r.err == nil && r.types > 0 && h >= int64(r.types) {
		r.fail(start, ErrMalformed, "expected a heap type, found type %d, the module has %d", h, r.types)
	}
	return h
}

// Limits are the bounds of a table or memory.
type Limits struct {
	Min, Max uint64
	HasMax   bool
	Shared   bool // between threads
	Is64     bool // 64-bit addresses
	// PageSizeLog2 is 16 unless the custom-page-sizes proposal is used. It means nothing for tables.
	PageSizeLog2 uint8
}

func (r *reader) limits(what string) Limits {
	start := r.pos
	flags := r.byte("the limits of " + what)
	if r.err == nil && flags&^0x0f != 0 {
		r.fail(start, ErrMalformed, "expected the limits of %s, found flags 0x%02x", what, flags)
	}
	l := Limits{HasMax: flags&1 != 0, Shared: flags&2 != 0, Is64: flags&4 != 0, PageSizeLog2: 16}
	bits := uint(32)
	if l.Is64 {
		bits = 64
	}
	l.Min = r.uleb(bits, "the minimum of "+what)
	if l.HasMax {
		l.Max = r.uleb(bits, "the maximum of "+what)
	}
	if flags&8 != 0 {
		at := r.pos
		p := r.u32("the page size of " + what)
		if r.err == nil && p > 16 {
			r.fail(at, ErrMalformed, "expected a page size of at most 2^16 bytes, found 2^%d", p)
		}
		l.PageSizeLog2 = uint8(p)
	}
	if r.err == nil && l.HasMax && l.Max < l.Min {
		r.fail(start, ErrMalformed, "the minimum %d of %s exceeds its maximum %d", l.Min, what, l.Max)
	}
	return l
}
