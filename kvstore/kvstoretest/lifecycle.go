package kvstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

func testClose(t *testing.T, s *suite) {
	all := s.stores(t)
	st := create(t, all, "store")
	put(t, st, "k", "v", kvstore.InsertOptions{TTL: shortTTL})
	if err := all.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range useStore(t, st) {
		wantErr(t, what, err, kvstore.ErrClosed)
	}
	for what, err := range useStores(ctx(t), all) {
		wantErr(t, what, err, kvstore.ErrClosed)
	}
	if err := all.Close(); err != nil && !errors.Is(err, kvstore.ErrClosed) {
		t.Errorf("closing again: %v", err)
	}
	// Closing without having used, too.
	if err := s.stores(t).Close(); err != nil {
		t.Error(err)
	}
}

// useStores calls the methods of Stores and gives their errors.
func useStores(c context.Context, all kvstore.Stores) map[string]error {
	errs := map[string]error{}
	_, errs["Open"] = all.Open(c, "store")
	_, errs["Open of another"] = all.Open(c, "another")
	_, errs["Create"] = all.Create(c, "new")
	errs["Drop"] = all.Drop(c, "store")
	_, errs["Names"] = all.Names(c)
	return errs
}

func testContext(t *testing.T, s *suite) {
	all := s.stores(t)
	st := create(t, all, "store")
	put(t, st, "k", "v", kvstore.InsertOptions{})
	old := mustGet(t, st, "k")
	cancelled, cancel := context.WithCancel(ctx(t))
	cancel()
	past, cancel := context.WithDeadline(ctx(t), time.Now().Add(-time.Second))
	defer cancel()
	for want, c := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: past} {
		errs := useStores(c, all)
		_, errs["Lookup"] = st.Lookup(c, "k")
		_, errs["Lookup of a missing key"] = st.Lookup(c, "missing")
		for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
			_, errs[fmt.Sprint("Insert ", mode)] = st.Insert(c, "k", body("new"), kvstore.InsertOptions{Mode: mode})
			_, errs[fmt.Sprint("Insert of a missing key ", mode)] = st.Insert(c, "missing", body("new"), kvstore.InsertOptions{Mode: mode})
		}
		errs["Delete"] = st.Delete(c, "k", kvstore.DeleteOptions{})
		_, errs["List"] = st.List(c, kvstore.ListOptions{})
		_, errs["Stat"] = st.Stat(c)
		for what, err := range errs {
			wantErr(t, what, err, want)
		}
	}
	if got := mustGet(t, st, "k"); !got.equal(old) {
		t.Errorf("the key is now %v", got)
	}
	if got := keys(t, st, "", 0); !slices.Equal(got, []string{"k"}) {
		t.Errorf("List gave %q", got)
	}
	if got, err := all.Names(ctx(t)); err != nil || !slices.Equal(got, []string{"store"}) {
		t.Errorf("Names gave %q, %v", got, err)
	}
}

// testErrorTexts provokes errors with a value that the texts must not hold, nor may they be long or have several lines.
func testErrorTexts(t *testing.T, s *suite) {
	all := s.stores(t)
	st := create(t, all, "store")
	const secret = "s3cr3t"
	key := strings.Repeat("a long\tkey ", 80)
	o := kvstore.InsertOptions{Metadata: []byte(secret)}
	g := put(t, st, key, secret, o)
	insert := func(key string, r io.Reader, change func(o *kvstore.InsertOptions)) error {
		o := o
		change(&o)
		_, err := st.Insert(ctx(t), key, r, o)
		return err
	}
	large := bytes.Repeat([]byte(secret), int(s.MaxValue)/len(secret)+1)
	_, noStore := all.Open(ctx(t), strings.Repeat("no\nstore", 1000))
	_, noCursor := st.List(ctx(t), kvstore.ListOptions{Cursor: strings.Repeat("no\ncursor", 1000)})
	_, noKey := st.Lookup(ctx(t), strings.Repeat("missing\t", 100))
	for what, err := range map[string]error{
		"adding what exists":   insert(key, body(secret), func(o *kvstore.InsertOptions) { o.Mode = kvstore.Add }),
		"another generation":   insert(key, body(secret), func(o *kvstore.InsertOptions) { o.HasIfGeneration, o.IfGeneration = true, g+1 }),
		"a large value":        insert(key, bytes.NewReader(large), func(o *kvstore.InsertOptions) {}),
		"large metadata":       insert(key, body(secret), func(o *kvstore.InsertOptions) { o.Metadata = large[:kvstore.MaxMetadata+1] }),
		"a broken source":      insert(key, io.MultiReader(strings.NewReader(secret), iotest.ErrReader(errors.New("broke"))), func(o *kvstore.InsertOptions) {}),
		"a bad mode":           insert(key, body(secret), func(o *kvstore.InsertOptions) { o.Mode = 9 }),
		"a bad key":            insert("bad\nkey"+strings.Repeat("k", 900), body(secret), func(o *kvstore.InsertOptions) {}),
		"a missing key":        noKey,
		"a missing store":      noStore,
		"a bad cursor":         noCursor,
		"deleting a wrong one": st.Delete(ctx(t), key, kvstore.DeleteOptions{HasIfGeneration: true, IfGeneration: g + 1}),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		} else if text := err.Error(); strings.Contains(text, secret) || len(text) > 500 || strings.ContainsAny(text, "\r\n\t\x00") {
			t.Errorf("%s: the error is %.600q", what, text)
		}
	}
}

