package wasi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// writes keeps each call of Write apart.
type writes struct {
	got []string
	n   int   // accepted of each write, when err is set
	err error // answered to each write
}

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, string(p))
	if w.err != nil {
		return w.n, w.err
	}
	return len(p), nil
}

func TestFdWrite(t *testing.T) {
	const memory = 64
	for _, tt := range []struct {
		name        string
		fd          uint64
		iovs        []uint32 // pairs at 16
		ptr, n, res uint64
		want        Errno
		wantOut     []string
		wantErr     []string
		wantCount   uint32
	}{
		{name: "one piece", fd: 1, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: 8, wantOut: []string{"hello"}, wantCount: 5},
		{name: "standard error", fd: 2, iovs: []uint32{1, 3}, ptr: 16, n: 1, res: 8, wantErr: []string{"ell"}, wantCount: 3},
		{name: "several pieces in one write", fd: 1, iovs: []uint32{4, 1, 0, 0, 0, 4, 5, 1}, ptr: 16, n: 4, res: 8, wantOut: []string{"ohell!"}, wantCount: 6},
		{name: "one piece between empty ones", fd: 1, iovs: []uint32{9, 0, 0, 5, 64, 0}, ptr: 16, n: 3, res: 8, wantOut: []string{"hello"}, wantCount: 5},
		{name: "no pieces write nothing", fd: 1, ptr: 16, n: 0, res: 8},
		{name: "no pieces at the end of memory", fd: 1, ptr: memory, n: 0, res: 8},
		{name: "empty pieces write nothing", fd: 1, iovs: []uint32{0, 0}, ptr: 16, n: 1, res: 8},
		{name: "result in the last bytes", fd: 1, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: memory - 4, wantOut: []string{"hello"}, wantCount: 5},
		{name: "standard input", fd: 0, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: 8, want: EBADF},
		{name: "no such descriptor", fd: 3, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: 8, want: EBADF},
		{name: "highest descriptor", fd: 0xffffffff, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: 8, want: EBADF},
		{name: "descriptor is looked at first", fd: 3, ptr: 0xffffffff, n: 0xffffffff, res: 0xffffffff, want: EBADF},
		{name: "array ends past memory", fd: 1, ptr: memory - 4, n: 1, res: 8, want: EFAULT},
		{name: "array wraps around", fd: 1, ptr: 0xfffffff8, n: 2, res: 8, want: EFAULT},
		{name: "array starts past memory and is empty", fd: 1, ptr: memory + 4, n: 0, res: 8, want: EFAULT},
		{name: "array misaligned", fd: 1, ptr: 18, n: 1, res: 8, want: EINVAL},
		{name: "size of array overflows", fd: 1, ptr: 16, n: 0x20000001, res: 8, want: EINVAL},
		{name: "piece ends one byte past memory", fd: 1, iovs: []uint32{0, 5, memory - 1, 2}, ptr: 16, n: 2, res: 8, want: EFAULT},
		{name: "piece wraps around", fd: 1, iovs: []uint32{0xffffffff, 0xffffffff}, ptr: 16, n: 1, res: 8, want: EFAULT},
		{name: "empty piece past memory", fd: 1, iovs: []uint32{memory + 1, 0}, ptr: 16, n: 1, res: 8, want: EFAULT},
		{name: "result past memory: nothing is written", fd: 1, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: memory - 3, want: EFAULT},
		{name: "result misaligned: nothing is written", fd: 1, iovs: []uint32{0, 5}, ptr: 16, n: 1, res: 9, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs writes
			g := newGuest(t, &System{Stdout: &out, Stderr: &errs}, memory)
			copy(g.mem, "hello!")
			g.iovecs(16, tt.iovs...)
			before := bytes.Clone(g.mem)
			g.want(tt.want, "fd_write", tt.fd, tt.ptr, tt.n, tt.res)
			if fmt.Sprint(out.got) != fmt.Sprint(tt.wantOut) || fmt.Sprint(errs.got) != fmt.Sprint(tt.wantErr) {
				t.Errorf("wrote %q and %q, want %q and %q", out.got, errs.got, tt.wantOut, tt.wantErr)
			}
			if tt.want == ESUCCESS {
				if n := g.u32(int(tt.res)); n != tt.wantCount {
					t.Errorf("count %d, want %d", n, tt.wantCount)
				}
				copy(before[tt.res:tt.res+4], g.mem[tt.res:])
			}
			if !bytes.Equal(before, g.mem) {
				t.Errorf("memory changed:\n%q\n%q", before, []byte(g.mem))
			}
		})
	}
}

