package wasi

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/edgewasm/wasmedge/host/engine"
)

// fdClose is fd_close(fd) -> errno. The host's stream stays open. EBADF: not open.
func fdClose(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	d, _, e := s.lookup(uint32(a[0]))
	if e == ESUCCESS {
		d.stream = closed
	}
	return e, nil
}

// fdRenumber is fd_renumber(fd, to) -> errno: to is closed and refers to what fd was, and fd is closed.
// Nothing happens when both are the same. EBADF: one of them is not open.
func fdRenumber(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	from, k, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	to, _, e := s.lookup(uint32(a[1]))
	if e != ESUCCESS || from == to {
		return e, nil
	}
	*to = *from
	to.stream = k
	*from = descriptor{stream: closed}
	return ESUCCESS, nil
}

// fdFdstatGet is fd_fdstat_get(fd, fdstat) -> errno.
//   - fdstat: takes 24 bytes: file type, flags, rights, rights of what is opened through it
//
// EBADF: not open. EFAULT: the result is not wholly inside memory. EINVAL: it is misaligned.
func fdFdstatGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	d, k, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	b, e := region(c.Memory, uint32(a[1]), 1, 24, 8)
	if e != ESUCCESS {
		return e, nil
	}
	clear(b)
	b[0] = s.filetype()
	binary.LittleEndian.PutUint16(b[2:], d.flags)
	base, inheriting := d.rights(k)
	binary.LittleEndian.PutUint64(b[8:], base)
	binary.LittleEndian.PutUint64(b[16:], inheriting)
	return ESUCCESS, nil
}

// fdFdstatSetFlags is fd_fdstat_set_flags(fd, flags) -> errno. append and nonblock are taken; nonblock makes fd_read
// answer EAGAIN rather than wait.
//
// EBADF: not open. EINVAL: an unknown flag, or dsync, rsync or sync, which a stream cannot keep. ENOTCAPABLE: the
// right was given up.
func fdFdstatSetFlags(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	d, _, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	if uint32(a[1])&^(flagAppend|flagNonblock) != 0 {
		return EINVAL, nil
	}
	if e := d.may(rightSetFlags); e != ESUCCESS {
		return e, nil
	}
	d.flags = uint16(a[1])
	return ESUCCESS, nil
}

// fdFdstatSetRights is fd_fdstat_set_rights(fd, base, inheriting) -> errno. It can only take rights away.
//
// EBADF: not open. ENOTCAPABLE: a right is asked for that the descriptor does not have.
func fdFdstatSetRights(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	d, k, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	base, inheriting := d.rights(k)
	if a[1]&^base != 0 || a[2]&^inheriting != 0 {
		return ENOTCAPABLE, nil
	}
	d.lost |= base &^ a[1]
	d.lostInherit |= inheriting &^ a[2]
	return ESUCCESS, nil
}

// fdFilestatGet is fd_filestat_get(fd, filestat) -> errno.
//   - filestat: takes 64 bytes, all 0 but the file type at 16
//
// EBADF: not open. EFAULT: the result is not wholly inside memory. EINVAL: it is misaligned. ENOTCAPABLE: the right
// was given up.
func fdFilestatGet(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	d, _, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	if e := d.may(rightFilestat); e != ESUCCESS {
		return e, nil
	}
	b, e := region(c.Memory, uint32(a[1]), 1, 64, 8)
	if e != ESUCCESS {
		return e, nil
	}
	clear(b)
	b[16] = s.filetype()
	return ESUCCESS, nil
}

// fdPrestatDirName is fd_prestat_dir_name(fd, path, path_len) -> errno.
//
// EBADF: not open. ENOTDIR: every other, for none is a directory.
func fdPrestatDirName(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, _, e := s.lookup(uint32(a[0])); e != ESUCCESS {
		return e, nil
	}
	return ENOTDIR, nil
}

// fdSeek is fd_seek(fd, offset, whence, position) -> errno.
//
// EBADF: not open. EINVAL: no such whence. ESPIPE: every other, for a stream has no position.
func fdSeek(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, _, e := s.lookup(uint32(a[0])); e != ESUCCESS {
		return e, nil
	}
	if uint32(a[2]) > 2 {
		return EINVAL, nil
	}
	return ESPIPE, nil
}

// fdTell is fd_tell(fd, position) -> errno. EBADF: not open. ESPIPE: every other, for a stream has no position.
func fdTell(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, _, e := s.lookup(uint32(a[0])); e != ESUCCESS {
		return e, nil
	}
	return ESPIPE, nil
}

// fdPread is fd_pread(fd, iovs, iovs_len, offset, nread) -> errno.
// EBADF: not open for reading. ESPIPE: every other, for a stream has no position.
func fdPread(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, k, _ := s.lookup(uint32(a[0])); k != stdin {
		return EBADF, nil
	}
	return ESPIPE, nil
}

// fdPwrite is fd_pwrite(fd, iovs, iovs_len, offset, nwritten) -> errno.
// EBADF: not open for writing. ESPIPE: every other, for a stream has no position.
func fdPwrite(s *System, _ *engine.Caller, a []uint64) (Errno, error) {
	if _, k, _ := s.lookup(uint32(a[0])); k != stdout && k != stderr {
		return EBADF, nil
	}
	return ESPIPE, nil
}

