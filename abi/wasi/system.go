package wasi

import (
	"io"
	"time"
)

// System is what one sandbox sees as its operating system. The zero value is a sandbox without arguments, environment
// and input, whose output is discarded; it is ready for use. Set the fields before the guest runs.
//
// A System belongs to one sandbox, whose hostcalls run one at a time; it is not safe for concurrent use. It is meant
// to be a field of the sandbox's own state and to be reused, with Reset in between.
type System struct {
	// Args are the program's arguments, its name first. A NUL byte would end the argument for the guest.
	Args []string
	// Env holds the environment as name=value. A NUL byte would end the value for the guest.
	Env []string

	// Stdin is what file descriptor 0 reads; nil is empty. A reader with a method Len() int is taken to hold its
	// data in memory: it is read in place. Any other reader is read by a goroutine of its own, at most 64 KiB
	// ahead, and only once the guest asks; such a goroutine outlives the sandbox if the reader never returns.
	Stdin io.Reader
	// Stdout and Stderr take what file descriptors 1 and 2 write; nil discards. One call of fd_write is one call of
	// Write, unless the guest gathers more than 64 KiB from several places. A writer that can wait must stop doing
	// so when the sandbox's context ends. An error answers EIO to the guest, or EPIPE if it wraps io.ErrClosedPipe
	// or the system's EPIPE.
	Stdout, Stderr io.Writer
	// Terminal presents the three streams as a terminal, so that C programs write line by line.
	Terminal bool

	// Realtime gives nanoseconds since 1970-01-01 UTC; nil is the host's clock.
	Realtime func() uint64
	// Monotonic gives nanoseconds from any origin; it must not go back and must not be 0, which Go guests refuse.
	// nil is the host's clock. Waiting always takes the host's time.
	Monotonic func() uint64
	// Random fills random_get's buffers; nil is crypto/rand. It must not wait. An error answers EIO to the guest.
	Random io.Reader

	fds   [3]descriptor
	timer *time.Timer // of poll_oneoff, kept for the next wait
	pump  *pump       // of Stdin, when that may wait
}

// Reset makes s a new System for another sandbox: every field is zero and the standard streams are open again.
func (s *System) Reset() { *s = System{timer: s.timer} }

// stream is what a descriptor refers to.
type stream uint8

const (
	asNumbered stream = iota // the zero value: descriptor 0 is stdin, 1 stdout, 2 stderr
	stdin
	stdout
	stderr
	closed
)

// descriptor is an entry of the table. The zero value is an open descriptor as the guest finds it at start-up.
type descriptor struct {
	stream      stream
	flags       uint16 // fdflags
	lost        uint64 // rights that the guest gave up
	lostInherit uint64
}

// Rights and flags of preview 1 that a stream can have.
const (
	rightRead     = 1 << 1
	rightSetFlags = 1 << 3
	rightWrite    = 1 << 6
	rightFilestat = 1 << 21
	rightPoll     = 1 << 27

	flagAppend   = 1 << 0
	flagDsync    = 1 << 1
	flagNonblock = 1 << 2
	flagRsync    = 1 << 3
	flagSync     = 1 << 4

	fileUnknown         = 0
	fileCharacterDevice = 2
)

// lookup finds an open descriptor.
func (s *System) lookup(fd uint32) (*descriptor, stream, Errno) {
	if fd >= uint32(len(s.fds)) {
		return nil, closed, EBADF
	}
	d := &s.fds[fd]
	switch d.stream {
	case closed:
		return nil, closed, EBADF
	case asNumbered:
		return d, stdin + stream(fd), ESUCCESS
	}
	return d, d.stream, ESUCCESS
}

// rights gives what may be done with a descriptor, less what the guest gave up.
func (d *descriptor) rights(k stream) (base, inheriting uint64) {
	all := uint64(rightWrite)
	if k == stdin {
		all = rightRead
	}
	all |= rightSetFlags | rightFilestat | rightPoll
	return all &^ d.lost, all &^ d.lostInherit
}

// may answers ENOTCAPABLE when the guest gave up the right.
func (d *descriptor) may(right uint64) Errno {
	if d.lost&right != 0 {
		return ENOTCAPABLE
	}
	return ESUCCESS
}

// filetype is what the guest is told a stream is. An unknown type makes a C library buffer whole blocks.
func (s *System) filetype() byte {
	if s.Terminal {
		return fileCharacterDevice
	}
	return fileUnknown
}

// writer is where a descriptor's output goes; nil discards.
func (s *System) writer(k stream) io.Writer {
	if k == stdout {
		return s.Stdout
	}
	return s.Stderr
}
