package cache

import (
	"context"
	"fmt"
)

// A Writer brings the body of an object that has been inserted. It belongs to one goroutine, except that Abandon
// may be called from any. It ends by Close or by Abandon; until then the object takes memory that nothing can evict.
type Writer struct {
	sp *Space
	b  *body
}

// Append adds a copy of p to the body and never waits. It takes all of p, unless the object is not stored (see Stored) and its
// readers are too far behind: then n < len(p) without an error, and Ready tells when to go on. After an error
// the object is gone, its readers get an error too, and only Abandon is left to do. The error is ErrTooLarge or ErrNoRoom when
// the cache cannot keep the object and nothing is reading it, ErrLength beyond the declared length, ErrClosed after the end.
func (w *Writer) Append(p []byte) (n int, err error) {
	b := w.b
	b.mu.Lock()
	l := b.live
	switch {
	case l == nil || l.ended && l.err == nil:
		b.mu.Unlock()
		return 0, ErrClosed
	case l.ended:
		err := l.err
		b.mu.Unlock()
		return 0, err
	case l.declared >= 0 && int64(len(p)) > l.declared-b.size:
		b.mu.Unlock()
		return 0, w.fail(fmt.Errorf("%w: above %d bytes", ErrLength, l.declared))
	case !l.window && int64(len(p)) > w.sp.c.opts.MaxObject-b.size:
		b.mu.Unlock()
		if err := w.overflow(fmt.Errorf("%w: above %d bytes", ErrTooLarge, w.sp.c.opts.MaxObject)); err != nil {
			return 0, err
		}
		return w.Append(p)
	case l.window:
		if len(l.readers) == 0 && !(l.promised && b.fits()) {
			reason := l.reason
			b.mu.Unlock()
			return 0, w.fail(reason) // nobody will ever read it
		}
		p = p[:max(0, min(int64(len(p)), passWindow-(b.size-l.slowest(b.size))))]
	}
	b.charge(b.push(p))
	wake := b.stir(nil)
	window := l.window
	b.mu.Unlock()
	wake.call()
	if len(p) > 0 && !w.sp.fit() && !window {
		if err := w.overflow(ErrNoRoom); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Write is Append that waits for readers where it has to; Abandon ends the wait.
func (w *Writer) Write(p []byte) (n int, err error) {
	for {
		k, err := w.Append(p[n:])
		n += k
		if err != nil || n == len(p) {
			return n, err
		}
		if err := w.Wait(context.Background()); err != nil {
			return n, err
		}
	}
}

// Ready reports whether Append would take something, or fail. If not, and wake is not nil, wake is called once as soon as this may
// have changed. It must not wait and must not call this package; a later one replaces it.
func (w *Writer) Ready(wake func()) bool {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	l := w.b.live
	if l == nil || l.ended || len(l.readers) == 0 || w.b.fits() {
		return true
	}
	l.room.ask(wake)
	return false
}

// Wait waits until Ready. It gives the cause of ctx if that ends first.
func (w *Writer) Wait(ctx context.Context) error {
	for {
		w.b.mu.Lock()
		l := w.b.live
		if l == nil || l.ended || len(l.readers) == 0 || w.b.fits() {
			w.b.mu.Unlock()
			return nil
		}
		ch := l.room.channel()
		w.b.mu.Unlock()
		if err := await(ctx, ch); err != nil {
			return err
		}
	}
}

// Close completes the object. It gives ErrLength if another length was declared; the object is gone then, as after Abandon.
// A second call, or one after an error, gives that error or ErrClosed.
func (w *Writer) Close() error {
	b := w.b
	b.mu.Lock()
	l := b.live
	switch {
	case l == nil || l.ended && l.err == nil:
		b.mu.Unlock()
		return ErrClosed
	case l.ended:
		err := l.err
		b.mu.Unlock()
		return err
	case l.declared >= 0 && l.declared != b.size:
		got := b.size
		b.mu.Unlock()
		return w.fail(fmt.Errorf("%w: %d bytes rather than %d", ErrLength, got, l.declared))
	}
	l.ended = true
	wake := b.stir(nil)
	owner := b.owner
	var weight int64
	if l.window {
		wake = b.advance(wake)
		b.release(w.sp)
	} else {
		if freed := b.trim(); freed > 0 {
			b.charge(-freed)
		}
		weight = b.held
		b.live = nil
		b.release(w.sp)
		b.final.Store(true)
	}
	b.mu.Unlock()
	wake.call()
	if owner != nil {
		w.sp.policy.add(owner, owner.overhead()+weight)
		w.sp.fit()
	}
	return nil
}

// Abandon gives the object up: it is gone from the cache, and its readers get ErrAbandoned after the bytes that are there.
// After Close or another end it does nothing.
func (w *Writer) Abandon() { _ = w.fail(ErrAbandoned) }

// Stored reports whether the object is still in the cache, or may yet come to be whole there. It is not, for one, when it has
// outgrown the cache while readers were following: they still get all of it.
func (w *Writer) Stored() bool {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.owner != nil
}

// fail breaks the object and gives the error that its end has.
func (w *Writer) fail(err error) error {
	b := w.b
	b.mu.Lock()
	l := b.live
	if l == nil || l.ended {
		b.mu.Unlock()
		return err
	}
	l.ended, l.err = true, err
	owner := b.owner
	wake := b.stir(nil)
	wake = l.room.fire(wake)
	b.release(w.sp)
	b.mu.Unlock()
	wake.call()
	if owner != nil {
		w.sp.remove(owner)
	}
	return err
}

// overflow takes an object out of the cache that cannot stay. Readers that follow it still get the whole body; if there are none,
// the object breaks, with the reason.
func (w *Writer) overflow(reason error) error {
	b := w.b
	b.mu.Lock()
	l := b.live
	if l == nil || l.ended {
		b.mu.Unlock()
		return ErrClosed
	}
	l.window, l.reason = true, reason
	owner, alone := b.owner, len(l.readers) == 0
	wake := b.advance(nil)
	b.mu.Unlock()
	wake.call()
	if alone {
		return w.fail(reason)
	}
	if owner != nil {
		w.sp.remove(owner)
	}
	return nil
}
