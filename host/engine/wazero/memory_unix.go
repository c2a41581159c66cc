//go:build unix

package wazero

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canMap says that the functions of this file work here.
const canMap = true

// reserve takes n bytes of addresses without backing.
func reserve(n uint64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("wazero: cannot reserve %d bytes of addresses for a guest: %w", n, err)
	}
	return b, nil
}

// commit makes region[from:to] accessible; fresh pages are zero.
func commit(region []byte, from, to int) error {
	if from == to {
		return nil
	}
	return unix.Mprotect(region[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

func unreserve(region []byte) {
	if region != nil {
		_ = unix.Munmap(region)
	}
}

// mapFile makes a part of a reserved region show a file's content from an offset on. What is written to it is the
// region's own.
func mapFile(part []byte, f *os.File, offset int64) error {
	return mapFixed(part, unix.MAP_PRIVATE, int(f.Fd()), offset)
}

// mapZeroes gives the pages of a part of a reserved region back, so that it shows zeros.
func mapZeroes(part []byte) error {
	return mapFixed(part, unix.MAP_PRIVATE|unix.MAP_ANON, -1, 0)
}

func mapFixed(part []byte, flags, fd int, offset int64) error {
	_, err := unix.MmapPtr(fd, offset, unsafe.Pointer(unsafe.SliceData(part)), uintptr(len(part)),
		unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_FIXED)
	return err
}

// imageFile puts content into a file without a name that nobody can change, and maps it.
func imageFile(content []byte, dir string) (*os.File, []byte, error) {
	f, seal, err := namelessFile(dir)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.Write(content)
	if err == nil {
		err = seal()
	}
	var shown []byte
	if err == nil {
		shown, err = unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ, unix.MAP_PRIVATE)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, shown, nil
}

// temporaryFile is a file in a directory that only this process uses.
func temporaryFile(dir string) (*os.File, func() error, error) {
	f, err := os.CreateTemp(dir, "image-")
	if err != nil {
		return nil, nil, err
	}
	return f, func() error { return os.Remove(f.Name()) }, nil
}
