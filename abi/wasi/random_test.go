package wasi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRandomGet(t *testing.T) {
	const memory = 8
	for _, tt := range []struct {
		name       string
		random     io.Reader
		ptr, n     uint64
		want       Errno
		wantMemory string
	}{
		{name: "from an injected source", random: strings.NewReader("abcdef"), ptr: 1, n: 3, wantMemory: "?abc????"},
		{name: "whole memory", random: strings.NewReader("abcdefgh"), ptr: 0, n: 8, wantMemory: "abcdefgh"},
		{name: "nothing", random: strings.NewReader(""), ptr: 8, n: 0},
		{name: "one byte past memory", ptr: 1, n: 8, want: EFAULT},
		{name: "nothing, past memory", ptr: 9, n: 0, want: EFAULT},
		{name: "wraps around", ptr: 0xffffffff, n: 0xffffffff, want: EFAULT},
		{name: "source fails", random: strings.NewReader(""), ptr: 0, n: 1, want: EIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, &System{Random: tt.random}, memory)
			g.want(tt.want, "random_get", tt.ptr, tt.n)
			if tt.wantMemory == "" {
				g.wantUntouched()
			} else {
				g.wantMemory(0, tt.wantMemory)
			}
		})
	}
}

func TestRandomnessDiffers(t *testing.T) {
	g := newGuest(t, &System{}, 96)
	g.want(ESUCCESS, "random_get", 0, 32)
	g.sys = &System{}
	g.want(ESUCCESS, "random_get", 64, 32)
	g.wantMemory(32, strings.Repeat("?", 32))
	if bytes.Equal(g.mem[:32], g.mem[64:]) || bytes.Count(g.mem, []byte{'?'}) > 48 {
		t.Errorf("not random: %x", []byte(g.mem))
	}
}

func TestRandomGetCanBeStopped(t *testing.T) {
	g := newGuest(t, &System{}, 3*randomChunk)
	gone := errors.New("client gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	g.ctx = ctx
	if _, err := g.try("random_get", 0, 3*randomChunk); err != gone {
		t.Errorf("got %v", err)
	}
	g.want(ESUCCESS, "random_get", 0, randomChunk)
}
