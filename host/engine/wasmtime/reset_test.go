//go:build cgo && linux && (amd64 || arm64)

package wasmtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/edgewasm/wasmedge/host/engine"
)

func openEngine(tb testing.TB, cfg engine.Config) *wasmtimeEngine {
	tb.Helper()
	e, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { e.Close() })
	return e.(*wasmtimeEngine)
}

// reports is the State of a random guest's instance.
type reports struct{ values []uint64 }

var errEnd = errors.New("ended by a hostcall")

// testCalls are the hostcalls of the guests in this file.
func testCalls() []engine.Hostcall {
	return []engine.Hostcall{
		{Module: "env", Name: "report", Type: engine.FuncType{Params: []engine.ValueType{engine.I64}},
			Fn: func(c *engine.Caller, s []uint64) error {
				r := c.State.(*reports)
				r.values = append(r.values, s[0])
				return nil
			}},
		{Module: "env", Name: "end", Fn: func(*engine.Caller, []uint64) error { return errEnd }},
		{Module: "env", Name: "wait", MayBlock: true, Fn: func(*engine.Caller, []uint64) error { return errEnd }},
		{Module: "env", Name: "panic", MayBlock: true, Fn: func(*engine.Caller, []uint64) error { panic("a bug") }},
	}
}

func linkText(tb testing.TB, e *wasmtimeEngine, src string) *template {
	tb.Helper()
	wasm, err := WatToWasm([]byte(src))
	if err != nil {
		tb.Fatalf("%v\n%s", err, src)
	}
	m, err := e.Compile(context.Background(), wasm)
	if err != nil {
		tb.Fatalf("%v\n%s", err, src)
	}
	tb.Cleanup(m.Close)
	t, err := m.Link(testCalls(), engine.LinkOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(t.Close)
	return t.(*template)
}

func instantiate(tb testing.TB, t *template, cfg engine.InstanceConfig) *instance {
	tb.Helper()
	inst, err := t.Instantiate(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return inst.(*instance)
}

// randomGuest writes a module with some of everything that instances can hold. Its exports run0 to run3 change it; look
// reports its globals and tables, and a sum over its memory. hard says that instances cannot be set back.
func randomGuest(r *rand.Rand) (src string, hard bool) {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`(module`)
	for _, im := range []string{`"report" (func $report (param i64))`, `"end" (func $end)`, `"wait" (func $wait)`} {
		p(`(import "env" %s)`, im)
	}
	pages := r.IntN(12)
	size := pages << 16
	if pages > 0 || r.IntN(2) == 0 {
		export := []string{`(export "memory")`, ``, `(export "other")`}[r.IntN(3)]
		p(`(memory %s %d %d)`, export, pages, pages+2)
		for range r.IntN(4) {
			if size > 4096 {
				p(`(data (i32.const %d) "%s")`, r.IntN(size-4096), strings.Repeat(fmt.Sprintf(`\%02x`, r.IntN(256)), 1+r.IntN(4000)))
			}
		}
	} else {
		p(`(memory 0 2)`)
	}
	kinds := []string{"i32", "i64", "f32", "f64"}
	var globals []string
	for i := range r.IntN(8) {
		k := kinds[r.IntN(4)]
		export := ""
		if r.IntN(3) == 0 {
			export = fmt.Sprintf(`(export "global%d")`, i)
		}
		p(`(global $g%d %s (mut %s) (%s.const %d))`, i, export, k, k, r.IntN(1000))
		globals = append(globals, k)
	}
	vector := r.IntN(3) == 0
	if vector {
		p(`(global $v (mut v128) (v128.const i64x2 %d %d))`, r.IntN(1000), r.IntN(1000))
	}
	p(`(table $t 6 9 funcref) (elem (i32.const 1) $f1 $f2) (elem $passive func $f2) (data $lazy "lazy") (elem declare func $f1 $f2)`)
	p(`(func $f1 (result i64) (i64.const 1)) (func $f2 (result i64) (i64.const 2))`)
	changeTables := r.IntN(4) == 0
	changeMore := []string{
		`(data.drop $lazy)`, `(elem.drop $passive)`, `(table.set $t (i32.const %d) (ref.func $f1))`,
		`(drop (table.grow $t (ref.func $f2) (i32.const 1)))`, `(table.fill $t (i32.const %d) (ref.func $f1) (i32.const 1))`,
		`(table.init $t $passive (i32.const %d) (i32.const 0) (i32.const 1))`, `(table.copy $t $t (i32.const 0) (i32.const %d) (i32.const 2))`,
	}
	for f := range 4 {
		p(`(func (export "run%d") (local $i i32)`, f)
		for range 1 + r.IntN(8) {
			switch k := r.IntN(12); {
			case k < 4 && size > 0:
				p(`(i64.store (i32.const %d) (i64.const %d))`, r.IntN(size-8), int64(r.Uint64()))
			case k == 4 && size > 0: // a stride
				step := 8 << r.IntN(12)
				p(`(local.set $i (i32.const 0)) (loop $l (i64.store (local.get $i) (i64.const %d))
					(br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const %d))) (i32.const %d))))`, int64(r.Uint64()), step, size-step)
			case k == 5 && size > 0:
				at, n := r.IntN(size), 0
				n = r.IntN(min(size-at, 100_000) + 1)
				p(`(memory.fill (i32.const %d) (i32.const %d) (i32.const %d))`, at, r.IntN(256), n)
			case k == 6 && size > 0:
				p(`(memory.copy (i32.const %d) (i32.const %d) (i32.const %d))`, r.IntN(size/2), r.IntN(size/2), r.IntN(size/2))
			case k == 7 && len(globals) > 0:
				i := r.IntN(len(globals))
				p(`(global.set $g%d (%s.const %d))`, i, globals[i], r.IntN(1000))
			case k == 8 && vector:
				p(`(global.set $v (v128.const i64x2 %d %d))`, r.IntN(1000), r.IntN(1000))
			case k == 9 && r.IntN(6) == 0:
				p(`(drop (memory.grow (i32.const 1)))`)
			case k == 10 && changeTables:
				hard = true
				c := changeMore[r.IntN(len(changeMore))]
				if strings.Contains(c, "%d") {
					c = fmt.Sprintf(c, r.IntN(5))
				}
				p("%s", c)
			case k == 11 && size > 0 && r.IntN(2) == 0: // traps once the segment was dropped
				p(`(memory.init $lazy (i32.const %d) (i32.const 0) (i32.const 4))`, r.IntN(size-4))
			}
		}
		switch r.IntN(8) {
		case 0:
			p(`unreachable`)
		case 1:
			p(`(call $end)`)
		case 2:
			p(`(call $wait)`)
		case 3:
			p(`(drop (i32.load (i32.const -4)))`)
		}
		p(`)`)
	}
	p(`(func (export "look") (local $i i32) (local $s i64)
		(if (memory.size) (then (loop $l
			(local.set $s (i64.add (i64.mul (local.get $s) (i64.const 31)) (i64.load (local.get $i))))
			(br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.shl (memory.size) (i32.const 16)))))))
		(call $report (local.get $s)) (call $report (i64.extend_i32_u (memory.size)))`)
	for i, k := range globals {
		to := map[string]string{"i32": "i64.extend_i32_u", "i64": "", "f32": "i64.extend_i32_u (i32.reinterpret_f32", "f64": "i64.reinterpret_f64"}[k]
		switch k {
		case "i64":
			p(`(call $report (global.get $g%d))`, i)
		case "f32":
			p(`(call $report (%s (global.get $g%d))))`, to, i)
		default:
			p(`(call $report (%s (global.get $g%d)))`, to, i)
		}
	}
	if vector {
		p(`(call $report (i64x2.extract_lane 0 (global.get $v))) (call $report (i64x2.extract_lane 1 (global.get $v)))`)
	}
	p(`(call $report (i64.extend_i32_u (table.size $t))) (local.set $i (i32.const 0))
		(loop $l
			(call $report (if (result i64) (ref.is_null (table.get $t (local.get $i))) (then (i64.const 0))
				(else (call_indirect $t (result i64) (local.get $i)))))
			(br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (table.size $t)))))`)
	if size > 0 && r.IntN(4) == 0 {
		hard = true
		p(`(func (export "init") (memory.init $lazy (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop $lazy))`)
	}
	p(`)`)
	return b.String(), hard
}

// state is all that can be seen of an instance.
func state(tb testing.TB, i *instance, r *reports) (memory []byte, values []uint64) {
	faulted := i.c.faulted
	memory = bytes.Clone(i.Memory())
	i.c.faulted = faulted // nothing was written
	r.values = nil
	if err := i.Call(context.Background(), "look"); err != nil {
		tb.Fatal(err)
	}
	return memory, r.values
}

// TestAResetInstanceIsLikeAFreshOne runs random guests on instances that are used again and again, and compares each
// with one that was made for the purpose.
func TestAResetInstanceIsLikeAFreshOne(t *testing.T) {
	testRandomResets(t, 150)
}

func testRandomResets(t *testing.T, guests uint64) {
	again := openEngine(t, engine.Config{MaxInstances: 4})
	fresh := openEngine(t, engine.Config{MaxInstances: 4, NoReset: true})
	const warmRounds = 12
	reset, unseen := 0, 0
	for seed := range guests {
		r := rand.New(rand.NewPCG(seed, 1))
		src, hard := randomGuest(r)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s\n%s", seed, fmt.Sprintf(format, args...), src)
		}
		a, f := linkText(t, again, src), linkText(t, fresh, src)
		if a.resettable == hard || f.resettable {
			fail("resettable: %t, with NoReset %t; hard: %t", a.resettable, f.resettable, hard)
		}
		var rec reports
		want := instantiate(t, f, engine.InstanceConfig{State: &rec})
		wantMemory, wantValues := state(t, want, &rec)
		want.Close()
		for round := range warmRounds + 2 {
			i := instantiate(t, a, engine.InstanceConfig{State: &rec})
			memory, values := state(t, i, &rec)
			// What an earlier run has grown is there, but unknown to the guest (see "look") and zero.
			first, grown := memory[:min(len(memory), len(wantMemory))], memory[min(len(memory), len(wantMemory)):]
			if !bytes.Equal(first, wantMemory) || len(bytes.Trim(grown, "\x00")) > 0 {
				fail("round %d: memory differs from a fresh one's", round)
			}
			if !slices.Equal(values, wantValues) {
				fail("round %d: reports %d, a fresh one %d", round, values, wantValues)
			}
			for range 1 + r.IntN(3) {
				if err := i.Call(context.Background(), fmt.Sprintf("run%d", r.IntN(4))); err != nil {
					break
				}
			}
			if r.IntN(4) == 0 {
				if m := i.Memory(); len(m) > 0 {
					m[r.IntN(len(m))] ^= 0xff
				}
			}
			n, known := i.slot, !bool(i.c.faulted)
			i.Close()
			if round < warmRounds && len(a.parking.slots) > 0 && a.parking.slots[0] == n {
				reset++
				if known {
					unseen++
				}
			}
			if round >= warmRounds-1 { // the rest runs on instances that have lost their pages
				a.cool()
			}
		}
		a.Close()
	}
	if reset < int(guests) {
		t.Errorf("%d resets only", reset)
	}
	if runtime.GOOS == "linux" && unseen == 0 { // how many depends on how often Go's own memory faults
		t.Errorf("of %d resets %d did without a look at the pages", reset, unseen)
	}
	t.Logf("%d resets, %d without a look at the pages", reset, unseen)
}

