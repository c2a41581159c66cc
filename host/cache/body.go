package cache

import (
	"sync"
	"sync/atomic"
)

// Sizes of what holds a body, in bytes.
const (
	smallestChunk = 512
	largestChunk  = 256 << 10
	passWindow    = 1 << 20 // what a body that is not stored may be ahead of its slowest reader
)

// body is a list of chunks that only grows. Bytes that are in it never change, so readers hold them without a copy and
// without a lock. Once it is final, nothing in it changes at all.
type body struct {
	final  atomic.Bool // whole and right: everything below is read without the lock
	mu     sync.Mutex
	chunks [][]byte
	one    [1][]byte // room for the most common list
	size   int64
	held   int64   // bytes charged to the space
	owner  *object // the object in the index that has this body; nil: none has
	live   *live   // nil once it is final
}

// live is what a body needs until it is final. It is guarded by the body's lock.
type live struct {
	sp       *Space
	declared int64 // -1: not known
	err      error // it broke: what readers get after the bytes that are there
	ended    bool  // the writer is done with it, for good or ill
	readers  map[*Reader]struct{}

	// A body that is not stored (any more) flows to the readers that it has. Chunks that all have read are forgotten.
	window   bool
	reason   error // why it is not stored
	promised bool  // a reader is still to come
	skipped  int   // chunks forgotten
	start    int64 // bytes forgotten
	room     signal
}

func newBody(sp *Space, declared int64) *body {
	b := &body{live: &live{sp: sp, declared: declared}}
	b.chunks = b.one[:0]
	return b
}

func (b *body) complete() bool { return b.final.Load() }

// length gives the length that is known, -1 if none is.
func (b *body) length() int64 {
	if b.final.Load() {
		return b.size
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live == nil {
		return b.size
	}
	return b.live.declared
}

// push copies p to the end and reports how many bytes of memory it took. The caller holds the lock.
func (b *body) push(p []byte) (taken int64) {
	b.size += int64(len(p))
	size := smallestChunk
	if n := len(b.chunks); n > 0 {
		last := b.chunks[n-1]
		k := min(len(p), cap(last)-len(last))
		b.chunks[n-1] = append(last, p[:k]...)
		p = p[k:]
		size = min(2*cap(last), largestChunk)
	}
	for len(p) > 0 {
		n := min(len(p), largestChunk)
		chunk := make([]byte, n, max(n, b.room(size, n)))
		copy(chunk, p)
		p = p[n:]
		taken += int64(cap(chunk))
		b.chunks = append(b.chunks, chunk)
	}
	return taken
}

// room gives the size of a new chunk: what the declared length still needs, but nothing large before bytes are there.
func (b *body) room(size, first int) int {
	if d := b.live.declared; d >= 0 {
		left := d - b.size + int64(first) // of this chunk on, if p ends with it
		return int(max(min(left, int64(max(size, 16*first)), largestChunk), 0))
	}
	return size
}

// trim gives back what the last chunk has too much.
func (b *body) trim() (freed int64) {
	if n := len(b.chunks); n > 0 {
		last := b.chunks[n-1]
		if spare := cap(last) - len(last); spare > len(last)/8 {
			b.chunks[n-1] = append(make([]byte, 0, len(last)), last...)
			freed = int64(spare)
		}
	}
	return freed
}

// wakes gathers what is to be called once the locks are free.
type wakes []func()

func (w wakes) call() {
	for _, f := range w {
		f()
	}
}

// stir wakes the readers that wait. The caller holds the lock.
func (b *body) stir(w wakes) wakes {
	for r := range b.live.readers {
		w = r.sig.fire(w)
	}
	return w
}

// advance forgets what all readers of a body that is not stored have read. The caller holds the lock.
func (b *body) advance(w wakes) wakes {
	l := b.live
	if !l.window {
		return w
	}
	slowest := l.slowest(b.size)
	n := 0
	for n < len(b.chunks) && l.start+int64(len(b.chunks[n])) <= slowest && (n < len(b.chunks)-1 || l.ended) {
		l.start += int64(len(b.chunks[n]))
		b.charge(-min(int64(cap(b.chunks[n])), b.held))
		n++
	}
	clear(b.chunks[:n]) // for the garbage collector; readers have the bytes, not the list
	b.chunks = b.chunks[n:]
	l.skipped += n
	if b.fits() {
		w = l.room.fire(w)
	}
	return w
}

// charge books memory on the space. The caller holds the lock.
func (b *body) charge(n int64) {
	b.held += n
	b.live.sp.charge(n)
}

// fits reports whether the writer of a body that is not stored may go on. The caller holds the lock.
func (b *body) fits() bool {
	l := b.live
	return !l.window || b.size-l.slowest(b.size) < passWindow
}

// slowest is the first byte that some reader still wants.
func (l *live) slowest(size int64) int64 {
	slowest := size
	if l.promised {
		slowest = 0
	}
	for r := range l.readers {
		slowest = min(slowest, r.needs(size))
	}
	return slowest
}

// release gives the charged memory back once the index and the writer are both done with the body. The caller holds the lock.
func (b *body) release(sp *Space) {
	if b.owner == nil && (b.live == nil || b.live.ended) && b.held != 0 {
		sp.charge(-b.held)
		b.held = 0
	}
}

// detach tells a body that its object has left the index.
func (b *body) detach(o *object, sp *Space) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner == o {
		b.owner = nil
		b.release(sp)
	}
}

// keepable reports why the body cannot be that of another object.
func (b *body) keepable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch l := b.live; {
	case l == nil:
		return nil
	case l.err != nil:
		return l.err
	case l.window:
		return ErrGone
	}
	return nil
}
