package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

func newTestStore(t *testing.T, o Options) (*Stores, *store) {
	t.Helper()
	all := New(o)
	t.Cleanup(func() { _ = all.Close() })
	st, err := all.Create(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	return all, st.(*store)
}

func insert(t *testing.T, st kvstore.Store, key, value string, o kvstore.InsertOptions) {
	t.Helper()
	if _, err := st.Insert(t.Context(), key, kvstore.BytesBody([]byte(value)), o); err != nil {
		t.Fatalf("Insert(%q): %v", key, err)
	}
}

// TestExpiryIsExact looks at a key a nanosecond before it expires, and at that moment.
func TestExpiryIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, st := newTestStore(t, Options{})
		insert(t, st, "k", "v", kvstore.InsertOptions{TTL: time.Minute})
		expires := time.Now().Add(time.Minute)
		time.Sleep(time.Minute - 1)
		v, err := st.Lookup(t.Context(), "k")
		if err != nil || !v.Expires.Equal(expires) {
			t.Errorf("a nanosecond before: expires %v, %v; want %v", v.Expires, err, expires)
		}
		time.Sleep(time.Nanosecond)
		if _, err := st.Lookup(t.Context(), "k"); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("at the moment: %v", err)
		}
		if page, err := st.List(t.Context(), kvstore.ListOptions{}); err != nil || len(page.Keys) != 0 {
			t.Errorf("at the moment List gave %+v, %v", page, err)
		}
	})
}

func TestExpiredKeysAreReclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, st := newTestStore(t, Options{})
		const n = 5000
		for i := range n {
			insert(t, st, fmt.Sprint(i), "v", kvstore.InsertOptions{TTL: time.Duration(i+1) * time.Millisecond})
		}
		insert(t, st, "stays", "v", kvstore.InsertOptions{})
		insert(t, st, "late", "v", kvstore.InsertOptions{TTL: time.Hour})
		for _, after := range []time.Duration{time.Second, 2 * time.Second, n * time.Millisecond} {
			time.Sleep(after - all.now() + reclaimEvery)
			synctest.Wait()
			most := n - int64(after/time.Millisecond) + 2
			if stat, err := st.Stat(t.Context()); err != nil || stat.Keys > most || stat.Keys < 2 {
				t.Errorf("after %v: %+v, %v; want at most %d", after, stat, err, most)
			}
		}
		st.mu.Lock()
		if len(st.soonest) != 1 || st.order.Len() != 2 || len(st.keys) != 2 {
			t.Errorf("%d keys are left, %d in order, %d to expire", len(st.keys), st.order.Len(), len(st.soonest))
		}
		st.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if stat, _ := st.Stat(t.Context()); stat != (kvstore.Stat{Keys: 1, Bytes: 1}) {
			t.Errorf("in the end: %+v", stat)
		}
	})
}

// TestReplacingAKeyThatExpiresHoldsNothing: what is remembered of expiry goes with the key.
func TestReplacingAKeyThatExpiresHoldsNothing(t *testing.T) {
	all, st := newTestStore(t, Options{})
	for i := range 1000 {
		insert(t, st, "k", "v", kvstore.InsertOptions{TTL: time.Hour + time.Duration(i)})
	}
	if len(st.soonest) != 1 {
		t.Errorf("%d entries wait for their expiry", len(st.soonest))
	}
	if err := st.Delete(t.Context(), "k", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(st.soonest) != 0 || all.held.Load() != 0 {
		t.Errorf("%d entries wait for their expiry, %d bytes are held", len(st.soonest), all.held.Load())
	}
}

func TestMaxBytesBoundsAllStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 10 * (perKey + 1 + 1000)
		all, st := newTestStore(t, Options{MaxBytes: room})
		other, err := all.Create(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		value := strings.Repeat("v", 1000)
		for i := range 5 {
			insert(t, st, fmt.Sprint(i), value, kvstore.InsertOptions{})
			insert(t, other, fmt.Sprint(i), value, kvstore.InsertOptions{TTL: time.Second})
		}
		full := func(st kvstore.Store, key, value string, o kvstore.InsertOptions) {
			t.Helper()
			_, err := st.Insert(t.Context(), key, strings.NewReader(value), o)
			if !errors.Is(err, kvstore.ErrReadOnly) || !strings.Contains(err.Error(), "MaxBytes") {
				t.Errorf("%s: got %v", key, err)
			}
		}
		full(st, "x", "", kvstore.InsertOptions{})
		full(other, "0", value+"v", kvstore.InsertOptions{})
		full(other, "0", "v", kvstore.InsertOptions{Mode: kvstore.Append})
		full(other, "0", value, kvstore.InsertOptions{Metadata: []byte("m")})
		if v, err := other.Lookup(t.Context(), "0"); err != nil || v.Body.Size() != 1000 {
			t.Errorf("a refused insert changed the value: %v", err)
		}
		insert(t, st, "0", strings.Repeat("w", 1000), kvstore.InsertOptions{}) // no more than before
		insert(t, st, "0", value[1:], kvstore.InsertOptions{Metadata: []byte("m")})
		if held := all.held.Load(); held != room {
			t.Errorf("%d bytes are held, want %d", held, room)
		}
		// What another store's expired keys hold is free at once.
		time.Sleep(time.Second)
		for i := range 5 {
			insert(t, st, fmt.Sprint(5+i), value, kvstore.InsertOptions{})
		}
		full(other, "x", "", kvstore.InsertOptions{})
		if err := all.Drop(t.Context(), "store"); err != nil {
			t.Fatal(err)
		}
		if held := all.held.Load(); held != 0 {
			t.Errorf("%d bytes are held after all was dropped", held)
		}
		insert(t, other, "0", strings.Repeat("v", 9*1000), kvstore.InsertOptions{})
	})
}

