package readthrough

import (
	"context"
	"io"
	"strconv"
	"sync"

	"github.com/edgewasm/wasmedge/host/cache"
)

type body = io.ReadCloser

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// entryBody reads an entry. Close may be called while a Read waits, and ends it.
type entryBody struct {
	mu     sync.Mutex
	r      *cache.Reader
	closed bool
	wake   chan struct{} // capacity 1; nil until a Read had to wait
}

func newBody(r *cache.Reader) *entryBody { return &entryBody{r: r} }

func (b *entryBody) Read(p []byte) (int, error) {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return 0, io.ErrClosedPipe
		}
		next, ready, err := b.r.Next()
		if err != nil || ready {
			n := copy(p, next)
			b.r.Skip(n)
			b.mu.Unlock()
			if err != nil && err != io.EOF {
				err = io.ErrUnexpectedEOF // the object broke: what came is not all
			}
			return n, err
		}
		if b.wake == nil {
			b.wake = make(chan struct{}, 1)
		}
		wake := b.wake
		ready = b.r.Ready(func() { poke(wake) })
		b.mu.Unlock()
		if !ready {
			<-wake
		}
	}
}

func (b *entryBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.wake != nil {
		poke(b.wake)
	}
	return b.r.Close()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// buffers are for pump.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// pump writes a response's body to the cache. Nobody needs to read it.
func pump(src io.ReadCloser, w *cache.Writer, cancel context.CancelCauseFunc) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	defer cancel(nil)
	defer src.Close()
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			if _, err := w.Write((*buf)[:n]); err != nil {
				w.Abandon()
				return
			}
		}
		switch err {
		case nil:
		case io.EOF:
			_ = w.Close()
			return
		default:
			w.Abandon()
			return
		}
	}
}

// drain reads a body to its end.
func drain(src io.ReadCloser) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		if _, err := src.Read(*buf); err != nil {
			src.Close()
			return
		}
	}
}

// passing is a body on its way from the origin to a client, and to the cache if w is not nil. The cache does not slow it down: an object that
// cannot be kept is given up.
type passing struct {
	src  io.ReadCloser
	end  func() // frees the exchange
	once sync.Once

	mu sync.Mutex
	w  *cache.Writer // nil when that is over
}

func (b *passing) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.mu.Lock()
	if b.w != nil {
		if k, werr := b.w.Append(p[:n]); werr != nil || k < n {
			b.w.Abandon()
			b.w = nil
		}
	}
	if b.w != nil && err != nil {
		if err == io.EOF {
			_ = b.w.Close()
		} else {
			b.w.Abandon()
		}
		b.w = nil
	}
	b.mu.Unlock()
	return n, err
}

func (b *passing) Close() error {
	err := b.src.Close()
	b.mu.Lock()
	if b.w != nil {
		b.w.Abandon()
		b.w = nil
	}
	b.mu.Unlock()
	b.once.Do(b.end)
	return err
}

// part gives some of a body.
type part struct {
	body
	skip, left int64
}

func (b *part) Read(p []byte) (int, error) {
	for b.skip > 0 {
		n, err := b.body.Read(p[:min(int64(len(p)), b.skip)])
		b.skip -= int64(n)
		if err != nil && b.skip > 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if b.left == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}
