//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import "sync/atomic"

// refs counts the users of something in C and frees it with the last. It starts with one, for its maker.
type refs struct {
	n    atomic.Int64
	free func()
}

func (r *refs) init(free func()) {
	r.free = free
	r.n.Store(1)
}

// acquire adds a user; it is false when the last has gone.
func (r *refs) acquire() bool {
	for {
		n := r.n.Load()
		if n == 0 {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (r *refs) release() {
	if r.n.Add(-1) == 0 {
		r.free()
	}
}
