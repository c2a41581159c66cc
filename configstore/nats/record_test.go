package nats

import (
	"strings"
	"testing"
)

func TestKeysOfTheBucket(t *testing.T) {
	for _, p := range []parsed{{store: "s"}, {store: "a.*> é"}, {"s", "g", ""}, {"s", "g", "k"}, {"a.*>", "G1", "a.*> \x00"}} {
		key := storeKey(p.store)
		if p.generation != "" {
			key = entryKey(p.store, p.generation, p.key)
		}
		if got, ok := parseKey(key); !ok || got != p {
			t.Errorf("%+v is %q, which is %+v, %v", p, key, got, ok)
		}
	}
	for _, key := range []string{"", "s", "x.cw", "s.cw.g", "e.cw", "e.cw.g", "e.cw.g.", "e.cw..k", "e.cw.g.xcw", "e.c!w.g.k", "e.cw.g.k.x"} {
		if p, ok := parseKey(key); ok {
			t.Errorf("%q is taken for %+v", key, p)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(storeKey("s"), []byte(`{"generation":"g","created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z","entries":3}`))
	f.Add(entryKey("s", "g", "k"), []byte(`{}`))
	f.Add("e.cw.g.k", []byte(`{"generation":"a.b"}`))
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		if p, ok := parseKey(key); ok {
			again := storeKey(p.store)
			if p.generation != "" {
				again = entryKey(p.store, p.generation, p.key)
			}
			if q, ok := parseKey(again); !ok || q != p {
				t.Errorf("%q is %+v, which is written as %q", key, p, again)
			}
		}
		if r, err := parseRecord(b); err == nil && (r.Generation == "" || strings.ContainsAny(r.Generation, ".*>")) {
			t.Errorf("%q gives generation %q", b, r.Generation)
		}
	})
}