// TestResetsWithoutThePageScan is the same with what older kernels offer.
func TestResetsWithoutThePageScan(t *testing.T) {
	old := pagemap
	defer func() { pagemap = old }()
	p := old()
	if p.how == noPagemap {
		t.Skip("this system does not tell which pages were written to")
	}
	p.how = pagemapRead
	pagemap = func() pageFinder { return p }
	testRandomResets(t, 40)
}

const twoPages = `(module (import "env" "report" (func $report (param i64))) (import "env" "wait" (func $wait)) (import "env" "panic" (func $panic))
	(memory (export "memory") 200) (global $g (mut i32) (i32.const 5))
	(func (export "look") (call $report (i64.extend_i32_u (global.get $g))) (call $report (i64.load (i32.const 4096))))
	(func (export "run") (global.set $g (i32.const 6)) (i64.store (i32.const 4096) (i64.const 1)) (i64.store (i32.const 70000) (i64.const 1)))
	(func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 13107200)))
	(func (export "wait") (call $wait)) (func (export "panic") (call $panic))
	(func (export "grow") (drop (memory.grow (i32.const 1))))
	(func (export "balloon") (drop (memory.grow (i32.const 65)))))`

// parked counts the template's parked instances.
func parked(t *template) int {
	l := &t.engine.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(t.parking.slots)
}

