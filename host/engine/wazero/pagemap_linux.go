package wazero

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scanArg is struct pm_scan_arg of linux/fs.h since Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst).
type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages   uint64
	categoryInverted, categoryMask, categoryAnyof, returnMask uint64
}

// region is struct page_region; its last field are categories.
type region struct{ start, end, _ uint64 }

const (
	scanCall = 3<<30 | uint(unsafe.Sizeof(scanArg{}))<<16 | 'f'<<8 | 16 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZeroes  = 1 << 5 // the kernel's page of zeros

	// Bits of an entry of /proc/self/pagemap.
	entryIsPresent = 1 << 63
	entryIsSwapped = 1 << 62
	entryIsFile    = 1 << 61
)

// scanBuffer is what one look at a pagemap needs. It must not move while the kernel writes to it.
type scanBuffer struct {
	arg     scanArg
	regions [64]region
	entries [512 * 8]byte
}

var scanBuffers = sync.Pool{New: func() any { return new(scanBuffer) }}

// dirty calls f for each range of pages in [start, end) that are neither those of a file nor untouched. It ends early
// when f answers false, and is false then or when the pages cannot be found.
func (p *pageFinder) dirty(start, end uintptr, f func(start, end uintptr) bool) bool {
	b := scanBuffers.Get().(*scanBuffer)
	defer scanBuffers.Put(b)
	for at := start; at < end; {
		n, next, ok := p.look(b, at, end)
		if !ok || next <= at {
			return false
		}
		for _, r := range b.regions[:n] {
			if !f(uintptr(r.start), uintptr(r.end)) {
				return false
			}
		}
		at = next
	}
	return true
}

// look finds the first ranges, and says how far it has looked.
func (p *pageFinder) look(b *scanBuffer, start, end uintptr) (n int, next uintptr, ok bool) {
	if p.scan {
		return p.lookByScan(b, start, end)
	}
	return p.lookByReading(b, start, end)
}

func (p *pageFinder) lookByScan(b *scanBuffer, start, end uintptr) (int, uintptr, bool) {
	b.arg = scanArg{
		size: uint64(unsafe.Sizeof(b.arg)), start: uint64(start), end: uint64(end),
		vec: uint64(uintptr(unsafe.Pointer(&b.regions))), vecLen: uint64(len(b.regions)),
		// Neither a page of a file nor the page of zeros, and there.
		categoryInverted: pageIsFile | pageIsZeroes, categoryMask: pageIsFile | pageIsZeroes,
		categoryAnyof: pageIsPresent | pageIsSwapped, returnMask: pageIsPresent | pageIsSwapped,
	}
	for {
		n, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), uintptr(scanCall), uintptr(unsafe.Pointer(&b.arg)))
		switch {
		case err == unix.EINTR:
		case err != 0 || n > uintptr(len(b.regions)):
			return 0, 0, false
		default:
			return int(n), uintptr(b.arg.walkEnd), true
		}
	}
}

// lookByReading tells the same from the entries of pages, except that it takes the page of zeros, which is there when a
// page was read before it was written to, for one that was written to.
func (p *pageFinder) lookByReading(b *scanBuffer, start, end uintptr) (int, uintptr, bool) {
	page := uintptr(osPage)
	n := 0
	for at := start; at < end; {
		entries := b.entries[:min(uintptr(len(b.entries)), (end-at)/page*8)]
		if got, err := unix.Pread(p.fd, entries, int64(at/page*8)); err != nil || got != len(entries) {
			return 0, 0, false
		}
		for ; len(entries) > 0; entries, at = entries[8:], at+page {
			e := binary.NativeEndian.Uint64(entries)
			switch {
			case e&(entryIsPresent|entryIsSwapped) == 0 || e&entryIsFile != 0:
			case n > 0 && b.regions[n-1].end == uint64(at):
				b.regions[n-1].end += uint64(page)
			case n == len(b.regions):
				return n, at, true
			default:
				b.regions[n] = region{start: uint64(at), end: uint64(at + page)}
				n++
			}
		}
	}
	return n, end, true
}

// openPagemap finds a way by trial: containers and old kernels may not let us.
func openPagemap() *pageFinder {
	fd, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	page := int(osPage)
	// Three pages: not touched, written to, read.
	trial, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		defer unreserve(trial)
		trial[page] = 1
		read := trial[2*page]
		base := uintptr(unsafe.Pointer(unsafe.SliceData(trial)))
		for _, p := range []*pageFinder{{fd, true}, {fd, false}} {
			b := new(scanBuffer)
			last := base + 2*osPageSize
			if !p.scan {
				last += osPageSize
			}
			n, _, ok := p.look(b, base, base+3*osPageSize)
			if ok && n == 1 && read == 0 && b.regions[0].start == uint64(base+osPageSize) && b.regions[0].end == uint64(last) {
				return p
			}
		}
	}
	unix.Close(fd)
	return nil
}

var osPageSize = uintptr(osPage)