func TestFdWriteOfMuch(t *testing.T) {
	const data = 64 // where the bytes are; the array is behind them
	for _, tt := range []struct {
		name  string
		sizes []uint32
		want  []int // length of each write
	}{
		{name: "a large piece goes uncopied and whole", sizes: []uint32{200 << 10}, want: []int{200 << 10}},
		{name: "a large piece before others goes alone", sizes: []uint32{64 << 10, 5}, want: []int{64 << 10}},
		{name: "pieces up to the pooled size", sizes: []uint32{4095, 1}, want: []int{4096}},
		{name: "pieces past the pooled size", sizes: []uint32{4095, 2}, want: []int{4097}},
		{name: "pieces past the bound are written short", sizes: []uint32{1, 100 << 10}, want: []int{64 << 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out writes
			g := newGuest(t, &System{Stdout: &out}, 512<<10)
			var iovs []uint32
			at, whole := uint32(data), ""
			for i, n := range tt.sizes {
				b, _ := g.mem.View(at, n)
				for j := range b {
					b[j] = byte('a' + i)
				}
				iovs = append(iovs, at, n)
				at += n
				whole += string(b)
			}
			array := (at + 7) &^ 7
			g.iovecs(int(array), iovs...)
			g.want(ESUCCESS, "fd_write", 1, uint64(array), uint64(len(tt.sizes)), 0)
			if len(out.got) != 1 || len(out.got[0]) != tt.want[0] || !strings.HasPrefix(whole, out.got[0]) {
				t.Fatalf("%d writes, the first of %d bytes, want one of %d", len(out.got), len(out.got[0]), tt.want[0])
			}
			if n := g.u32(0); n != uint32(tt.want[0]) {
				t.Errorf("count %d, want %d", n, tt.want[0])
			}
		})
	}
}

func TestFdWriteBoundsItsArray(t *testing.T) {
	var out writes
	g := newGuest(t, &System{Stdout: &out}, 16<<10)
	for i := range 1025 {
		g.iovecs(64+8*i, 0, 1)
	}
	g.want(ESUCCESS, "fd_write", 1, 64, 1025, 8)
	if n := g.u32(8); n != 1024 || len(out.got) != 1 || len(out.got[0]) != 1024 {
		t.Errorf("count %d in %d writes, want the first 1024 entries in one", n, len(out.got))
	}
	for i := range 1024 {
		g.iovecs(64+8*i, 0, 0)
	}
	g.want(EINVAL, "fd_write", 1, 64, 1025, 8) // a count of 0 would look like a full disk
	// Overlapping pieces can sum up to more than the result could say.
	g = newGuest(t, &System{Stdout: &out}, 3<<20)
	for i := range 1024 {
		g.iovecs(8*i, 0, 2<<20)
	}
	out.got = nil
	g.want(EINVAL, "fd_write", 1, 0, 1024, 2<<20)
	if len(out.got) != 0 {
		t.Errorf("%d writes", len(out.got))
	}
}

