package wazero

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// counted gives what the lot counts: instances, and parked bytes.
func counted(e *Engine) (instances int, resident uint64) {
	e.lot.mu.Lock()
	defer e.lot.mu.Unlock()
	return e.lot.instances, e.lot.resident
}

// use makes n instances at once, runs an export in each, and closes them.
func use(t *testing.T, tmpl *template, n int, export string) {
	t.Helper()
	var list []*instance
	for range n {
		in := newInstance(t, tmpl, engine.InstanceConfig{})
		if err := in.Call(context.Background(), export); err != nil {
			t.Fatal(err)
		}
		list = append(list, in)
	}
	for _, in := range list {
		in.Close()
	}
}

func TestParkedInstancesMakeRoom(t *testing.T) {
	const slots = 3
	e := newEngine(t, engine.Config{MaxInstances: slots})
	var templates []*template
	for range 3 {
		templates = append(templates, linkTest(t, e, plainGuest(2, 100)))
	}
	use(t, templates[0], 2, "run")
	use(t, templates[1], 1, "run")
	use(t, templates[2], 1, "run") // evicts one of the first, which are the oldest
	if a, b, c := parked(templates[0]), parked(templates[1]), parked(templates[2]); a != 1 || b != 1 || c != 1 {
		t.Errorf("parked are %d, %d and %d, want one of each", a, b, c)
	}
	use(t, templates[2], 3, "run")
	if a, b, c := parked(templates[0]), parked(templates[1]), parked(templates[2]); a != 0 || b != 0 || c != 3 {
		t.Errorf("parked are %d, %d and %d, want three of the last", a, b, c)
	}
	var open []*instance
	for range slots {
		open = append(open, newInstance(t, templates[0], engine.InstanceConfig{}))
	}
	if _, err := templates[1].Instantiate(engine.InstanceConfig{}); !errors.Is(err, engine.ErrNoSlot) {
		t.Errorf("Instantiate in a full pool = %v, want ErrNoSlot", err)
	}
	for _, in := range open {
		in.Close()
	}
	templates[0].Close()
	if n, resident := counted(e); parked(templates[0]) != 0 || n != 0 || resident != 0 || e.lot.oldest != nil || e.lot.newest != nil {
		t.Errorf("after the template's Close %d are parked, %d instances exist, %d bytes are counted", parked(templates[0]), n, resident)
	}
}

func TestIdleTemplatesGiveTheirInstancesBack(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 8})
	tmpl := linkTest(t, e, plainGuest(2, 100))
	use(t, tmpl, 8, "run")
	e.lot.sweep() // the first since they came: all were away at some time
	for _, want := range []int{4, 2, 1, 0} {
		e.lot.sweep()
		if n := parked(tmpl); n != want {
			t.Errorf("%d are parked after a sweep, want %d", n, want)
		}
	}
	if n, _ := counted(e); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	eventually(t, "the timer rests", func() bool {
		e.lot.mu.Lock()
		defer e.lot.mu.Unlock()
		return !e.lot.armed
	})
	// The timer does it, too.
	use(t, tmpl, 1, "run")
	eventually(t, "the last parked instance goes", func() bool { return parked(tmpl) == 0 })
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute, not yet: %s", what)
		}
	}
}

func TestKeptMemoryIsBounded(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 20})
	const each, allowed = 3 << 20, 20 << 20
	e.lot.most = allowed
	tmpl := linkTest(t, e, plainGuest(100, each))
	for range 2 {
		use(t, tmpl, 15, "fill")
		e.lot.mu.Lock()
		var sum uint64
		for s := e.lot.oldest; s != nil; s = s.newer {
			if s.resident < each && pagemap() != nil {
				t.Errorf("%d bytes are counted for one that wrote to %d", s.resident, each)
			}
			sum += s.resident
		}
		if sum != e.lot.resident || sum > allowed || pagemap() != nil && sum < allowed-2*each {
			t.Errorf("%d bytes are kept, %d counted, %d allowed", sum, e.lot.resident, allowed)
		}
		e.lot.mu.Unlock()
	}
}

func TestAnInstanceThatWroteToMuchKeepsNothing(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 1})
	tmpl := linkTest(t, e, plainGuest(100, maxResident+4096))
	use(t, tmpl, 1, "fill")
	if n, resident := counted(e); n != 1 || resident > 100_000 {
		t.Errorf("%d instances with %d bytes are parked", n, resident)
	}
}

