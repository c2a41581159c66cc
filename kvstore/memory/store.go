package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/internal/cursor"
	"github.com/edgewasm/wasmedge/kvstore/internal/value"
)

var _ kvstore.Prompt = (*store)(nil)

// perKey is what a key costs beside its bytes: its entry, and places in the map, the tree and the heap.
const perKey = 256

// store implements kvstore.Store.
type store struct {
	all  *Stores
	name string

	mu    sync.RWMutex
	ended error             // what every call answers once the store is dropped or closed
	keys  map[string]*entry // expired ones too, until they are reclaimed
	order btree.Map[string, *entry]
	bytes int64 // of values and metadata
	expiries
}

// entry is one key's present value. It does not change, but for its place in the heap of expiries: who found it may go on
// reading it without the lock.
type entry struct {
	key        string
	value      []byte // the bytes between length and capacity belong to the newest entry that shares the array
	metadata   []byte
	generation uint64
	expires    time.Duration // since the epoch, 0 for never
	place      int           // in the heap; guarded by the store's lock
}

func (e *entry) held() int64 {
	return int64(len(e.key)) + int64(cap(e.value)) + int64(len(e.metadata)) + perKey
}

func newStore(all *Stores, name string) *store {
	return &store{all: all, name: name, keys: map[string]*entry{}}
}

// begin checks what every call checks first.
func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return kvstore.CheckKey(key)
}

// live gives the entry of a key that has not expired, nil if there is none. The lock is held.
func (s *store) live(key string) *entry {
	e := s.keys[key]
	if e == nil || e.expired(s.all) {
		return nil
	}
	return e
}

func (e *entry) expired(all *Stores) bool { return e.expires != 0 && all.now() >= e.expires }

// Lookup implements kvstore.Store.
func (s *store) Lookup(ctx context.Context, key string) (kvstore.Value, error) {
	if err := begin(ctx, key); err != nil {
		return kvstore.Value{}, err
	}
	s.mu.RLock()
	e, ended := s.live(key), s.ended
	s.mu.RUnlock()
	if ended != nil {
		return kvstore.Value{}, ended
	}
	if e == nil {
		return kvstore.Value{}, kvstore.ErrNotFound
	}
	v := kvstore.Value{
		Body:       kvstore.BytesBody(slices.Clip(e.value)),
		Metadata:   e.metadata,
		Generation: e.generation,
	}
	if e.expires != 0 {
		v.Expires = s.all.epoch.Add(e.expires)
	}
	return v, nil
}

// check tells whether an insert may replace old, which is nil for a missing key. The lock is held, for reading at least.
func (s *store) check(old *entry, o kvstore.InsertOptions) error {
	if s.ended != nil {
		return s.ended
	}
	if o.Mode == kvstore.Add && old != nil {
		return fmt.Errorf("%w: the key exists", kvstore.ErrPrecondition)
	}
	return checkGeneration(old, o.IfGeneration, o.HasIfGeneration)
}

func checkGeneration(old *entry, want uint64, has bool) error {
	have := uint64(0)
	if old != nil {
		have = old.generation
	}
	if has && have != want {
		return fmt.Errorf("%w: the key is at generation %d, not %d", kvstore.ErrPrecondition, have, want)
	}
	return nil
}

// Insert implements kvstore.Store. It fails with kvstore.ErrReadOnly if the value does not fit into Options.MaxBytes.
func (s *store) Insert(ctx context.Context, key string, r io.Reader, o kvstore.InsertOptions) (uint64, error) {
	if err := begin(ctx, key); err != nil {
		return 0, err
	}
	if err := kvstore.CheckMetadata(o.Metadata); err != nil {
		return 0, err
	}
	if !o.Mode.Valid() {
		return 0, fmt.Errorf("there is no insert mode %d", o.Mode)
	}
	// An insert that is in vain need not read its value.
	s.mu.RLock()
	err := s.check(s.live(key), o)
	s.mu.RUnlock()
	if err != nil {
		return 0, err
	}
	part, err := value.Read(ctx, r, s.all.o.MaxValue)
	if err != nil {
		return 0, err
	}

	e := &entry{key: key}
	if len(o.Metadata) > 0 {
		e.metadata = bytes.Clone(o.Metadata)
	}
	const (
		largePart = 64 << 10 // bytes that are joined without the lock
		mostTries = 3
	)
	var base *entry // that e.value was joined with
	joined := false
	for try := 0; ; try++ {
		s.mu.Lock()
		old := s.live(key)
		if err := s.check(old, o); err != nil {
			s.mu.Unlock()
			return 0, err
		}
		if !joined || base != old {
			size := len(part)
			if (o.Mode == kvstore.Append || o.Mode == kvstore.Prepend) && old != nil {
				size += len(old.value)
			}
			if int64(size) > s.all.o.MaxValue {
				s.mu.Unlock()
				return 0, value.TooLarge(int64(size), s.all.o.MaxValue)
			}
			base, joined = old, true
			if size-len(part) > largePart && cap(old.value) < size && try < mostTries {
				s.mu.Unlock()
				e.value = join(old, part, o.Mode, s.all.o.MaxValue)
				continue
			}
			e.value = join(old, part, o.Mode, s.all.o.MaxValue)
		}
		if s.put(e, o.TTL) {
			generation := e.generation
			s.mu.Unlock()
			return generation, nil
		}
		// The space of expired keys is free, though nobody came to take it yet.
		if try > mostTries {
			need := e.held()
			s.mu.Unlock()
			return 0, fmt.Errorf("%w: %d bytes more do not fit, MaxBytes is %d", kvstore.ErrReadOnly, need, s.all.o.MaxBytes)
		}
		joined = false // a later append may use the spare bytes meanwhile
		s.mu.Unlock()
		s.all.reclaim()
		try = max(try, mostTries)
	}
}