func TestWhatIsNotParked(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 4})
	tmpl := linkText(t, e, twoPages)
	for _, tt := range []struct {
		export string
		want   int
	}{{"run", 1}, {"wait", 1}, {"panic", 0}, {"grow", 1}, {"balloon", 0}, {"fill", 0}, {"run", 1}, {"absent", 1}} {
		i := instantiate(t, tmpl, engine.InstanceConfig{})
		_ = i.Call(context.Background(), tt.export)
		i.Close()
		if n := parked(tmpl); n != tt.want {
			t.Errorf("after %s, %d instances are parked, want %d", tt.export, n, tt.want)
		}
	}
}

func TestParkedInstancesMakeRoom(t *testing.T) {
	const slots = 3
	e := openEngine(t, engine.Config{MaxInstances: slots})
	var templates []*template
	for range 3 {
		templates = append(templates, linkText(t, e, twoPages))
	}
	fill := func(tmpl *template, n int) {
		var list []*instance
		for range n {
			list = append(list, instantiate(t, tmpl, engine.InstanceConfig{}))
		}
		for _, i := range list {
			i.Close()
		}
	}
	fill(templates[0], 2)
	fill(templates[1], 1)
	fill(templates[2], 1) // evicts one of the first, which are the oldest
	if a, b, c := parked(templates[0]), parked(templates[1]), parked(templates[2]); a != 1 || b != 1 || c != 1 {
		t.Errorf("parked are %d, %d and %d, want one of each", a, b, c)
	}
	fill(templates[2], 3)
	if a, b, c := parked(templates[0]), parked(templates[1]), parked(templates[2]); a != 0 || b != 0 || c != 3 {
		t.Errorf("parked are %d, %d and %d, want three of the last", a, b, c)
	}
	var open []*instance
	for range slots {
		open = append(open, instantiate(t, templates[0], engine.InstanceConfig{}))
	}
	if _, err := templates[1].Instantiate(engine.InstanceConfig{}); !errors.Is(err, engine.ErrNoSlot) {
		t.Errorf("Instantiate in a full pool = %v, want ErrNoSlot", err)
	}
	for _, i := range open {
		i.Close()
	}
	templates[0].Close()
	if n := parked(templates[0]); n != 0 || e.instances.Load() != 0 || e.lot.resident != 0 || e.lot.oldest != nil || e.lot.newest != nil {
		t.Errorf("after the template's Close %d are parked, %d instances exist, %d bytes are counted", n, e.instances.Load(), e.lot.resident)
	}
}

