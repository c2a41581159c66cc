package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/bolt"
	"github.com/edgewasm/wasmedge/kvstore/kvstoretest"
)

// maxValue is small enough for a slow disk.
const maxValue = 3 << 20

func open(t testing.TB) kvstore.Stores {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "kv.db"), bolt.Options{MaxValue: maxValue})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := bolt.Check(t.Context(), s.Path(), func(p error) { t.Error(p) }, nil); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s
}

func reopen(t testing.TB, closed kvstore.Stores) kvstore.Stores {
	s, err := bolt.Open(closed.(*bolt.Stores).Path(), bolt.Options{MaxValue: maxValue})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStores(t *testing.T) {
	kvstoretest.Run(t, open, kvstoretest.Traits{MaxValue: maxValue, Reopen: reopen, Writes: 400})
}

func BenchmarkStores(b *testing.B) { kvstoretest.Benchmark(b, open) }
