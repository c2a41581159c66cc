// Package configstoretest holds what every driver of config stores must do, as tests that a driver's own test runs.
package configstoretest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/configstore"
)

// Driver is what is tested.
type Driver struct {
	// Open gives an Admin of the place that the test t uses; called again within a test it gives another one of the same
	// place. Places begin empty.
	Open func(t *testing.T) configstore.Admin
	// Follow keeps the mirror the same as the place of the test t until it ends.
	Follow func(t *testing.T, m *configstore.Mirror)
}

// Run tests a driver.
func Run(t *testing.T, d Driver) {
	t.Run("stores and entries come and go", func(t *testing.T) { comeAndGo(t, d.Open(t)) })
	t.Run("entries are within the limits", func(t *testing.T) { limits(t, d.Open(t)) })
	t.Run("what one has written the other reads", func(t *testing.T) { shared(t, d) })
	t.Run("large stores", func(t *testing.T) { large(t, d) })
	t.Run("a mirror follows", func(t *testing.T) { follow(t, d) })
	t.Run("a mirror leaves alone what it is told to", func(t *testing.T) { skipped(t, d) })
	t.Run("a replacement is seen whole", func(t *testing.T) { whole(t, d) })
	t.Run("many write at once", func(t *testing.T) { many(t, d) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: error %v, want %v", what, err, target)
	}
}

func second[T any](_ T, err error) error { return err }

func comeAndGo(t *testing.T, a configstore.Admin) {
	ctx := t.Context()
	names := func(want ...string) {
		t.Helper()
		if got, err := a.Names(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("names %q, %v, want %q", got, err, want)
		}
	}
	missing := func(store string) {
		t.Helper()
		for what, err := range map[string]error{
			"Drop": a.Drop(ctx, store), "Describe": second(a.Describe(ctx, store)), "Lookup": second(a.Lookup(ctx, store, "k")),
			"Contents": second(a.Contents(ctx, store)), "Put": a.Put(ctx, store, "k", "v"), "Delete": a.Delete(ctx, store, "k"),
			"Replace": a.Replace(ctx, store, map[string]string{"k": "v"}),
		} {
			want(t, what+" of a store that is not there", err, configstore.ErrNotFound)
		}
	}
	names()
	missing("shop")
	must(t, a.Create(ctx, "shop"))
	want(t, "Create", a.Create(ctx, "shop"), configstore.ErrStoreExists)
	odd := "Größe / größe.*> 1 " + strings.Repeat("x", 200)
	must(t, a.Create(ctx, odd))
	names(odd, "shop")
	for _, bad := range []string{"", strings.Repeat("x", 256), "a\nb", "\xff"} {
		want(t, fmt.Sprintf("Create(%.10q)", bad), a.Create(ctx, bad), configstore.ErrName)
		missing(bad)
	}

	must(t, a.Put(ctx, "shop", "k", "one"))
	must(t, a.Put(ctx, "shop", "k", "two"))
	must(t, a.Put(ctx, "shop", "", "the empty key"))
	must(t, a.Put(ctx, "shop", "empty", ""))
	must(t, a.Put(ctx, "shop", "a.*.> \x00\n/é", "odd"))
	must(t, a.Put(ctx, odd, "k", "other"))
	all := map[string]string{"k": "two", "": "the empty key", "empty": "", "a.*.> \x00\n/é": "odd"}
	contents := func(store string, want map[string]string) {
		t.Helper()
		if got, err := a.Contents(ctx, store); err != nil || !maps.Equal(got, want) {
			t.Errorf("%.10s holds %q, %v, want %q", store, got, err, want)
		}
		info, err := a.Describe(ctx, store)
		if err != nil || info.Name != store || info.Entries != len(want) || info.Created.IsZero() || info.Updated.Before(info.Created) || time.Since(info.Created) > time.Hour {
			t.Errorf("%+v, %v, want %d entries", info, err, len(want))
		}
	}
	contents("shop", all)
	contents(odd, map[string]string{"k": "other"})
	for key, value := range all {
		if got, err := a.Lookup(ctx, "shop", key); got != value || err != nil {
			t.Errorf("key %q: %q, %v", key, got, err)
		}
	}
	want(t, "Lookup", second(a.Lookup(ctx, "shop", "none")), configstore.ErrNoKey)
	want(t, "Delete", a.Delete(ctx, "shop", "none"), configstore.ErrNoKey)
	must(t, a.Delete(ctx, "shop", "empty"))
	want(t, "Delete", a.Delete(ctx, "shop", "empty"), configstore.ErrNoKey)
	must(t, a.Put(ctx, "shop", "empty", "again"))
	must(t, a.Delete(ctx, "shop", ""))
	delete(all, "")
	all["empty"] = "again"
	contents("shop", all)

	must(t, a.Replace(ctx, "shop", map[string]string{"k": "three", "new": "1"}))
	contents("shop", map[string]string{"k": "three", "new": "1"})
	must(t, a.Put(ctx, "shop", "new", "2"))
	contents("shop", map[string]string{"k": "three", "new": "2"})
	must(t, a.Replace(ctx, "shop", nil))
	contents("shop", map[string]string{})

	must(t, a.Put(ctx, "shop", "k", "v"))
	must(t, a.Drop(ctx, "shop"))
	missing("shop")
	names(odd)
	must(t, a.Create(ctx, "shop"))
	contents("shop", map[string]string{})
}

func limits(t *testing.T, a configstore.Admin) {
	ctx := t.Context()
	must(t, a.Create(ctx, "s"))
	key, value := strings.Repeat("é", configstore.DefaultKeyChars), strings.Repeat("😀", configstore.DefaultValueChars)
	must(t, a.Put(ctx, "s", key, value))
	if got, err := a.Lookup(ctx, "s", key); got != value || err != nil {
		t.Errorf("the longest value has %d bytes, %v", len(got), err)
	}
	for what, err := range map[string]error{
		"Put of a long key":       a.Put(ctx, "s", key+"é", "v"),
		"Put of a long value":     a.Put(ctx, "s", "k", value+"x"),
		"Replace by a long value": a.Replace(ctx, "s", map[string]string{"a": "v", "k": value + "x"}),
	} {
		want(t, what, err, configstore.ErrLimit)
		if strings.Contains(err.Error(), "😀") {
			t.Errorf("%s: the error holds the value", what)
		}
	}
	if a.Put(ctx, "s", "\xff", "v") == nil || a.Put(ctx, "s", "k", "\xff") == nil {
		t.Error("what is not UTF-8 is taken")
	}
	if contents, err := a.Contents(ctx, "s"); len(contents) != 1 || err != nil {
		t.Errorf("%d entries, %v: what was refused has changed something", len(contents), err)
	}
}

func shared(t *testing.T, d Driver) {
	one, two := d.Open(t), d.Open(t)
	ctx := t.Context()
	must(t, one.Create(ctx, "s"))
	must(t, two.Put(ctx, "s", "k", "two"))
	if got, err := one.Lookup(ctx, "s", "k"); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	must(t, one.Close())
	must(t, two.Put(ctx, "s", "k", "three"))
	if got, err := d.Open(t).Lookup(ctx, "s", "k"); got != "three" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func large(t *testing.T, d Driver) {
	a := d.Open(t)
	ctx := t.Context()
	must(t, a.Create(ctx, "s"))
	wide, deep := map[string]string{}, map[string]string{}
	for i := range 5000 {
		wide[fmt.Sprint("key-", i)] = fmt.Sprint("value ", i)
	}
	for i := range 100 { // 3.2 MB
		deep[fmt.Sprint("key-", i)] = strings.Repeat("😀", configstore.DefaultValueChars)
	}
	set := mirrored(t, d)
	for _, contents := range []map[string]string{wide, deep} {
		must(t, a.Replace(ctx, "s", contents))
		if got, err := a.Contents(ctx, "s"); err != nil || !maps.Equal(got, contents) {
			t.Errorf("%d entries, %v", len(got), err)
		}
		eventually(t, "the large store", func() bool { return holds(set, "s", contents) })
	}
}

// mirrored gives a set that follows the driver.
func mirrored(t *testing.T, d Driver) *configstore.Set {
	set := new(configstore.Set)
	d.Follow(t, configstore.NewMirror(set, configstore.Limits{}, nil))
	return set
}

// holds tells whether a store of the set has exactly these entries; nil means that there is no store.
func holds(set *configstore.Set, name string, contents map[string]string) bool {
	s, err := set.Open(name)
	if err != nil || contents == nil {
		return errors.Is(err, configstore.ErrNotFound) && contents == nil
	}
	if s.Len() != len(contents) {
		return false
	}
	for key, value := range contents {
		if got, ok := s.Lookup(key); !ok || got != value {
			return false
		}
	}
	return true
}

// eventually waits for as long as a slow machine may take.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s does not show", what)
		}
	}
}

