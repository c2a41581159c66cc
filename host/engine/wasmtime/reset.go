//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #cgo noescape we_dirty
// #cgo nocallback we_dirty
// #cgo noescape we_inst_reuse
// #cgo nocallback we_inst_reuse
// #include <stdlib.h>
// #include <unistd.h>
// #include "shim.h"
import "C"

import (
	"bytes"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// statePrefix begins the names by which memories and globals are exported that the guest keeps to itself.
const statePrefix = "wasmedge:state:"

// sizePrefix begins the name of the global that holds the size of a memory which the guest grows.
const sizePrefix = "wasmedge:grown:"

// Bounds of what instances keep for the next of their template.
const (
	// maxResident is how many bytes of memory one instance may have written to over its life. Setting back a
	// page costs some 50 ns, a fault ten times as much, so that more would still be faster; it is memory that
	// an instance which waits for its next request should not hold.
	maxResident = 4 << 20

	// maxGrown is by how many bytes an instance's memory may have grown. What it once grew to stays accessible to
	// runs that have not grown it themselves (wasm.Module.KeepSize), so it should not be much.
	maxGrown = 4 << 20

	// maxWritten is how many ranges of written memory one instance may have.
	maxWritten = int(maxResident / 4096)

	// maxKnown bounds the first contents that one template keeps a copy of. Guests that write to other pages in
	// each run would have it hold all of memory.
	maxKnown = 2 * maxResident
)

var osPage = uint64(C.sysconf(C._SC_PAGESIZE))

// pageFinder is a way to find the pages that a guest wrote to.
type pageFinder struct{ fd, how C.int }

const (
	noPagemap   = C.WE_NO_PAGEMAP
	pagemapRead = C.WE_PAGEMAP_READ
)

// pagemap is the best way that this process has.
var pagemap = sync.OnceValue(func() (p pageFinder) {
	p.how = C.we_pagemap_open(&p.fd)
	return p
})

// regions are what one look at a pagemap answers; they hold no pointers.
type regions [64]C.we_region

var regionsPool = sync.Pool{New: func() any { return new(regions) }}

// dirty calls f for each range of pages in [start, end) that are no longer those of the module's image or untouched.
// It ends early when f answers false, and is false then or when the pages cannot be found.
func dirty(start, end uint64, f func(start, end uint64) bool) bool {
	p := pagemap()
	if p.how == noPagemap {
		return false
	}
	buf := regionsPool.Get().(*regions)
	defer regionsPool.Put(buf)
	for at := C.uint64_t(start); uint64(at) < end; {
		before := at
		n := C.we_dirty(p.fd, p.how, &at, C.uint64_t(end), &buf[0], C.int(len(buf)))
		if n < 0 || at <= before {
			return false
		}
		for _, r := range buf[:n] {
			if !f(uint64(r.start), uint64(r.end)) {
				return false
			}
		}
	}
	return true
}

// zeroes is the first content of a page that the module's image does not fill.
var zeroes = make([]byte, osPage)

// pristine is what a template's memory holds before a guest runs, as far as it needed to be known.
type pristine struct {
	// values tells that the globals' first values are known, and that an instance's first memory is all mappings.
	values atomic.Bool
	once   sync.Once
	// pages are the first contents of the pages that instances have written to, by number; nil is not known.
	pages []atomic.Pointer[byte]
	known atomic.Int64 // bytes of them that are no zeros
}

// keep remembers the content of a page that has just been dropped.
func (p *pristine) keep(n uint64, page []byte) {
	if bytes.Equal(page, zeroes) {
		p.pages[n].Store(&zeroes[0])
		return
	}
	if p.known.Add(int64(osPage)) > maxKnown {
		p.known.Add(-int64(osPage))
		return
	}
	p.pages[n].Store(unsafe.SliceData(bytes.Clone(page)))
}

// track gives the template what it needs to set instances back.
func (t *template) track(st *wasm.State) {
	if st == nil || t.engine.cfg.NoReset || st.MemorySize%osPage != 0 || pagemap().how == noPagemap {
		return
	}
	t.resettable = true
	if st.Memory != "" {
		C.we_template_state(t.c, true, cString(st.Memory), C.size_t(len(st.Memory)))
		t.pristine.pages = make([]atomic.Pointer[byte], st.MemorySize/osPage)
	}
	for _, name := range st.Globals {
		C.we_template_state(t.c, false, cString(name), C.size_t(len(name)))
	}
}

// capture looks at the first instance of a template, before it runs. Its memory must be all mappings: of the
// module's image, and of zeros. wasmtime writes some images, very sparse ones, into each instance instead; dropping
// pages would not bring those back.
func (t *template) capture(c *C.we_inst) {
	t.pristine.once.Do(func() {
		ok := bool(C.we_inst_capture(c)) && uint64(c.state_size) == t.facts.State.MemorySize
		if ok && c.state_size > 0 {
			base := uint64(uintptr(unsafe.Pointer(c.state_base)))
			ok = dirty(base, base+uint64(c.state_size), func(uint64, uint64) bool { return false })
		}
		t.pristine.values.Store(ok)
	})
}

// restore sets an instance back to what it was before it ran. When it answers false, it may be neither.
//
// That this is complete follows from what ExportState refuses. The state of an instance is its memory, globals,
// tables and dropped segments. Of those only memory and mutable globals can change, memory by stores only, which the
// kernel turns into private pages of this process. If it grew, the guest's own account of its size is one of the
// globals, and what lies beyond the first size was zeros. The store around an instance holds
// no state of the guest: a trap unwinds to the call, as does a suspended fiber when its future is dropped, and
// both leave the store as a call that returned does (wasmtime poisons nothing; an embedder is free to
// call an instance again after a trap). Limits, the epoch's deadline and what Go keeps are set anew for each use.
func (s *slot) restore() bool {
	t := s.template
	if !t.pristine.values.Load() || !bool(C.we_inst_settle(s.c)) {
		return false
	}
	size := uint64(s.c.state_size)
	if grown := size - t.facts.State.MemorySize; grown != 0 && (t.facts.Growth == nil || grown > maxGrown) {
		return false
	}
	if size == 0 {
		return true
	}
	memory := unsafe.Slice((*byte)(unsafe.Pointer(s.c.state_base)), size)
	base := uint64(uintptr(unsafe.Pointer(s.c.state_base)))
	if !s.c.faulted {
		for _, r := range s.written {
			if !s.restoreRange(memory, uint64(r.start)-base, uint64(r.end)-base) {
				return false
			}
		}
		return true
	}
	s.resident, s.written = 0, s.written[:0]
	s.c.faulted = false
	return dirty(base, base+size, func(start, end uint64) bool {
		if s.resident += end - start; s.resident > maxResident || len(s.written) == maxWritten {
			return false
		}
		s.written = append(s.written, C.we_region{start: C.uint64_t(start), end: C.uint64_t(end)})
		return s.restoreRange(memory, start-base, end-base)
	})
}

// restoreRange sets pages back from the template's copies. A page whose content is not known yet is dropped, so
// that the module's image shows again, and learned from that.
func (s *slot) restoreRange(memory []byte, from, to uint64) bool {
	pages := s.template.pristine.pages
	first := uint64(len(pages)) * osPage
	if to > first { // grown since
		clear(memory[max(from, first):to])
		to = max(from, first)
	}
	for at := from; at < to; {
		if p := pages[at/osPage].Load(); p != nil {
			page, first := memory[at:at+osPage], unsafe.Slice(p, osPage)
			// Most pages are written to in each run, yet many end as they began: not to write those leaves
			// them out of caches.
			if !bytes.Equal(page, first) {
				copy(page, first)
			}
			at += osPage
			continue
		}
		end := at + osPage
		for end < to && pages[end/osPage].Load() == nil {
			end += osPage
		}
		base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
		if !bool(C.we_pages_drop(C.uint64_t(base+at), C.uint64_t(base+end))) {
			return false
		}
		s.resident -= end - at
		s.c.faulted = true // what is written down of it is out of date
		for ; at < end; at += osPage {
			s.template.pristine.keep(at/osPage, memory[at:at+osPage])
		}
	}
	return true
}

// park sets an ended instance back and leaves it for the next of its template; false when it must be taken down.
func (i *instance) park() bool {
	t := i.template
	if !t.resettable || !i.started || i.broken || t.engine.closed.Load() {
		return false
	}
	return i.slot.restore() && t.engine.lot.put(i.slot)
}

// reuse is Instantiate with a parked instance.
func (t *template) reuse(s *slot, cfg engine.InstanceConfig, memory uint64, elements uint32) *instance {
	i := newInstance(t, cfg)
	i.slot, i.c, i.started = s, s.c, true
	if s.memory != memory || s.elements != elements {
		s.memory, s.elements = memory, elements
		C.we_inst_limit(s.c, C.int64_t(memory), C.int64_t(elements))
	}
	C.we_inst_reuse(s.c)
	instances.set(s.handle, i)
	return i
}
