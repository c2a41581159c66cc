package configstore

import "sync"

// Mirror keeps stores of a Set the same as those of somewhere else, as a driver reports them. A store that the Mirror has
// put into the Set is the same *Store for as long as it exists, so those who hold it see the changes. Its methods may be called
// from many goroutines at once.
type Mirror struct {
	set    *Set
	limits Limits
	skip   func(name string) bool

	mu     sync.Mutex
	stores map[string]*Store
}

// NewMirror makes a mirror into set. Stores for which skip, if it is not nil, answers true are left alone; it must always
// give the same answer for a name.
func NewMirror(set *Set, limits Limits, skip func(name string) bool) *Mirror {
	return &Mirror{set: set, limits: limits, skip: skip, stores: map[string]*Store{}}
}

// Update says what a store holds. If an entry is over the limits the store stays as it was, or absent, and the error
// says why.
func (m *Mirror) Update(name string, contents map[string]string) error {
	if m.skip != nil && m.skip(name) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.stores[name]; s != nil {
		return s.Replace(contents)
	}
	s, err := New(contents, m.limits)
	if err != nil {
		return err
	}
	m.stores[name] = s
	m.set.Put(name, s)
	return nil
}

// Remove says that there is no such store any more.
func (m *Mirror) Remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stores[name] != nil {
		delete(m.stores, name)
		m.set.Remove(name)
	}
}

// Keep removes all stores but those for which keep answers true.
func (m *Mirror) Keep(keep func(name string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.stores {
		if !keep(name) {
			delete(m.stores, name)
			m.set.Remove(name)
		}
	}
}
