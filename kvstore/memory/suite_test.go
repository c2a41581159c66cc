package memory_test

import (
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/kvstoretest"
	"github.com/edgewasm/wasmedge/kvstore/memory"
)

func open(testing.TB) kvstore.Stores { return memory.New(memory.Options{}) }

// TestStores runs with a limit below the default, which would make it much slower and test no more.
func TestStores(t *testing.T) {
	const most = 7 << 20
	kvstoretest.Run(t, func(testing.TB) kvstore.Stores { return memory.New(memory.Options{MaxValue: most}) },
		kvstoretest.Traits{MaxValue: most})
}

func TestStoresWithSmallValues(t *testing.T) {
	kvstoretest.Run(t, func(testing.TB) kvstore.Stores {
		return memory.New(memory.Options{MaxValue: 100_000, MaxBytes: 1 << 30})
	},
		kvstoretest.Traits{MaxValue: 100_000})
}

func BenchmarkStores(b *testing.B) { kvstoretest.Benchmark(b, open) }
