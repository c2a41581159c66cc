//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"sync"
	"sync/atomic"
)

// instances maps the numbers by which C knows instances to the instances, for all engines of the process.
var instances slab

const chunkSize = 1024

type chunk [chunkSize]atomic.Pointer[instance]

// slab hands out small numbers. Looking one up takes no lock.
type slab struct {
	chunks [(2*maxInstances + chunkSize) / chunkSize]atomic.Pointer[chunk]

	mu   sync.Mutex
	free []uint32
	next uint32
}

// put gives i a number; false when they have run out.
func (s *slab) put(i *instance) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n uint32
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = s.free[last], s.free[:last]
	} else {
		n = s.next
		if int(n/chunkSize) >= len(s.chunks) {
			return 0, false
		}
		if n%chunkSize == 0 {
			s.chunks[n/chunkSize].Store(new(chunk))
		}
		s.next++
	}
	s.chunks[n/chunkSize].Load()[n%chunkSize].Store(i)
	return n, true
}

func (s *slab) get(n uint32) *instance {
	return s.chunks[n/chunkSize].Load()[n%chunkSize].Load()
}

// set changes whose a number is.
func (s *slab) set(n uint32, i *instance) {
	s.chunks[n/chunkSize].Load()[n%chunkSize].Store(i)
}

func (s *slab) remove(n uint32) {
	s.chunks[n/chunkSize].Load()[n%chunkSize].Store(nil)
	s.mu.Lock()
	s.free = append(s.free, n)
	s.mu.Unlock()
}
