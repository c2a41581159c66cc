//go:build unix

package modcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags keeps the opening of a pipe that somebody put there from waiting for its other end.
const openFlags = syscall.O_NONBLOCK

// checkPrivate refuses what belongs to another user (root excepted, who can do anything anyway) or has
// permission bits that it must not have.
func checkPrivate(info fs.FileInfo, forbidden fs.FileMode) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, not to user %d", st.Uid, os.Geteuid())
	}
	if bad := info.Mode().Perm() & forbidden; bad != 0 {
		return fmt.Errorf("has mode %#o", info.Mode().Perm())
	}
	return nil
}

// tryLockFile takes an exclusive lock that ends with the descriptor, at the latest with the process. held is
// false when another descriptor has it; an error means that the file system has no locks.
func tryLockFile(f *os.File) (held bool, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		for {
			lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
			if lockErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return false, err
	}
	if errors.Is(lockErr, unix.EWOULDBLOCK) {
		return false, nil
	}
	return lockErr == nil, lockErr
}

// descriptorPath is a path that opens the very file behind f. On Linux it does not go through the directory again.
func descriptorPath(f *os.File, path string) string {
	if runtime.GOOS != "linux" {
		return path
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return path
	}
	byNumber := path
	_ = conn.Control(func(fd uintptr) { byNumber = "/proc/self/fd/" + strconv.Itoa(int(fd)) })
	if _, err := os.Stat(byNumber); err != nil {
		return path // no /proc here
	}
	return byNumber
}