// More stretches than one look at the kernel's pagemap tells of.
func TestScatteredWritesAreAllSetBack(t *testing.T) {
	for _, m := range modes[:3] {
		t.Run(m.name, func(t *testing.T) {
			const pages = 100
			g := &guest{memory: "\x00" + u32(pages)}
			step := 2 * int(osPage)
			g.function("run", loop("\x20\x00"+i64(-1)+"\x37\x00\x00", step, pages<<16))
			tmpl := linkTest(t, m.engine(t, engine.Config{MaxInstances: 1}), g.encode())
			use(t, tmpl, 1, "run")
			in := newInstance(t, tmpl, engine.InstanceConfig{})
			defer in.Close()
			if len(bytes.Trim(in.slot.memory.buf, "\x00")) != 0 {
				t.Error("something is left")
			}
		})
	}
}

func TestAnInstanceIsNoLargerThanItMayBe(t *testing.T) {
	tmpl := linkTest(t, newEngine(t, engine.Config{MaxInstances: 1}), plainGuest(2, 100))
	use(t, tmpl, 1, "grow")
	in := newInstance(t, tmpl, engine.InstanceConfig{MaxMemory: 2 << 16})
	defer in.Close()
	if u := in.Usage(); u.Memory != 2<<16 || len(in.Memory()) != 2<<16 {
		t.Errorf("it has %d bytes of memory, allowed are %d", u.Memory, 2<<16)
	}
}

func TestALoadedModuleIsSetBackToo(t *testing.T) {
	e := newEngine(t, engine.Config{MaxInstances: 1})
	m, err := e.Load(artifact(t, e, plainGuest(2, 100)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	linked, err := m.Link(testCalls(), engine.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer linked.Close()
	tmpl := linked.(*template)
	for _, export := range []string{"grow", "run", "end", "fill"} {
		in := newInstance(t, tmpl, engine.InstanceConfig{State: &reports{}})
		if got := string(in.Memory()[:16]); got != "\x00\x00\x00\x00\x00\x00\x00\x00hello\x00\x00\x00" {
			t.Errorf("memory starts with %q", got)
		}
		if got := values(t, in); !strings.HasPrefix(got, "[2 5 ") {
			t.Errorf("before %s, it reports %s", export, got)
		}
		_ = in.Call(context.Background(), export)
		in.Close()
		if n := parked(tmpl); n != 1 {
			t.Errorf("after %s, %d are parked", export, n)
		}
	}
}

// TestParkingHammer uses several templates of a pool that is too small for them from many goroutines, closes
// some meanwhile, and sweeps.
func TestParkingHammer(t *testing.T) {
	const workers, rounds = 8, 200
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			e := m.engine(t, engine.Config{MaxInstances: workers})
			templates := make([]*template, 4)
			for k := range templates {
				templates[k] = linkTest(t, e, plainGuest(4, 100))
			}
			var wg, sweeper sync.WaitGroup
			done := make(chan struct{})
			sweeper.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						e.lot.sweep()
					}
				}
			})
			for w := range workers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(w), 2))
					for range rounds {
						rec := &reports{}
						in, err := templates[r.IntN(4)].Instantiate(engine.InstanceConfig{State: rec, MaxMemory: uint64(4+r.IntN(2)) << 16})
						if err != nil {
							t.Error(err) // there are as many slots as workers
							return
						}
						if err := in.Call(context.Background(), "look"); err != nil || !slices.Equal(rec.values, []uint64{4, 5, 6, 0, 1, 2, 0, 0, 0}) {
							t.Errorf("reports %d, %v", rec.values, err)
						}
						if m := in.Memory(); string(m[8:13]) != "hello" || m[4096] != 0 || m[70000] != 0 {
							t.Error("memory is not what it is at first")
						}
						_ = in.Call(context.Background(), []string{"run", "fill", "trap", "end", "grow"}[r.IntN(5)])
						in.Close()
					}
				})
			}
			wg.Wait()
			close(done)
			sweeper.Wait()
			for _, tmpl := range templates {
				tmpl.Close()
			}
			if n, resident := counted(e); n != 0 || resident != 0 {
				t.Errorf("%d instances with %d bytes are left", n, resident)
			}
		})
	}
}

func FuzzReadSpans(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01\x00\x00\x00x\x05\x00\x00\x00\x02\x00\x00\x00yz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spans, err := readSpans(b, 1<<20)
		if err == nil && !bytes.Equal(appendSpans(nil, spans), b) {
			t.Errorf("%v is not what was read", spans)
		}
	})
}
