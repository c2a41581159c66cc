package wasi

import (
	"testing"
	"time"
)

func TestClocks(t *testing.T) {
	sys := &System{
		Realtime:  func() uint64 { return 0x0102030405060708 },
		Monotonic: func() uint64 { return 0x1112131415161718 },
	}
	for _, tt := range []struct {
		name       string
		id, ptr    uint64
		want       Errno
		wantMemory string
	}{
		{name: "realtime", id: 0, ptr: 0, wantMemory: "\x08\x07\x06\x05\x04\x03\x02\x01????????"},
		{name: "monotonic, last bytes of memory", id: 1, ptr: 8, wantMemory: "????????\x18\x17\x16\x15\x14\x13\x12\x11"},
		{name: "process CPU time", id: 2, ptr: 0, wantMemory: "\x15\xcd\x5b\x07\x00\x00\x00\x00????????"},
		{name: "thread CPU time is the same", id: 3, ptr: 0, wantMemory: "\x15\xcd\x5b\x07\x00\x00\x00\x00????????"},
		{name: "no such clock", id: 4, ptr: 0, want: EINVAL},
		{name: "highest clock id", id: 0xffffffff, ptr: 0, want: EINVAL},
		{name: "result one byte past memory", id: 0, ptr: 9, want: EFAULT},
		{name: "result at the highest address", id: 1, ptr: 0xffffffff, want: EFAULT},
		{name: "result misaligned", id: 1, ptr: 4, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, sys, 16)
			g.cpu = 123456789
			g.want(tt.want, "clock_time_get", tt.id, 1000, tt.ptr)
			if tt.wantMemory == "" {
				g.wantUntouched()
			} else {
				g.wantMemory(0, tt.wantMemory)
			}
			g = newGuest(t, sys, 16)
			g.want(tt.want, "clock_res_get", tt.id, tt.ptr)
			if tt.want != ESUCCESS {
				g.wantUntouched()
			} else if res := g.u64(int(tt.ptr)); res != 1 {
				t.Errorf("resolution %d", res)
			}
		})
	}
}

func TestHostClocks(t *testing.T) {
	g := newGuest(t, &System{}, 16)
	before := uint64(time.Now().UnixNano())
	g.want(ESUCCESS, "clock_time_get", 0, 0, 0)
	if now := g.u64(0); now < before || now > uint64(time.Now().UnixNano()) {
		t.Errorf("realtime %d is not between %d and now", now, before)
	}
	last := originNanos
	for range 1000 {
		g.want(ESUCCESS, "clock_time_get", 1, 0, 8)
		if now := g.u64(8); now < last {
			t.Fatalf("monotonic went from %d to %d", last, now)
		} else {
			last = now
		}
	}
}