func follow(t *testing.T, d Driver) {
	a := d.Open(t)
	ctx := t.Context()
	must(t, a.Create(ctx, "before"))
	must(t, a.Put(ctx, "before", "k", "v"))
	set := mirrored(t, d)
	if !holds(set, "before", map[string]string{"k": "v"}) {
		t.Error("what there was at the beginning is not there at once")
	}
	held, err := set.Open("before")
	must(t, err)
	step := func(name, store string, want map[string]string, err error) {
		t.Helper()
		must(t, err)
		eventually(t, name, func() bool { return holds(set, store, want) })
	}
	step("a new store", "s", map[string]string{}, a.Create(ctx, "s"))
	step("a new entry", "s", map[string]string{"": "1"}, a.Put(ctx, "s", "", "1"))
	step("another value", "s", map[string]string{"": ""}, a.Put(ctx, "s", "", ""))
	step("a second entry", "s", map[string]string{"": "", "b": "2"}, a.Put(ctx, "s", "b", "2"))
	step("a removed entry", "s", map[string]string{"b": "2"}, a.Delete(ctx, "s", ""))
	step("a replacement", "s", map[string]string{"b": "3", "c": "4"}, a.Replace(ctx, "s", map[string]string{"b": "3", "c": "4"}))
	step("an entry after it", "s", map[string]string{"b": "3", "c": "5"}, a.Put(ctx, "s", "c", "5"))
	step("nothing", "s", map[string]string{}, a.Replace(ctx, "s", nil))
	step("a removed store", "s", nil, a.Drop(ctx, "s"))
	step("a store of the same name", "s", map[string]string{}, a.Create(ctx, "s"))
	step("the other store", "before", map[string]string{"k": "w"}, a.Put(ctx, "before", "k", "w"))
	if value, _ := held.Lookup("k"); value != "w" {
		t.Errorf("a store that was opened before holds %q", value)
	}
	if names := set.Names(); !slices.Equal(names, []string{"before", "s"}) {
		t.Errorf("names %q", names)
	}
}

