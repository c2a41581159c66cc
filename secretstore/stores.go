package secretstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Opener opens stores by name: a Stores, or several in a Chain.
type Opener interface {
	// Open gives the store of that name; ErrNoStore if there is none.
	Open(name string) (*Store, error)
}

// Chain opens a store from the first of several that has it.
type Chain []Opener

// Open implements Opener.
func (c Chain) Open(name string) (*Store, error) {
	for _, o := range c {
		if s, err := o.Open(name); err == nil || !errors.Is(err, ErrNoStore) {
			return s, err
		}
	}
	return nil, noStore(name)
}

// Stores is a collection of stores, in memory or in a directory. Its methods may be called from many goroutines at once.
type Stores struct {
	dir    *dir // nil in memory
	keys   *Keyring
	closed atomic.Bool
	open   sync.Map // name -> *Store

	mu   sync.Mutex                // held while a store is read from its file or changed
	olds []weak.Pointer[lockedKey] // data keys that secrets may still refer to
}

// NewMemory makes an empty collection in memory.
func NewMemory() *Stores { return new(Stores) }

// OpenDir opens the collection that a directory holds, and makes the directory, for its owner alone, if there is none. It
// takes the keys over: Close destroys them. Other processes may read and change the directory at the same time: an Open
// sees what they did. Stores are read when they are opened first, so a damaged one or one with another key fails then.
func OpenDir(path string, keys *Keyring) (*Stores, error) {
	d, err := openDir(path, osFiles{})
	if err != nil {
		return nil, err
	}
	return &Stores{dir: d, keys: keys}, nil
}

