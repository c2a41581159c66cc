//go:build unix

package wazero

import (
	"fmt"

	"golang.org/x/sys/unix"
)

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
