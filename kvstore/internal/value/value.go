// Package value reads the values that are handed to a driver, bounded and checked, for every driver alike.
package value

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/edgewasm/wasmedge/kvstore"
)

// Read reads r, which may be nil for an empty value, to its end. It fails with r's error, with the context's if that has
// ended, with kvstore.ErrTooLarge if there are more than most bytes, and with io.ErrUnexpectedEOF if r is a
// *kvstore.Body that gives fewer bytes than its Size. The bytes are the caller's to keep, and not to be written to: those of a
// *kvstore.Body are not copied. The capacity is little more than the length.
func Read(ctx context.Context, r io.Reader, most int64) ([]byte, error) {
	if r == nil {
		return nil, ctx.Err()
	}
	body, _ := r.(*kvstore.Body)
	size := 0
	if body != nil {
		if b, ok := body.Take(); ok {
			if int64(len(b)) > most {
				return nil, TooLarge(int64(len(b)), most)
			}
			return compact(b), ctx.Err()
		}
		if body.Size() > most {
			return nil, TooLarge(body.Size(), most)
		}
		size = int(body.Size())
	}
	// One byte more than announced, so that the end is found without growing; but what is only announced holds no memory.
	const first = 1 << 20
	b := make([]byte, 0, min(max(size+1, 512), first))
	for idle := 0; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > most {
			return nil, TooLarge(int64(len(b)), most)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("reading the value: %w", err)
		}
		if idle++; n > 0 {
			idle = 0
		} else if idle == 100 {
			return nil, fmt.Errorf("reading the value: %w", io.ErrNoProgress)
		}
	}
	if len(b) < size {
		return nil, fmt.Errorf("reading the value: %w after %d of %d bytes", io.ErrUnexpectedEOF, len(b), size)
	}
	// A reader may end because the context did: what it gave is not the value then.
	return compact(b), ctx.Err()
}

// TooLarge is the error for a value of size bytes, or of which at least so many were read.
func TooLarge(size, most int64) error {
	return fmt.Errorf("value of %d bytes or more is %w: MaxValue is %d", size, kvstore.ErrTooLarge, most)
}

// compact copies b if that saves memory that would otherwise be held for nothing.
func compact(b []byte) []byte {
	if cap(b)-len(b) <= len(b)/8+64 {
		return b[:len(b):len(b)]
	}
	return append(make([]byte, 0, len(b)), b...)
}

// Reader is Read for those who do not keep the value whole: what it returns fails where Read would, and if it ends with io.EOF the
// value is complete.
func Reader(ctx context.Context, r io.Reader, most int64) io.Reader {
	v := &reader{ctx: ctx, r: r, most: most}
	if body, ok := r.(*kvstore.Body); ok {
		b, whole := body.Take()
		if v.size = body.Size(); whole {
			v.r, v.size = bytes.NewReader(b), int64(len(b))
		}
	}
	return v
}

type reader struct {
	ctx        context.Context
	r          io.Reader
	most, size int64
	n          int64
}

func (v *reader) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	if v.size > v.most {
		return 0, TooLarge(v.size, v.most)
	}
	if v.r == nil {
		return 0, io.EOF
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	switch {
	case v.n > v.most:
		return 0, TooLarge(v.n, v.most)
	case err == nil:
		return n, nil
	case v.ctx.Err() != nil: // a reader may end because the context did
		return n, v.ctx.Err()
	case err != io.EOF:
		return n, fmt.Errorf("reading the value: %w", err)
	case v.n < v.size:
		return n, fmt.Errorf("reading the value: %w after %d of %d bytes", io.ErrUnexpectedEOF, v.n, v.size)
	}
	return n, io.EOF
}
