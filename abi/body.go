package abi

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Bounds of what a body holds in memory. A stream's writer waits when streamRoom bytes are waiting to be read;
// a plain body refuses to grow beyond the sandbox's limit.
const (
	streamRoom    = 128 << 10 // bytes
	streamParts   = 64        // parts, however small
	smallestChunk = 512
	largestChunk  = 32 << 10
)

// errBodyLimit is a plain body that outgrew the sandbox's buffer limit.
var errBodyLimit = errors.New("abi: buffered bodies exceed the sandbox's limit (setting: Limits.BodyBuffer)")

// ErrReaderGone is a stream whose reader went away.
var ErrReaderGone = errors.New("abi: the reader of the body went away")

// A Body is a queue of parts: bytes that a guest wrote, and sources. It starts out plain, owned by the guest
// alone. Sending it with streaming turns the guest's handle into the write end of a stream, whose read end
// belongs to whoever sends the message on; sending it without closes it. One writer and one reader may use it
// at the same time.
type Body struct {
	mu        sync.Mutex
	parts     []part
	first     [1]part // storage for the most common case
	head      int     // parts before it are consumed
	buffered  int     // bytes in memory
	trailers  httpfield.List
	streaming bool          // the writer may still add
	broken    error         // the writer gave up: readers see this once the parts are used up
	gone      error         // the reader went away: writers see this
	limit     *int64        // bytes that the sandbox may still buffer; nil once the body left the guest
	data      chan struct{} // capacity 1: wakes the reader
	room      chan struct{} // capacity 1: wakes the writer
	wake      func()        // tells the sandbox that select may find the writer's end ready
	item      item          // the sandbox's entry for it
}

type part struct {
	b   []byte
	src *Source
}

// NewBody makes a body that reads from src, nil for an empty one.
func NewBody(src *Source) *Body {
	b := new(Body)
	b.begin()
	if src != nil {
		b.parts = append(b.parts, part{src: src})
	}
	return b
}

// begin makes a zero body an empty one.
func (b *Body) begin() { b.parts = b.first[:0] }

func (b *Body) pending() []part { return b.parts[b.head:] }

// write appends (or prepends) a copy of p to a plain body.
func (b *Body) write(p []byte, front bool) error {
	if len(p) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit != nil {
		if *b.limit < int64(len(p)) {
			return errBodyLimit
		}
		*b.limit -= int64(len(p))
	}
	if front {
		b.pushFront(append([]byte(nil), p...))
	} else {
		b.push(p)
	}
	return nil
}

// push copies p to the end. The caller holds mu.
func (b *Body) push(p []byte) {
	b.buffered += len(p)
	size := smallestChunk
	if n := len(b.parts); n > b.head && b.parts[n-1].src == nil {
		last := &b.parts[n-1]
		k := min(len(p), cap(last.b)-len(last.b))
		last.b = append(last.b, p[:k]...)
		p = p[k:]
		size = min(2*cap(last.b), largestChunk)
	}
	if len(p) > 0 {
		chunk := make([]byte, len(p), max(size, len(p)))
		copy(chunk, p)
		b.compact()
		b.parts = append(b.parts, part{b: chunk})
	}
}

func (b *Body) pushFront(p []byte) {
	b.buffered += len(p)
	if b.head > 0 {
		b.head--
		b.parts[b.head] = part{b: p}
		return
	}
	b.parts = append(b.parts, part{})
	copy(b.parts[1:], b.parts)
	b.parts[0] = part{b: p}
}

// compact reuses the room of consumed parts.
func (b *Body) compact() {
	if b.head > 0 && (b.head == len(b.parts) || b.head >= 32) {
		n := copy(b.parts, b.parts[b.head:])
		clear(b.parts[n:])
		b.parts, b.head = b.parts[:n], 0
	}
}

// stream turns a plain body into a stream; wake is called whenever its writer may find room.
func (b *Body) stream(wake func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streaming, b.wake = true, wake
	b.data, b.room = make(chan struct{}, 1), make(chan struct{}, 1)
}

// leave marks that the content left the guest: it no longer counts against the sandbox's buffer limit.
func (b *Body) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit != nil {
		*b.limit += int64(b.buffered)
		b.limit = nil
	}
}

// Keeper is what the reader of a Source implements if it would end with the guest's request. Keep says that the source has a reader
// that goes on after that, until the source ends or is closed.
type Keeper interface{ Keep() }

// keep tells the sources that are still to be read that their reader may outlive the guest.
func (b *Body) keep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pending() {
		if p.src == nil {
			continue
		}
		if k, ok := p.src.r.(Keeper); ok {
			k.Keep()
		}
	}
}

func (b *Body) full() bool { return b.buffered >= streamRoom || len(b.parts)-b.head >= streamParts }