func skipped(t *testing.T, d Driver) {
	a := d.Open(t)
	ctx := t.Context()
	must(t, a.Create(ctx, "theirs"))
	set := new(configstore.Set)
	mine, err := configstore.New(map[string]string{"k": "mine"}, configstore.Limits{})
	must(t, err)
	set.Put("mine", mine)
	d.Follow(t, configstore.NewMirror(set, configstore.Limits{}, func(name string) bool { return name == "mine" }))
	must(t, a.Create(ctx, "mine"))
	must(t, a.Put(ctx, "mine", "k", "theirs"))
	must(t, a.Create(ctx, "mark"))
	eventually(t, "the mark", func() bool { return holds(set, "mark", map[string]string{}) })
	must(t, a.Drop(ctx, "mine"))
	must(t, a.Drop(ctx, "mark"))
	eventually(t, "the mark's end", func() bool { return holds(set, "mark", nil) })
	if !holds(set, "mine", map[string]string{"k": "mine"}) || !holds(set, "theirs", map[string]string{}) {
		t.Errorf("names %q", set.Names())
	}
}

// whole replaces contents that have the same value under every key, again and again.
func whole(t *testing.T, d Driver) {
	a := d.Open(t)
	ctx := t.Context()
	must(t, a.Create(ctx, "s"))
	const keys, rounds = 20, 30
	version := func(n int) map[string]string {
		m := map[string]string{}
		for i := range keys {
			m[fmt.Sprint(i)] = fmt.Sprintf("%04d", n)
		}
		return m
	}
	must(t, a.Replace(ctx, "s", version(0)))
	set := mirrored(t, d)
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			s, err := set.Open("s")
			if err != nil {
				t.Error(err)
				return
			}
			// Between two lookups a newer version may come: values only go up.
			if n := s.Len(); n != keys {
				t.Errorf("%d entries", n)
				return
			}
			last := ""
			for i := range keys {
				value, ok := s.Lookup(fmt.Sprint(i))
				if !ok || value < last {
					t.Errorf("%q after %q", value, last)
					return
				}
				last = value
			}
		}
	})
	for n := range rounds {
		must(t, a.Replace(ctx, "s", version(n+1)))
	}
	eventually(t, "the last version", func() bool { return holds(set, "s", version(rounds)) })
	close(done)
	reader.Wait()
}

func many(t *testing.T, d Driver) {
	ctx := t.Context()
	must(t, d.Open(t).Create(ctx, "s"))
	const writers, entries = 4, 15
	var wg sync.WaitGroup
	for w := range writers {
		a := d.Open(t)
		wg.Go(func() {
			for i := range entries {
				if err := a.Put(ctx, "s", fmt.Sprint(w, "-", i), "v"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if contents, err := d.Open(t).Contents(ctx, "s"); err != nil || len(contents) != writers*entries {
		t.Errorf("%d entries, %v, want %d", len(contents), err, writers*entries)
	}
}
