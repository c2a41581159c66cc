package wasi

import (
	"bytes"
	"testing"
)

// hot are the calls that must not allocate, each ready to be made again and again.
func hot(t testing.TB) map[string]func() {
	g := newGuest(t, &System{
		Args: []string{"compute-app"}, Env: []string{"FASTLY_HOSTNAME=localhost", "FASTLY_POP=XXX"}, Stdout: nothing{},
		Stdin: bytes.NewReader(nil),
	}, 64<<10)
	g.iovecs(0, 1024, 80)
	g.iovecs(16, 1024, 40, 2048, 40)
	sub{kind: eventClock, clock: 1}.put(g.mem[4096:])
	sub{kind: eventClock, clock: 1, timeout: 1}.put(g.mem[4096+48:])
	c := g.caller()
	calls := map[string]func(){}
	add := func(title, name string, args ...uint64) {
		stack := make([]uint64, max(len(args), 1))
		fn := g.calls[name].Fn
		calls[title] = func() {
			copy(stack, args)
			if err := fn(c, stack); err != nil || stack[0] != 0 {
				t.Fatalf("%s: %v %v", title, Errno(stack[0]), err)
			}
		}
	}
	add("clock_time_get realtime", "clock_time_get", 0, 0, 512)
	add("clock_time_get monotonic", "clock_time_get", 1, 0, 512)
	add("clock_time_get cpu", "clock_time_get", 2, 0, 512)
	add("random_get 8 bytes", "random_get", 512, 8)
	add("random_get 32 bytes", "random_get", 512, 32)
	add("random_get 4 KiB", "random_get", 8192, 4096)
	add("environ_sizes_get", "environ_sizes_get", 512, 516)
	add("environ_get", "environ_get", 512, 1024)
	add("fd_write one piece", "fd_write", 1, 0, 1, 512)
	add("fd_write two pieces", "fd_write", 1, 16, 2, 512)
	add("fd_read end", "fd_read", 0, 0, 1, 512)
	add("fd_fdstat_get", "fd_fdstat_get", 1, 512)
	add("poll_oneoff past", "poll_oneoff", 4096, 8192, 1, 512)
	add("poll_oneoff 1 ns", "poll_oneoff", 4096+48, 8192, 1, 512)
	add("sched_yield", "sched_yield")
	return calls
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

func TestHotCallsDoNotAllocate(t *testing.T) {
	for name, call := range hot(t) {
		if n := testing.AllocsPerRun(100, call); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	var s System
	if n := testing.AllocsPerRun(100, func() { s.Reset() }); n != 0 {
		t.Errorf("Reset allocates %v times", n)
	}
}

func BenchmarkHostcalls(b *testing.B) {
	for name, call := range hot(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
