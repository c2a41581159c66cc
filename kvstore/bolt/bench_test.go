package bolt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

func mustOpen(b *testing.B, path string) *Stores {
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// fill inserts n values of that size, many at a time.
func fill(b *testing.B, st kvstore.Store, n, size int) {
	var wg sync.WaitGroup
	const writers = 1024
	for w := range min(writers, n) {
		wg.Go(func() {
			value := content(uint64(w), size)
			for i := w; i < n; i += writers {
				if _, err := st.Insert(ctx, fmt.Sprintf("key/%08d", i), kvstore.BytesBody(value), kvstore.InsertOptions{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func lookup(b *testing.B, st kvstore.Store, i int) {
	v, err := st.Lookup(ctx, fmt.Sprintf("key/%08d", i))
	if err != nil {
		b.Error(err)
		return
	}
	if _, ok := v.Body.Bytes(); !ok {
		if _, err := v.Body.WriteTo(discard{}); err != nil {
			b.Error(err)
		}
	}
	v.Body.Close()
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{100, 1000, 1_000_000} {
		s := mustOpen(b, tempPath(b))
		st, err := s.Create(ctx, "a")
		if err != nil {
			b.Fatal(err)
		}
		n := min(10_000, 20_000_000/size)
		fill(b, st, n, size)
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				lookup(b, st, rand.IntN(n))
			}
		})
		b.Run(fmt.Sprintf("%dB/parallel", size), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					lookup(b, st, rand.IntN(n))
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}

// BenchmarkInsert compares durable inserts with one sync for each, which is what bbolt does by itself.
func BenchmarkInsert(b *testing.B) {
	value := content(1, 1000)
	b.Run("one sync each", func(b *testing.B) {
		db, err := bbolt.Open(tempPath(b), 0o600, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		for i := 0; b.Loop(); i++ {
			err := db.Update(func(tx *bbolt.Tx) error {
				t, err := tx.CreateBucketIfNotExists([]byte("a"))
				if err != nil {
					return err
				}
				return t.Put([]byte(strconv.Itoa(i%10_000)), value)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "inserts/s")
	})
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d writers", writers), func(b *testing.B) {
			st, err := mustOpen(b, tempPath(b)).Create(ctx, "a")
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := st.Insert(ctx, strconv.Itoa(int(i%10_000)), bytes.NewReader(value), kvstore.InsertOptions{}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "inserts/s")
		})
	}
}

// BenchmarkScale measures gets and list pages in stores of 10^4 and 10^6 keys, and of as many as KVSTORE_BOLT_KEYS says.
func BenchmarkScale(b *testing.B) {
	counts := []int{10_000, 1_000_000}
	if n, err := strconv.Atoi(os.Getenv("KVSTORE_BOLT_KEYS")); err == nil {
		counts = append(counts, n)
	}
	for _, n := range counts {
		b.Run(fmt.Sprintf("%d keys", n), func(b *testing.B) {
			s := mustOpen(b, tempPath(b))
			st, err := s.Create(ctx, "a")
			if err != nil {
				b.Fatal(err)
			}
			fill(b, st, n, 20)
			b.Run("get", func(b *testing.B) {
				for b.Loop() {
					lookup(b, st, rand.IntN(n))
				}
			})
			b.Run("page of 1000", func(b *testing.B) {
				for b.Loop() {
					p, err := st.List(ctx, kvstore.ListOptions{Prefix: fmt.Sprintf("key/%02d", rand.IntN(n)/1_000_000)})
					if err != nil || len(p.Keys) == 0 {
						b.Fatal(err)
					}
				}
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.Run("open", func(b *testing.B) {
				for b.Loop() {
					s, err := Open(s.path, Options{})
					if err != nil {
						b.Fatal(err)
					}
					s.Close()
				}
			})
		})
	}
}
