package wasi

import (
	"encoding/binary"
	"math"

	"github.com/edgewasm/wasmedge/host/engine"
)

// argsGet is args_get(argv, argv_buf) -> errno.
//   - argv: takes a pointer to each argument
//   - argv_buf: takes the arguments, each ended by NUL
//
// EFAULT: a buffer is not wholly inside memory; nothing was written. EINVAL: argv is misaligned.
func argsGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	return putStrings(c.Memory, s.Args, uint32(a[0]), uint32(a[1])), nil
}

// argsSizesGet is args_sizes_get(argc, argv_len) -> errno.
//   - argc, argv_len: take, as u32, the number of arguments and the bytes that args_get needs for them
//
// EFAULT: a result is not wholly inside memory; nothing was written. EINVAL: a pointer is misaligned.
func argsSizesGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	return putSizes(c.Memory, s.Args, uint32(a[0]), uint32(a[1])), nil
}

// environGet is environ_get(environ, environ_buf) -> errno, which is args_get for name=value strings.
func environGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	return putStrings(c.Memory, s.Env, uint32(a[0]), uint32(a[1])), nil
}

// environSizesGet is environ_sizes_get(environc, environ_len) -> errno, which is args_sizes_get for name=value strings.
func environSizesGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	return putSizes(c.Memory, s.Env, uint32(a[0]), uint32(a[1])), nil
}

// sizeOf counts what the strings need. EOVERFLOW: more than a guest could address.
func sizeOf(list []string) (count, size uint32, e Errno) {
	n := uint64(0)
	for _, v := range list {
		n += uint64(len(v)) + 1
	}
	if n > math.MaxUint32 || uint64(len(list)) > math.MaxUint32/4 {
		return 0, 0, EOVERFLOW
	}
	return uint32(len(list)), uint32(n), ESUCCESS
}

func putSizes(m engine.Memory, list []string, countPtr, sizePtr uint32) Errno {
	count, size, e := sizeOf(list)
	if e != ESUCCESS {
		return e
	}
	countOut, e := region(m, countPtr, 1, 4, 4)
	if e != ESUCCESS {
		return e
	}
	sizeOut, e := region(m, sizePtr, 1, 4, 4)
	if e != ESUCCESS {
		return e
	}
	binary.LittleEndian.PutUint32(countOut, count)
	binary.LittleEndian.PutUint32(sizeOut, size)
	return ESUCCESS
}

func putStrings(m engine.Memory, list []string, ptrsPtr, bytesPtr uint32) Errno {
	count, size, e := sizeOf(list)
	if e != ESUCCESS {
		return e
	}
	ptrs, e := region(m, ptrsPtr, count, 4, 4)
	if e != ESUCCESS {
		return e
	}
	bytes, e := region(m, bytesPtr, size, 1, 1)
	if e != ESUCCESS {
		return e
	}
	at := 0
	for i, v := range list {
		binary.LittleEndian.PutUint32(ptrs[4*i:], bytesPtr+uint32(at))
		at += copy(bytes[at:], v)
		bytes[at] = 0
		at++
	}
	return ESUCCESS
}
