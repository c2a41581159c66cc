package kvstoretest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// seedVariable names the environment variable that repeats a random run.
const seedVariable = "KVSTORETEST_SEED"

// random gives the generator of a test, whose seed is logged, and shown if the test fails.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv(seedVariable); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d repeats this", seedVariable, seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// model is what a store should hold.
type model map[string]item

// step does one random operation on the store and the model, and compares the results.
func (m model) step(t *testing.T, r *rand.Rand, st kvstore.Store, maxValue int64) {
	t.Helper()
	key := "k" + string("abcdé/ "[r.IntN(4)]) + strconv.Itoa(r.IntN(6))
	old, exists := m[key]
	// A generation to ask for: often the right one.
	has, want := r.IntN(3) == 0, old.generation
	if r.IntN(4) == 0 {
		want = uint64(r.IntN(3)) + old.generation - 1
	}
	refused := has && want != old.generation
	switch op := r.IntN(20); {
	case op < 9: // insert
		o := kvstore.InsertOptions{Mode: kvstore.InsertMode(r.IntN(4)), HasIfGeneration: has, IfGeneration: want}
		if r.IntN(2) == 0 {
			o.Metadata = noise(r.IntN(60), r.Uint64())
		}
		gone := false
		switch r.IntN(6) {
		case 0:
			o.TTL = time.Duration(1+r.IntN(1000)) * time.Hour
		case 1:
			o.TTL, gone = -time.Duration(1+r.IntN(1000)), true
		}
		size := r.IntN(300)
		if r.IntN(20) == 0 {
			size = r.IntN(100 << 10)
		}
		value := string(noise(size, r.Uint64()))
		refused = refused || o.Mode == kvstore.Add && exists
		whole := value
		switch o.Mode {
		case kvstore.Append:
			whole = old.value + value
		case kvstore.Prepend:
			whole = value + old.value
		}
		tooLarge := int64(len(whole)) > maxValue
		before := time.Now()
		g, err := st.Insert(ctx(t), key, body(value), o)
		after := time.Now()
		switch {
		case refused && tooLarge:
			if !errors.Is(err, kvstore.ErrPrecondition) && !errors.Is(err, kvstore.ErrTooLarge) {
				t.Fatalf("Insert(%q, %+v): %v", key, o, err)
			}
		case refused:
			wantErr(t, fmt.Sprintf("Insert(%q, %+v)", key, o), err, kvstore.ErrPrecondition)
		case tooLarge:
			wantErr(t, fmt.Sprintf("Insert(%q, %+v)", key, o), err, kvstore.ErrTooLarge)
		case err != nil:
			t.Fatalf("Insert(%q, %+v): %v", key, o, err)
		case g <= old.generation:
			t.Fatalf("Insert(%q, %+v) gave generation %d after %d", key, o, g, old.generation)
		case gone:
			delete(m, key)
		default:
			i := mustGet(t, st, key)
			checkExpires(t, key, i.expires, o.TTL, before, after)
			m[key] = item{whole, o.Metadata, g, i.expires}
		}
	case op < 12: // delete
		err := st.Delete(ctx(t), key, kvstore.DeleteOptions{HasIfGeneration: has, IfGeneration: want})
		var wanted error
		switch {
		case refused:
			wanted = kvstore.ErrPrecondition
		case !exists:
			wanted = kvstore.ErrNotFound
		default:
			delete(m, key)
		}
		wantErr(t, fmt.Sprintf("Delete(%q)", key), err, wanted)
	case op < 13: // list
		prefix := []string{"", "k", "ka", "kb", "kc1", "x"}[r.IntN(6)]
		var wanted []string
		for key := range m {
			if strings.HasPrefix(key, prefix) {
				wanted = append(wanted, key)
			}
		}
		slices.Sort(wanted)
		if got := keys(t, st, prefix, r.IntN(9)); !slices.Equal(got, wanted) {
			t.Fatalf("List(%q) gave %q, want %q", prefix, got, wanted)
		}
	default:
		got, err := get(t, st, key)
		if exists != (err == nil) || !got.equal(old) {
			t.Fatalf("%q is %v, %v; want %v", key, got, err, old)
		}
	}
}

// compare compares everything.
func (m model) compare(t *testing.T, st kvstore.Store) {
	t.Helper()
	if got, want := keys(t, st, "", 0), slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Errorf("List differs: %s", difference(got, want))
	}
	for key, want := range m {
		if got, err := get(t, st, key); err != nil || !got.equal(want) {
			t.Errorf("%.60q is %v, %v; want %v", key, got, err, want)
		}
	}
}

func testModel(t *testing.T, s *suite) {
	all := s.stores(t)
	r := random(t)
	stores := []kvstore.Store{create(t, all, "one"), create(t, all, "two")}
	models := []model{{}, {}}
	for range s.Writes * 2 {
		i := r.IntN(2)
		models[i].step(t, r, stores[i], s.MaxValue)
		if t.Failed() {
			return
		}
	}
	for i, m := range models {
		m.compare(t, stores[i])
	}
}
