package kvstoretest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

func testList(t *testing.T, s *suite) {
	st := s.store(t)
	for _, o := range []kvstore.ListOptions{{}, {Prefix: "a"}, {Limit: 1}, {Limit: -1}, {Eventual: true}} {
		page, err := st.List(ctx(t), o)
		if err != nil || len(page.Keys) != 0 || page.NextCursor != "" {
			t.Errorf("List(%+v) of an empty store gave %+v, %v", o, page, err)
		}
	}
	var all []string
	for i := range kvstore.MaxListLimit + 3 {
		all = append(all, fmt.Sprintf("many/%04d", i))
	}
	others := []string{"a", "a/", "a/b", "a/b/c", "a0", "ab", "b", "many", "many0", "é", "é1", "ê", "\U0010FFFF", "\U0010FFFF\U0010FFFF"}
	all = append(all, others...)
	slices.Sort(all)
	for _, i := range permutation(len(all), 3) {
		put(t, st, all[i], "v", kvstore.InsertOptions{})
	}
	below := func(prefix string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(key string) bool { return !strings.HasPrefix(key, prefix) })
	}
	for _, prefix := range []string{
		"", "a", "a/", "a/b", "a/b/c", "a/b/c/d", "b", "c", "many", "many/", "many/0", "many/000", "many/0007", "é", "ê", "\U0010FFFF", "\U0010FFFF\U0010FFFF",
		"\xff", "\xff\xff", "\xc3", "\x00", "^", strings.Repeat("z", kvstore.MaxKey+1),
	} {
		want := below(prefix)
		for _, limit := range []int{-1, 0, 1, 2, 10, kvstore.MaxListLimit - 1, kvstore.MaxListLimit, kvstore.MaxListLimit + 1, 1 << 30} {
			if limit == 1 && len(want) > 100 {
				continue
			}
			o := kvstore.ListOptions{Prefix: prefix, Limit: limit}
			page, err := st.List(ctx(t), o)
			if n := min(o.PageSize(), len(want)); err != nil || !slices.Equal(page.Keys, want[:n]) || (page.NextCursor != "") != (n < len(want)) {
				t.Errorf("List(%.40q, limit %d) gave %d keys, cursor %.40q, %v; want %d of %d; %s", prefix, limit, len(page.Keys), page.NextCursor, err,
					n, len(want), difference(page.Keys, want[:n]))
			}
			if got := keys(t, st, prefix, limit); !slices.Equal(got, want) {
				t.Errorf("below %.40q in pages of %d there are %d keys, want %d; %s", prefix, limit, len(got), len(want), difference(got, want))
			}
		}
	}
	if stat, err := st.Stat(ctx(t)); err != nil || stat != (kvstore.Stat{Keys: int64(len(all)), Bytes: int64(len(all))}) {
		t.Errorf("Stat gave %+v, %v", stat, err)
	}
}

