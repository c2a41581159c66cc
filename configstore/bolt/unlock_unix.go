//go:build unix

package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// unlock lets others in. Closing would not: a mapping that bbolt has left keeps the file open, and thus locked.
func unlock(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }
