package cache

import (
	"context"
	"errors"
	"io"
)

// Range is what part of a body to read. The zero value is not the whole body: Whole is.
type Range struct {
	From int64 // first byte; -1: none is given
	To   int64 // last byte, inclusive; -1: none is given. Without From, the number of bytes at the end

	// Wait is for a body whose length is not known when it is opened. Without it, such a body is read as a whole. With it,
	// the reader waits until it can tell where the range begins; what it goes beyond the end then does not matter.
	Wait bool
}

// Whole is a whole body.
var Whole = Range{From: -1, To: -1}

// in gives the bytes [from, end) of a body of n bytes. A range that is not within the body stands for the whole.
func (r Range) in(n int64) (from, end int64) {
	switch {
	case r.From < 0 && (r.To <= 0 || r.To > n), r.From >= n, r.From >= 0 && r.To >= 0 && (r.To < r.From || r.To >= n):
		return 0, n
	case r.From < 0:
		return n - r.To, n
	case r.To < 0:
		return r.From, n
	}
	return r.From, r.To + 1
}

// errWait is no bytes as yet.
var errWait = errors.New("cache: the next bytes have not arrived")

// A Reader reads a body, also while it is being written. It belongs to one goroutine. Close it: the writer of an object that is
// not stored waits for its readers.
type Reader struct {
	b    *body
	r    Range
	open bool  // the range is not decided yet
	pos  int64 // next byte
	end  int64 // after the last byte; -1: that of the body
	till bool  // the range goes to the end of the body, so the end is right only if the body is
	i    int   // chunk that pos is in, counted from the body's first
	at   int64 // where that chunk begins
	sig  signal
	done bool
}

// Open begins to read the body. Any number of readers may. A range that is not within a body of known length stands for the whole.
// The error is ErrGone when the body is not stored and its beginning was read and
// forgotten already, or that which broke it.
func (e *Entry) Open(r Range) (*Reader, error) {
	b := e.o.body
	rd := &Reader{b: b, r: r}
	if b.final.Load() {
		rd.decide(b.size)
		return rd, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.live
	switch {
	case l == nil:
		rd.decide(b.size)
		return rd, nil
	case l.err != nil:
		return nil, l.err
	case l.start > 0:
		return nil, ErrGone
	case l.declared >= 0:
		rd.decide(l.declared)
	case !r.Wait, r.From < 0 && r.To <= 0, r.To >= 0 && r.To < r.From:
		rd.end, rd.till = -1, true
	default:
		rd.open, rd.pos, rd.end = true, max(r.From, 0), -1
	}
	l.promised = false
	if l.readers == nil {
		l.readers = make(map[*Reader]struct{})
	}
	l.readers[rd] = struct{}{}
	return rd, nil
}

func (r *Reader) decide(n int64) {
	r.open = false
	r.pos, r.end = r.r.in(n)
	r.till = r.end == n
}

// needs is the first byte that the reader still wants of a body that has size bytes so far. The body's lock is held.
func (r *Reader) needs(size int64) int64 {
	switch {
	case !r.open:
		return min(r.pos, size)
	case r.r.From >= 0:
		return min(r.r.From, size)
	}
	return max(0, size-r.r.To)
}

// Next gives the next bytes without taking them: at least one, from the memory of the cache. They must not be changed, and stay
// as they are also after Close. It never waits: ready is false when they have not arrived yet. The error is io.EOF at the end, or
// that which broke the object.
func (r *Reader) Next() (p []byte, ready bool, err error) {
	p, err = r.next()
	if err == errWait {
		return nil, false, nil
	}
	return p, true, err
}

func (r *Reader) next() ([]byte, error) {
	if r.done {
		return nil, ErrClosed
	}
	b := r.b
	if b.final.Load() {
		if r.open {
			r.decide(b.size)
		}
		return r.slice(0, 0, b.size)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.live
	if l == nil {
		if r.open {
			r.decide(b.size)
		}
		return r.slice(0, 0, b.size)
	}
	if r.open {
		switch {
		case r.r.From >= 0 && b.size > r.r.From:
			r.open, r.pos = false, r.r.From
			if r.r.To >= 0 {
				r.end = r.r.To + 1
			} else {
				r.till = true
			}
		case l.err != nil:
			return nil, l.err
		case l.ended:
			r.decide(b.size)
		default:
			return nil, errWait
		}
	}
	p, err := r.slice(l.skipped, l.start, b.size)
	if err != io.EOF || !r.till && r.end >= 0 && r.pos >= r.end {
		return p, err
	}
	switch {
	case l.err != nil:
		return nil, l.err
	case l.ended:
		return nil, io.EOF
	}
	return nil, errWait
}

// slice gives the bytes at pos of a body that has size bytes so far, io.EOF if it has none there. Chunks of start bytes together
// were forgotten.
func (r *Reader) slice(skipped int, start, size int64) ([]byte, error) {
	end := size
	if r.end >= 0 {
		end = min(r.end, size)
	}
	if r.pos >= end {
		return nil, io.EOF
	}
	if r.pos < start {
		return nil, ErrGone
	}
	if r.i < skipped {
		r.i, r.at = skipped, start
	}
	for {
		c := r.b.chunks[r.i-skipped]
		if r.pos < r.at+int64(len(c)) {
			return c[r.pos-r.at : min(int64(len(c)), end-r.at) : min(int64(len(c)), end-r.at)], nil
		}
		r.at += int64(len(c))
		r.i++
	}
}

// Skip takes n bytes, at most those that Next gave.
func (r *Reader) Skip(n int) {
	if r.b.final.Load() {
		r.pos += int64(n)
		return
	}
	b := r.b
	b.mu.Lock()
	r.pos += int64(n)
	var wake wakes
	if b.live != nil {
		wake = b.advance(nil)
	}
	b.mu.Unlock()
	wake.call()
}

// Ready reports whether Next would give something. If not, and wake is not nil, wake is called once as soon as this may have
// changed. It must not wait and must not call this package; a later one replaces it.
func (r *Reader) Ready(wake func()) bool {
	for {
		if _, err := r.next(); err != errWait {
			return true
		}
		b := r.b
		b.mu.Lock()
		if b.live == nil || b.live.ended || b.size > r.pos && !r.open {
			b.mu.Unlock()
			continue // it has changed meanwhile
		}
		if r.open && r.r.From >= 0 && b.size > r.r.From {
			b.mu.Unlock()
			continue
		}
		r.sig.ask(wake)
		b.mu.Unlock()
		return false
	}
}

// Wait waits until Ready. It gives the cause of ctx if that ends first.
func (r *Reader) Wait(ctx context.Context) error {
	for {
		ch := make(chan struct{})
		if r.Ready(func() { close(ch) }) {
			return nil
		}
		if err := await(ctx, ch); err != nil {
			r.b.mu.Lock()
			r.sig.wake = nil
			r.b.mu.Unlock()
			return err
		}
	}
}

// Read waits for bytes and copies them.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		c, err := r.next()
		if err == errWait {
			if err = r.Wait(context.Background()); err != nil {
				return 0, err
			}
			continue
		}
		n := copy(p, c)
		r.Skip(n)
		return n, err
	}
}

// WriteTo writes the rest to w, waiting for it, without a copy of its own.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		c, err := r.next()
		switch err {
		case nil:
		case io.EOF:
			return n, nil
		case errWait:
			if err = r.Wait(context.Background()); err != nil {
				return n, err
			}
			continue
		default:
			return n, err
		}
		k, err := w.Write(c)
		r.Skip(k)
		n += int64(k)
		if err == nil && k < len(c) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, err
		}
	}
}

// Remaining gives how many bytes are still to come, if it is known.
func (r *Reader) Remaining() (n int64, known bool) {
	if r.open {
		return 0, false
	}
	if r.end >= 0 {
		return r.end - r.pos, true
	}
	if r.b.final.Load() {
		return r.b.size - r.pos, true
	}
	return 0, false
}

// Close ends the reading. Bytes that Next gave stay valid.
func (r *Reader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	b := r.b
	if b.final.Load() {
		return nil
	}
	b.mu.Lock()
	var wake wakes
	if l := b.live; l != nil {
		delete(l.readers, r)
		wake = b.advance(nil)
	}
	b.mu.Unlock()
	wake.call()
	return nil
}
