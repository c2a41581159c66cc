// Package configstore holds small read-mostly maps of strings, the config stores (formerly dictionaries) of
// a Compute program. It stands alone: it needs nothing of this module, and any Go program may use it.
//
// A Store promises that Lookup takes no lock, allocates nothing and never waits: it loads one pointer and
// reads a map that nobody writes to. An update builds a new map and swaps the pointer, so that a reader
// sees all of an update or nothing of it, and updates do not disturb readers.
//
// Contents come from a map, from a JSON file that is read again when it has changed (see File and
// Store.Refresh), or from a driver that follows stores kept elsewhere: configstore/bolt in a file,
// configstore/nats in a cluster. A driver's Admin changes what is kept, and its Follow brings a Mirror, and so
// the stores of a Set, to it within milliseconds. A Set holds stores by name.
package configstore

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// The platform's published limits, in characters (code points), not bytes.
const (
	DefaultKeyChars   = 256
	DefaultValueChars = 8000
)

// ErrLimit is in the chain of every error about a key or value over its limit.
var ErrLimit = errors.New("over the limit")

// Limits bounds the entries of a store, in characters. In each field 0 means the default and a negative
// number means no limit.
type Limits struct {
	KeyChars   int // DefaultKeyChars when 0
	ValueChars int // DefaultValueChars when 0
}

// Check tells whether an entry is within the limits. The error names the key, cut when it is long, and
// never holds the value; it wraps ErrLimit.
func (l Limits) Check(key, value string) error {
	if limit, n := orDefault(l.KeyChars, DefaultKeyChars), utf8.RuneCountInString(key); limit >= 0 && n > limit {
		return fmt.Errorf("key %s has %d characters, %w of %d", quoteKey(key), n, ErrLimit, limit)
	}
	if limit, n := orDefault(l.ValueChars, DefaultValueChars), utf8.RuneCountInString(value); limit >= 0 && n > limit {
		return fmt.Errorf("value of key %s has %d characters, %w of %d", quoteKey(key), n, ErrLimit, limit)
	}
	return nil
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// quoteKey makes a key from outside fit for an error text: one line, printable, short.
func quoteKey(key string) string {
	const most = 64
	if utf8.RuneCountInString(key) <= most {
		return fmt.Sprintf("%q", key)
	}
	return fmt.Sprintf("%q...", string([]rune(key)[:most]))
}

// Source is where a store's contents are fetched from when it is opened. It must answer from nearby (a
// file, memory): opening a store happens while a request waits. A driver over a network watches for
// changes instead, and calls Store.Replace.
type Source interface {
	// Changed tells whether Load may give something else than the last time, even if that failed. It is
	// called from many goroutines at once and should cost no more than a system call.
	Changed() bool
	// Load gives the whole contents. The caller owns the map. Calls do not overlap.
	Load() (map[string]string, error)
}

// Store is one named map. Its methods may be called from many goroutines at once. The zero Store is empty
// and ready for use, with the default limits.
type Store struct {
	contents atomic.Pointer[map[string]string] // the map is never written to once it is here
	limits   Limits
	source   Source

	// refresh serialises loading, so that an older content never replaces a newer one.
	refresh sync.Mutex
	// loads counts the loadings begun. Who finds it moved on after waiting for the lock is served by a
	// loading that began after its own question, and needs no other.
	loads atomic.Uint64
	// failed is the outcome of the last Load. It is kept so that a bad file is not read again for each
	// request until somebody mends it.
	failed atomic.Pointer[error]
}

// New makes a store that holds a copy of contents.
func New(contents map[string]string, limits Limits) (*Store, error) {
	s := &Store{limits: limits}
	if err := s.Replace(contents); err != nil {
		return nil, err
	}
	return s, nil
}

// Open makes a store that takes its contents from source: now, where an error fails the call, and again
// at each Refresh.
func Open(source Source, limits Limits) (*Store, error) {
	s := &Store{limits: limits, source: source}
	s.refresh.Lock()
	defer s.refresh.Unlock()
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Lookup gives the value of key and whether there is one. It takes no lock and allocates nothing.
func (s *Store) Lookup(key string) (value string, ok bool) {
	m := s.contents.Load()
	if m == nil {
		return "", false
	}
	value, ok = (*m)[key]
	return value, ok
}

// Len gives the number of entries.
func (s *Store) Len() int {
	m := s.contents.Load()
	if m == nil {
		return 0
	}
	return len(*m)
}

// Replace puts a copy of contents in place of everything the store holds, at once. If an entry is over the
// limits, the error says which and the store keeps what it had.
//
// With a Source, what is replaced here lasts until a Refresh finds the source changed.
func (s *Store) Replace(contents map[string]string) error {
	m := maps.Clone(contents)
	s.refresh.Lock()
	defer s.refresh.Unlock()
	return s.swap(m)
}

// Refresh asks the source, if there is one, for changes and takes them over. It is what opening a store
// does for each request: when nothing has changed it costs one Changed call and takes no lock. After an
// error the store keeps what it had, and Refresh fails until the source is good again.
func (s *Store) Refresh() error {
	if s.source == nil {
		return nil
	}
	before := s.loads.Load()
	if !s.source.Changed() {
		return s.lastFailure()
	}
	s.refresh.Lock()
	defer s.refresh.Unlock()
	if s.loads.Load() != before {
		return s.lastFailure()
	}
	return s.load()
}

func (s *Store) lastFailure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// load runs with refresh locked.
func (s *Store) load() error {
	s.loads.Add(1)
	m, err := s.source.Load()
	if err == nil {
		err = s.swap(m)
	}
	if err != nil {
		s.failed.Store(&err)
		return err
	}
	s.failed.Store(nil)
	return nil
}

// swap runs with refresh locked. It takes the map over.
func (s *Store) swap(m map[string]string) error {
	for k, v := range m {
		if err := s.limits.Check(k, v); err != nil {
			return err
		}
	}
	s.contents.Store(&m)
	return nil
}
