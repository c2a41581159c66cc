package kvstoretest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

// Benchmark measures a driver: single-key gets and inserts of 1 kB and 1 MB values, by one caller and by many at once, and
// listings of stores of different sizes, which should cost the same.
func Benchmark(b *testing.B, open func(t testing.TB) kvstore.Stores) {
	s := &suite{open: open}
	for _, size := range []int{1000, 1_000_000} {
		value := noise(size, 1)
		key := func(n uint64) string { return "key/" + strconv.FormatUint(n%1000, 10) }
		insert := func(c context.Context, st kvstore.Store, n uint64) error {
			_, err := st.Insert(c, key(n), kvstore.BytesBody(value), kvstore.InsertOptions{})
			return err
		}
		lookup := func(c context.Context, st kvstore.Store, n uint64) error {
			v, err := st.Lookup(c, key(n))
			if err != nil {
				return err
			}
			if _, err := v.Body.WriteTo(io.Discard); err != nil {
				return err
			}
			return v.Body.Close()
		}
		keys := uint64(1000)
		if size > 100_000 {
			keys = 20
		}
		for _, bb := range []struct {
			name string
			run  func(c context.Context, st kvstore.Store, n uint64) error
		}{{"get", lookup}, {"insert", insert}} {
			b.Run(fmt.Sprintf("%s/%dB/one", bb.name, size), func(b *testing.B) {
				st, c := s.store(b), context.Background()
				for n := range keys {
					if err := insert(c, st, n); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				n := uint64(0)
				for b.Loop() {
					if err := bb.run(c, st, n%keys); err != nil {
						b.Fatal(err)
					}
					n++
				}
			})
			b.Run(fmt.Sprintf("%s/%dB/64 callers", bb.name, size), func(b *testing.B) {
				st, c := s.store(b), context.Background()
				for n := range keys {
					if err := insert(c, st, n); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.SetParallelism(32) // times GOMAXPROCS, which is 2 where the figures in docs come from
				var n atomic.Uint64
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := bb.run(c, st, n.Add(1)%keys); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
	for _, keys := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("list/100 of %d", keys), func(b *testing.B) {
			st, c := s.store(b), context.Background()
			for n := range keys {
				if _, err := st.Insert(c, fmt.Sprintf("key/%08d", n), nil, kvstore.InsertOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			page, err := st.List(c, kvstore.ListOptions{Prefix: "key/", Limit: keys / 2})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := st.List(c, kvstore.ListOptions{Prefix: "key/", Limit: 100, Cursor: page.NextCursor}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
