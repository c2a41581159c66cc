package kvstoretest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// legalKeys are keys with everything odd that is allowed.
func legalKeys() []string {
	list := []string{
		"a", "aa", "ab", "A", "b", "a ", " a", "a b", "a\tb", "a\x00b", "\x00\x00", "\x7f\x7f", "a\x7f", "\x1f!",
		"a..b", ".a", "..a", "a.", "a..", "...", "a/b", "a//b", "/", "//", "/a", "a/", "a/b/c/d", "a/...", ".well-known/x",
		".well-known", "%2F", "%", "a%00b", "*", ">", "a.*", "a.>", "a.b", "a.b.c", "$", "$KV.a", "\\", "a\\b", "\"", "'", "`", "{}", "[]", "<>",
		"=", "==", "a=b", "-", "--", "_", "+", ",", ":", "a:b", "@", "!", "~", "(", ")", "&", "&amp", "\u00e9", "e\u0301", "\u00df", "ß/ß",
		"日本語", "日本", "\U0001F600", "\U0001F600x", "\U0010FFFF", "\uFFFD", "\uFEFF", "a\uFFFEb", "a\uFFFF", "\uE000", "\uD7FF", "\u2028", "a\u0000",
		"0", "00", "01", "1", "10", "9", "null", "true", "nats", "CON", "a\x01", "\u0080", "\u07FF", "\u0800", "K", "k", "\u212A", // Kelvin sign
		strings.Repeat("k", kvstore.MaxKey), strings.Repeat("k", kvstore.MaxKey-1) + "l", strings.Repeat("k", kvstore.MaxKey-1),
		strings.Repeat("é", kvstore.MaxKey/2), strings.Repeat("\U0001F600", kvstore.MaxKey/4), strings.Repeat("\x00", kvstore.MaxKey),
		strings.Repeat("/", kvstore.MaxKey), strings.Repeat("a", 254), strings.Repeat("a", 255), strings.Repeat("a", 256),
		strings.Repeat("é", 127), strings.Repeat("é", 128), strings.Repeat("k", 500) + "/" + strings.Repeat("k", 500),
	}
	for c := byte(1); c < 0x80; c++ { // each character between others
		if !strings.ContainsRune("\r\n#;?^|", rune(c)) {
			list = append(list, "x"+string(c)+"y")
		}
	}
	for c := byte('!'); c < 0x7f; c++ { // and alone
		if !strings.ContainsRune("#;?^|.", rune(c)) {
			list = append(list, string(c))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func testKeys(t *testing.T, s *suite) {
	st := s.store(t)
	list := legalKeys()
	generations := map[string]uint64{}
	for _, i := range permutation(len(list), 1) {
		key := list[i]
		if err := kvstore.CheckKey(key); err != nil {
			t.Fatalf("the suite's key is not legal: %v", err)
		}
		generations[key] = put(t, st, key, "value of "+key, kvstore.InsertOptions{Mode: kvstore.Add, Metadata: []byte(short(key))})
	}
	for _, key := range list {
		if got := mustGet(t, st, key); got.value != "value of "+key || string(got.metadata) != short(key) || got.generation != generations[key] {
			t.Errorf("%.60q holds %v", key, got)
		}
		_, err := st.Insert(ctx(t), key, nil, kvstore.InsertOptions{Mode: kvstore.Add})
		wantErr(t, "adding "+short(key)+" again", err, kvstore.ErrPrecondition)
	}
	for _, limit := range []int{0, 1, 7} {
		if got := keys(t, st, "", limit); !slices.Equal(got, list) {
			t.Errorf("List in pages of %d gave %d keys, want %d; first difference %s", limit, len(got), len(list), difference(got, list))
		}
	}
	for i, key := range list {
		if i%2 == 0 {
			if err := st.Delete(ctx(t), key, kvstore.DeleteOptions{HasIfGeneration: true, IfGeneration: generations[key]}); err != nil {
				t.Errorf("Delete(%.60q): %v", key, err)
			}
			mustMiss(t, st, key)
		}
	}
	var rest []string
	for i, key := range list {
		if i%2 == 1 {
			rest = append(rest, key)
			if got := mustGet(t, st, key); got.value != "value of "+key {
				t.Errorf("%.60q holds %v after others were deleted", key, got)
			}
		}
	}
	if got := keys(t, st, "", 0); !slices.Equal(got, rest) {
		t.Errorf("after deleting every second, List differs: %s", difference(got, rest))
	}
}

// difference tells where two sorted lists part.
func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "missing " + short(want[i])
		case i >= len(want):
			return "too much " + short(got[i])
		case got[i] != want[i]:
			return short(got[i]) + " for " + short(want[i])
		}
	}
	return "none"
}

