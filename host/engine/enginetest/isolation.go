package enginetest

import (
	"bytes"
	"math"

	"github.com/edgewasm/wasmedge/host/engine"
)

// pristine is what the guest state reports of an instance that nothing has changed.
var pristine = []uint64{0x656e697473697270, 0, 3, 11, 12, 0x3ff8000000000000, 6, 4, 1, 1}

var isolationTests = []test{
	{"a fresh instance never sees what the one before it did", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 2}), "state")
		for i := range 20 {
			var r record
			inst, err := tmpl.Instantiate(engine.InstanceConfig{State: &r})
			if err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "look")
			t.want(&r, pristine...)
			m := inst.Memory()
			if len(m) != 3*page {
				t.Fatalf("round %d: memory has %d bytes, want %d", i, len(m), 3*page)
			}
			for j, b := range []byte(m) {
				if b != 0 && (j < 100 || j >= 108) {
					t.Fatalf("round %d: a fresh memory holds %#x at %d", i, b, j)
				}
			}
			t.mustCall(inst, "dirty") // fails on a second run: it drops its segments
			t.mustCall(inst, "look")
			if v := r.take(); len(v) != len(pristine) || v[3] != math.MaxUint32 || v[2] != 5 || v[8] != 2 {
				t.Fatalf("round %d: the instance does not see its own changes: %#x", i, v)
			}
			for j := range m {
				m[j] = 0xcc
			}
			inst.Close()
		}
	}},
	{"memory that was grown into is zero again", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{MaxInstances: 1}), "grow")
		for range 5 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "memory_by_3")
			m := inst.Memory()
			if len(m) != 4*page || bytes.Count(m, []byte{0}) != len(m) {
				t.Fatalf("memory of %d bytes after growing is not all zero", len(m))
			}
			for j := range m {
				m[j] = 0xff
			}
			inst.Close()
		}
	}},
	{"guests of other modules that share the pool see nothing of each other", func(t *suite) {
		e := t.engine(engine.Config{MaxInstances: 1})
		state, grow := t.link(e, "state"), t.link(e, "grow")
		for range 5 {
			var r record
			inst, err := state.Instantiate(engine.InstanceConfig{State: &r})
			if err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "look")
			t.want(&r, pristine...)
			t.mustCall(inst, "dirty")
			inst.Close()
			inst, err = grow.Instantiate(engine.InstanceConfig{State: &r})
			if err != nil {
				t.Fatal(err)
			}
			t.mustCall(inst, "memory_by_3")
			t.want(&r, 1)
			t.mustCall(inst, "table_by_5")
			t.want(&r, 10)
			m := inst.Memory()
			if bytes.Count(m, []byte{0}) != len(m) {
				t.Fatal("memory is not all zero")
			}
			inst.Close()
		}
	}},
	{"two instances of one template run in turns and stay apart", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "state")
		var ra, rb record
		a := t.instance(tmpl, engine.InstanceConfig{State: &ra})
		b := t.instance(tmpl, engine.InstanceConfig{State: &rb})
		t.mustCall(a, "dirty")
		t.mustCall(b, "look")
		t.want(&rb, pristine...)
		t.mustCall(b, "dirty")
		t.mustCall(a, "look")
		if v := ra.take(); len(v) != len(pristine) || v[2] != 5 {
			t.Errorf("the first instance reports %#x after the second changed its own", v)
		}
		if &a.Memory()[0] == &b.Memory()[0] {
			t.Error("two instances share memory")
		}
	}},
	{"state lasts from call to call of one instance", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "state")
		var r record
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r})
		t.mustCall(inst, "dirty")
		for range 3 {
			t.mustCall(inst, "look")
			if v := r.take(); len(v) != len(pristine) || v[3] != math.MaxUint32 {
				t.Errorf("a later call reports %#x", v)
			}
		}
	}},
}
