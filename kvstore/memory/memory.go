// Package memory is a driver of package kvstore that keeps everything in memory, for tests, for local development, and
// for state that may be lost. It is not durable: what is stored lives as long as the Stores.
//
// It is strongly consistent, List with Eventual as well. Stores do not wait for each other; within one, reads go on side by side, and
// a write excludes them for the time of a map and a tree update. A page of a listing costs the same whatever number of keys the
// store holds. A value that a *kvstore.Body holds in memory becomes the stored value without being copied, so the slice given to
// kvstore.BytesBody must never be written to afterwards; Lookup gives the same bytes out again. Other values are read
// to the end first.
//
// Generations are microseconds since 1970 when the Stores were made, plus one for each write in any of the stores: they
// grow over restarts of a process too, and fit into 53 bits.
//
// Expired keys are removed in batches, soon after they expired, by one timer for each store that has any.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// Options bounds a Stores. The zero value means the defaults named here.
type Options struct {
	// MaxValue is the most bytes of a value, also of one that was appended to; 0 means kvstore.DefaultMaxValue. A larger one is
	// refused with kvstore.ErrTooLarge.
	MaxValue int64
	// MaxBytes is the most memory in bytes that all stores together hold: keys, values, metadata, and 256 bytes more for each
	// key. 0 means no bound. What does not fit is refused with kvstore.ErrReadOnly. Values that are still read after they
	// were replaced or deleted are not counted.
	MaxBytes int64
}

// Stores implements kvstore.Stores. Make one with New.
type Stores struct {
	o          Options
	epoch      time.Time // expiry is counted from it, by the monotonic clock
	generation atomic.Uint64
	held       atomic.Int64 // bytes, as MaxBytes counts them

	mu     sync.RWMutex // never waited for while a store's lock is held
	stores map[string]*store
	closed bool
}

var _ kvstore.Stores = (*Stores)(nil)

// New makes an empty collection of stores.
func New(o Options) *Stores {
	if o.MaxValue == 0 {
		o.MaxValue = kvstore.DefaultMaxValue
	}
	s := &Stores{o: o, epoch: time.Now(), stores: map[string]*store{}}
	s.generation.Store(uint64(max(s.epoch.UnixMicro(), 0)))
	return s
}

// Open implements kvstore.Stores.
func (s *Stores) Open(ctx context.Context, name string) (kvstore.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, kvstore.ErrClosed
	}
	st := s.stores[name]
	if st == nil {
		return nil, fmt.Errorf("opening %.64q: %w", name, kvstore.ErrNoStore)
	}
	return st, nil
}

// Create implements kvstore.Stores.
func (s *Stores) Create(ctx context.Context, name string) (kvstore.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := kvstore.CheckName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, kvstore.ErrClosed
	}
	if s.stores[name] != nil {
		return nil, fmt.Errorf("creating %.64q: %w", name, kvstore.ErrStoreExists)
	}
	name = strings.Clone(name)
	st := newStore(s, name)
	s.stores[name] = st
	return st, nil
}

// Drop implements kvstore.Stores.
func (s *Stores) Drop(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return kvstore.ErrClosed
	}
	st := s.stores[name]
	delete(s.stores, name)
	s.mu.Unlock()
	if st == nil {
		return fmt.Errorf("dropping %.64q: %w", name, kvstore.ErrNoStore)
	}
	st.end(fmt.Errorf("%.64q was dropped: %w", name, kvstore.ErrNoStore))
	return nil
}

// Names implements kvstore.Stores.
func (s *Stores) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, kvstore.ErrClosed
	}
	return slices.Sorted(maps.Keys(s.stores)), nil
}

// Close implements kvstore.Stores. Values still being read are read to their end. Closing again does nothing.
func (s *Stores) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.stores
	s.stores = nil
	s.mu.Unlock()
	for _, st := range all {
		st.end(kvstore.ErrClosed)
	}
	return nil
}

// now gives the time since the epoch.
func (s *Stores) now() time.Duration { return time.Since(s.epoch) }

// take counts n more bytes, and tells whether they are within the bound. Fewer bytes always are.
func (s *Stores) take(n int64) bool {
	if n <= 0 || s.o.MaxBytes <= 0 {
		s.held.Add(n)
		return true
	}
	for {
		held := s.held.Load()
		if held+n > s.o.MaxBytes {
			return false
		}
		if s.held.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

// reclaim removes all expired keys now. No store's lock may be held.
func (s *Stores) reclaim() {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.stores))
	s.mu.RUnlock()
	for _, st := range all {
		for st.reclaim() {
		}
	}
}