func TestIdleTemplatesGiveTheirInstancesBack(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 8})
	tmpl := linkText(t, e, twoPages)
	var list []*instance
	for range 8 {
		list = append(list, instantiate(t, tmpl, engine.InstanceConfig{}))
	}
	for _, i := range list {
		i.Close()
	}
	e.lot.sweep() // the first since they came: all were away at some time
	for _, want := range []int{4, 2, 1, 0} {
		e.lot.sweep()
		if n := parked(tmpl); n != want {
			t.Errorf("%d are parked after a sweep, want %d", n, want)
		}
	}
	if n := e.instances.Load(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	eventually(t, "the timer rests", func() bool {
		e.lot.mu.Lock()
		defer e.lot.mu.Unlock()
		return !e.lot.armed
	})
	// The timer does it, too.
	instantiate(t, tmpl, engine.InstanceConfig{}).Close()
	eventually(t, "the last parked instance goes", func() bool { return parked(tmpl) == 0 })
}

func TestWorkingSetsAreLearned(t *testing.T) {
	// changes keeps its instances from being set back.
	const changes = `(table 1 funcref) (func (export "never") (table.set (i32.const 0) (ref.null func)))`
	for _, tt := range []struct {
		name, src string
		want      []uint64 // starts and ends in pages
	}{
		{"one stretch and a lonely page", `(module (memory (export "memory") 20) ` + changes + `
			(func (export "run") (memory.fill (i32.const 40960) (i32.const 1) (i32.const 204800)) (i32.store (i32.const 819200) (i32.const 1))))`,
			[]uint64{10, 60, 200, 201}},
		{"few pages", `(module (memory (export "memory") 20) ` + changes + `
			(func (export "run") (memory.fill (i32.const 40960) (i32.const 1) (i32.const 40960))))`, nil},
		{"scattered pages", `(module (memory (export "memory") 20) ` + changes + `
			(func (export "run") (local $p i32) (loop $l (i32.store (local.get $p) (i32.const 1))
				(br_if $l (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 8192))) (i32.const 1310720))))))`, nil},
		{"memory that nobody sees", `(module (memory 20) ` + changes + `
			(func (export "run") (memory.fill (i32.const 0) (i32.const 1) (i32.const 400000))))`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if osPage != 4096 {
				t.Skip("pages of another size")
			}
			tmpl := linkText(t, openEngine(t, engine.Config{MaxInstances: 2}), tt.src)
			for range 2 * prefetchSamples {
				i := instantiate(t, tmpl, engine.InstanceConfig{})
				if err := i.Call(context.Background(), "run"); err != nil {
					t.Fatal(err)
				}
				i.Close()
			}
			var got []uint64
			if r := tmpl.working.ranges.Load(); r != nil {
				for _, r := range *r {
					got = append(got, uint64(r.start)/osPage, uint64(r.end)/osPage)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Fatalf("pages %d are prefetched, want %d", got, tt.want)
			}
			i := instantiate(t, tmpl, engine.InstanceConfig{})
			defer i.Close()
			if i.slot.prefetched != (tt.want != nil) {
				t.Errorf("prefetched: %t", i.slot.prefetched)
			}
			if m := i.Memory(); len(bytes.Trim(m, "\x00")) > 0 {
				t.Error("a new instance's memory is not what the module declares")
			}
		})
	}
}

