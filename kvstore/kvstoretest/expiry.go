package kvstoretest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// testExpiry looks at keys again and again while they expire. Each look tells from its own beginning and end what it
// must have seen, so a slow machine changes what is tested, not whether it passes.
func testExpiry(t *testing.T, s *suite) {
	st := s.store(t)
	type span struct{ earliest, latest time.Time } // when the key expires
	spans := map[string]span{}
	const grain = time.Millisecond // of what may be stored
	for i := range 24 {
		key := fmt.Sprintf("k%02d", i)
		ttl := time.Duration(i/2*50+1) * time.Millisecond
		before := time.Now()
		put(t, st, key, "value", kvstore.InsertOptions{TTL: ttl, Metadata: []byte("m")})
		spans[key] = span{before.Add(ttl - grain), time.Now().Add(ttl + grain)}
	}
	put(t, st, "stays", "value", kvstore.InsertOptions{})
	put(t, st, "stays longer", "value", kvstore.InsertOptions{TTL: 1})
	put(t, st, "stays longer", "value", kvstore.InsertOptions{TTL: time.Hour})

	// check compares what was seen between two moments with what should have been.
	check := func(what, key string, seen bool, began, ended time.Time) {
		t.Helper()
		if seen && began.After(spans[key].latest) {
			t.Errorf("%s: %s is there, %v after it expired", what, key, began.Sub(spans[key].latest))
		}
		if !seen && ended.Before(spans[key].earliest) {
			t.Errorf("%s: %s is gone, %v before it expires", what, key, spans[key].earliest.Sub(ended))
		}
	}
	end := time.Now().Add(600 * time.Millisecond)
	for turn := 0; time.Now().Before(end); turn++ {
		for key := range spans {
			began := time.Now()
			_, err := get(t, st, key)
			check("Lookup", key, err == nil, began, time.Now())
		}
		began := time.Now()
		listed := keys(t, st, "", []int{0, 5}[turn%2])
		ended := time.Now()
		for key := range spans {
			_, seen := slices.BinarySearch(listed, key)
			check("List", key, seen, began, ended)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, span := range spans {
		sleepPast(span.latest)
	}
	if got := keys(t, st, "", 0); !slices.Equal(got, []string{"stays", "stays longer"}) {
		t.Errorf("List gave %q after all others expired", got)
	}

	// What expired is missing to writes as well; each kind of write has keys of its own.
	for i, tt := range []struct {
		what string
		o    kvstore.InsertOptions
	}{
		{"add", kvstore.InsertOptions{Mode: kvstore.Add}},
		{"append", kvstore.InsertOptions{Mode: kvstore.Append}},
		{"prepend", kvstore.InsertOptions{Mode: kvstore.Prepend}},
		{"if it is missing", kvstore.InsertOptions{HasIfGeneration: true}},
	} {
		key := fmt.Sprintf("k%02d", i)
		put(t, st, key, "new", tt.o)
		if got := mustGet(t, st, key); got.value != "new" || got.metadata != nil || !got.expires.IsZero() {
			t.Errorf("%s: the expired key is now %v", tt.what, got)
		}
	}
	wantErr(t, "deleting an expired key", st.Delete(ctx(t), "k10", kvstore.DeleteOptions{}), kvstore.ErrNotFound)

	// A key that expired is not reclaimed together with what was inserted after it.
	for range 20 {
		put(t, st, "again", "short", kvstore.InsertOptions{TTL: 2 * time.Millisecond})
		time.Sleep(3 * time.Millisecond)
		put(t, st, "again", "long", kvstore.InsertOptions{})
	}
	time.Sleep(250 * time.Millisecond)
	if got := mustGet(t, st, "again"); got.value != "long" {
		t.Errorf("the key is now %v", got)
	}

	// Stat may lag behind, not lose count.
	stat, err := st.Stat(ctx(t))
	if err != nil || stat.Keys < 7 || stat.Bytes < 7*3 {
		t.Errorf("Stat gave %+v, %v", stat, err)
	}
}

func testExtremeTTL(t *testing.T, s *suite) {
	st := s.store(t)
	for _, ttl := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, 200 * 365 * 24 * time.Hour, math.MaxUint32 * time.Second} {
		put(t, st, "k", ttl.String(), kvstore.InsertOptions{TTL: ttl})
		got := mustGet(t, st, "k")
		if got.value != ttl.String() || !got.expires.IsZero() && got.expires.Before(time.Now().Add(100*365*24*time.Hour)) {
			t.Errorf("TTL %v: the key is now %v", ttl, got)
		}
	}
	for _, ttl := range []time.Duration{-1, -time.Second, math.MinInt64} {
		put(t, st, "k", ttl.String(), kvstore.InsertOptions{TTL: ttl})
		mustMiss(t, st, "k")
		if got := keys(t, st, "", 0); len(got) != 0 {
			t.Errorf("TTL %v: List gave %q", ttl, got)
		}
	}
}
