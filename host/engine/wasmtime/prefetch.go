//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #cgo noescape we_prefetch
// #cgo nocallback we_prefetch
// #include "shim.h"
import "C"

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	// Of so many instances, a page must have been written to by most for the next ones to be given it at once.
	prefetchSamples = 4
	prefetchMost    = 3

	// A working set below prefetchLeast pages is not worth it, nor is one so scattered that it takes a system call
	// for fewer than prefetchDense pages: what one saves is the entry to the kernel, not the work on the page. See
	// BenchmarkPrefetch.
	prefetchLeast = 32
	prefetchDense = 4

	// prefetchAgain is after how many instances the working set is learned anew.
	prefetchAgain = 20_000
)

// workingSet learns which pages the instances of a template write to, from those that are taken down rather than
// reset. New instances are given these pages in a few system calls, instead of a page fault each.
type workingSet struct {
	// ranges of offsets in memory; nil while learning, empty when it is not worth it.
	ranges atomic.Pointer[[]C.we_region]
	uses   atomic.Int64

	mu      sync.Mutex
	samples int
	written map[uint64]int // page number: in how many samples
}

// prefetch gives a new instance the pages that it is expected to write to.
func (w *workingSet) prefetch(s *slot) {
	ranges := w.ranges.Load()
	if ranges == nil {
		return
	}
	if w.uses.Add(1)%prefetchAgain == 0 {
		w.ranges.Store(nil)
		return
	}
	if len(*ranges) > 0 {
		s.prefetched = true
		if !bool(C.we_prefetch(s.c, unsafe.SliceData(*ranges), C.size_t(len(*ranges)))) {
			w.ranges.Store(new([]C.we_region)) // not on this system
		}
	}
}

// sample learns from an instance that is about to be taken down.
func (w *workingSet) sample(s *slot) {
	if w.ranges.Load() != nil || s.prefetched || !bool(s.c.has_memory) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ranges.Load() != nil {
		return
	}
	if w.written == nil {
		w.written = make(map[uint64]int)
	}
	base := uint64(uintptr(unsafe.Pointer(s.c.memory_base)))
	size := min(uint64(s.c.memory_size), s.template.facts.Memory) // what it grew is not there at the start
	var pages uint64
	dirty(base, base+size, func(start, end uint64) bool {
		for at := start; at < end; at += osPage {
			w.written[(at-base)/osPage]++
		}
		pages += (end - start) / osPage
		return pages*osPage <= maxResident
	})
	if w.samples++; w.samples < prefetchSamples {
		return
	}
	ranges := w.decide()
	w.ranges.Store(&ranges)
	w.samples, w.written = 0, nil
}

// decide makes ranges of what was written; none when they are not worth it.
func (w *workingSet) decide() []C.we_region {
	var ranges []C.we_region
	written := 0
	for _, n := range slices.Sorted(maps.Keys(w.written)) {
		if w.written[n] < prefetchMost {
			continue
		}
		written++
		start, end := C.uint64_t(n*osPage), C.uint64_t((n+1)*osPage)
		if last := len(ranges) - 1; last >= 0 && ranges[last].end == start {
			ranges[last].end = end
		} else {
			ranges = append(ranges, C.we_region{start: start, end: end})
		}
	}
	if written < prefetchLeast || len(ranges)*prefetchDense > written || uint64(written)*osPage > maxResident {
		return nil
	}
	return ranges
}