func TestFdWriteFailures(t *testing.T) {
	for _, tt := range []struct {
		name      string
		w         *writes
		want      Errno
		wantCount uint32
	}{
		{name: "the writer fails", w: &writes{err: errors.New("no")}, want: EIO},
		{name: "the reader of a pipe is gone", w: &writes{err: fmt.Errorf("log: %w", io.ErrClosedPipe)}, want: EPIPE},
		{name: "the system says so", w: &writes{err: &os.PathError{Err: syscall.EPIPE}}, want: EPIPE},
		{name: "some was written before the failure", w: &writes{n: 2, err: errors.New("no")}, wantCount: 2},
		{name: "the writer counts too far", w: &writes{n: 6, err: errors.New("no")}, want: EIO},
		{name: "the writer counts below zero", w: &writes{n: -1, err: errors.New("no")}, want: EIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, &System{Stdout: tt.w}, 32)
			g.iovecs(0, 8, 5)
			g.want(tt.want, "fd_write", 1, 0, 1, 16)
			if tt.want == ESUCCESS && g.u32(16) != tt.wantCount {
				t.Errorf("count %d, want %d", g.u32(16), tt.wantCount)
			}
		})
	}
	t.Run("the sandbox has ended", func(t *testing.T) {
		gone := errors.New("client gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(gone)
		g := newGuest(t, &System{Stdout: &writes{err: ctx.Err()}}, 32)
		g.ctx = ctx
		g.iovecs(0, 8, 5)
		if _, err := g.try("fd_write", 1, 0, 1, 16); err != gone {
			t.Errorf("got %v", err)
		}
	})
}

func TestDiscardedOutputIsCounted(t *testing.T) {
	g := newGuest(t, &System{}, 32)
	g.iovecs(0, 8, 5, 9, 3)
	for fd := range uint64(2) {
		g.want(ESUCCESS, "fd_write", fd+1, 0, 2, 16)
		if n := g.u32(16); n != 8 {
			t.Errorf("count %d", n)
		}
	}
	if !g.ready("fd_write", 1, 0, 2, 16) || !g.ready("fd_write", 7, 0, 2, 16) {
		t.Error("not ready, though nothing can wait")
	}
	g.sys.Stdout = io.Discard
	if g.ready("fd_write", 1, 0, 2, 16) {
		t.Error("ready, though nothing is known of the writer")
	}
}

func TestDescriptorTable(t *testing.T) {
	var out, errs writes
	g := newGuest(t, &System{Stdout: &out, Stderr: &errs, Stdin: strings.NewReader("in")}, 128)
	copy(g.mem, "A")
	g.iovecs(8, 0, 1)
	write := func(want Errno, fd uint64) { t.Helper(); g.want(want, "fd_write", fd, 8, 1, 16) }

	g.want(EBADF, "fd_close", 3)
	g.want(EBADF, "fd_renumber", 1, 3) // there is no fourth entry
	g.want(EBADF, "fd_renumber", 3, 1)
	g.want(ESUCCESS, "fd_renumber", 1, 1)
	g.want(EBADF, "fd_renumber", 5, 5)
	write(ESUCCESS, 1)

	g.want(ESUCCESS, "fd_fdstat_set_flags", 1, flagNonblock)
	g.want(ESUCCESS, "fd_renumber", 1, 2) // stdout over stderr
	write(EBADF, 1)
	write(ESUCCESS, 2)
	g.want(ESUCCESS, "fd_fdstat_get", 2, 64)
	if g.mem[66] != flagNonblock {
		t.Error("flags did not move with the stream")
	}
	if len(out.got) != 2 || len(errs.got) != 0 {
		t.Errorf("stdout got %q, stderr %q", out.got, errs.got)
	}
	g.want(EBADF, "fd_renumber", 0, 1) // a closed one cannot be the target
	g.want(EBADF, "fd_renumber", 1, 0)
	g.want(ESUCCESS, "fd_renumber", 0, 2) // stdin over it
	g.want(ESUCCESS, "fd_read", 2, 8, 1, 16)
	g.wantMemory(0, "i")
	g.want(ESUCCESS, "fd_close", 2)
	g.want(EBADF, "fd_close", 2)
	for fd := range uint64(4) {
		for name, args := range map[string][]uint64{
			"fd_fdstat_get": {fd, 64}, "fd_fdstat_set_flags": {fd, 0}, "fd_fdstat_set_rights": {fd, 0, 0},
			"fd_filestat_get": {fd, 64}, "fd_seek": {fd, 0, 0, 64}, "fd_tell": {fd, 64}, "fd_read": {fd, 8, 1, 16},
			"fd_write": {fd, 8, 1, 16}, "fd_pread": {fd, 8, 1, 0, 16}, "fd_pwrite": {fd, 8, 1, 0, 16},
			"fd_prestat_get": {fd, 64}, "fd_prestat_dir_name": {fd, 64, 8}, "sock_shutdown": {fd, 3},
		} {
			if e := g.call(name, args...); e != EBADF {
				t.Errorf("%s of closed %d: %v", name, fd, e)
			}
		}
	}
	g.sys.Reset()
	g.want(ESUCCESS, "fd_fdstat_get", 0, 64)
	write(ESUCCESS, 1)
	if len(out.got) != 2 {
		t.Error("Reset kept the streams")
	}
}

