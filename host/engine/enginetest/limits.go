package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

const (
	page   = 1 << 16
	denied = 0xffffffffffffffff // memory.grow's and table.grow's -1, as the guests report it
)

// deniedTwice checks GrowDenied, which stays 0 in an engine that cannot know.
func deniedTwice(u engine.Usage) bool { return u.GrowDenied == 0 || u.GrowDenied == 2 }

var limitTests = []test{
	{"memory grows up to the limit and no further", func(t *suite) {
		for _, tt := range []struct {
			name   string
			engine engine.Config
			inst   engine.InstanceConfig
		}{
			{"the instance's limit", engine.Config{}, engine.InstanceConfig{MaxMemory: 4 * page}},
			{"the engine's limit", engine.Config{MaxMemory: 4 * page}, engine.InstanceConfig{}},
			{"the instance's limit above the engine's", engine.Config{MaxMemory: 4 * page}, engine.InstanceConfig{MaxMemory: 100 * page}},
		} {
			t.sub(tt.name, func(t *suite) {
				tmpl := t.link(t.engine(tt.engine), "grow")
				var r record
				tt.inst.State = &r
				inst := t.instance(tmpl, tt.inst)
				t.mustCall(inst, "memory_by_3")
				t.want(&r, 1)
				if n := inst.Usage().GrowDenied; n != 0 {
					t.Errorf("GrowDenied = %d before anything was denied", n)
				}
				t.mustCall(inst, "memory_by_1")
				t.want(&r, denied)
				t.mustCall(inst, "memory_by_65535")
				t.want(&r, denied)
				if u := inst.Usage(); !deniedTwice(u) || u.Memory != 4*page {
					t.Errorf("Usage() = %+v, want two denied and %d bytes", u, 4*page)
				}
			})
		}
	}},
	{"memory may grow to the very limit of the engine's default", func(t *suite) {
		var r record
		inst := t.instance(t.link(t.engine(engine.Config{MaxMemory: 65 * page}), "memory",
			fn("look", types(engine.I32), types(engine.I32), func(c *engine.Caller, s []uint64) error { s[0] = 0; return nil })),
			engine.InstanceConfig{State: &r})
		t.mustCall(inst, "grow_between")
		if n := len(inst.Memory()); n != 21*page {
			t.Errorf("memory has %d bytes, want %d", n, 21*page)
		}
	}},
	{"tables grow up to the limit and no further", func(t *suite) {
		for _, tt := range []struct {
			name   string
			engine engine.Config
			inst   engine.InstanceConfig
		}{
			{"the instance's limit", engine.Config{}, engine.InstanceConfig{MaxTableElements: 15}},
			{"the engine's limit", engine.Config{MaxTableElements: 15}, engine.InstanceConfig{}},
		} {
			t.sub(tt.name, func(t *suite) {
				tmpl := t.link(t.engine(tt.engine), "grow")
				var r record
				tt.inst.State = &r
				inst := t.instance(tmpl, tt.inst)
				t.mustCall(inst, "table_by_5")
				t.want(&r, 10)
				t.mustCall(inst, "table_by_1")
				t.want(&r, denied)
				t.mustCall(inst, "table_by_all")
				t.want(&r, denied)
				if u := inst.Usage(); !deniedTwice(u) {
					t.Errorf("Usage() = %+v, want two denied", u)
				}
			})
		}
	}},
	{"a module whose first memory or table exceeds a limit is refused with the limit's number", func(t *suite) {
		for _, tt := range []struct {
			name, guest string
			engine      engine.Config
			inst        engine.InstanceConfig
			want        engine.LimitError
		}{
			{"the engine's memory", "bigmemory", engine.Config{MaxMemory: 16 * page}, engine.InstanceConfig{},
				engine.LimitError{What: engine.LimitMemory, Need: 32 * page, Limit: 16 * page}},
			{"the instance's memory", "bigmemory", engine.Config{}, engine.InstanceConfig{MaxMemory: 16 * page},
				engine.LimitError{What: engine.LimitMemory, Need: 32 * page, Limit: 16 * page}},
			{"the engine's table", "bigtable", engine.Config{MaxTableElements: 100}, engine.InstanceConfig{},
				engine.LimitError{What: engine.LimitTable, Need: 500, Limit: 100}},
			{"the instance's table", "bigtable", engine.Config{}, engine.InstanceConfig{MaxTableElements: 100},
				engine.LimitError{What: engine.LimitTable, Need: 500, Limit: 100}},
		} {
			t.sub(tt.name, func(t *suite) {
				err := func() error {
					m, err := t.engine(tt.engine).Compile(context.Background(), guest(t, tt.guest))
					if err != nil {
						return err
					}
					t.Cleanup(m.Close)
					tmpl, err := m.Link(nil, engine.LinkOptions{})
					if err != nil {
						return err
					}
					t.Cleanup(tmpl.Close)
					inst, err := tmpl.Instantiate(tt.inst)
					if err == nil {
						inst.Close()
					}
					return err
				}()
				var limit *engine.LimitError
				if !errors.As(err, &limit) || *limit != tt.want {
					t.Fatalf("got %v, want %v", err, &tt.want)
				}
				if !strings.Contains(err.Error(), fmt.Sprint(tt.want.Limit)) {
					t.Errorf("%q does not name the limit %d", err, tt.want.Limit)
				}
			})
		}
	}},
	{"memory and tables at exactly the limit are allowed", func(t *suite) {
		e := t.engine(engine.Config{MaxMemory: 32 * page, MaxTableElements: 500})
		for _, name := range []string{"bigmemory", "bigtable"} {
			t.mustCall(t.instance(t.link(e, name), engine.InstanceConfig{}), "run")
			t.mustCall(t.instance(t.link(e, name), engine.InstanceConfig{MaxMemory: 32 * page, MaxTableElements: 500}), "run")
		}
	}},
	{"instances beyond the pool are refused until one is closed", func(t *suite) {
		const slots = 3
		tmpl := t.link(t.engine(engine.Config{MaxInstances: slots}), "compute")
		var open []engine.Instance
		for range slots {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, inst)
		}
		for range 5 {
			if inst, err := tmpl.Instantiate(engine.InstanceConfig{}); !errors.Is(err, engine.ErrNoSlot) {
				if err == nil {
					inst.Close()
				}
				t.Fatalf("Instantiate beyond %d slots = %v, want ErrNoSlot", slots, err)
			}
		}
		// A slot comes back however its instance ended: unused, called, or stopped.
		for range 10 {
			for i := range open {
				switch i {
				case 1:
					t.mustCall(open[i], "run")
				case 2:
					ctx, cancel := context.WithCancel(context.Background())
					cancel()
					_ = open[i].Call(ctx, "run")
				}
				open[i].Close()
				inst, err := tmpl.Instantiate(engine.InstanceConfig{})
				if err != nil {
					t.Fatalf("Instantiate after a Close: %v", err)
				}
				open[i] = inst
			}
		}
		for _, inst := range open {
			inst.Close()
		}
	}},
	{"slots taken by start functions that failed come back", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 2}), "start_traps")
		for range 10 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if err := t.call(inst, "run"); err == nil {
				t.Error("Call of a module whose start function traps gave no error")
			}
			inst.Close()
		}
	}},
}