func testReopen(t *testing.T, s *suite) {
	if s.Reopen == nil {
		t.Skip("the driver keeps nothing")
	}
	all := s.stores(t)
	r := random(t)
	names := []string{"one", "two", "with/odd name é"}
	models := map[string]model{}
	for _, name := range names {
		create(t, all, name)
		models[name] = model{}
	}
	create(t, all, "dropped")
	if err := all.Drop(ctx(t), "dropped"); err != nil {
		t.Fatal(err)
	}
	create(t, all, "empty")
	st, err := all.Open(ctx(t), "one")
	if err != nil {
		t.Fatal(err)
	}
	add := func(key, value string, o kvstore.InsertOptions) {
		t.Helper()
		put(t, st, key, value, o)
		models["one"][key] = mustGet(t, st, key)
	}
	for _, key := range legalKeys() {
		add(key, "value of "+key, kvstore.InsertOptions{})
	}
	for i, size := range []int64{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 1<<20 + 1, s.MaxValue} {
		if size <= s.MaxValue {
			add(fmt.Sprintf("size %d", size), string(noise(int(size), uint64(i))), kvstore.InsertOptions{
				Metadata: noise(kvstore.MaxMetadata, uint64(i)), TTL: time.Duration(i) * time.Hour})
		}
	}
	deleted := put(t, st, "deleted", "v", kvstore.InsertOptions{})
	if err := st.Delete(ctx(t), "deleted", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	put(t, st, "expires", "v", kvstore.InsertOptions{TTL: shortTTL})
	put(t, st, "expired", "v", kvstore.InsertOptions{TTL: -1})
	page, err := st.List(ctx(t), kvstore.ListOptions{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	sleepPast(time.Now().Add(shortTTL))

	for round := range 4 {
		for _, name := range names {
			st, err := all.Open(ctx(t), name)
			if err != nil {
				t.Fatal(err)
			}
			for range s.Writes / 20 {
				models[name].step(t, r, st, s.MaxValue)
			}
		}
		if t.Failed() {
			return
		}
		if err := all.Close(); err != nil {
			t.Fatal(err)
		}
		all = s.Reopen(t, all)
		reopened := all
		t.Cleanup(func() { _ = reopened.Close() })
		want := []string{"empty", "one", "two", "with/odd name é"}
		if got, err := all.Names(ctx(t)); err != nil || !slices.Equal(got, want) {
			t.Errorf("Names gave %q, %v", got, err)
		}
		for _, name := range names {
			st, err := all.Open(ctx(t), name)
			if err != nil {
				t.Fatal(err)
			}
			models[name].compare(t, st)
		}
		if t.Failed() {
			t.Fatalf("after closing and opening %d times", round+1)
		}
	}
	if st, err = all.Open(ctx(t), "one"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"deleted", "expires", "expired"} {
		mustMiss(t, st, key)
	}
	if g := put(t, st, "deleted", "v", kvstore.InsertOptions{}); g <= deleted {
		t.Errorf("generation %d after %d, which was deleted before", g, deleted)
	}
	again, err := st.List(ctx(t), kvstore.ListOptions{Limit: 5, Cursor: page.NextCursor})
	if err != nil || len(again.Keys) == 0 || again.Keys[0] <= page.Keys[4] {
		t.Errorf("the cursor from before gives %+v, %v", again, err)
	}
}
