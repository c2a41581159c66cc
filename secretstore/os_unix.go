//go:build unix

package secretstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a change waits for another process to finish its own.
const lockWait = 10 * time.Second

func lockFile(f *os.File) error {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		case time.Since(began) > lockWait:
			return fmt.Errorf("another process has held the lock for %s", lockWait)
		}
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkWritable refuses a directory in which others can replace files.
func checkWritable(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: mode %#o lets others replace secrets: chmod go-w %[1]s", path, info.Mode().Perm())
	}
	return nil
}

// readableBy tells who but its owner can read or change a file.
func readableBy(info fs.FileInfo) (group, others bool) {
	perm := info.Mode().Perm()
	owner := false
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = st.Uid != 0 && int(st.Uid) != os.Geteuid()
	}
	return perm&0o040 != 0, perm&0o027 != 0 || owner
}

// killGroup makes a command's end that of the processes it has started, too.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