func testBadKeys(t *testing.T, s *suite) {
	st := s.store(t)
	bad := []string{
		"", ".", "..", "./a", "a/../b", "a./b", "a/.", "a/..", "../", "#", ";", "?", "^", "|", "\r", "\n", " ", "\x00", "\x7f", "\x1f", "\uffff", "\ufffe",
		"\xff", "a\x80", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", ".well-known/acme-challenge", ".well-known/acme-challenge/x", ".well-known/acme-challengex",
		strings.Repeat("k", kvstore.MaxKey+1), strings.Repeat("é", kvstore.MaxKey/2) + "x", strings.Repeat("k", 1<<20),
	}
	for _, c := range "\r\n#;?^|" {
		bad = append(bad, "a"+string(c), string(c)+"a", "a"+string(c)+"a")
	}
	for _, key := range bad {
		_, err := st.Lookup(ctx(t), key)
		wantErr(t, "Lookup of "+short(key), err, kvstore.ErrKey)
		for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
			_, err = st.Insert(ctx(t), key, body("v"), kvstore.InsertOptions{Mode: mode})
			wantErr(t, "Insert of "+short(key), err, kvstore.ErrKey)
		}
		wantErr(t, "Delete of "+short(key), st.Delete(ctx(t), key, kvstore.DeleteOptions{}), kvstore.ErrKey)
	}
	if got := keys(t, st, "", 0); len(got) != 0 {
		t.Errorf("List gave %.200q", got)
	}
}

func testStores(t *testing.T, s *suite) {
	all := s.stores(t)
	names := func(want ...string) {
		t.Helper()
		got, err := all.Names(ctx(t))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Names gave %q, %v; want %q", got, err, want)
		}
	}
	names()
	_, err := all.Open(ctx(t), "b")
	wantErr(t, "opening a store that there is not", err, kvstore.ErrNoStore)
	wantErr(t, "dropping a store that there is not", all.Drop(ctx(t), "b"), kvstore.ErrNoStore)
	b := create(t, all, "b")
	create(t, all, "a")
	create(t, all, "c")
	names("a", "b", "c")
	put(t, b, "k", "v", kvstore.InsertOptions{})
	_, err = all.Create(ctx(t), "b")
	wantErr(t, "creating a store that there is", err, kvstore.ErrStoreExists)
	again, err := all.Open(ctx(t), "b")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustGet(t, again, "k"); got.value != "v" {
		t.Errorf("the store that was opened again holds %v", got)
	}
	put(t, again, "k", "w", kvstore.InsertOptions{})
	if got := mustGet(t, b, "k"); got.value != "w" {
		t.Errorf("the store that was created holds %v", got)
	}
	if err := all.Drop(ctx(t), "a"); err != nil {
		t.Fatal(err)
	}
	names("b", "c")
}

func testNames(t *testing.T, s *suite) {
	all := s.stores(t)
	legal := []string{
		"a", "A", "my store", " ", ".", "..", "../x", "/", "a/b", "\\", "a\\b", "*", ">", "a.b", "$", "%2e", "é", "e\u0301", "日本", "\U0001F600", "-", "_", "KV_a", "CON", "\u00a0",
		"#", "?", strings.Repeat("n", kvstore.MaxName), strings.Repeat("n", kvstore.MaxName-1), strings.Repeat("é", 127) + "x",
	}
	slices.Sort(legal)
	for _, i := range permutation(len(legal), 2) {
		put(t, create(t, all, legal[i]), "k", legal[i], kvstore.InsertOptions{})
	}
	for _, name := range legal {
		st, err := all.Open(ctx(t), name)
		if err != nil {
			t.Errorf("Open(%.40q): %v", name, err)
			continue
		}
		if got := mustGet(t, st, "k"); got.value != name {
			t.Errorf("%.40q holds what %.40q should", name, got.value)
		}
	}
	bad := []string{"", "\x00", "a\nb", "\x7f", "a\x00", "\xff", "\t", strings.Repeat("n", kvstore.MaxName+1), strings.Repeat("é", 128), strings.Repeat("n", 1<<20)}
	for _, name := range bad {
		_, err := all.Create(ctx(t), name)
		wantErr(t, "Create of "+short(name), err, kvstore.ErrName)
		if _, err := all.Open(ctx(t), name); !errors.Is(err, kvstore.ErrNoStore) && !errors.Is(err, kvstore.ErrName) {
			t.Errorf("Open(%.40q): %v", name, err)
		}
		if err := all.Drop(ctx(t), name); !errors.Is(err, kvstore.ErrNoStore) && !errors.Is(err, kvstore.ErrName) {
			t.Errorf("Drop(%.40q): %v", name, err)
		}
	}
	if got, err := all.Names(ctx(t)); err != nil || !slices.Equal(got, legal) {
		t.Errorf("Names gave %v; %s", err, difference(got, legal))
	}
	for _, name := range legal {
		if err := all.Drop(ctx(t), name); err != nil {
			t.Errorf("Drop(%.40q): %v", name, err)
		}
	}
	if got, err := all.Names(ctx(t)); err != nil || len(got) != 0 {
		t.Errorf("Names gave %q, %v after all were dropped", got, err)
	}
}