// writable reports whether a stream's writer would not wait.
func (b *Body) writable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.full() || b.gone != nil
}

// isStreaming reports whether this is the write end of a stream.
func (b *Body) isStreaming() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streaming
}

// writeStream appends a copy of p to a stream, waiting for room as often as needed.
func (b *Body) writeStream(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		if err := b.waitRoom(ctx); err != nil {
			return err
		}
		n := min(len(p), max(streamRoom-b.buffered, 1))
		b.push(p[:n])
		p = p[n:]
		b.mu.Unlock()
		poke(b.data)
	}
	return nil
}

// waitRoom waits until there is room and returns with mu held, or with an error and mu free.
func (b *Body) waitRoom(ctx context.Context) error {
	for {
		b.mu.Lock()
		if b.gone != nil {
			b.mu.Unlock()
			return b.gone
		}
		if !b.full() {
			return nil
		}
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// appendBody moves src's content and trailers to the end of b without copying; on a stream it waits for room
// first. src must be plain.
func (b *Body) appendBody(ctx context.Context, src *Body) error {
	src.leave()
	if err := b.waitRoom(ctx); err != nil {
		src.drop()
		return err
	}
	b.compact()
	for _, p := range src.pending() {
		b.parts = append(b.parts, p)
		b.buffered += len(p.b)
		if b.limit != nil {
			*b.limit -= int64(len(p.b))
		}
	}
	for _, f := range src.trailers.Fields() {
		b.trailers.Add(f.Name, f.Value)
	}
	src.parts, src.head, src.buffered = nil, 0, 0
	b.mu.Unlock()
	if b.data != nil {
		poke(b.data)
	}
	return nil
}

// finish ends a stream: the content is complete when err is nil, else readers see err after what was written.
func (b *Body) finish(err error) {
	b.mu.Lock()
	if !b.streaming {
		b.mu.Unlock()
		return
	}
	b.streaming, b.broken = false, err
	b.mu.Unlock()
	poke(b.data)
}

// drop frees a body that nobody will read: sources are closed.
func (b *Body) drop() {
	b.leave()
	b.mu.Lock()
	parts := b.pending()
	b.parts, b.head, b.buffered = nil, 0, 0
	if b.gone == nil {
		b.gone = ErrReaderGone
	}
	room, wake := b.room, b.wake
	b.mu.Unlock()
	for _, p := range parts {
		if p.src != nil {
			p.src.close()
		}
	}
	if room != nil {
		poke(room)
		wake()
	}
}

// Abandon is what a reader calls when it will read no more; err, if not nil, is what the writer sees.
func (b *Body) Abandon(err error) {
	b.mu.Lock()
	if b.gone == nil && err != nil {
		b.gone = err
	}
	b.mu.Unlock()
	b.drop()
}

// Read gives the next bytes, waiting for them as long as ctx lasts. At the end it gives io.EOF, or the error of
// a writer or source that gave up.
func (b *Body) Read(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		next, err := b.peek(ctx)
		if err != nil {
			return 0, err
		}
		if next.src == nil {
			if n := b.consume(p); n > 0 {
				return n, nil
			}
			continue // the body was given up meanwhile
		}
		n, err := next.src.Read(ctx, p)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			return 0, err
		}
		b.sourceEnded(next.src)
	}
}

// peek waits for the next part.
func (b *Body) peek(ctx context.Context) (part, error) {
	for {
		b.mu.Lock()
		if b.head < len(b.parts) {
			p := b.parts[b.head]
			b.mu.Unlock()
			return p, nil
		}
		streaming, broken, gone := b.streaming, b.broken, b.gone
		b.mu.Unlock()
		switch {
		case gone != nil:
			return part{}, gone // what is left was thrown away: this is no end
		case broken != nil:
			return part{}, broken
		case !streaming:
			return part{}, io.EOF
		}
		select {
		case <-b.data:
		case <-ctx.Done():
			return part{}, context.Cause(ctx)
		}
	}
}

// isFirst reports whether the first part is still the one that a reader has seen; src is nil for one in memory. A body may
// be given up while it is read. The caller holds mu.
func (b *Body) isFirst(src *Source) bool { return b.head < len(b.parts) && b.parts[b.head].src == src }

// consume copies from the first part, which is in memory. 0: there is none any more.
func (b *Body) consume(p []byte) int {
	b.mu.Lock()
	if !b.isFirst(nil) {
		b.mu.Unlock()
		return 0
	}
	first := &b.parts[b.head]
	n := copy(p, first.b)
	first.b = first.b[n:]
	if len(first.b) == 0 {
		b.parts[b.head] = part{}
		b.head++
	}
	b.freed(n)
	return n
}

