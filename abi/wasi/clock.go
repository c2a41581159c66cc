package wasi

import (
	"encoding/binary"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Clock ids of preview 1.
const (
	clockRealtime = iota
	clockMonotonic
	clockProcessCPU
	clockThreadCPU
)

// origin is where the host's monotonic clock starts. It reads as the wall-clock time at which the process started, so
// that a guest whose memory was saved by one process and is resumed by another sees its clock go on, not back.
var (
	origin      = time.Now()
	originNanos = uint64(origin.UnixNano())
)

// clockResGet is clock_res_get(id, resolution) -> errno.
//   - resolution: takes nanoseconds as u64
//
// EINVAL: no such clock, or a misaligned pointer. EFAULT: the result is not wholly inside memory.
func clockResGet(_ *System, c *engine.Caller, a []uint64) (Errno, error) {
	if uint32(a[0]) > clockThreadCPU {
		return EINVAL, nil
	}
	return put64(c.Memory, uint32(a[1]), 1), nil
}

// clockTimeGet is clock_time_get(id, precision, time) -> errno.
//   - precision: how late the answer may be in nanoseconds; it is never late
//   - time: takes nanoseconds as u64
//
// The two CPU-time clocks both count the time that this sandbox has computed, waiting excluded.
// EINVAL: no such clock, or a misaligned pointer. EFAULT: the result is not wholly inside memory.
func clockTimeGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	var t uint64
	switch uint32(a[0]) {
	case clockRealtime:
		t = s.realtime()
	case clockMonotonic:
		t = s.monotonic()
	case clockProcessCPU, clockThreadCPU:
		t = uint64(c.Instance.Usage().CPU)
	default:
		return EINVAL, nil
	}
	return put64(c.Memory, uint32(a[2]), t), nil
}

func put64(m engine.Memory, ptr uint32, v uint64) Errno {
	b, e := region(m, ptr, 1, 8, 8)
	if e == ESUCCESS {
		binary.LittleEndian.PutUint64(b, v)
	}
	return e
}

func (s *System) realtime() uint64 {
	if s.Realtime != nil {
		return s.Realtime()
	}
	return uint64(time.Now().UnixNano())
}

func (s *System) monotonic() uint64 {
	if s.Monotonic != nil {
		return s.Monotonic()
	}
	return originNanos + uint64(time.Since(origin))
}
