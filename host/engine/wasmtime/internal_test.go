//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// eventually waits for a condition that a working program reaches in milliseconds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within 30 s", what)
}

func TestTickerRestsWhenNothingRuns(t *testing.T) {
	var ticks atomic.Int64
	tk := newTicker(100*time.Microsecond, func() { ticks.Add(1) })
	for range 3 {
		eventually(t, "rest", tk.resting.Load)
		if n := ticks.Swap(0); n != 0 {
			t.Errorf("%d ticks while nothing ran", n)
		}
		tk.enter()
		eventually(t, "ticks while something runs", func() bool { return ticks.Load() > 20 })
		tk.enter()
		tk.leave()
		n := ticks.Load()
		eventually(t, "ticks while one of two still runs", func() bool { return ticks.Load() > n+20 })
		tk.leave()
		eventually(t, "rest", tk.resting.Load)
		ticks.Store(0)
	}
	tk.stop()
}

// TestTickerIsNeverMissed enters and leaves around the moment at which the ticker goes to rest.
func TestTickerIsNeverMissed(t *testing.T) {
	var ticks atomic.Int64
	tk := newTicker(20*time.Microsecond, func() { ticks.Add(1) })
	defer tk.stop()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for k := range 50 {
				tk.enter()
				n := ticks.Load()
				eventually(t, "a tick", func() bool { return ticks.Load() > n })
				tk.leave()
				time.Sleep(time.Duration(g*k%7) * 500 * time.Microsecond)
			}
		})
	}
	wg.Wait()
}

func TestSlabGivesNumbersBackAndAround(t *testing.T) {
	var s slab
	seen := make(map[uint32]*instance)
	for range 3 * chunkSize {
		i := new(instance)
		n, ok := s.put(i)
		if !ok || seen[n] != nil {
			t.Fatalf("put gave %d, %t; given before: %t", n, ok, seen[n] != nil)
		}
		seen[n] = i
	}
	for n, i := range seen {
		if s.get(n) != i {
			t.Fatalf("get(%d) gives another instance", n)
		}
		if n%2 == 0 {
			s.remove(n)
		}
	}
	for range 3 * chunkSize / 2 {
		if n, ok := s.put(new(instance)); !ok || n%2 != 0 {
			t.Fatalf("put gave %d, %t: not one of those given back", n, ok)
		}
	}
}

// FuzzArtifactEnd reads files that are no artifacts, or damaged ones.
func FuzzArtifactEnd(f *testing.F) {
	whole := func(facts string, n, size uint64) []byte {
		b := []byte("\x7fELF" + facts)
		b = binary.LittleEndian.AppendUint64(b, n)
		b = binary.LittleEndian.AppendUint64(b, size)
		return append(b, artifactMagic...)
	}
	const facts = `{"fingerprint":"x","imports":null,"exports":[{"Name":"run","Kind":0}],"memory":65536,"table":0,"start":true}`
	size := uint64(4+len(facts)) + uint64(trailerSize)
	f.Add(whole(facts, uint64(len(facts)), size))
	f.Add(whole(facts, uint64(len(facts)), size+1))
	f.Add(whole(facts, 1<<63, size))
	f.Add(whole(facts, uint64(len(facts))+5, size))
	f.Add(whole(facts, 0, size))
	f.Add([]byte(artifactMagic))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "artifact")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		facts, err := readFacts(path)
		if (facts == nil) == (err == nil) {
			t.Errorf("readFacts = %v, %v", facts, err)
		}
	})
}
