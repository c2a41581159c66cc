package cache

import (
	"fmt"
	"testing"
	"time"
)

func TestVariantsAreSelectedByTheirRule(t *testing.T) {
	sp, _ := open(t, Options{})
	rule := func(names ...string) WriteOptions { return WriteOptions{MaxAge: time.Hour, Vary: names} }
	put(t, sp, "k", "plain", nil, rule())
	put(t, sp, "k", "gzip", headers("accept-encoding", "gzip"), rule("Accept-Encoding"))
	put(t, sp, "k", "no header", nil, rule("accept-encoding", "ACCEPT-encoding"))
	put(t, sp, "k", "de gzip", headers("accept-encoding", "gzip", "accept-language", "de"), rule("accept-language", "accept-encoding"))
	for _, tt := range []struct {
		name string
		h    Header
		want string
	}{
		{"the newest rule goes first", headers("accept-language", "de", "accept-encoding", "gzip"), "de gzip"},
		{"then an older one", headers("accept-language", "fr", "accept-encoding", "gzip"), "gzip"},
		{"absent is a value", headers("accept-language", "de"), "no header"},
		{"no headers at all", nil, "no header"},
		{"empty is another", headers("accept-encoding", ""), "plain"},
		{"what nobody has stored", headers("accept-encoding", "br"), "plain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(sp.Lookup([]byte("k"), tt.h)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	// An insert makes its rule the newest one again.
	put(t, sp, "k", "plain again", nil, rule())
	if got := text(sp.Lookup([]byte("k"), headers("accept-encoding", "gzip"))); got != "plain again" {
		t.Errorf("got %q", got)
	}
	if n := sp.Purge([]byte("k"), false); n != 4 || len(sp.at(sp.hash([]byte("k"))).slots) != 0 {
		t.Errorf("purged %d", n)
	}
}

func TestTheOldestRuleGoesWhenThereAreTooMany(t *testing.T) {
	sp, _ := open(t, Options{MaxVariants: 2})
	h := headers("a", "1", "b", "2", "c", "3")
	put(t, sp, "k", "none", nil, long)
	pending := begin(t, sp, "other", h)
	w, err := sp.Insert([]byte("k"), h, WriteOptions{MaxAge: time.Hour, Vary: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	e := sp.Lookup([]byte("k"), h)
	for i, name := range []string{"b", "c"} {
		put(t, sp, "k", name, h, WriteOptions{MaxAge: time.Hour, Vary: []string{name}})
		if n := sp.Stats().Objects; n != 2 {
			t.Errorf("%d objects after rule %d", n, i)
		}
	}
	if sp.Lookup([]byte("k"), headers("a", "1")) != nil {
		t.Error("the object of a rule that went is found")
	}
	finish(t, w, nil, "flows on") // its reader has it still
	if got := text(e); got != "flows on" {
		t.Errorf("got %q", got)
	}
	pending.Close()
}

func TestAnObligationOutlivesItsRule(t *testing.T) {
	sp, _ := open(t, Options{MaxVariants: 2})
	h := headers("a", "1")
	put(t, sp, "k", "", h, WriteOptions{Vary: []string{"a"}}) // stale at once
	a, b := begin(t, sp, "k", h), begin(t, sp, "k", h)
	want(t, a, "must", none)
	want(t, b, "waiting", "")
	for i := range 3 {
		put(t, sp, "k", "", nil, WriteOptions{Vary: []string{fmt.Sprint("x", i)}})
	}
	c := begin(t, sp, "k", h) // filed under the newest rule
	want(t, c, "must", none)
	a.Close()
	want(t, b, "waiting", "") // for c now
	c.Close()
	want(t, b, "must", none)
	w, err := b.Insert(long)
	finish(t, w, err, "body")
	if got := text(sp.Lookup([]byte("k"), h)); got != "body" {
		t.Errorf("got %q", got)
	}
}

func TestPurges(t *testing.T) {
	for _, soft := range []bool{false, true} {
		t.Run(fmt.Sprint("soft=", soft), func(t *testing.T) {
			sp, _ := open(t, Options{})
			o := func(keys ...string) WriteOptions {
				return WriteOptions{MaxAge: time.Hour, SurrogateKeys: keys}
			}
			put(t, sp, "1", "one", nil, o("a", "b"))
			put(t, sp, "2", "two", nil, o("a"))
			put(t, sp, "3", "three", nil, o("b"))
			put(t, sp, "4", "four", nil, o())
			open, err := sp.Lookup([]byte("1"), nil).Open(Whole)
			if err != nil {
				t.Fatal(err)
			}
			pending, waits := begin(t, sp, "5", nil), begin(t, sp, "5", nil)
			hits := func(what string, got, want int) {
				t.Helper()
				if got != want {
					t.Errorf("%s hit %d, want %d", what, got, want)
				}
			}
			hits("dry run", sp.CountKey("a", soft), 2)
			hits("purge of a", sp.PurgeKey("a", soft), 2)
			hits("a again", sp.PurgeKey("a", soft), 0)
			hits("purge of b", sp.PurgeKey("b", soft), 1)
			hits("purge of nothing", sp.PurgeKey("c", soft), 0)
			if e := sp.Lookup([]byte("1"), nil); (e != nil) != soft || soft && (e.State() != Found|Usable|Stale || !e.SoftPurged()) {
				t.Errorf("found %v", e)
			}
			if e := sp.Lookup([]byte("4"), nil); e == nil || e.State() != Found|Usable {
				t.Error("what was not purged is gone")
			}
			steps(t, open, "one", "<EOF>")
			want(t, waits, "waiting", "")
			w, err := pending.Insert(o("a"))
			finish(t, w, err, "five")
			want(t, waits, "found usable", "five")
			g := sp.Generation()
			hits("dry run of 5", sp.Count([]byte("5"), soft), 1)
			hits("purge of everything", sp.PurgeAll(soft), 2)
			if sp.Generation() != g+1 {
				t.Error("the generation is the same")
			}
			if n := sp.Stats().Purged; n != 5 {
				t.Errorf("%d purged", n)
			}
			if soft {
				tx := begin(t, sp, "2", nil)
				want(t, tx, "found usable stale must", "two")
				if err := tx.Update(o("a")); err != nil {
					t.Fatal(err)
				}
				want(t, begin(t, sp, "2", nil), "found usable", "two")
				hits("purge of what was renewed", sp.PurgeKey("a", soft), 1)
			}
		})
	}
}

func TestALargePurgeFreesItsMemory(t *testing.T) {
	sp, _ := open(t, Options{MaxBytes: 1 << 30})
	const n = reapAtOnce + 1000
	fill := func() {
		for i := range n {
			put(t, sp, fmt.Sprint(i), "x", nil, WriteOptions{MaxAge: time.Hour, SurrogateKeys: []string{"all", fmt.Sprint("some", i%10)}})
		}
	}
	fill()
	if got := sp.PurgeKey("all", false); got != n {
		t.Errorf("purged %d", got)
	}
	if sp.Lookup([]byte("1"), nil) != nil {
		t.Error("a purged object is found")
	}
	fill() // while the memory is being freed
	if got := sp.PurgeKey("some1", false); got != n/10 {
		t.Errorf("purged %d", got)
	}
	if got := sp.PurgeAll(false); got != n-n/10 {
		t.Errorf("purged %d", got)
	}
	sp.c.reapers.Wait()
	if st := sp.Stats(); st.Objects != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}
