package cache

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteOptionsAreChecked(t *testing.T) {
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, strings.Repeat("x", i+1))
		}
		return out
	}
	for _, tt := range []struct {
		name string
		o    WriteOptions
		want string // part of the error, "" for none
	}{
		{"nothing at all", WriteOptions{}, ""},
		{"a negative max age", WriteOptions{MaxAge: -1}, "max age of -1ns is negative"},
		{"a negative initial age", WriteOptions{InitialAge: -1}, "initial age"},
		{"a negative window", WriteOptions{StaleWhileRevalidate: -1}, "stale-while-revalidate"},
		{"a negative window for errors", WriteOptions{StaleIfError: -1}, "stale-if-error"},
		{"an edge max age above the max age", WriteOptions{MaxAge: time.Second, EdgeMaxAge: 2 * time.Second}, "edge max age of 2s is above the max age of 1s"},
		{"an edge max age of the max age", WriteOptions{MaxAge: time.Second, EdgeMaxAge: time.Second}, ""},
		{"for ever", WriteOptions{MaxAge: 1<<63 - 1, InitialAge: 1<<63 - 1, StaleWhileRevalidate: 1<<63 - 1, StaleIfError: 1<<63 - 1}, ""},
		{"a negative length", WriteOptions{KnownLength: true, Length: -1}, "length of -1 bytes"},
		{"a length that is not given", WriteOptions{Length: -1}, ""},
		{"as much metadata as there may be", WriteOptions{UserMetadata: make([]byte, MaxUserMetadata)}, ""},
		{"more than that", WriteOptions{UserMetadata: make([]byte, MaxUserMetadata+1)}, "user metadata"},
		{"a long surrogate key", WriteOptions{SurrogateKeys: []string{strings.Repeat("k", MaxSurrogateKey)}}, ""},
		{"too long a surrogate key", WriteOptions{SurrogateKeys: []string{strings.Repeat("k", MaxSurrogateKey+1)}}, "a surrogate key of 1025 bytes"},
		{"as many surrogate keys as there may be", WriteOptions{SurrogateKeys: slices.Repeat([]string{strings.Repeat("k", 1023)}, 16)}, ""},
		{"too many", WriteOptions{SurrogateKeys: slices.Repeat([]string{strings.Repeat("k", 1023)}, 17)}, "above 16384 bytes"},
		{"an empty surrogate key", WriteOptions{SurrogateKeys: []string{"a", ""}}, "empty"},
		{"a surrogate key with a space", WriteOptions{SurrogateKeys: []string{"a b"}}, `"a b"`},
		{"a surrogate key beyond ASCII", WriteOptions{SurrogateKeys: []string{"ä"}}, "visible ASCII"},
		{"a name that is none", WriteOptions{Vary: []string{"a:b"}}, `"a:b" in the vary rule`},
		{"an empty name", WriteOptions{Vary: []string{""}}, "no header name"},
		{"many names", WriteOptions{Vary: many(MaxVaryNames)}, ""},
		{"too many names", WriteOptions{Vary: many(MaxVaryNames + 1)}, "65 names"},
		{"repeats are not many names", WriteOptions{Vary: slices.Repeat([]string{"a", "A"}, 100)}, ""},
		{"too long a rule", WriteOptions{Vary: []string{strings.Repeat("x", MaxVaryRule+1)}}, "above 8192 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp, ck := open(t, Options{})
			w, err := sp.Insert([]byte("k"), nil, tt.o)
			if tt.want != "" {
				if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			finish(t, w, err, "")
			ck.add(1<<63 - 1)
			sp.Lookup([]byte("k"), nil) // nothing overflows
			if e := begin(t, sp, "k", nil).Past(); e != nil && e.Age() < 0 {
				t.Errorf("age %d", e.Age())
			}
		})
	}
	sp, _ := open(t, Options{})
	for n, want := range map[int]error{0: nil, MaxKey: nil, MaxKey + 1: ErrKey} {
		key := bytes.Repeat([]byte{0xff}, n)
		if w, err := sp.Insert(key, nil, long); !errors.Is(err, want) {
			t.Errorf("insert with a key of %d bytes: %v", n, err)
		} else if w != nil {
			w.Close()
		}
		if tx, err := sp.Begin(key, nil); !errors.Is(err, want) {
			t.Errorf("transaction with a key of %d bytes: %v", n, err)
		} else if err == nil && tx.State() != Found|Usable {
			t.Errorf("a key of %d bytes: %s", n, tx.State())
		}
	}
}

