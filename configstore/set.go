package configstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrNotFound is in the chain of the error that Set.Open gives for an unknown name.
var ErrNotFound = errors.New("no such config store")

// Set holds stores by name: those that one service sees. The zero Set is empty. Its methods may be called
// from many goroutines at once; Open takes no lock.
type Set struct {
	stores atomic.Pointer[map[string]*Store] // the map is never written to once it is here
	change sync.Mutex
}

// Open gives the store of that name after a Refresh, so that it shows what its source holds now. It fails
// with ErrNotFound, or with what is wrong with the source.
func (s *Set) Open(name string) (*Store, error) {
	var store *Store
	if m := s.stores.Load(); m != nil {
		store = (*m)[name]
	}
	if store == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, quoteKey(name))
	}
	if err := store.Refresh(); err != nil {
		return nil, fmt.Errorf("config store %s: %w", quoteKey(name), err)
	}
	return store, nil
}

// Put adds a store, in place of one that has the same name. Those who have opened the old one keep it.
func (s *Set) Put(name string, store *Store) {
	s.update(func(m map[string]*Store) { m[name] = store })
}

// Remove takes the store of that name out, if there is one.
func (s *Set) Remove(name string) {
	s.update(func(m map[string]*Store) { delete(m, name) })
}

// Names lists the stores, sorted.
func (s *Set) Names() []string {
	m := s.stores.Load()
	if m == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*m))
}

func (s *Set) update(change func(map[string]*Store)) {
	s.change.Lock()
	defer s.change.Unlock()
	m := map[string]*Store{}
	if old := s.stores.Load(); old != nil {
		maps.Copy(m, *old)
	}
	change(m)
	s.stores.Store(&m)
}
