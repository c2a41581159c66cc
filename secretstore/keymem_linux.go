package secretstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// keyPage gives a page of zeros for keys. Locking fails where the limit on locked memory is spent, and then the page may be
// swapped; it stays out of core dumps and of child processes all the same.
func keyPage() []byte {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, os.Getpagesize()) // no memory: the heap will say so, or have it
	}
	_ = unix.Mlock(page)
	_ = unix.Madvise(page, unix.MADV_DONTDUMP)
	_ = unix.Madvise(page, unix.MADV_WIPEONFORK)
	return page
}
