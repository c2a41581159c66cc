package enginetest

import (
	"errors"

	"github.com/edgewasm/wasmedge/host/engine"
)

var linkTests = []test{
	{"an unknown import is refused by name", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "imports")
		_, err := m.Link([]engine.Hostcall{known(nil)}, engine.LinkOptions{})
		var unknown *engine.UnknownImportError
		if !errors.As(err, &unknown) || unknown.Module != "other" || unknown.Name != "unknown" {
			t.Errorf("Link = %v, want an UnknownImportError for other.unknown", err)
		}
	}},
	{"an unknown import traps only when it is called if the user asked for that", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "imports")
		calls := 0
		tmpl, err := m.Link([]engine.Hostcall{known(&calls)}, engine.LinkOptions{UnknownImports: engine.TrapUnknown})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tmpl.Close)
		inst := t.instance(tmpl, engine.InstanceConfig{})
		t.mustCall(inst, "known")
		if calls != 2 {
			t.Errorf("the known hostcall ran %d times, want 2: it is imported and called twice", calls)
		}
		err = t.call(inst, "unknown")
		var unknown *engine.UnknownImportError
		if !errors.As(err, &unknown) || unknown.Module != "other" || unknown.Name != "unknown" {
			t.Errorf("Call = %v, want an UnknownImportError for other.unknown", err)
		}
	}},
	{"an import of another signature is refused with both", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "imports")
		h := known(nil)
		h.Type.Results = types(engine.I64)
		for _, opts := range []engine.LinkOptions{{}, {UnknownImports: engine.TrapUnknown}} {
			_, err := m.Link([]engine.Hostcall{h}, opts)
			var wrong *engine.ImportTypeError
			if !errors.As(err, &wrong) || wrong.Import.Name != "known" || !wrong.Want.Equal(h.Type) {
				t.Errorf("Link = %v, want an ImportTypeError for env.known", err)
			}
		}
	}},
	{"an import that is no function is refused by its kind", func(t *suite) {
		e := t.engine(engine.Config{})
		for _, kind := range []engine.ExternKind{engine.KindTable, engine.KindMemory, engine.KindGlobal} {
			m := t.compile(e, "import_"+kind.String())
			for _, opts := range []engine.LinkOptions{{}, {UnknownImports: engine.TrapUnknown}} {
				_, err := m.Link(nil, opts)
				var wrong *engine.ImportTypeError
				if !errors.As(err, &wrong) || wrong.Import.Kind != kind {
					t.Errorf("Link of a module that imports a %s = %v, want an ImportTypeError", kind, err)
				}
			}
		}
	}},
	{"hostcalls that a module does not import are ignored", func(t *suite) {
		tmpl := t.link(t.engine(engine.Config{}), "compute", known(nil),
			fn("unused", types(engine.I32), nil, func(*engine.Caller, []uint64) error { return nil }))
		var r record
		t.mustCall(t.instance(tmpl, engine.InstanceConfig{State: &r}), "run")
		t.want(&r, computeResult)
	}},
	{"an export that is absent or takes parameters is refused", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "imports")
		tmpl, err := m.Link(nil, engine.LinkOptions{UnknownImports: engine.TrapUnknown})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tmpl.Close)
		for _, export := range []string{"absent", "memory", "global", "with_types", "", "known\x00"} {
			if err := t.call(t.instance(tmpl, engine.InstanceConfig{}), export); !errors.Is(err, engine.ErrNoExport) {
				t.Errorf("Call(%q) = %v, want ErrNoExport", export, err)
			}
		}
	}},
	{"one module links several times against other tables", func(t *suite) {
		m := t.compile(t.engine(engine.Config{}), "blocking")
		var got [2]uint64
		for i := range got {
			add := uint64(10 * (i + 1))
			i32 := types(engine.I32)
			tmpl := t.linkModule(m,
				fn("wait", types(engine.I32, engine.I64), i32, func(_ *engine.Caller, s []uint64) error { s[0] = add; return nil }),
				fn("plain", i32, i32, func(_ *engine.Caller, s []uint64) error { s[0] = 1; return nil }))
			var r record
			t.mustCall(t.instance(tmpl, engine.InstanceConfig{State: &r}), "once")
			if v := r.take(); len(v) == 1 {
				got[i] = v[0]
			}
		}
		if got != [2]uint64{11, 21} {
			t.Errorf("the two templates gave %v, want [11 21]", got)
		}
	}},
}

// known is the hostcall that the guest imports knows; it counts its calls.
func known(calls *int) engine.Hostcall {
	return fn("known", types(engine.I32), types(engine.I32), func(*engine.Caller, []uint64) error {
		if calls != nil {
			*calls++
		}
		return nil
	})
}
