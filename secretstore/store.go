package secretstore

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// Store is one named store. Its methods may be called from many goroutines at once; Get takes no lock but the key's.
type Store struct {
	stores *Stores
	name   string
	state  atomic.Pointer[state]
}

// state is what a store holds at one time. It does not change.
type state struct {
	file    *storeFile // its secrets are never written to once it is here
	data    *lockedKey
	seen    fileState // of the file it was read from or written to
	dropped bool
}

// Mode says what Put does about a secret that is there already.
type Mode uint8

// Modes of Put.
const (
	Create           Mode = iota // fails with ErrExists if there is one
	Recreate                     // fails with ErrNotFound if there is none
	CreateOrRecreate             // takes both
)

// Name gives the store's name.
func (s *Store) Name() string { return s.name }

// Created tells when the store was made.
func (s *Store) Created() time.Time { return time.Unix(0, s.state.Load().file.created).UTC() }

// ID tells this store from others, also from a later one of the same name.
func (s *Store) ID() [16]byte { return s.state.Load().file.id }

// KeyID is the ID of the master key that the store needs, "" for a store in memory.
func (s *Store) KeyID() string {
	if s.stores.dir == nil {
		return ""
	}
	return (&Key{id: s.state.Load().file.master}).ID()
}

// live gives the current state, unless the store is no more.
func (s *Store) live() (*state, error) {
	st := s.state.Load()
	if s.stores.closed.Load() {
		return nil, ErrClosed
	}
	if st.dropped {
		return nil, noStore(s.name)
	}
	return st, nil
}

// Get gives the newest version of a secret as of the last Open of the store or change through it; ErrNotFound,
// ErrNoStore when the store was dropped, ErrClosed.
func (s *Store) Get(name string) (Secret, error) { return s.get(name, 0) }

// GetVersion gives one version of a secret; errors as of Get.
func (s *Store) GetVersion(name string, version uint64) (Secret, error) {
	if version == 0 {
		return Secret{}, fmt.Errorf("%w: there is no version 0", ErrNotFound)
	}
	return s.get(name, version)
}

func (s *Store) get(name string, version uint64) (Secret, error) {
	st, err := s.live()
	if err != nil {
		return Secret{}, err
	}
	versions := st.file.secrets[name]
	if len(versions) == 0 {
		return Secret{}, noSecret(name)
	}
	newest := versions[len(versions)-1]
	if version != 0 && version != newest.version {
		i := slices.IndexFunc(versions, func(v *sealed) bool { return v.version == version })
		if i < 0 {
			return Secret{}, fmt.Errorf("%w: %s has no version %d", ErrNotFound, quoteName(name), version)
		}
		newest = versions[i]
	}
	return Secret{sealed: newest, key: st.data, store: s.name}, nil
}

// List describes the newest version of every secret, sorted by name.
func (s *Store) List() ([]Info, error) {
	st, err := s.live()
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(st.file.secrets))
	for _, name := range slices.Sorted(maps.Keys(st.file.secrets)) {
		versions := st.file.secrets[name]
		info := versions[len(versions)-1].info()
		info.Versions = len(versions)
		infos = append(infos, info)
	}
	return infos, nil
}

// Versions describes all versions of a secret, the newest first; errors as of Get.
func (s *Store) Versions(name string) ([]Info, error) {
	st, err := s.live()
	if err != nil {
		return nil, err
	}
	var infos []Info
	for _, v := range slices.Backward(st.file.secrets[name]) {
		infos = append(infos, v.info())
	}
	if infos == nil {
		return nil, noSecret(name)
	}
	return infos, nil
}

// Put seals a plaintext as a new version of a secret and describes it. The older versions stay until Prune or Delete.
// The caller may overwrite the plaintext afterwards. Errors: ErrName, ErrTooLarge for more than MaxSecret bytes, ErrExists
// and ErrNotFound as the mode says, ErrNoStore, ErrClosed, and what the file system has to say.
func (s *Store) Put(name string, plaintext []byte, mode Mode) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	if len(plaintext) > MaxSecret {
		return Info{}, fmt.Errorf("%w: the secret has %d bytes, more than %d", ErrTooLarge, len(plaintext), MaxSecret)
	}
	var info Info
	err := s.stores.change(s, func(f *storeFile, data *lockedKey) error {
		old := f.secrets[name]
		switch {
		case mode == Create && len(old) > 0:
			return fmt.Errorf("%w: %s", ErrExists, quoteName(name))
		case mode == Recreate && len(old) == 0:
			return noSecret(name)
		}
		f.last++
		v := &sealed{name: name, version: f.last, created: time.Now().UnixNano()}
		v.ad = recordAD(f.name, name, v.version, v.created)
		var err error
		if v.box, err = data.seal(&v.nonce, plaintext, v.ad); err != nil {
			return err
		}
		f.secrets[name] = append(old[:len(old):len(old)], v)
		info = v.info()
		info.Versions = len(f.secrets[name])
		return nil
	})
	return info, err
}

// Delete removes a secret with all its versions; ErrNotFound, ErrNoStore, ErrClosed.
func (s *Store) Delete(name string) error {
	return s.stores.change(s, func(f *storeFile, _ *lockedKey) error {
		if len(f.secrets[name]) == 0 {
			return noSecret(name)
		}
		delete(f.secrets, name)
		return nil
	})
}

// Prune removes all but the newest keep versions of a secret, keep being at least 1, and tells how many it removed;
// errors as of Delete.
func (s *Store) Prune(name string, keep int) (removed int, err error) {
	if keep < 1 {
		return 0, fmt.Errorf("secretstore: prune keeps 1 version or more, not %d", keep)
	}
	err = s.stores.change(s, func(f *storeFile, _ *lockedKey) error {
		versions := f.secrets[name]
		if len(versions) == 0 {
			return noSecret(name)
		}
		if removed = max(len(versions)-keep, 0); removed == 0 {
			return errUnchanged
		}
		f.secrets[name] = slices.Clone(versions[removed:])
		return nil
	})
	return removed, err
}
