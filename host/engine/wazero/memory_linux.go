package wazero

import (
	"os"

	"golang.org/x/sys/unix"
)

// namelessFile gives a file in memory, and a function that keeps its content from being changed.
func namelessFile(dir string) (*os.File, func() error, error) {
	fd, err := unix.MemfdCreate("wasmedge-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil { // before Linux 3.17, or forbidden
		return temporaryFile(dir)
	}
	f := os.NewFile(uintptr(fd), "image")
	return f, func() error {
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
		return err
	}, nil
}