func TestFdstat(t *testing.T) {
	const stdinRights, stdoutRights = "\x0a\x00\x20\x08\x00\x00\x00\x00", "\x48\x00\x20\x08\x00\x00\x00\x00"
	for _, tt := range []struct {
		name       string
		sys        System
		fd, ptr    uint64
		want       Errno
		wantMemory string
	}{
		{name: "input is readable", fd: 0, ptr: 8, wantMemory: "????????" + "\x00\x00\x00\x00\x00\x00\x00\x00" + stdinRights + stdinRights},
		{name: "output is writable", fd: 1, ptr: 8, wantMemory: "????????" + "\x00\x00\x00\x00\x00\x00\x00\x00" + stdoutRights + stdoutRights},
		{name: "errors are writable", fd: 2, ptr: 0, wantMemory: "\x00\x00\x00\x00\x00\x00\x00\x00" + stdoutRights + stdoutRights + "????????"},
		{name: "a terminal is a character device that cannot seek", sys: System{Terminal: true}, fd: 1, ptr: 0,
			wantMemory: "\x02\x00\x00\x00\x00\x00\x00\x00" + stdoutRights + stdoutRights + "????????"},
		{name: "no fourth descriptor", fd: 3, ptr: 0, want: EBADF},
		{name: "result past memory", fd: 1, ptr: 16, want: EFAULT},
		{name: "result misaligned", fd: 1, ptr: 4, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, &tt.sys, 32)
			g.want(tt.want, "fd_fdstat_get", tt.fd, tt.ptr)
			if tt.wantMemory == "" {
				g.wantUntouched()
			} else {
				g.wantMemory(0, tt.wantMemory)
			}
		})
	}
}

func TestFilestat(t *testing.T) {
	g := newGuest(t, &System{Terminal: true}, 80)
	g.want(ESUCCESS, "fd_filestat_get", 1, 8)
	g.wantMemory(0, "????????"+strings.Repeat("\x00", 16)+"\x02"+strings.Repeat("\x00", 47)+"????????")
	g = newGuest(t, &System{}, 80)
	g.want(EFAULT, "fd_filestat_get", 1, 24)
	g.want(EINVAL, "fd_filestat_get", 1, 4)
	g.want(EBADF, "fd_filestat_get", 3, 8)
	g.wantUntouched()
}