func TestKeptMemoryIsBounded(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 20})
	const each, allowed = 3 << 20, 20 << 20
	e.lot.most = allowed
	tmpl := linkText(t, e, fmt.Sprintf(`(module (memory (export "memory") 100)
		(func (export "run") (memory.fill (i32.const 0) (i32.const 1) (i32.const %d))))`, each))
	for range 2 {
		var list []*instance
		for range 15 {
			i := instantiate(t, tmpl, engine.InstanceConfig{})
			if err := i.Call(context.Background(), "run"); err != nil {
				t.Fatal(err)
			}
			list = append(list, i)
		}
		for _, i := range list {
			i.Close()
		}
		e.lot.mu.Lock()
		var sum uint64
		for s := e.lot.oldest; s != nil; s = s.newer {
			sum += s.resident
		}
		if sum != e.lot.resident || sum > allowed || sum < allowed-each {
			t.Errorf("%d bytes are kept, %d counted, %d allowed", sum, e.lot.resident, allowed)
		}
		e.lot.mu.Unlock()
	}
}

// TestParkingHammer uses several templates of a pool that is too small for them from many goroutines, closes
// some meanwhile, and sweeps.
func TestParkingHammer(t *testing.T) {
	const workers, rounds = 8, 300
	e := openEngine(t, engine.Config{MaxInstances: workers})
	templates := make([]*template, 4)
	for k := range templates {
		templates[k] = linkText(t, e, twoPages)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				e.lot.sweep()
				for _, tmpl := range templates {
					tmpl.cool()
				}
			}
		}
	}()
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for range rounds {
				var rec reports
				inst, err := templates[r.IntN(4)].Instantiate(engine.InstanceConfig{State: &rec, MaxMemory: uint64(200+r.IntN(2)) * page})
				if err != nil {
					t.Error(err) // there are as many slots as workers
					return
				}
				if err := inst.Call(context.Background(), "look"); err != nil || !slices.Equal(rec.values, []uint64{5, 0}) {
					t.Errorf("reports %d, %v", rec.values, err)
				}
				_ = inst.Call(context.Background(), []string{"run", "run", "wait", "grow"}[r.IntN(4)])
				inst.Close()
			}
		})
	}
	wg.Wait()
	close(done)
	for _, tmpl := range templates {
		tmpl.Close()
	}
	if n := e.instances.Load(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// TestResetsFindPagesOfHugePages: where the kernel makes one huge page of a few that were written to, those beside them
// can be written to without a fault.
func TestResetsFindPagesOfHugePages(t *testing.T) {
	e := openEngine(t, engine.Config{MaxInstances: 1})
	tm := linkText(t, e, `(module
		(import "env" "report" (func $report (param i64)))
		(memory (export "memory") 96)
		(func (export "few") (i32.store8 (i32.const 2100000) (i32.const 1)))
		(func (export "many") (local $at i32)
			(local.set $at (i32.const 2097152))
			(loop $l
				(i32.store8 (local.get $at) (i32.const 1))
				(br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 4194304)))))
		(func (export "look") (local $at i32) (local $sum i64)
			(local.set $at (i32.const 2097152))
			(loop $l
				(local.set $sum (i64.add (local.get $sum) (i64.load8_u (local.get $at))))
				(br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 4194304))))
			(call $report (local.get $sum))))`)
	run := func(export string) []uint64 {
		var r reports
		i := instantiate(t, tm, engine.InstanceConfig{State: &r})
		defer i.Close()
		if err := i.Call(context.Background(), export); err != nil {
			t.Fatal(err)
		}
		return r.values
	}
	for range 4 {
		run("few") // until nothing faults
	}
	s := e.lot.newest
	if s == nil {
		t.Skip("instances are not set back here")
	}
	const collapse = 25 // of linux/mman.h since Linux 6.1: what khugepaged does by and by
	memory := unsafe.Slice((*byte)(unsafe.Pointer(s.c.state_base)), s.c.state_size)
	if err := unix.Madvise(memory[2<<20:4<<20], collapse); err == nil {
		t.Error("pages may become huge")
	}
	for range 3 {
		run("many")
		if got := run("look"); !slices.Equal(got, []uint64{0}) {
			t.Errorf("%d pages are those of another run", got)
		}
	}
}