const (
	smallGather = 4 << 10  // writes gathered in a pooled buffer
	maxGather   = 64 << 10 // bytes gathered by one call; a longer one is written short
)

// gatherBuffers holds buffers of smallGather bytes for fd_write.
var gatherBuffers = sync.Pool{New: func() any { return new([smallGather]byte) }}

// fdWrite is fd_write(fd, iovs, iovs_len, nwritten) -> errno.
//   - iovs: iovs_len pairs of pointer and length; all are given to the stream in one piece
//   - nwritten: takes, as u32, how many bytes were written; less than asked for only past 64 KiB in several pieces,
//     past 1024 pieces, or when the stream failed midway
//
// EBADF: not open for writing. ENOTCAPABLE: the right was given up. EFAULT: the array, a piece or the result is not
// wholly inside memory. EINVAL: the array or the result is misaligned, or the sum of lengths passes 2^31-1. EPIPE: the
// stream's reader is gone. EIO: the stream failed.
func fdWrite(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	d, k, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	if k != stdout && k != stderr {
		return EBADF, nil
	}
	if e := d.may(rightWrite); e != ESUCCESS {
		return e, nil
	}
	v, e := checkVectors(c.Memory, uint32(a[1]), uint32(a[2]))
	if e != ESUCCESS {
		return e, nil
	}
	result, e := region(c.Memory, uint32(a[3]), 1, 4, 4)
	if e != ESUCCESS {
		return e, nil
	}
	n := int(v.total)
	if w := s.writer(k); w != nil && n > 0 {
		var err error
		switch {
		case !v.more || len(v.first) >= maxGather:
			n, err = write(w, v.first)
		case n <= smallGather:
			buf := gatherBuffers.Get().(*[smallGather]byte)
			v.gather(c.Memory, buf[:n])
			n, err = write(w, buf[:n])
			gatherBuffers.Put(buf)
		default:
			buf := make([]byte, min(n, maxGather))
			v.gather(c.Memory, buf)
			n, err = write(w, buf)
		}
		if err != nil && n == 0 {
			if c.Context != nil && c.Context.Err() != nil {
				return 0, context.Cause(c.Context)
			}
			if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE) {
				return EPIPE, nil
			}
			return EIO, nil
		}
	}
	binary.LittleEndian.PutUint32(result, uint32(n))
	return ESUCCESS, nil
}

// write is w.Write with a count that can be trusted: within p, and short only with an error.
func write(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	if n < 0 || n > len(p) {
		return 0, io.ErrShortWrite
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// fdWriteReady says that nothing waits when there is nobody to write to: of a writer nothing is known.
func fdWriteReady(s *System, _ *engine.Caller, a []uint64) bool {
	_, k, _ := s.lookup(uint32(a[0]))
	return k != stdout && k != stderr || s.writer(k) == nil
}

// fdRead is fd_read(fd, iovs, iovs_len, nread) -> errno. It waits until there is something to read and reads what
// there is.
//   - iovs: iovs_len pairs of pointer and length; only the first that is not empty is filled
//   - nread: takes, as u32, how many bytes were read; 0 at the end of the stream
//
// EBADF: not open for reading. ENOTCAPABLE: the right was given up. EFAULT: the array, a piece or the result is not
// wholly inside memory. EINVAL: the array or the result is misaligned, or the sum of lengths passes 2^31-1. EAGAIN:
// nothing is there and the descriptor is nonblocking. EIO: the stream failed.
func fdRead(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	d, k, e := s.lookup(uint32(a[0]))
	if e != ESUCCESS {
		return e, nil
	}
	if k != stdin {
		return EBADF, nil
	}
	if e := d.may(rightRead); e != ESUCCESS {
		return e, nil
	}
	v, e := checkVectors(c.Memory, uint32(a[1]), uint32(a[2]))
	if e != ESUCCESS {
		return e, nil
	}
	result, e := region(c.Memory, uint32(a[3]), 1, 4, 4)
	if e != ESUCCESS {
		return e, nil
	}
	n := 0
	if v.total > 0 {
		n, e = s.readStdin(v.first, func(filled <-chan struct{}) Errno {
			if d.flags&flagNonblock != 0 {
				return EAGAIN
			}
			select {
			case <-filled:
				return ESUCCESS
			case <-done(c.Context):
				return ECANCELED
			}
		})
		if e == ECANCELED {
			return 0, context.Cause(c.Context)
		}
		if e != ESUCCESS {
			return e, nil
		}
	}
	binary.LittleEndian.PutUint32(result, uint32(n))
	return ESUCCESS, nil
}

// fdReadReady says that nothing waits when the call fails or input is there.
func fdReadReady(s *System, _ *engine.Caller, a []uint64) bool {
	d, k, _ := s.lookup(uint32(a[0]))
	if k != stdin || d.flags&flagNonblock != 0 {
		return true
	}
	_, _, ready := s.stdinState()
	return ready
}

// done is the channel of a context that may be nil.
func done(ctx context.Context) <-chan struct{} {
	if ctx == nil {
		return nil
	}
	return ctx.Done()
}
