package abi

import (
	"encoding/binary"
	"net/netip"
	"unicode/utf8"

	"github.com/edgewasm/wasmedge/host/engine"
)

// args are a hostcall's arguments, one 64-bit slot each. The upper half of an i32 slot is garbage.
type args []uint64

func (a args) u32(i int) uint32 { return uint32(a[i]) }
func (a args) u64(i int) uint64 { return a[i] }

// The helpers below are the one place where guest pointers are checked. A range outside linear memory is
// Inval and a misaligned pointer to a number BadAlign (ABI notes, section 1). Outputs are located before
// anything is done, so that a call that fails for its pointers has had no effect.

// in gives the guest's bytes without copying; valid until the hostcall returns.
func in(m engine.Memory, ptr, n uint32) ([]byte, Status) {
	b, ok := m.View(ptr, n)
	if !ok {
		return nil, Inval
	}
	return b, OK
}

// text copies UTF-8 text.
func text(m engine.Memory, ptr, n uint32) (string, Status) {
	b, st := in(m, ptr, n)
	if st != OK {
		return "", st
	}
	if !utf8.Valid(b) {
		return "", Inval
	}
	return string(b), OK
}

// out gives room for n bytes.
func out(m engine.Memory, ptr, n uint32) ([]byte, Status) { return in(m, ptr, n) }

func aligned(m engine.Memory, ptr, size uint32) ([]byte, Status) {
	if ptr%size != 0 {
		return nil, BadAlign
	}
	return in(m, ptr, size)
}

// outU16, outU32 and outU64 are located output numbers.
type (
	outU16 []byte
	outU32 []byte
	outU64 []byte
)

func (o outU16) put(v uint16) { binary.LittleEndian.PutUint16(o, v) }
func (o outU32) put(v uint32) { binary.LittleEndian.PutUint32(o, v) }
func (o outU64) put(v uint64) { binary.LittleEndian.PutUint64(o, v) }

func (o outU32) putBool(v bool) {
	if v {
		o.put(1)
	} else {
		o.put(0)
	}
}

func u16Out(m engine.Memory, ptr uint32) (outU16, Status) {
	b, st := aligned(m, ptr, 2)
	return outU16(b), st
}

func u32Out(m engine.Memory, ptr uint32) (outU32, Status) {
	b, st := aligned(m, ptr, 4)
	return outU32(b), st
}

func u64Out(m engine.Memory, ptr uint32) (outU64, Status) {
	b, st := aligned(m, ptr, 8)
	return outU64(b), st
}

// buffer is a located output buffer with its length output (the buffer protocol, ABI notes section 1).
type buffer struct {
	dst      []byte
	nwritten outU32
}

func bufferOut(m engine.Memory, ptr, size, nwritten uint32) (buffer, Status) {
	n, st := u32Out(m, nwritten)
	if st != OK {
		return buffer{}, st
	}
	dst, st := out(m, ptr, size)
	return buffer{dst, n}, st
}

// put writes the value, or only the size it needs with BufLen.
func (b buffer) put(v string) Status {
	b.nwritten.put(uint32(len(v)))
	if len(v) > len(b.dst) {
		return BufLen
	}
	copy(b.dst, v)
	return OK
}

// putBytes is put for a value that is bytes.
func (b buffer) putBytes(v []byte) Status {
	b.nwritten.put(uint32(len(v)))
	if len(v) > len(b.dst) {
		return BufLen
	}
	copy(b.dst, v)
	return OK
}

// optional writes the value if there is one, else answers None with length 0.
func (b buffer) optional(v string, ok bool) Status {
	if !ok {
		b.nwritten.put(0)
		return None
	}
	return b.put(v)
}

// list is a located multi-value output (ABI notes, section 1).
type list struct {
	buffer
	cursor uint32
	next   outU64 // nil when the guest passed a null pointer
}

func listOut(m engine.Memory, ptr, size, cursor, next, nwritten uint32) (list, Status) {
	b, st := bufferOut(m, ptr, size, nwritten)
	if st != OK {
		return list{}, st
	}
	l := list{buffer: b, cursor: cursor}
	if next != 0 {
		l.next, st = u64Out(m, next)
	}
	return l, st
}

func (l list) end(next int64) {
	if l.next != nil {
		l.next.put(uint64(next))
	}
}

// put writes as many whole items as fit, each followed by a NUL, from item number cursor on.
func (l list) put(n int, item func(i int) string) Status {
	used := 0
	i := int(l.cursor)
	for ; i < n; i++ {
		v := item(i)
		if len(v)+1 > len(l.dst)-used {
			break
		}
		used += copy(l.dst[used:], v)
		l.dst[used] = 0
		used++
	}
	if i < n && used == 0 {
		l.nwritten.put(uint32(len(item(i)) + 1))
		l.end(-1)
		return BufLen
	}
	l.nwritten.put(uint32(used))
	if i < n {
		l.end(int64(i))
	} else {
		l.end(-1)
	}
	return OK
}

// ipOut is the located 16-byte buffer and length of an address output.
type ipOut struct {
	octets []byte
	n      outU32
}

func addressOut(m engine.Memory, ptr, n uint32) (ipOut, Status) {
	length, st := u32Out(m, n)
	if st != OK {
		return ipOut{}, st
	}
	octets, st := out(m, ptr, 16)
	return ipOut{octets, length}, st
}

func (o ipOut) put(b []byte) {
	copy(o.octets, b)
	o.n.put(uint32(len(b)))
}

// address writes an IP address. One that is not known is the unspecified one: guests do not expect a failure.
func (o ipOut) address(a netip.AddrPort, ok bool) Status {
	ip := a.Addr().Unmap()
	if !ok || !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	if ip.Is4() {
		b := ip.As4()
		o.put(b[:])
	} else {
		b := ip.As16()
		o.put(b[:])
	}
	return OK
}
