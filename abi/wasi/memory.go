package wasi

import (
	"encoding/binary"
	"math"

	"github.com/edgewasm/wasmedge/host/engine"
)

// region gives count records of size bytes at ptr, which must be a multiple of align.
// EINVAL: the size overflows 32 bits, or ptr is misaligned. EFAULT: not wholly inside memory.
func region(m engine.Memory, ptr, count, size, align uint32) ([]byte, Errno) {
	n := uint64(count) * uint64(size)
	if n > math.MaxUint32 {
		return nil, EINVAL
	}
	b, ok := m.View(ptr, uint32(n))
	if !ok {
		return nil, EFAULT
	}
	if ptr&(align-1) != 0 {
		return nil, EINVAL
	}
	return b, ESUCCESS
}

// maxVectors bounds the entries of an iovec array that one call looks at, as POSIX systems do (IOV_MAX).
const maxVectors = 1024

// vectors is an iovec array whose every entry lies inside memory.
type vectors struct {
	array []byte // 8 bytes an entry: pointer, length
	total uint32 // bytes in all entries
	first []byte // the first entry that is not empty
	more  bool   // there is another entry that is not empty
}

// checkVectors reads an iovec array. Of more than maxVectors entries it takes the first ones: a short read or write.
// EINVAL: the array is misaligned or its size overflows, or the entries sum up to more than the result can say, or
// all entries taken are empty and others follow. EFAULT: the array or an entry is not wholly inside memory.
func checkVectors(m engine.Memory, ptr, count uint32) (v vectors, e Errno) {
	if v.array, e = region(m, ptr, count, 8, 4); e != ESUCCESS {
		return v, e
	}
	v.array = v.array[:min(count, maxVectors)*8]
	total := uint64(0)
	for a := v.array; len(a) > 0; a = a[8:] {
		b, ok := m.View(binary.LittleEndian.Uint32(a), binary.LittleEndian.Uint32(a[4:]))
		if !ok {
			return v, EFAULT
		}
		if len(b) == 0 {
			continue
		}
		if v.first == nil {
			v.first = b
		} else {
			v.more = true
		}
		total += uint64(len(b))
	}
	if total > math.MaxInt32 || total == 0 && count > maxVectors {
		return v, EINVAL
	}
	v.total = uint32(total)
	return v, ESUCCESS
}

// gather copies entries to dst until it is full.
func (v *vectors) gather(m engine.Memory, dst []byte) {
	for a := v.array; len(a) > 0 && len(dst) > 0; a = a[8:] {
		b, _ := m.View(binary.LittleEndian.Uint32(a), binary.LittleEndian.Uint32(a[4:]))
		dst = dst[copy(dst, b):]
	}
}
