package value

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestReadBoundsWhatItReads(t *testing.T) {
	stream := func(s string, size int64) *kvstore.Body {
		return kvstore.StreamBody(io.NopCloser(strings.NewReader(s)), size)
	}
	for _, tt := range []struct {
		name string
		r    io.Reader
		want string
		err  error
	}{
		{name: "nil"},
		{name: "at the limit", r: strings.NewReader("0123456789"), want: "0123456789"},
		{name: "above the limit", r: strings.NewReader("0123456789a"), err: kvstore.ErrTooLarge},
		{name: "bytes at the limit", r: kvstore.BytesBody([]byte("0123456789")), want: "0123456789"},
		{name: "bytes above the limit", r: kvstore.BytesBody([]byte("0123456789a")), err: kvstore.ErrTooLarge},
		{name: "a stream", r: stream("abc", 3), want: "abc"},
		{name: "a stream that announces too much is not read", r: stream("", 11), err: kvstore.ErrTooLarge},
		{name: "a stream that gives too much", r: stream("0123456789a", 3), err: kvstore.ErrTooLarge},
		{name: "a stream that gives too little", r: stream("ab", 3), err: io.ErrUnexpectedEOF},
		{name: "a reader that never gives anything", r: stuck{}, err: io.ErrNoProgress},
	} {
		got, err := Read(context.Background(), tt.r, 10)
		if !errors.Is(err, tt.err) || string(got) != tt.want {
			t.Errorf("%s: got %q, %v; want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestReadHoldsLittleMoreThanTheValue(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		for _, r := range []io.Reader{
			bytes.NewReader(make([]byte, size)),
			kvstore.StreamBody(io.NopCloser(bytes.NewReader(make([]byte, size))), int64(size)),
			kvstore.BytesBody(make([]byte, size, size*3+1000)),
		} {
			b, err := Read(context.Background(), r, 10<<20)
			if err != nil || len(b) != size || cap(b) > size+size/4+64 {
				t.Errorf("%T of %d bytes: got %d of capacity %d, %v", r, size, len(b), cap(b), err)
			}
		}
	}
}
