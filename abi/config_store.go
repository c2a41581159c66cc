package abi

import (
	"errors"

	"github.com/edgewasm/wasmedge/host/engine"
)

// ConfigStore is one opened config store.
type ConfigStore interface {
	Lookup(key string) (value string, ok bool)
}

// ConfigStores opens config stores by name. ErrNoStore is wrapped when there is none of that name; any other
// error is a store that cannot be read now.
type ConfigStores interface {
	OpenConfigStore(name string) (ConfigStore, error)
}

// ErrNoStore means that a service has no store of the name a guest asked for.
var ErrNoStore = errors.New("abi: no such store")

const (
	maxStoreName = 255 // bytes
	maxConfigKey = 256 // characters, thus at most four times as many bytes
)

// configStoreCalls is the guest module fastly_config_store; fastly_dictionary is its old name.
var configStoreCalls = calls{
	"open": {fn: configStoreOpen},
	"get":  {fn: configStoreGet},
}

type openConfigStore struct{ store ConfigStore }

// configStoreOpen is open(name, name_len, out handle). BadF: no such store. None: empty name.
// Unsupported: over-long name. Error: the store's source is broken.
func configStoreOpen(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	switch n := a.u32(1); {
	case n == 0:
		return None
	case n > maxStoreName:
		return Unsupported
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	store, err := s.env.ConfigStores.OpenConfigStore(name)
	if err != nil {
		if errors.Is(err, ErrNoStore) {
			return BadF
		}
		s.warn("config store cannot be opened", err)
		return Error
	}
	h, st := s.configStores.add(&openConfigStore{store})
	if st == OK {
		out.put(h)
	}
	return st
}

// configStoreGet is get(handle, key, key_len, buf, buf_len, out nwritten). None: no such key.
func configStoreGet(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(3), a.u32(4), a.u32(5))
	if st != OK {
		return st
	}
	store, st := s.configStores.get(a.u32(0))
	if st != OK {
		return st
	}
	if a.u32(2) > 4*maxConfigKey {
		return Inval
	}
	key, st := text(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	v, ok := store.store.Lookup(key)
	return buf.optional(v, ok)
}
