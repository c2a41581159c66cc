package wasi

import "testing"

func TestStringLists(t *testing.T) {
	const memory = 32
	for _, tt := range []struct {
		name       string
		list       []string
		ptrs, buf  uint64
		want       Errno
		wantMemory string
	}{
		{name: "pointers first then strings", list: []string{"a", "bc"}, ptrs: 4, buf: 16, want: ESUCCESS,
			wantMemory: "????" + "\x10\x00\x00\x00\x12\x00\x00\x00" + "????" + "a\x00bc\x00" + "???????????"},
		{name: "strings may lie before the pointers and need no alignment", list: []string{"xyz"}, ptrs: 28, buf: 1, want: ESUCCESS,
			wantMemory: "?xyz\x00???????????????????????\x01\x00\x00\x00"},
		{name: "an empty string is its NUL", list: []string{""}, ptrs: 0, buf: 31, want: ESUCCESS,
			wantMemory: "\x1f\x00\x00\x00???????????????????????????\x00"},
		{name: "an empty list writes nothing, even at the end of memory", ptrs: memory, buf: memory, want: ESUCCESS},
		{name: "an empty list past the end of memory", ptrs: memory + 4, buf: 0, want: EFAULT},
		{name: "pointers end past memory", list: []string{"a", "b"}, ptrs: memory - 4, buf: 0, want: EFAULT},
		{name: "strings end one byte past memory", list: []string{"ab"}, ptrs: 0, buf: memory - 2, want: EFAULT},
		{name: "pointers wrap around", list: []string{"a", "b"}, ptrs: 0xfffffffc, buf: 0, want: EFAULT},
		{name: "strings wrap around", list: []string{"ab"}, ptrs: 0, buf: 0xffffffff, want: EFAULT},
		{name: "pointers misaligned", list: []string{"a"}, ptrs: 2, buf: 8, want: EINVAL},
	} {
		for _, f := range []string{"args_get", "environ_get"} {
			t.Run(f+": "+tt.name, func(t *testing.T) {
				g := newGuest(t, &System{Args: tt.list}, memory)
				if f == "environ_get" {
					g.sys = &System{Env: tt.list}
				}
				g.want(tt.want, f, tt.ptrs, tt.buf)
				if tt.wantMemory == "" {
					g.wantUntouched()
				} else {
					g.wantMemory(0, tt.wantMemory)
				}
			})
		}
	}
}

func TestStringListSizes(t *testing.T) {
	const memory = 16
	for _, tt := range []struct {
		name        string
		count, size uint64
		want        Errno
		wantMemory  string
	}{
		{name: "count and bytes with NULs", count: 0, size: 8, want: ESUCCESS, wantMemory: "\x02\x00\x00\x00????\x05\x00\x00\x00????"},
		{name: "both at one place, bytes last", count: 4, size: 4, want: ESUCCESS, wantMemory: "????\x05\x00\x00\x00????????"},
		{name: "count past memory", count: memory - 3, size: 0, want: EFAULT},
		{name: "bytes past memory", count: 0, size: memory, want: EFAULT},
		{name: "count misaligned", count: 1, size: 8, want: EINVAL},
		{name: "bytes misaligned", count: 0, size: 9, want: EINVAL},
		{name: "bytes at the highest address", count: 0, size: 0xffffffff, want: EFAULT},
	} {
		for _, f := range []string{"args_sizes_get", "environ_sizes_get"} {
			t.Run(f+": "+tt.name, func(t *testing.T) {
				g := newGuest(t, &System{Args: []string{"a", "bc"}, Env: []string{"", "A=1"}}, memory)
				g.want(tt.want, f, tt.count, tt.size)
				if tt.wantMemory == "" {
					g.wantUntouched()
				} else {
					g.wantMemory(0, tt.wantMemory)
				}
			})
		}
	}
}