// take removes the first part, which is in memory, and gives its bytes; none if there is none any more.
func (b *Body) take() []byte {
	b.mu.Lock()
	if !b.isFirst(nil) {
		b.mu.Unlock()
		return nil
	}
	p := b.parts[b.head].b
	b.parts[b.head] = part{}
	b.head++
	b.freed(len(p))
	return p
}

// takeAll removes all parts, which are in memory, and gives their bytes in one piece that nobody else will write to.
func (b *Body) takeAll() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var whole []byte
	if parts := b.pending(); len(parts) == 1 && len(parts[0].b) == cap(parts[0].b) {
		whole = parts[0].b
	} else {
		whole = make([]byte, 0, b.buffered)
		for _, p := range parts {
			whole = append(whole, p.b...)
		}
	}
	b.parts, b.head, b.buffered = nil, 0, 0
	return whole
}

// freed accounts for n bytes read. The caller holds mu, which is released.
func (b *Body) freed(n int) {
	wasFull := b.full()
	b.buffered -= n
	if b.limit != nil {
		*b.limit += int64(n)
	}
	b.compact()
	wake, room := b.wake, b.room
	b.mu.Unlock()
	if room != nil {
		poke(room)
		if wasFull {
			wake()
		}
	}
}

func (b *Body) sourceEnded(src *Source) {
	var trailers httpfield.List
	if src.trailers != nil {
		src.trailers(&trailers)
	}
	src.close()
	b.mu.Lock()
	if !b.isFirst(src) {
		b.mu.Unlock()
		return
	}
	for _, f := range trailers.Fields() {
		b.trailers.Add(f.Name, f.Value)
	}
	b.parts[b.head] = part{}
	b.head++
	b.freed(0)
}

// CopyTo writes the rest of the body to w and calls flush whenever it is about to wait for more. It returns
// nil once the body has ended well.
func (b *Body) CopyTo(ctx context.Context, w io.Writer, flush func() error) error {
	var buf *[]byte
	for {
		if !b.hasData() {
			if err := flush(); err != nil {
				return err
			}
		}
		next, err := b.peek(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if next.src == nil {
			if _, err := w.Write(b.take()); err != nil {
				return err
			}
			continue
		}
		if buf == nil {
			buf = copyBuffers.Get().(*[]byte)
			defer copyBuffers.Put(buf)
		}
		n, err := next.src.Read(ctx, *buf)
		switch {
		case n > 0:
			if _, err := w.Write((*buf)[:n]); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		case err == io.EOF:
			b.sourceEnded(next.src)
		case err != nil:
			return err
		}
	}
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// hasData reports whether CopyTo can go on without waiting, as far as is known.
func (b *Body) hasData() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head < len(b.parts) || !b.streaming
}

// readable reports whether Read would return at once; if not, wake is called when that may have changed.
func (b *Body) readable(wake func()) bool {
	b.mu.Lock()
	if b.head == len(b.parts) {
		defer b.mu.Unlock()
		return !b.streaming
	}
	src := b.parts[b.head].src
	b.mu.Unlock()
	return src == nil || src.ready(wake)
}

// Length gives the number of bytes to come, if it is known.
func (b *Body) Length() (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streaming || b.broken != nil {
		return 0, false
	}
	n := int64(b.buffered)
	for _, p := range b.pending() {
		if p.src != nil {
			left, ok := p.src.known()
			if !ok {
				return 0, false
			}
			n += left
		}
	}
	return n, true
}

// inMemory reports whether Read would return at once without asking a source.
func (b *Body) inMemory() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.parts) {
		return !b.streaming
	}
	return b.parts[b.head].src == nil
}

// fits reports whether writing n bytes would not wait.
func (b *Body) fits(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.streaming || b.gone != nil || !b.full() && b.buffered+n <= streamRoom
}

// addTrailer appends a trailer line; false when the section is full.
func (b *Body) addTrailer(name, value string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := len(name) + len(value)
	for _, f := range b.trailers.Fields() {
		size += len(f.Name) + len(f.Value)
	}
	if b.trailers.Len() >= maxFieldLines || size > maxFieldsBytes {
		return false
	}
	b.trailers.Add(name, value)
	return true
}

// Held reports whether the rest of the body is complete, in memory, and of at most n bytes.
func (b *Body) Held(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streaming || b.buffered > n {
		return false
	}
	for _, p := range b.pending() {
		if p.src != nil {
			return false
		}
	}
	return true
}

// ended reports whether the body was read to its end.
func (b *Body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head == len(b.parts) && !b.streaming
}

// Trailers gives the trailer section so far; it is complete once the body has ended.
func (b *Body) Trailers() *httpfield.List {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trailers.Len() == 0 {
		return &noTrailers
	}
	l := b.trailers.Clone()
	return &l
}

// noTrailers is the section of bodies that have none. It is only read.
var noTrailers httpfield.List

// poke wakes whoever waits on c, or will.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