// join gives what an insert of part in that mode makes of old. It may write to old.value's spare bytes, if the lock is held.
func join(old *entry, part []byte, mode kvstore.InsertMode, most int64) []byte {
	if old == nil || len(old.value) == 0 {
		return part
	}
	switch mode {
	case kvstore.Append:
		size := len(old.value) + len(part)
		if size <= cap(old.value) {
			return append(old.value, part...)
		}
		// Spare bytes, so that building a value of many parts takes time linear in its size.
		whole := make([]byte, 0, min(int64(size+size/4), most))
		return append(append(whole, old.value...), part...)
	case kvstore.Prepend:
		return slices.Concat(part, old.value)
	default:
		return part
	}
}

// put makes e the key's entry, unless it does not fit. The lock is held.
func (s *store) put(e *entry, ttl time.Duration) bool {
	old := s.keys[e.key]
	more := e.held()
	if old != nil {
		more -= old.held()
	}
	if !s.all.take(more) {
		return false
	}
	if ttl != 0 {
		now := s.all.now()
		if e.expires = now + ttl; ttl > 0 && e.expires < now {
			e.expires = 0 // later than can be told
		} else if e.expires == 0 {
			e.expires = -1
		}
	}
	if old != nil {
		s.bytes -= int64(len(old.value) + len(old.metadata))
		s.forget(old)
		e.key = old.key
	} else {
		e.key = strings.Clone(e.key) // it may be part of something larger
	}
	s.bytes += int64(len(e.value) + len(e.metadata))
	e.generation = s.all.generation.Add(1)
	s.keys[e.key] = e
	s.order.Set(e.key, e)
	s.remember(e)
	return true
}

// remove takes a key out. The lock is held.
func (s *store) remove(e *entry) {
	delete(s.keys, e.key)
	s.order.Delete(e.key)
	s.forget(e)
	s.bytes -= int64(len(e.value) + len(e.metadata))
	s.all.take(-e.held())
}

// Delete implements kvstore.Store.
func (s *store) Delete(ctx context.Context, key string, o kvstore.DeleteOptions) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	e := s.live(key)
	if err := checkGeneration(e, o.IfGeneration, o.HasIfGeneration); err != nil {
		return err
	}
	if e == nil {
		return kvstore.ErrNotFound
	}
	s.remove(e)
	return nil
}

// List implements kvstore.Store.
func (s *store) List(ctx context.Context, o kvstore.ListOptions) (kvstore.Page, error) {
	if err := ctx.Err(); err != nil {
		return kvstore.Page{}, err
	}
	last, err := cursor.Decode(o.Prefix, o.Cursor)
	if err != nil {
		return kvstore.Page{}, err
	}
	var page kvstore.Page
	size := o.PageSize()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.ended != nil {
		return kvstore.Page{}, s.ended
	}
	s.order.Ascend(max(o.Prefix, last), func(key string, e *entry) bool {
		if !strings.HasPrefix(key, o.Prefix) {
			return false
		}
		if key == last || e.expired(s.all) {
			return true
		}
		if len(page.Keys) == size {
			page.NextCursor = cursor.Encode(o.Prefix, page.Keys[size-1])
			return false
		}
		page.Keys = append(page.Keys, key)
		return true
	})
	return page, nil
}

// Stat implements kvstore.Store. It costs nothing; keys that expired a moment ago may be counted.
func (s *store) Stat(ctx context.Context) (kvstore.Stat, error) {
	if err := ctx.Err(); err != nil {
		return kvstore.Stat{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return kvstore.Stat{Keys: int64(len(s.keys)), Bytes: s.bytes}, s.ended
}

// end empties the store; every later call answers with why.
func (s *store) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	s.ended = why
	for _, e := range s.keys {
		s.all.take(-e.held())
	}
	s.keys, s.bytes = nil, 0
	s.order.Clear()
	s.stop()
}

// PromptLookup implements kvstore.Prompt.
func (s *store) PromptLookup() bool { return true }

// PromptWrite implements kvstore.Prompt.
func (s *store) PromptWrite() bool { return true }
