//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include "shim.h"
import "C"

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	// coolEvery is how often the cooler looks for templates that have not been used.
	coolEvery = 15 * time.Second

	// coolAfter is how often it must have looked in vain before it takes a template for idle: a service loses
	// its pages between half a minute and 45 seconds after its last request.
	coolAfter = 2
)

// cooler gives the system the pages of templates that nobody uses: those of the mapped file with the code, and what
// parked instances have written to. Both come back by page faults; nothing is made anew. It looks while
// there are templates.
type cooler struct {
	compiled atomic.Bool // since malloc's free memory was last given back

	mu        sync.Mutex
	templates map[*template]struct{}
	timer     *time.Timer
	closed    bool
}

func (c *cooler) add(t *template) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.templates == nil {
		c.templates = make(map[*template]struct{})
	}
	c.templates[t] = struct{}{}
	switch {
	case c.timer == nil:
		c.timer = time.AfterFunc(coolEvery, c.look)
	case len(c.templates) == 1:
		c.timer.Reset(coolEvery)
	}
}

func (c *cooler) remove(t *template) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.templates, t)
	if len(c.templates) == 0 && c.timer != nil {
		c.timer.Stop()
	}
}

func (c *cooler) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.templates = true, nil
	if c.timer != nil {
		c.timer.Stop()
	}
}

// look cools the templates that have become idle.
func (c *cooler) look() {
	c.mu.Lock()
	var idle []*template
	for t := range c.templates {
		if t.used.Swap(false) {
			t.idle = 0
		} else if t.idle++; t.idle == coolAfter && t.refs.acquire() {
			idle = append(idle, t)
		}
	}
	if len(c.templates) > 0 {
		c.timer.Reset(coolEvery)
	}
	c.mu.Unlock()
	for _, t := range idle {
		t.cool()
		t.refs.release()
	}
	if len(idle) > 0 && c.compiled.Swap(false) {
		C.we_heap_trim() // compilation has used much more than it kept
	}
}

// cool gives back what an idle template holds. The caller has a reference to it.
func (t *template) cool() {
	t.engine.lot.cool(t)
	t.dropImage()
}

// dropImage gives back the pages of the file that the code is mapped from. They are read-only, so that
// they are the same when they come back; should any be no longer the file's, all stay.
func (t *template) dropImage() {
	start, end := uint64(t.image.start), uint64(t.image.end)
	if start < end && dirty(start, end, func(uint64, uint64) bool { return false }) {
		C.we_pages_drop(t.image.start, t.image.end)
	}
}

// cool drops the memory of a template's parked instances. restore relies on the same: a dropped page is as it
// was in a new instance, and one that had been grown is zeros.
func (l *lot) cool(t *template) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range t.parking.slots {
		base := uint64(uintptr(unsafe.Pointer(s.c.state_base)))
		s.c.faulted = true // what is written down of its pages is out of date
		if bool(C.we_pages_drop(C.uint64_t(base), C.uint64_t(base+uint64(s.c.state_size)))) {
			l.resident -= s.resident
			s.resident = 0
		}
	}
}

// wholePages is the range of pages that lie in [start, end).
func wholePages(start, end uint64) C.we_region {
	start, end = (start+osPage-1)/osPage*osPage, end/osPage*osPage
	return C.we_region{start: C.uint64_t(start), end: C.uint64_t(max(start, end))}
}
