package engine

import "encoding/binary"

// Memory is a guest's linear memory. Its methods are the one place where guest pointers are checked: an
// address range that does not lie wholly inside answers false and touches nothing. A zero-length range is
// inside when its start is not past the end. All values are little-endian and need no alignment.
type Memory []byte

// View gives n bytes at ptr without copying.
func (m Memory) View(ptr, n uint32) ([]byte, bool) {
	end := uint64(ptr) + uint64(n)
	if end > uint64(len(m)) {
		return nil, false
	}
	return m[ptr:end:end], true
}

// String copies n bytes at ptr.
func (m Memory) String(ptr, n uint32) (string, bool) {
	b, ok := m.View(ptr, n)
	return string(b), ok
}

// U16 reads at ptr.
func (m Memory) U16(ptr uint32) (uint16, bool) {
	b, ok := m.View(ptr, 2)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b), true
}

// U32 reads at ptr.
func (m Memory) U32(ptr uint32) (uint32, bool) {
	b, ok := m.View(ptr, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

// U64 reads at ptr.
func (m Memory) U64(ptr uint32) (uint64, bool) {
	b, ok := m.View(ptr, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// PutU8 writes at ptr.
func (m Memory) PutU8(ptr uint32, v uint8) bool {
	b, ok := m.View(ptr, 1)
	if ok {
		b[0] = v
	}
	return ok
}

// PutU16 writes at ptr.
func (m Memory) PutU16(ptr uint32, v uint16) bool {
	b, ok := m.View(ptr, 2)
	if ok {
		binary.LittleEndian.PutUint16(b, v)
	}
	return ok
}

// PutU32 writes at ptr.
func (m Memory) PutU32(ptr uint32, v uint32) bool {
	b, ok := m.View(ptr, 4)
	if ok {
		binary.LittleEndian.PutUint32(b, v)
	}
	return ok
}

// PutU64 writes at ptr.
func (m Memory) PutU64(ptr uint32, v uint64) bool {
	b, ok := m.View(ptr, 8)
	if ok {
		binary.LittleEndian.PutUint64(b, v)
	}
	return ok
}