func TestFlagsAndRights(t *testing.T) {
	g := newGuest(t, &System{Stdout: io.Discard}, 64)
	g.iovecs(32, 0, 1)
	g.want(ESUCCESS, "fd_fdstat_set_flags", 1, flagAppend|flagNonblock)
	g.want(EINVAL, "fd_fdstat_set_flags", 1, flagDsync)
	g.want(EINVAL, "fd_fdstat_set_flags", 1, flagRsync)
	g.want(EINVAL, "fd_fdstat_set_flags", 1, flagSync)
	g.want(EINVAL, "fd_fdstat_set_flags", 1, 1<<16)
	g.want(ESUCCESS, "fd_fdstat_get", 1, 0)
	if g.mem[2] != flagAppend|flagNonblock {
		t.Errorf("flags %#x", g.mem[2])
	}
	g.want(ENOTCAPABLE, "fd_fdstat_set_rights", 1, rightRead, 0)
	g.want(ENOTCAPABLE, "fd_fdstat_set_rights", 1, 0, 1<<63)
	g.want(ESUCCESS, "fd_fdstat_set_rights", 1, rightPoll, rightWrite)
	g.want(ESUCCESS, "fd_fdstat_get", 1, 0)
	if g.u64(8) != rightPoll || g.u64(16) != rightWrite {
		t.Errorf("rights %#x %#x", g.u64(8), g.u64(16))
	}
	g.want(ENOTCAPABLE, "fd_fdstat_set_rights", 1, rightWrite, 0) // what is given up does not come back
	g.want(ENOTCAPABLE, "fd_write", 1, 32, 1, 40)
	g.want(ENOTCAPABLE, "fd_fdstat_set_flags", 1, 0)
	g.want(ENOTCAPABLE, "fd_filestat_get", 1, 0)
	g.want(ESUCCESS, "fd_fdstat_set_rights", 0, 0, 0)
	g.want(ENOTCAPABLE, "fd_read", 0, 32, 1, 40)
}

func TestStreamsHaveNoPosition(t *testing.T) {
	g := newGuest(t, &System{}, 64)
	for fd := range uint64(3) {
		g.want(ESPIPE, "fd_seek", fd, 0, 1, 0)
		g.want(EINVAL, "fd_seek", fd, 0, 3, 0)
		g.want(ESPIPE, "fd_tell", fd, 0)
	}
	g.want(ESPIPE, "fd_pread", 0, 0, 1, 0, 8)
	g.want(EBADF, "fd_pread", 1, 0, 1, 0, 8)
	g.want(ESPIPE, "fd_pwrite", 1, 0, 1, 0, 8)
	g.want(ESPIPE, "fd_pwrite", 2, 0, 1, 0, 8)
	g.want(EBADF, "fd_pwrite", 0, 0, 1, 0, 8)
	g.wantUntouched()
}

func TestThereAreNoFilesAndSockets(t *testing.T) {
	for _, h := range Hostcalls(func(state any) *System { return state.(*System) }) {
		var want func(fd uint64) Errno
		switch {
		case strings.HasPrefix(h.Name, "path_"), h.Name == "fd_prestat_get", h.Name == "fd_readdir", h.Name == "fd_sync",
			h.Name == "fd_datasync", h.Name == "fd_advise", h.Name == "fd_allocate", strings.HasPrefix(h.Name, "fd_filestat_set_"):
			want = func(uint64) Errno { return EBADF }
		case h.Name == "fd_prestat_dir_name":
			want = func(fd uint64) Errno { return map[bool]Errno{true: ENOTDIR, false: EBADF}[fd < 3] }
		case strings.HasPrefix(h.Name, "sock_"):
			want = func(fd uint64) Errno { return map[bool]Errno{true: ENOTSOCK, false: EBADF}[fd < 3] }
		default:
			continue
		}
		for _, fd := range []uint64{0, 1, 2, 3, 4, 0x7fffffff, 0xffffffff} {
			g := newGuest(t, &System{}, 64)
			args := make([]uint64, len(h.Type.Params))
			for i := range args {
				args[i] = fd
			}
			if e := g.call(h.Name, args...); e != want(fd) {
				t.Errorf("%s with %d: %v, want %v", h.Name, fd, e, want(fd))
			}
			g.wantUntouched()
		}
	}
}
