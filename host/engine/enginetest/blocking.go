package enginetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// blockingCalls are the hostcalls of the guest blocking.
func blockingCalls(wait engine.HostFunc, ready func(*engine.Caller, []uint64) bool) []engine.Hostcall {
	w := fn("wait", types(engine.I32, engine.I64), types(engine.I32), wait)
	w.MayBlock, w.Ready = true, ready
	return []engine.Hostcall{w,
		fn("plain", types(engine.I32), types(engine.I32), func(_ *engine.Caller, s []uint64) error {
			s[0] = uint64(uint32(s[0])*3) | i32Garbage
			return nil
		})}
}

// sumOf is what the guest blocking reports after n rounds when wait answers i+1 and plain i*3.
func sumOf(n uint64) uint64 { return n*(n-1)/2*4 + n }

// answer is the body of most wait hostcalls here.
func answer(_ *engine.Caller, s []uint64) error {
	if s[1] != 1<<32 {
		return errors.New("the second argument changed on the way")
	}
	s[0] = uint64(uint32(s[0])+1) | i32Garbage
	return nil
}

var blockingTests = []test{
	{"many instances wait at once while another runs", func(t *suite) {
		const n = 200
		release := make(chan struct{})
		var waiting atomic.Int32
		all := make(chan struct{})
		tmpl := t.link(t.engine(engine.Config{MaxInstances: n + 2}), "blocking", blockingCalls(func(c *engine.Caller, s []uint64) error {
			if waiting.Add(1) == n {
				close(all)
			}
			select {
			case <-release:
			case <-c.Context.Done():
				return context.Cause(c.Context)
			}
			return answer(c, s)
		}, nil)...)
		var records [n]record
		ended := make(chan error, n)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		for i := range n {
			inst := t.instance(tmpl, engine.InstanceConfig{State: &records[i]})
			go func() { ended <- inst.Call(ctx, "once") }()
		}
		select {
		case <-all:
		case <-ctx.Done():
			t.Fatalf("only %d of %d guests came to wait", waiting.Load(), n)
		}
		var r record
		other := t.link(t.engine(engine.Config{}), "compute")
		t.mustCall(t.instance(other, engine.InstanceConfig{State: &r}), "run")
		t.want(&r, computeResult)
		close(release)
		for range n {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for i := range records {
			t.want(&records[i], sumOf(1))
		}
	}},
	{"Ready changes the cost and never the result", func(t *suite) {
		e := t.engine(engine.Config{})
		turn := 0
		for name, ready := range map[string]func(*engine.Caller, []uint64) bool{
			"absent":   nil,
			"always":   func(*engine.Caller, []uint64) bool { return true },
			"never":    func(*engine.Caller, []uint64) bool { return false },
			"in turns": func(*engine.Caller, []uint64) bool { turn++; return turn%2 == 0 },
			"by its arguments": func(c *engine.Caller, s []uint64) bool {
				return s[1] == 1<<32 && uint32(s[0])%3 == 0 && len(c.Memory) == page
			},
		} {
			t.sub(name, func(t *suite) {
				tmpl := t.link(e, "blocking", blockingCalls(func(c *engine.Caller, s []uint64) error {
					if uint32(s[0])%64 == 5 {
						time.Sleep(100 * time.Microsecond)
					}
					return answer(c, s)
				}, ready)...)
				var r record
				inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
				for range 3 {
					t.mustCall(inst, "thousand")
					t.want(&r, sumOf(1000))
				}
			})
		}
	}},
	{"a waiting hostcall may be resumed by any goroutine", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 64}), "blocking", blockingCalls(func(c *engine.Caller, s []uint64) error {
			done := make(chan struct{})
			time.AfterFunc(time.Duration(uint32(s[0])%7)*50*time.Microsecond, func() { close(done) })
			<-done
			return answer(c, s)
		}, nil)...)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				var r record
				inst, err := tmpl.Instantiate(engine.InstanceConfig{State: &r})
				if err != nil {
					t.Error(err)
					return
				}
				defer inst.Close()
				// Each call from a goroutine of its own: an instance is bound to no thread.
				for range 3 {
					ended := make(chan error)
					go func() { ended <- t.call(inst, "hundred") }()
					if err := <-ended; err != nil {
						t.Error(err)
						return
					}
					if v := r.take(); len(v) != 1 || v[0] != sumOf(100) {
						t.Errorf("guest reported %d, want %d", v, sumOf(100))
					}
				}
			})
		}
		wg.Wait()
	}},
	{"a guest that ends while suspended frees its slot", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 1}), "blocking", blockingCalls(func(c *engine.Caller, s []uint64) error {
			return &engine.ExitError{Code: uint32(s[0])}
		}, nil)...)
		for range 50 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			var exit *engine.ExitError
			if err := t.call(inst, "hundred"); !errors.As(err, &exit) {
				t.Errorf("Call = %v, want an ExitError", err)
			}
			inst.Close()
		}
	}},
}
