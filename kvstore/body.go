package kvstore

import (
	"bytes"
	"io"
)

// Body is a value's bytes, read once. It is not safe for use from several goroutines.
type Body struct {
	size   int64
	whole  []byte
	bytes  bytes.Reader
	stream io.ReadCloser // nil when whole holds everything
}

// BytesBody makes a body of b, which must not be written to afterwards.
func BytesBody(b []byte) *Body {
	body := &Body{size: int64(len(b)), whole: b}
	body.bytes.Reset(b)
	return body
}

// StreamBody makes a body of size bytes that r gives; r is closed with it.
func StreamBody(r io.ReadCloser, size int64) *Body { return &Body{size: size, stream: r} }

// Size gives the length of the whole value in bytes.
func (b *Body) Size() int64 { return b.size }

// Bytes gives the whole value when it is in memory already; do not write to it.
func (b *Body) Bytes() ([]byte, bool) { return b.whole, b.stream == nil }

// Take gives what has not been read yet, if it is in memory already, and leaves nothing to read. Do not write to it. Drivers
// that keep values in memory keep these bytes themselves.
func (b *Body) Take() ([]byte, bool) {
	if b.stream != nil {
		return nil, false
	}
	rest := b.whole[len(b.whole)-b.bytes.Len():]
	b.bytes.Reset(nil)
	return rest, true
}

// Read implements io.Reader. An error other than io.EOF means that the rest cannot be had; what was read is right.
func (b *Body) Read(p []byte) (int, error) {
	if b.stream != nil {
		return b.stream.Read(p)
	}
	return b.bytes.Read(p)
}

// WriteTo implements io.WriterTo.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	if b.stream != nil {
		return io.Copy(w, b.stream)
	}
	return b.bytes.WriteTo(w)
}

// Close lets go of the value. It may be called at any time, and more than once.
func (b *Body) Close() error {
	if b.stream != nil {
		return b.stream.Close()
	}
	return nil
}
