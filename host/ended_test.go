package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

func TestEveryLimitIsNamedWithItsSetting(t *testing.T) {
	tests := []struct {
		guest, path string
		limits      Limits
		status      int
		cause       Cause
		log         string
		setting     string
	}{
		{"wat/loop", "/", Limits{CPU: 20 * time.Millisecond}, 500, CauseCPU, "vCPU time", settingCPU},
		{"wat/call_tree", "/", Limits{CPU: 20 * time.Millisecond}, 500, CauseCPU, "vCPU time", settingCPU},
		{"rust/hostile", "/spin", Limits{CPU: 20 * time.Millisecond}, 500, CauseCPU, "vCPU time", settingCPU},
		{"rust/hostile", "/sleep", Limits{Wall: 20 * time.Millisecond}, 504, CauseWall, "wall-clock", "Limits.Wall, --timeout"},
		{"wat/memory_bomb", "/", Limits{Memory: 16 << 20}, 500, CauseMemory, "guest trapped", settingMemory},
		{"rust/hostile", "/memory", Limits{Memory: 32 << 20}, 500, CauseMemory, "guest trapped", settingMemory},
		{"wat/recursion", "/", Limits{}, 500, CauseStack, "call stack exhausted", settingStack},
		{"wat/trap_before_head", "/", Limits{}, 500, CauseTrap, "guest trapped", ""},
		{"wat/exit_1", "/", Limits{}, 500, CauseExit, "exited with code 1", ""},
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, tt := range tests {
			t.Run(tt.guest+tt.path, func(t *testing.T) {
				h.logs.TakeAll()
				s := load(t, h, tt.guest, ServiceConfig{ExposeErrors: true, Limits: tt.limits})
				a := get(t, "http://"+listen(t, s, nil)+tt.path)
				if a.StatusCode != tt.status {
					t.Errorf("status %d, want %d", a.StatusCode, tt.status)
				}
				if !strings.Contains(a.body, tt.log) || !strings.Contains(a.body, tt.setting) {
					t.Errorf("the client is not told of %q and %q: %s", tt.log, tt.setting, a.body)
				}
				if tt.setting == "" && strings.Contains(a.body, "setting") {
					t.Errorf("a limit is named: %s", a.body)
				}
				h.logged(t, tt.log)
				h.logged(t, tt.setting)
				if n := s.Stats().Ended[tt.cause]; n != 1 {
					t.Errorf("counted %v", s.Stats().Ended)
				}
			})
		}
	})
}

// Where the engine tells, a table that could not grow is named as well.
func TestATableThatCouldNotGrow(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "wat/table_bomb", ServiceConfig{ExposeErrors: true})
		a := get(t, "http://"+listen(t, s, nil)+"/")
		if a.StatusCode != 500 || h.Engine().Name() == "wazero" && !strings.Contains(a.body, settingTable) {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
}

func TestASlowBodyIsNamedWithItsSetting(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		h.logs.TakeAll()
		s := load(t, h, "rust/work", ServiceConfig{ExposeErrors: true, Limits: Limits{BodyTimeout: 50 * time.Millisecond}})
		conn, err := net.Dial("tcp", listen(t, s, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /transform HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{")
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		text, _ := io.ReadAll(conn)
		h.logged(t, settingBody)
		if st := s.Stats(); st.SlowBodies != 1 {
			t.Errorf("%+v", st)
		}
		// The server answers by itself when the guest does not.
		if !strings.HasPrefix(string(text), "HTTP/1.1 408") && !strings.Contains(string(text), settingBody) {
			t.Errorf("the client got %s", text)
		}
	})
}

// TestComputingEndsSoonAfterItsLimit is generous: on a machine with nothing else to do a guest is ended within a few
// ticks (a tick is 1 ms).
func TestComputingEndsSoonAfterItsLimit(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for _, guest := range []string{"wat/loop", "wat/call_tree"} {
			s := load(t, h, guest, ServiceConfig{Limits: Limits{CPU: 100 * time.Millisecond}})
			var most time.Duration
			for range 5 {
				err := s.Run(t.Context(), RunOptions{})
				var limit *engine.CPULimitError
				var named *LimitError
				if !errors.As(err, &limit) || !errors.As(err, &named) || named.Cause != CauseCPU {
					t.Fatalf("%s ended with %v", guest, err)
				}
				most = max(most, limit.Used-limit.Limit)
			}
			t.Logf("%s on %s: at most %s over", guest, h.Engine().Name(), most)
			if most > 100*time.Millisecond {
				t.Errorf("%s computed for %s longer than it may", guest, most)
			}
		}
	})
}