func testCursors(t *testing.T, s *suite) {
	all := s.stores(t)
	st := create(t, all, "store")
	for _, key := range []string{"a1", "a2", "a3", "b1", "b2", "b3"} {
		put(t, st, key, "v", kvstore.InsertOptions{})
	}
	page, err := st.List(ctx(t), kvstore.ListOptions{Prefix: "a", Limit: 1})
	if err != nil || page.NextCursor == "" {
		t.Fatalf("got %+v, %v", page, err)
	}
	good := page.NextCursor
	refused := func(what string, o kvstore.ListOptions) {
		t.Helper()
		page, err := st.List(ctx(t), o)
		wantErr(t, what, err, kvstore.ErrCursor)
		if len(page.Keys) != 0 || page.NextCursor != "" {
			t.Errorf("%s: gave %+v as well", what, page)
		}
	}
	for _, prefix := range []string{"", "b", "a1", "a2", "aa"} {
		refused("a cursor with the prefix "+prefix, kvstore.ListOptions{Prefix: prefix, Cursor: good})
	}
	for what, cursor := range map[string]string{
		"a key": "a1", "another key": "zzz", "a space": " ", "a zero": "\x00", "not UTF-8": "\xff\xfe", "a bit of a cursor": good[:len(good)/2], "a cursor twice": good + good,
		"a cursor and more": good + "A", "not a cursor": "AAAA", "a very long one": strings.Repeat("A", 1<<20), "JSON": "{}", "a path": "../../x",
	} {
		refused(what, kvstore.ListOptions{Prefix: "a", Cursor: cursor})
		refused(what, kvstore.ListOptions{Prefix: "a", Cursor: cursor, Eventual: true})
	}
	for i := range len(good) { // each character changed
		b := []byte(good)
		if b[i]++; b[i] == 0x7f {
			b[i] = '!'
		}
		refused(fmt.Sprintf("a cursor with character %d changed", i), kvstore.ListOptions{Prefix: "a", Cursor: string(b)})
	}
	for range 2 { // it may be used again
		page, err := st.List(ctx(t), kvstore.ListOptions{Prefix: "a", Cursor: good, Limit: 5})
		if err != nil || !slices.Equal(page.Keys, []string{"a2", "a3"}) || page.NextCursor != "" {
			t.Errorf("the cursor's page is %+v, %v", page, err)
		}
	}
}

func testListChanges(t *testing.T, s *suite) {
	st := s.store(t)
	remove := func(key string) {
		t.Helper()
		if err := st.Delete(ctx(t), key, kvstore.DeleteOptions{}); err != nil {
			t.Fatalf("Delete(%s): %v", key, err)
		}
	}
	for i := range 10 {
		put(t, st, fmt.Sprintf("k%d", i), "v", kvstore.InsertOptions{})
	}
	next := func(cursor string, want ...string) string {
		t.Helper()
		page, err := st.List(ctx(t), kvstore.ListOptions{Prefix: "k", Cursor: cursor, Limit: 3})
		if err != nil || !slices.Equal(page.Keys, want) {
			t.Errorf("the page is %+v, %v; want %q", page, err, want)
		}
		return page.NextCursor
	}
	first := next("", "k0", "k1", "k2")
	remove("k2") // the key that the page ended with
	remove("k3") // the one that would come next
	put(t, st, "k0a", "v", kvstore.InsertOptions{})
	put(t, st, "k3a", "v", kvstore.InsertOptions{})
	put(t, st, "k4", "changed", kvstore.InsertOptions{})
	second := next(first, "k3a", "k4", "k5")
	for _, key := range []string{"k5", "k6", "k7", "k8", "k9"} {
		remove(key)
	}
	if c := next(second); c != "" {
		t.Errorf("there is a cursor %q though nothing follows", c)
	}
	put(t, st, "k9", "v", kvstore.InsertOptions{})
	next(second, "k9")
	next(first, "k3a", "k4", "k9")
	put(t, st, "k2", "v", kvstore.InsertOptions{}) // the cursor's key is there again
	next(first, "k3a", "k4", "k9")

	// Keys that expire between pages are gone from the next.
	for i := range 6 {
		put(t, st, fmt.Sprintf("t%d", i), "v", kvstore.InsertOptions{TTL: time.Duration(i%2) * shortTTL})
	}
	sleepPast(time.Now().Add(shortTTL))
	if got := keys(t, st, "t", 2); !slices.Equal(got, []string{"t0", "t2", "t4"}) {
		t.Errorf("List gave %q", got)
	}
}

func testListEventual(t *testing.T, s *suite) {
	st := s.store(t)
	want := []string{"a", "b", "c", "d", "e"}
	for _, key := range append(slices.Clone(want), "gone") {
		put(t, st, key, "v", kvstore.InsertOptions{})
	}
	if err := st.Delete(ctx(t), "gone", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(s.Lag)
	for {
		got, err := pages(ctx(t), st, kvstore.ListOptions{Limit: 2, Eventual: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("List gives %q even after %v", got, s.Lag)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