// Open implements Opener. For stores in a directory it looks whether another process has changed the store, which costs
// a system call. Errors: ErrNoStore, a *DamageError, one that wraps ErrKey and names the key that is needed, ErrClosed,
// and what the file system has to say.
func (s *Stores) Open(name string) (*Store, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if v, ok := s.open.Load(name); ok {
		store := v.(*Store)
		st := store.state.Load()
		if s.dir == nil || !st.dropped && st.seen.unchanged() {
			return store, nil
		}
	}
	if s.dir == nil || CheckName(name) != nil {
		return nil, noStore(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh(name)
}

// refresh reads the store's file if need be. It runs with the lock held.
func (s *Stores) refresh(name string) (*Store, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	var store *Store
	if v, ok := s.open.Load(name); ok {
		store = v.(*Store)
		if st := store.state.Load(); s.dir == nil || st.seen.unchanged() {
			return store, nil
		}
	}
	if s.dir == nil {
		return nil, noStore(name)
	}
	st, err := s.load(name)
	if err != nil {
		if errors.Is(err, ErrNoStore) && store != nil {
			s.forget(store)
		}
		return nil, err
	}
	if store != nil && store.state.Load().file.id != st.file.id {
		s.forget(store) // dropped and made anew
		store = nil
	}
	if store == nil {
		store = &Store{stores: s, name: name}
		store.state.Store(st)
		s.open.Store(name, store)
		return store, nil
	}
	old := store.state.Load()
	if sameKey(old.data, st.data) {
		st.data.destroy()
		st.data = old.data
	} else {
		s.retire(old.data)
	}
	store.state.Store(st)
	return store, nil
}

// forget takes a dropped store out. Its key stays for secrets that were opened.
func (s *Stores) forget(store *Store) {
	old := store.state.Load()
	store.state.Store(&state{file: old.file, data: old.data, dropped: true})
	s.retire(old.data)
	s.open.CompareAndDelete(store.name, store)
}

// retire remembers a data key that no store uses any more for Close.
func (s *Stores) retire(k *lockedKey) {
	s.olds = slices.DeleteFunc(s.olds, func(p weak.Pointer[lockedKey]) bool { return p.Value() == nil })
	s.olds = append(s.olds, weak.Make(k))
}

// load reads and authenticates a store's file.
func (s *Stores) load(name string) (*state, error) {
	b, seen, err := s.dir.read(name)
	if err != nil {
		return nil, err
	}
	damaged := func(secret, format string, a ...any) error {
		return &DamageError{File: s.dir.path(name), Store: name, Secret: secret, Reason: fmt.Sprintf(format, a...)}
	}
	f, decodeErr := decode(b)
	if f.name != "" && f.name != name {
		return nil, damaged("", "the file is that of store %q", f.name)
	}
	if f.master == (keyID{}) {
		return nil, damaged("", "%v", decodeErr)
	}
	master := s.keys.find(f.master)
	if master == nil {
		return nil, fmt.Errorf("%s: %w: store %q needs key %s, and what is at hand is %s",
			s.dir.path(name), ErrKey, name, (&Key{id: f.master}).ID(), s.keys.describe())
	}
	data, err := f.unwrap(master)
	if err != nil {
		if err == errOpen {
			err = damaged("", "its data key does not authenticate")
		}
		return nil, err
	}
	if decodeErr == nil && authenticate(b, data) == nil {
		return &state{file: f, data: data, seen: seen}, nil
	}
	defer data.destroy()
	// Something is wrong: say where, if that can be told.
	for _, secret := range slices.Sorted(maps.Keys(f.secrets)) {
		for _, v := range f.secrets[secret] {
			if (Secret{v, data, name}).Use(func([]byte) error { return nil }) != nil {
				return nil, damaged(secret, "version %d does not authenticate", v.version)
			}
		}
	}
	if decodeErr != nil {
		return nil, damaged("", "%v", decodeErr)
	}
	return nil, damaged("", "it does not authenticate as a whole, though each of its secrets does")
}

func sameKey(a, b *lockedKey) (same bool) {
	_ = a.with(func(x []byte) error {
		return b.with(func(y []byte) error {
			same = [keySize]byte(x) == [keySize]byte(y)
			return nil
		})
	})
	return same
}

// Create makes an empty store; ErrStoreExists, ErrName, ErrClosed.
func (s *Stores) Create(name string) (*Store, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch _, err := s.refresh(name); {
	case err == nil:
		return nil, fmt.Errorf("%w: %s", ErrStoreExists, quoteName(name))
	case !errors.Is(err, ErrNoStore):
		return nil, err
	}
	f := &storeFile{name: name, created: time.Now().UnixNano(), secrets: map[string][]*sealed{}}
	rand.Read(f.id[:])
	data := randomKey()
	st, err := s.save(f, data)
	if err != nil {
		data.destroy()
		return nil, err
	}
	store := &Store{stores: s, name: name}
	store.state.Store(st)
	s.open.Store(name, store)
	return store, nil
}

// save wraps the data key if need be, writes the file, and gives the state that it is.
func (s *Stores) save(f *storeFile, data *lockedKey) (*state, error) {
	st := &state{file: f, data: data}
	if s.dir == nil {
		return st, nil
	}
	if f.master == (keyID{}) {
		if err := f.wrap(data, s.keys.primary()); err != nil {
			return nil, err
		}
	}
	b, err := f.encode(data)
	if err != nil {
		return nil, err
	}
	st.seen, err = s.dir.write(f.name, b)
	return st, err
}

// lock keeps other processes from changing the directory.
func (s *Stores) lock() (unlock func(), err error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if s.dir == nil {
		return func() {}, nil
	}
	return s.dir.lock()
}

// errUnchanged is what an edit gives when there is nothing to write.
var errUnchanged = errors.New("unchanged")

// change lets edit work on a copy of what the store's file holds now, and puts the copy in its place.
func (s *Stores) change(store *Store, edit func(f *storeFile, data *lockedKey) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := store.live(); err != nil {
		return err
	}
	if now, err := s.refresh(store.name); err != nil {
		return err
	} else if now != store {
		return noStore(store.name)
	}
	old := store.state.Load()
	f := *old.file
	f.secrets = maps.Clone(old.file.secrets)
	if err := edit(&f, old.data); err != nil {
		if err == errUnchanged {
			err = nil
		}
		return err
	}
	st, err := s.save(&f, old.data)
	if err != nil {
		return err
	}
	store.state.Store(st)
	return nil
}

// Drop removes a store and everything in it; ErrNoStore, ErrClosed. It works on damaged stores too.
func (s *Stores) Drop(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	v, open := s.open.Load(name)
	if s.dir != nil && CheckName(name) == nil {
		if err := s.dir.remove(name); err != nil {
			return err
		}
	} else if !open {
		return noStore(name)
	}
	if open {
		s.forget(v.(*Store))
	}
	return nil
}

// Names gives the stores' names, sorted; damaged ones are among them as long as their files begin well.
func (s *Stores) Names() ([]string, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if s.dir != nil {
		return s.dir.names()
	}
	var names []string
	s.open.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	slices.Sort(names)
	return names, nil
}

// RotateOptions says how far Rotate goes.
type RotateOptions struct {
	// DataKeys also gives every store a new data key and seals all its secrets anew, versions kept. It is for a master key
	// that others may have had, together with the files.
	DataKeys bool
}

// Rotate brings all stores under the ring's first key and tells how many it wrote. Without options no secret is decrypted:
// a data key is wrapped anew, and stores that are under the first key already are left alone. It can be interrupted and
// run again. Running processes follow by themselves when their rings have both keys. The error joins those of the stores
// that could not be done. In memory there is no master key and nothing to do.
func (s *Stores) Rotate(o RotateOptions) (written int, err error) {
	if s.dir == nil {
		return 0, nil
	}
	names, err := s.Names()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		wrote, e := s.rotate(name, o)
		if wrote {
			written++
		}
		if e != nil && !errors.Is(e, ErrNoStore) {
			err = errors.Join(err, e)
		}
	}
	return written, err
}

func (s *Stores) rotate(name string, o RotateOptions) (wrote bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	store, err := s.refresh(name)
	if err != nil {
		return false, err
	}
	old := store.state.Load()
	if old.file.master == s.keys.primary().id && !o.DataKeys {
		return false, nil
	}
	f, data := *old.file, old.data
	f.master = keyID{}
	if o.DataKeys {
		data = randomKey()
		if f.secrets, err = reseal(old, data); err != nil {
			data.destroy()
			return false, err
		}
	}
	st, err := s.save(&f, data)
	if err != nil {
		if data != old.data {
			data.destroy()
		}
		return false, err
	}
	if data != old.data {
		s.retire(old.data)
	}
	store.state.Store(st)
	return true, nil
}

// reseal gives a store's secrets under another data key.
func reseal(old *state, data *lockedKey) (map[string][]*sealed, error) {
	secrets := make(map[string][]*sealed, len(old.file.secrets))
	for name, versions := range old.file.secrets {
		for _, v := range versions {
			w := *v
			err := (Secret{v, old.data, old.file.name}).Use(func(plaintext []byte) (err error) {
				w.box, err = data.seal(&w.nonce, plaintext, w.ad)
				return err
			})
			if err != nil {
				return nil, err
			}
			secrets[name] = append(secrets[name], &w)
		}
	}
	return secrets, nil
}

// Close destroys all keys: no secret can be opened after it, also none that was looked up before. It waits for those that
// are being opened.
func (s *Stores) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	s.open.Range(func(_, v any) bool {
		v.(*Store).state.Load().data.destroy()
		return true
	})
	for _, old := range s.olds {
		if k := old.Value(); k != nil {
			k.destroy()
		}
	}
	if s.keys != nil {
		s.keys.Destroy()
	}
	return nil
}