// TestAppendingIsLinear: a value of many parts is not copied for each, and readers of earlier ones do not notice.
func TestAppendingIsLinear(t *testing.T) {
	all, st := newTestStore(t, Options{})
	part := bytes.Repeat([]byte("p"), 1000)
	arrays := map[*byte]bool{}
	var early kvstore.Value
	for i := range 1000 {
		if _, err := st.Insert(t.Context(), "k", kvstore.BytesBody(part), kvstore.InsertOptions{Mode: kvstore.Append}); err != nil {
			t.Fatal(err)
		}
		arrays[&st.keys["k"].value[0]] = true
		if i == 500 {
			var err error
			if early, err = st.Lookup(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(arrays) > 50 {
		t.Errorf("the value was copied %d times", len(arrays))
	}
	if b, err := io.ReadAll(early.Body); err != nil || len(b) != 501*1000 {
		t.Errorf("the value after 501 parts has %d bytes, %v", len(b), err)
	}
	if b, _ := early.Body.Bytes(); cap(b) != len(b) {
		t.Error("a reader could write behind the value")
	}
	if stat, _ := st.Stat(t.Context()); stat.Bytes != 1000*1000 || all.held.Load() > 1000*1000*5/4+perKey+1 {
		t.Errorf("%+v, %d bytes are held", stat, all.held.Load())
	}
}

func TestValuesInMemoryAreNotCopied(t *testing.T) {
	_, st := newTestStore(t, Options{})
	b := bytes.Repeat([]byte("v"), 100_000)
	if _, err := st.Insert(t.Context(), "k", kvstore.BytesBody(b), kvstore.InsertOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := st.Lookup(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := v.Body.Bytes(); &got[0] != &b[0] {
		t.Error("the value was copied")
	}
	// But a little of a large array is.
	if _, err := st.Insert(t.Context(), "k", kvstore.BytesBody(b[:10]), kvstore.InsertOptions{}); err != nil {
		t.Fatal(err)
	}
	if &st.keys["k"].value[0] == &b[0] {
		t.Error("10 bytes hold 100,000")
	}
}

func TestTheDefaultLimitIsThePlatforms(t *testing.T) {
	_, st := newTestStore(t, Options{})
	b := make([]byte, kvstore.DefaultMaxValue+1)
	if _, err := st.Insert(t.Context(), "k", kvstore.BytesBody(b), kvstore.InsertOptions{}); !errors.Is(err, kvstore.ErrTooLarge) {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := st.Insert(t.Context(), "k", kvstore.BytesBody(b[1:]), kvstore.InsertOptions{}); err != nil {
		t.Error(err)
	}
}

func TestLookupAllocatesTheBodyAlone(t *testing.T) {
	_, st := newTestStore(t, Options{})
	insert(t, st, "k", "v", kvstore.InsertOptions{})
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() { _, _ = st.Lookup(ctx, "k") }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestGenerationsGoOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, st := newTestStore(t, Options{})
		var last uint64
		for i := range 1000 {
			insert(t, st, fmt.Sprint(i), "v", kvstore.InsertOptions{})
		}
		last = st.keys["999"].generation
		time.Sleep(time.Millisecond)
		_, st = newTestStore(t, Options{})
		insert(t, st, "k", "v", kvstore.InsertOptions{})
		if g := st.keys["k"].generation; g <= last || g > 1<<53 {
			t.Errorf("generation %d after %d", g, last)
		}
	})
}
