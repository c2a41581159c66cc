package wasi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestFdRead(t *testing.T) {
	const memory = 64
	for _, tt := range []struct {
		name        string
		stdin       func() io.Reader // nil is none
		fd          uint64
		iovs        []uint32 // pairs at 16
		ptr, n, res uint64
		want        Errno
		wantCount   uint32
		wantMemory  string
	}{
		{name: "what fits", stdin: text("hello"), iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, wantCount: 3, wantMemory: "hel?????"},
		{name: "what there is", stdin: text("hi"), iovs: []uint32{1, 7}, ptr: 16, n: 1, res: 8, wantCount: 2, wantMemory: "?hi?????"},
		{name: "into the first piece that is not empty", stdin: text("hello"), iovs: []uint32{0, 0, 2, 2, 4, 4}, ptr: 16, n: 3, res: 8, wantCount: 2, wantMemory: "??he????"},
		{name: "end", stdin: text(""), iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, wantMemory: "????????"},
		{name: "no stream is an empty one", iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, wantMemory: "????????"},
		{name: "no room reads nothing", stdin: text("hello"), iovs: []uint32{0, 0}, ptr: 16, n: 1, res: 8, wantMemory: "????????"},
		{name: "stream fails", stdin: func() io.Reader { return iotest.ErrReader(errors.New("no")) }, iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, want: EIO},
		{name: "stream panics", stdin: func() io.Reader { return panics{} }, iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, want: EIO},
		{name: "stream never gives anything", stdin: func() io.Reader { return idle{} }, iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, want: EIO},
		{name: "standard output", fd: 1, iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 8, want: EBADF},
		{name: "no such descriptor", fd: 3, ptr: 0xffffffff, n: 0xffffffff, res: 0xffffffff, want: EBADF},
		{name: "array past memory", stdin: text("hello"), ptr: memory - 4, n: 1, res: 8, want: EFAULT},
		{name: "array misaligned", stdin: text("hello"), ptr: 17, n: 1, res: 8, want: EINVAL},
		{name: "size of array overflows", stdin: text("hello"), ptr: 16, n: 0xffffffff, res: 8, want: EINVAL},
		{name: "piece past memory", stdin: text("hello"), iovs: []uint32{0, 3, memory, 1}, ptr: 16, n: 2, res: 8, want: EFAULT},
		{name: "result past memory", stdin: text("hello"), iovs: []uint32{0, 3}, ptr: 16, n: 1, res: memory, want: EFAULT},
		{name: "result misaligned", stdin: text("hello"), iovs: []uint32{0, 3}, ptr: 16, n: 1, res: 10, want: EINVAL},
	} {
		for _, kind := range []string{"in memory", "may wait"} {
			t.Run(kind+": "+tt.name, func(t *testing.T) {
				g := newGuest(t, &System{}, memory)
				if tt.stdin != nil {
					g.sys.Stdin = tt.stdin()
					if kind == "may wait" {
						g.sys.Stdin = struct{ io.Reader }{g.sys.Stdin}
					}
				}
				g.iovecs(16, tt.iovs...)
				before := bytes.Clone(g.mem)
				g.want(tt.want, "fd_read", tt.fd, tt.ptr, tt.n, tt.res)
				if tt.want != ESUCCESS {
					if !bytes.Equal(before, g.mem) {
						t.Errorf("memory changed:\n%q\n%q", before, []byte(g.mem))
					}
					return
				}
				if n := g.u32(int(tt.res)); n != tt.wantCount {
					t.Errorf("count %d, want %d", n, tt.wantCount)
				}
				g.wantMemory(0, tt.wantMemory)
			})
		}
	}
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("host bug") }

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestReadingWaits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	g := newGuest(t, &System{Stdin: r}, 64)
	g.iovecs(16, 0, 8)
	if g.ready("fd_read", 0, 16, 1, 32) {
		t.Error("ready without input")
	}
	go w.Write([]byte("hello"))
	g.want(ESUCCESS, "fd_read", 0, 16, 1, 32)
	g.wantMemory(0, "hello???")

	// A second reader of the same wait, ended by the context, must not lose what comes later.
	gone := errors.New("client gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	g.ctx = ctx
	time.AfterFunc(time.Millisecond, func() { cancel(gone) })
	if _, err := g.try("fd_read", 0, 16, 1, 32); err != gone {
		t.Fatalf("got %v", err)
	}
	g.ctx = context.Background()
	g.want(ESUCCESS, "fd_fdstat_set_flags", 0, flagNonblock)
	g.want(EAGAIN, "fd_read", 0, 16, 1, 32)
	if !g.ready("fd_read", 0, 16, 1, 32) {
		t.Error("a nonblocking read is always ready")
	}
	g.want(ESUCCESS, "fd_fdstat_set_flags", 0, 0)
	go func() { w.Write([]byte("world")); w.Close() }()
	g.want(ESUCCESS, "fd_read", 0, 16, 1, 32)
	g.wantMemory(0, "world???")
	g.want(ESUCCESS, "fd_read", 0, 16, 1, 32)
	if n := g.u32(32); n != 0 {
		t.Errorf("read %d bytes after the end", n)
	}
	if !g.ready("fd_read", 0, 16, 1, 32) {
		t.Error("the end is not ready")
	}
}

func TestLongInputArrivesWhole(t *testing.T) {
	want := strings.Repeat("0123456789abcdef", 20<<10) // several times the pump's buffer
	for _, r := range []io.Reader{strings.NewReader(want), iotest.HalfReader(strings.NewReader(want))} {
		g := newGuest(t, &System{Stdin: r}, 10<<10)
		g.iovecs(0, 32, 9<<10)
		var got []byte
		for {
			g.want(ESUCCESS, "fd_read", 0, 0, 1, 16)
			n := g.u32(16)
			if n == 0 {
				break
			}
			got = append(got, g.mem[32:32+n]...)
		}
		if string(got) != want {
			t.Errorf("%T: read %d bytes, want %d", r, len(got), len(want))
		}
	}
}

func TestResetForgetsAReadUnderWay(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := newGuest(t, &System{Stdin: r}, 64)
	g.want(ESUCCESS, "fd_fdstat_set_flags", 0, flagNonblock)
	g.iovecs(16, 0, 8)
	g.want(EAGAIN, "fd_read", 0, 16, 1, 32)
	g.sys.Reset()
	g.sys.Stdin = strings.NewReader("new")
	w.Write([]byte("old"))
	w.Close()
	g.want(ESUCCESS, "fd_read", 0, 16, 1, 32)
	g.wantMemory(0, "new?????")
}