func testSeparate(t *testing.T, s *suite) {
	all := s.stores(t)
	// Pairs that run together when a driver joins name and key.
	for _, p := range [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a", "b.c"}, {"a.b", "c"}, {"a", "bc"}, {"ab", "c"}} {
		st, err := all.Open(ctx(t), p[0])
		if err != nil {
			st = create(t, all, p[0])
		}
		put(t, st, p[1], p[0]+"+"+p[1], kvstore.InsertOptions{Mode: kvstore.Add})
	}
	for name, want := range map[string][]string{"a": {"b.c", "b/c", "bc"}, "a/b": {"c"}, "a.b": {"c"}, "ab": {"c"}} {
		st, err := all.Open(ctx(t), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := keys(t, st, "", 0); !slices.Equal(got, want) {
			t.Errorf("%s: List gave %q, want %q", name, got, want)
		}
		for _, key := range want {
			if got := mustGet(t, st, key); got.value != name+"+"+key {
				t.Errorf("%s: %s holds %v", name, key, got)
			}
		}
		if stat, err := st.Stat(ctx(t)); err != nil || stat.Keys != int64(len(want)) {
			t.Errorf("%s: Stat gave %+v, %v", name, stat, err)
		}
	}
	if err := all.Drop(ctx(t), "a"); err != nil {
		t.Fatal(err)
	}
	st, err := all.Open(ctx(t), "ab")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustGet(t, st, "c"); got.value != "ab+c" {
		t.Errorf("after dropping a, ab holds %v", got)
	}
}

func testDrop(t *testing.T, s *suite) {
	all := s.stores(t)
	old := create(t, all, "store")
	put(t, old, "k", "old", kvstore.InsertOptions{})
	put(t, old, "expires", "old", kvstore.InsertOptions{TTL: shortTTL})
	if err := all.Drop(ctx(t), "store"); err != nil {
		t.Fatal(err)
	}
	dead := func(when string) {
		t.Helper()
		for what, err := range useStore(t, old) {
			wantErr(t, what+" "+when, err, kvstore.ErrNoStore)
		}
	}
	dead("after the drop")
	_, err := all.Open(ctx(t), "store")
	wantErr(t, "opening it", err, kvstore.ErrNoStore)
	wantErr(t, "dropping it again", all.Drop(ctx(t), "store"), kvstore.ErrNoStore)
	fresh := create(t, all, "store")
	mustMiss(t, fresh, "k")
	if got := keys(t, fresh, "", 0); len(got) != 0 {
		t.Errorf("the store that was created again holds %q", got)
	}
	if stat, err := fresh.Stat(ctx(t)); err != nil || stat != (kvstore.Stat{}) {
		t.Errorf("Stat gave %+v, %v", stat, err)
	}
	put(t, fresh, "k", "new", kvstore.InsertOptions{Mode: kvstore.Add})
	put(t, fresh, "expires", "new", kvstore.InsertOptions{Mode: kvstore.Add})
	dead("after it was created again")
	sleepPast(time.Now().Add(250 * time.Millisecond)) // what reclaims the old key must not take the new one
	for _, key := range []string{"k", "expires"} {
		if got := mustGet(t, fresh, key); got.value != "new" {
			t.Errorf("%s holds %v", key, got)
		}
	}
}

// useStore calls every method of a store and gives their errors.
func useStore(t testing.TB, st kvstore.Store) map[string]error {
	errs := map[string]error{}
	v, err := st.Lookup(ctx(t), "k")
	if err == nil {
		_ = v.Body.Close()
	}
	errs["Lookup"] = err
	_, errs["Insert"] = st.Insert(ctx(t), "k", body("v"), kvstore.InsertOptions{})
	_, errs["Append"] = st.Insert(ctx(t), "k", body("v"), kvstore.InsertOptions{Mode: kvstore.Append})
	errs["Delete"] = st.Delete(ctx(t), "k", kvstore.DeleteOptions{})
	_, errs["List"] = st.List(ctx(t), kvstore.ListOptions{})
	_, errs["eventual List"] = st.List(ctx(t), kvstore.ListOptions{Eventual: true})
	_, errs["Stat"] = st.Stat(ctx(t))
	return errs
}
