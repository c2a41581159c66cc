package wazero

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
)

// Bounds of what instances keep for the next of their template.
const (
	// maxResident is how many bytes of its memory an instance may have written to over its life and keep. Setting
	// back a page costs some 50 ns, a fault ten times as much, so that more would still be faster; it is memory that
	// an instance which waits for its next request should not hold. Beyond it all pages are given back.
	maxResident = 4 << 20

	// maxGrown is by how many bytes an instance's memory may have grown. What it once grew to stays accessible to
	// runs that have not grown it themselves (wasm.Module.KeepSize), so it should not be much. A hello of Go's, with
	// the SDK in it, grows by one to four MiB, and to make its instance anew takes a hundred times as long.
	maxGrown = 4 << 20
)

// linearMemory is the memory of one instance, of which the guest sees buf. It is a wazero allocator that gives itself
// out once.
//
// Where memory can be mapped, the region is addresses reserved up to the most that buf may become, so that it never
// moves. Of it only buf is accessible: pages of the image, copied when they are first written to, and
// zeros. Elsewhere the region is a slice of Go's, which moves when it must grow.
type linearMemory struct {
	image  *image
	first  uint64 // bytes that it starts with
	max    uint64
	mapped bool

	region []byte
	buf    []byte
}

// open gives the memory its first size and content.
func (l *linearMemory) open() (err error) {
	if l.mapped {
		if l.region, err = reserve(l.max); err != nil {
			return err
		}
	}
	// wazero does not expect this to fail when it asks.
	if l.first > 0 && l.Reallocate(l.first) == nil {
		l.release()
		return fmt.Errorf("wazero: the system has no %d bytes for a guest's memory", l.first)
	}
	if l.first > 0 && l.image != nil {
		if l.mapped {
			err = l.mapImage()
		} else {
			l.image.fill(l.buf)
		}
	}
	if err != nil {
		l.release()
	}
	return err
}

// Allocate gives the memory to wazero.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate grows the memory; nil refuses.
func (l *linearMemory) Reallocate(size uint64) []byte {
	switch {
	case size > l.max:
		return nil
	case l.mapped:
		if commit(l.region, len(l.buf), int(size)) != nil {
			return nil
		}
	case size > uint64(len(l.region)):
		region := make([]byte, min(size+size/4, l.max))
		copy(region, l.buf)
		l.region = region
	}
	l.buf = l.region[:size:size]
	return l.buf
}

// Free does nothing: the slot frees the memory itself, when nothing refers to it any more.
func (l *linearMemory) Free() {}

func (l *linearMemory) release() {
	if l.mapped {
		unreserve(l.region)
	}
	l.region, l.buf = nil, nil
}

// mapImage makes the image show where it fills memory.
func (l *linearMemory) mapImage() error {
	for _, r := range l.image.runs {
		if err := mapFile(l.region[r.start:r.end], l.image.file, int64(r.at)); err != nil {
			return fmt.Errorf("wazero: cannot map the first content of memory: %w", err)
		}
	}
	return nil
}

// reset sets the content back to the first one, and zeros behind it where memory has grown. It says how many bytes of
// memory stay with the instance. When it answers false, the memory must not be used again.
func (l *linearMemory) reset() (resident uint64, ok bool) {
	switch {
	case len(l.buf) == 0:
		return 0, true
	case !l.mapped:
		l.image.fill(l.buf)
		return uint64(len(l.region)), true
	}
	if p := pagemap(); p != nil {
		// The kernel knows which pages are no longer those of the image, whoever wrote to them.
		base := uintptr(unsafe.Pointer(unsafe.SliceData(l.buf)))
		done := p.dirty(base, base+uintptr(len(l.buf)), func(start, end uintptr) bool {
			if resident += uint64(end - start); resident > maxResident {
				return false
			}
			l.restore(uint64(start-base), uint64(end-base))
			return true
		})
		if done {
			return resident, true
		}
	}
	return 0, l.remap() == nil
}

// restore copies the first content back to pages.
func (l *linearMemory) restore(from, to uint64) {
	for at := from; at < to; at += osPage {
		page, first := l.buf[at:at+osPage], l.image.page(at)
		// Most pages are written to in each run, yet many end as they began: not to write those leaves them out of
		// caches.
		if !bytes.Equal(page, first) {
			copy(page, first)
		}
	}
}

// remap gives all pages back.
func (l *linearMemory) remap() error {
	if err := mapZeroes(l.buf); err != nil || l.image == nil {
		return err
	}
	return l.mapImage()
}
