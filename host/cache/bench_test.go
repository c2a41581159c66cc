package cache

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func benchSpace(b *testing.B, o Options) *Space {
	b.Helper()
	c, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c.Space("bench", SpaceOptions{})
}

func numbered(i int) []byte {
	return binary.BigEndian.AppendUint64([]byte("https://example.com/objects/"), uint64(i))
}

func BenchmarkHit(b *testing.B) {
	const n = 1 << 16
	body := make([]byte, 1024)
	de := headers("accept-encoding", "gzip", "accept-language", "de")
	for _, vary := range [][]string{nil, {"accept-encoding", "accept-language"}} {
		sp := benchSpace(b, Options{MaxBytes: 1 << 30})
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = numbered(i)
			w, err := sp.Insert(keys[i], de, WriteOptions{MaxAge: time.Hour, Vary: vary, SurrogateKeys: []string{"all"}})
			if err != nil {
				b.Fatal(err)
			}
			w.Write(body)
			w.Close()
		}
		var from atomic.Int64
		b.Run(fmt.Sprintf("lookup/vary=%d", len(vary)), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := int(from.Add(7919))
				for pb.Next() {
					i++
					if sp.Lookup(keys[i%n], de) == nil {
						b.Error("miss")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("transaction/vary=%d", len(vary)), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := int(from.Add(7919))
				for pb.Next() {
					i++
					tx, _ := sp.Begin(keys[i%n], de)
					if tx.Entry() == nil {
						b.Error("miss")
					}
					tx.Close()
				}
			})
		})
		b.Run(fmt.Sprintf("read/vary=%d", len(vary)), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := int(from.Add(7919))
				for pb.Next() {
					i++
					r, _ := sp.Lookup(keys[i%n], de).Open(Whole)
					if p, _, _ := r.Next(); len(p) != 1024 {
						b.Error(len(p))
					}
					r.Close()
				}
			})
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	sp := benchSpace(b, Options{})
	key := []byte("key")
	b.ReportAllocs()
	for b.Loop() {
		tx, _ := sp.Begin(key, nil)
		tx.Close()
	}
}

// BenchmarkInsert inserts objects of 1 kB into a cache that is full after some thousands.
func BenchmarkInsert(b *testing.B) {
	body := make([]byte, 1024)
	for _, tags := range [][]string{nil, {"all", "some"}} {
		b.Run(fmt.Sprintf("tags=%d", len(tags)), func(b *testing.B) {
			sp := benchSpace(b, Options{MaxBytes: 16 << 20})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w, err := sp.Insert(numbered(i), nil, WriteOptions{MaxAge: time.Hour, KnownLength: true, Length: 1024, SurrogateKeys: tags})
				if err != nil {
					b.Fatal(err)
				}
				w.Write(body)
				w.Close()
			}
		})
	}
}

// TestManySmallObjects reports what an object costs in memory and a lookup in time, and how long purges take, with
// CACHE_TEST_OBJECTS objects of 100 bytes; without it only whether all of this works, with a few.
func TestManySmallObjects(t *testing.T) {
	n := 12_000
	if s := os.Getenv("CACHE_TEST_OBJECTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(Options{MaxBytes: int64(n) * 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sp := c.Space("test", SpaceOptions{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	body := make([]byte, 100)
	start := time.Now()
	for i := range n {
		w, err := sp.Insert(numbered(i), nil, WriteOptions{MaxAge: time.Hour, SurrogateKeys: []string{"all"}, KnownLength: true, Length: 100})
		finish(t, w, err, string(body))
	}
	took := time.Since(start)
	each := (heap() - before) / uint64(n)
	if st := sp.Stats(); st.Objects != int64(n) {
		t.Fatalf("%+v", st)
	}
	t.Logf("insert: %s each; memory: %d bytes each beside the body, %d are charged", took/time.Duration(n), each-100, sp.Stats().Bytes/int64(n)-100)
	if each-100 > objectCost+200 {
		t.Errorf("an object costs %d bytes", each-100)
	}
	const lookups = 200_000
	start = time.Now()
	for i := range lookups {
		if sp.Lookup(numbered(i*7919%n), nil) == nil {
			t.Fatal("an object is gone")
		}
	}
	t.Logf("lookup, one at a time, keys at random: %s each", time.Since(start)/lookups)
	start = time.Now()
	if got := sp.PurgeKey("all", true); got != n {
		t.Errorf("soft purge hit %d of %d", got, n)
	}
	t.Logf("soft purge: %s", time.Since(start))
	start = time.Now()
	if got := sp.PurgeKey("all", false); got != n {
		t.Errorf("purge hit %d of %d", got, n)
	}
	t.Logf("hard purge: %s", time.Since(start))
	start = time.Now()
	c.reapers.Wait()
	t.Logf("and until the memory was free: %s", time.Since(start))
	if st := sp.Stats(); st.Objects != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}
