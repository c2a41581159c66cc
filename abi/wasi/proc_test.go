package wasi

import (
	"errors"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

func TestProcExit(t *testing.T) {
	for _, code := range []uint64{0, 1, 42, 126, 255, 0xffffffff} {
		_, err := newGuest(t, &System{}, 0).try("proc_exit", code)
		var exit *engine.ExitError
		if !errors.As(err, &exit) || exit.Code != uint32(code) {
			t.Errorf("proc_exit(%d) gave %v", code, err)
		}
	}
}

func TestProcRaise(t *testing.T) {
	for _, tt := range []struct {
		name     string
		signal   uint64
		want     Errno
		wantCode uint32 // of the exit, if not 0
	}{
		{name: "no signal", signal: 0},
		{name: "hangup ends", signal: 1, wantCode: 129},
		{name: "abort ends as a shell shows it", signal: 6, wantCode: 134},
		{name: "termination ends", signal: 15, wantCode: 143},
		{name: "child is ignored", signal: 16},
		{name: "continue is ignored", signal: 17},
		{name: "stop cannot be done", signal: 18, want: ENOTSUP},
		{name: "terminal stop cannot be done", signal: 19, want: ENOTSUP},
		{name: "terminal output cannot be done", signal: 21, want: ENOTSUP},
		{name: "urgent is ignored", signal: 22},
		{name: "window change is ignored", signal: 27},
		{name: "bad system call ends", signal: 30, wantCode: 158},
		{name: "no such signal", signal: 31, want: EINVAL},
		{name: "highest", signal: 0xffffffff, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := newGuest(t, &System{}, 0).try("proc_raise", tt.signal)
			var exit *engine.ExitError
			if errors.As(err, &exit) != (tt.wantCode != 0) || exit != nil && exit.Code != tt.wantCode {
				t.Errorf("ended with %v, want code %d", err, tt.wantCode)
			}
			if e != tt.want {
				t.Errorf("got %v, want %v", e, tt.want)
			}
		})
	}
}

func TestSchedYield(t *testing.T) { newGuest(t, &System{}, 0).want(ESUCCESS, "sched_yield") }