func TestOptionsOfACacheAreChecked(t *testing.T) {
	for _, o := range []Options{{MaxBytes: -1}, {MaxObject: -1}, {MaxVariants: -1}, {MaxBytes: 10, MaxObject: 11}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func TestAnEntryTellsWhatWasInserted(t *testing.T) {
	sp, ck := open(t, Options{})
	h := headers("b", "1")
	put(t, sp, "k", "body", h, WriteOptions{
		MaxAge: 10 * time.Second, InitialAge: 3 * time.Second, StaleWhileRevalidate: 4 * time.Second, StaleIfError: 5 * time.Second,
		EdgeMaxAge: 6 * time.Second, Vary: []string{"B", "a", "b"}, SurrogateKeys: []string{"x", "y", "x"}, UserMetadata: []byte("meta"), Sensitive: true,
	})
	ck.add(time.Second)
	e := sp.Lookup([]byte("k"), h)
	if n, known := e.Length(); n != 4 || !known {
		t.Errorf("length %d, %v", n, known)
	}
	if e.Age() != 4*time.Second || e.InitialAge() != 3*time.Second || e.MaxAge() != 10*time.Second || e.StaleWhileRevalidate() != 4*time.Second ||
		e.StaleIfError() != 5*time.Second || e.EdgeMaxAge() != 6*time.Second || !e.Sensitive() || string(e.UserMetadata()) != "meta" || e.Hits() != 1 ||
		!slices.Equal(e.Vary(), []string{"a", "b"}) || !slices.Equal(e.SurrogateKeys(), []string{"x", "y"}) || !e.Complete() || e.SoftPurged() {
		t.Errorf("%+v", e.o)
	}
}

func FuzzWriteOptions(f *testing.F) {
	f.Add("accept-language accept", "a b c", int64(1), int64(2))
	f.Add("", " ", int64(-1), int64(0))
	f.Add("\x00", "\xff", int64(1<<62), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, vary, keys string, maxAge, initial int64) {
		o := WriteOptions{Vary: strings.Split(vary, " "), SurrogateKeys: strings.Split(keys, " "), MaxAge: time.Duration(maxAge), InitialAge: time.Duration(initial)}
		sp, _ := open(t, Options{})
		w, err := sp.Insert([]byte("k"), nil, o)
		if err != nil {
			if !errors.Is(err, ErrOptions) {
				t.Fatal(err)
			}
			return
		}
		w.Close()
		rule, err := CheckVary(o.Vary)
		if err != nil || !slices.IsSorted(rule) {
			t.Fatal(rule, err)
		}
		again, err := CheckVary(append(slices.Clone(rule), rule...))
		if err != nil && len(strings.Join(rule, " ")) < MaxVaryRule/2 || err == nil && !slices.Equal(rule, again) {
			t.Fatalf("%q became %q: %v", rule, again, err)
		}
		for _, k := range o.SurrogateKeys {
			if sp.CountKey(k, false) != 1 {
				t.Fatalf("not found by %q", k)
			}
		}
		if n := sp.PurgeKey(o.SurrogateKeys[0], false); n != 1 || sp.Stats().Objects != 0 {
			t.Fatal(n)
		}
	})
}

// FuzzVariants: two requests select the same variant exactly if the headers that the rule names agree.
func FuzzVariants(f *testing.F) {
	f.Add("a", "b", "a", "b", byte(0))
	f.Add("a\x01", "", "a", "\x01", byte(3))
	f.Add(strings.Repeat("x", 300), "y", strings.Repeat("x", 299), "xy", byte(0))
	f.Fuzz(func(t *testing.T, a1, b1, a2, b2 string, absent byte) {
		h := func(a, b string, absent byte) Header {
			return func(name string) (string, bool) {
				if name == "a" {
					return a, absent&1 == 0
				}
				return b, absent&2 == 0
			}
		}
		h1, h2 := h(a1, b1, absent&3), h(a2, b2, absent>>2)
		same := true
		for _, n := range []string{"a", "b"} {
			v1, ok1 := h1(n)
			v2, ok2 := h2(n)
			same = same && ok1 == ok2 && (!ok1 || v1 == v2)
		}
		k1, k2 := variantKey(nil, []string{"a", "b"}, h1), variantKey(nil, []string{"a", "b"}, h2)
		if bytes.Equal(k1, k2) != same {
			t.Errorf("%x and %x, want same %v", k1, k2, same)
		}
	})
}
