package kvstoretest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// state is what an operation finds a key in.
type state int

const (
	missing state = iota
	exists
	expired
	deleted
)

func (s state) String() string { return [...]string{"missing", "existing", "expired", "deleted"}[s] }

// condition is an IfGeneration, relative to the key's.
type condition int

const (
	unconditional condition = iota
	ifZero
	ifMatch // the generation that the key has or had, 1 for one that never was
	ifLess
	ifMore
	ifMost
)

func (c condition) String() string {
	return [...]string{"no condition", "generation 0", "its generation", "its generation less 1", "its generation and 1",
		"the largest generation"}[c]
}

func (c condition) generation(had uint64) uint64 {
	if had == 0 {
		had = 1
	}
	switch c {
	case ifMatch:
		return had
	case ifLess:
		return had - 1
	case ifMore:
		return had + 1
	case ifMost:
		return math.MaxUint64
	}
	return 0
}

const shortTTL = 30 * time.Millisecond // for keys that should be expired soon

// prepare brings keys into their states, in any order, and returns what they hold or held.
func prepare(t *testing.T, st kvstore.Store, states map[string]state) map[string]item {
	t.Helper()
	held := map[string]item{}
	for key, state := range states {
		if state == missing {
			continue
		}
		o := kvstore.InsertOptions{Metadata: []byte("old metadata"), TTL: time.Hour}
		if state == expired {
			o.TTL = shortTTL
		}
		g := put(t, st, key, "old", o)
		held[key] = item{value: "old", generation: g}
		if state == exists {
			held[key] = mustGet(t, st, key)
		}
		if state == deleted {
			if err := st.Delete(ctx(t), key, kvstore.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sleepPast(time.Now().Add(shortTTL))
	return held
}

func testInsert(t *testing.T, s *suite) {
	type test struct {
		state     state
		mode      kvstore.InsertMode
		condition condition
		metadata  string // "" for nil, "empty" for empty
		ttl       time.Duration
	}
	var tests []test
	states := map[string]state{}
	for _, state := range []state{missing, exists, expired, deleted} {
		for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
			for c := unconditional; c <= ifMost; c++ {
				tt := test{state: state, mode: mode, condition: c, metadata: []string{"", "empty", "new metadata"}[len(tests)%3]}
				if len(tests)%2 == 0 {
					tt.ttl = 2 * time.Hour
				}
				states[fmt.Sprintf("key %d", len(tests))] = state
				tests = append(tests, tt)
			}
		}
	}
	st := s.store(t)
	held := prepare(t, st, states)
	for i, tt := range tests {
		key := fmt.Sprintf("key %d", i)
		name := fmt.Sprintf("mode %d of a key that is %v, with %v", tt.mode, tt.state, tt.condition)
		old := held[key]
		o := kvstore.InsertOptions{Mode: tt.mode, TTL: tt.ttl, HasIfGeneration: tt.condition != unconditional,
			IfGeneration: tt.condition.generation(old.generation)}
		switch tt.metadata {
		case "":
		case "empty":
			o.Metadata = []byte{}
		default:
			o.Metadata = []byte(tt.metadata)
		}
		have := uint64(0)
		if tt.state == exists {
			have = old.generation
		}
		refused := o.HasIfGeneration && o.IfGeneration != have || tt.mode == kvstore.Add && tt.state == exists
		before := time.Now()
		g, err := st.Insert(ctx(t), key, body("new"), o)
		after := time.Now()
		got, miss := get(t, st, key)
		if refused {
			if !errors.Is(err, kvstore.ErrPrecondition) || g != 0 {
				t.Errorf("%s: got %d, %v", name, g, err)
			}
			if tt.state != exists && miss == nil || tt.state == exists && !got.equal(old) {
				t.Errorf("%s: refused, but the key is now %v, %v", name, got, miss)
			}
			continue
		}
		if err != nil || miss != nil {
			t.Errorf("%s: got %v, then looking up %v", name, err, miss)
			continue
		}
		want := "new"
		if tt.state == exists {
			switch tt.mode {
			case kvstore.Append:
				want = "oldnew"
			case kvstore.Prepend:
				want = "newold"
			}
		}
		wantMetadata := strings.TrimPrefix(tt.metadata, "empty")
		if got.value != want || string(got.metadata) != wantMetadata || got.generation != g || g <= old.generation {
			t.Errorf("%s: the key is now %v; Insert gave %d, before it was %v", name, got, g, old)
		}
		checkExpires(t, name, got.expires, tt.ttl, before, after)
	}
}

// checkExpires checks an Expires of a key inserted between before and after.
func checkExpires(t testing.TB, name string, expires time.Time, ttl time.Duration, before, after time.Time) {
	t.Helper()
	const grain = time.Millisecond // of what may be stored
	if ttl == 0 && !expires.IsZero() ||
		ttl != 0 && (expires.Before(before.Add(ttl-grain)) || expires.After(after.Add(ttl+grain))) {
		t.Errorf("%s: expires %v, with TTL %v from %v to %v", name, expires, ttl, before, after)
	}
}

func testDelete(t *testing.T, s *suite) {
	type test struct {
		state     state
		condition condition
	}
	var tests []test
	states := map[string]state{}
	for _, state := range []state{missing, exists, expired, deleted} {
		for c := unconditional; c <= ifMost; c++ {
			states[fmt.Sprintf("key %d", len(tests))] = state
			tests = append(tests, test{state, c})
		}
	}
	st := s.store(t)
	held := prepare(t, st, states)
	for i, tt := range tests {
		key := fmt.Sprintf("key %d", i)
		name := fmt.Sprintf("deleting a key that is %v, with %v", tt.state, tt.condition)
		old := held[key]
		o := kvstore.DeleteOptions{HasIfGeneration: tt.condition != unconditional, IfGeneration: tt.condition.generation(old.generation)}
		have := uint64(0)
		if tt.state == exists {
			have = old.generation
		}
		var want error
		switch {
		case o.HasIfGeneration && o.IfGeneration != have:
			want = kvstore.ErrPrecondition
		case tt.state != exists:
			want = kvstore.ErrNotFound
		}
		wantErr(t, name, st.Delete(ctx(t), key, o), want)
		got, miss := get(t, st, key)
		if tt.state == exists && want != nil {
			if miss != nil || !got.equal(old) {
				t.Errorf("%s: refused, but the key is now %v, %v", name, got, miss)
			}
		} else if miss == nil {
			t.Errorf("%s: the key is still there, %v", name, got)
		}
	}
}

func testBadMode(t *testing.T, s *suite) {
	st := s.store(t)
	put(t, st, "there", "old", kvstore.InsertOptions{})
	old := mustGet(t, st, "there")
	for _, mode := range []kvstore.InsertMode{-1, kvstore.Prepend + 1, math.MaxInt32} {
		for _, key := range []string{"there", "missing"} {
			if _, err := st.Insert(ctx(t), key, body("new"), kvstore.InsertOptions{Mode: mode}); err == nil {
				t.Errorf("mode %d of %s: no error", mode, key)
			}
		}
	}
	if got := mustGet(t, st, "there"); !got.equal(old) {
		t.Errorf("the key is now %v", got)
	}
	mustMiss(t, st, "missing")
}

func testGenerations(t *testing.T, s *suite) {
	all := s.stores(t)
	st := create(t, all, "store")
	last := uint64(0)
	grow := func(what, key string, o kvstore.InsertOptions) {
		t.Helper()
		g := put(t, st, key, "v", o)
		if g <= last {
			t.Errorf("%s: generation %d after %d", what, g, last)
		}
		last = g
	}
	remove := func() {
		t.Helper()
		if err := st.Delete(ctx(t), "k", kvstore.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	grow("first", "k", kvstore.InsertOptions{})
	for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
		if mode == kvstore.Add {
			remove()
		}
		grow(fmt.Sprintf("mode %d", mode), "k", kvstore.InsertOptions{Mode: mode})
	}
	for range 3 {
		remove()
		grow("after a delete", "k", kvstore.InsertOptions{})
	}
	grow("that expires", "k", kvstore.InsertOptions{TTL: shortTTL})
	sleepPast(time.Now().Add(shortTTL))
	grow("after expiry", "k", kvstore.InsertOptions{Mode: kvstore.Add, TTL: -1})
	grow("after expiry at once", "k", kvstore.InsertOptions{Mode: kvstore.Add})
	if err := all.Drop(ctx(t), "store"); err != nil {
		t.Fatal(err)
	}
	st = create(t, all, "store")
	grow("after the store was dropped", "k", kvstore.InsertOptions{})
}

func testReplaced(t *testing.T, s *suite) {
	st := s.store(t)
	metadata := []string{"first", "", "second", strings.Repeat("m", kvstore.MaxMetadata), "\x00\xff", ""}
	for mode := kvstore.Overwrite; mode <= kvstore.Prepend; mode++ {
		if mode == kvstore.Add {
			continue
		}
		for i, m := range metadata {
			o := kvstore.InsertOptions{Mode: mode, TTL: time.Duration(i%3) * time.Hour}
			if m != "" {
				o.Metadata = []byte(m)
			}
			before := time.Now()
			put(t, st, "k", "v", o)
			after := time.Now()
			got := mustGet(t, st, "k")
			if string(got.metadata) != m {
				t.Errorf("mode %d: metadata %s, want %s", mode, short(string(got.metadata)), short(m))
			}
			checkExpires(t, fmt.Sprintf("mode %d", mode), got.expires, o.TTL, before, after)
		}
	}
}

func testMetadataLimit(t *testing.T, s *suite) {
	st := s.store(t)
	m := noise(kvstore.MaxMetadata+1, 1)
	put(t, st, "k", "v", kvstore.InsertOptions{Metadata: m[:kvstore.MaxMetadata]})
	old := mustGet(t, st, "k")
	if string(old.metadata) != string(m[:kvstore.MaxMetadata]) {
		t.Error("metadata of the most bytes did not come back")
	}
	for _, key := range []string{"k", "missing"} {
		_, err := st.Insert(ctx(t), key, body("new"), kvstore.InsertOptions{Metadata: m})
		wantErr(t, "metadata of a byte too many", err, kvstore.ErrTooLarge)
	}
	if got := mustGet(t, st, "k"); !got.equal(old) {
		t.Errorf("the key is now %v", got)
	}
	mustMiss(t, st, "missing")
}
