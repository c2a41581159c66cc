package wasi

import (
	"context"
	"crypto/rand"
	"io"

	"github.com/edgewasm/wasmedge/host/engine"
)

// randomChunk is how much randomness is made between two looks at the sandbox's context, so that a guest that asks
// for its whole memory's worth can still be stopped.
const randomChunk = 1 << 20

// randomGet is random_get(buf, buf_len) -> errno.
//   - buf: takes buf_len bytes from the system's secure source
//
// There is no generator per sandbox. On Linux the system's own one is read without a system call, which takes about as
// long as seeding another one from it would, and most guests ask once, to seed a generator of their own. And nothing
// random is kept that a saved or reused sandbox could repeat.
//
// EFAULT: the buffer is not wholly inside memory. EIO: an injected source failed.
func randomGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	buf, ok := c.Memory.View(uint32(a[0]), uint32(a[1]))
	if !ok {
		return EFAULT, nil
	}
	for {
		n := min(len(buf), randomChunk)
		if s.Random == nil {
			_, _ = rand.Read(buf[:n]) // never fails: without randomness the process ends
		} else if _, err := io.ReadFull(s.Random, buf[:n]); err != nil {
			return EIO, nil
		}
		if buf = buf[n:]; len(buf) == 0 {
			return ESUCCESS, nil
		}
		if c.Context != nil && c.Context.Err() != nil {
			return 0, context.Cause(c.Context)
		}
	}
}
