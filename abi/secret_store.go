package abi

import (
	"errors"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Secret is one version of a secret, which is decrypted when it is wanted.
type Secret interface {
	// Len is the plaintext's length in bytes.
	Len() int
	// Reveal decrypts into dst, which has Len bytes. When it fails dst holds nothing of the secret.
	Reveal(dst []byte) error
}

// SecretStore is one opened secret store.
type SecretStore interface {
	// LookupSecret gives the newest version of a secret, nil if there is none of that name.
	LookupSecret(name string) (Secret, error)
}

// SecretStores opens secret stores by name. ErrNoStore is wrapped when there is none of that name; any other error is a
// store that cannot be read now. No error holds a secret.
type SecretStores interface {
	OpenSecretStore(name string) (SecretStore, error)
}

// The platform's published limits, in bytes.
const (
	maxSecret     = 64 << 10
	maxSecretName = 255
)

// secretStoreCalls is the guest module fastly_secret_store.
var secretStoreCalls = calls{
	"open":       {fn: secretStoreOpen},
	"get":        {fn: secretStoreGet},
	"from_bytes": {fn: secretFromBytes},
	"plaintext":  {fn: secretPlaintext},
}

type openSecretStore struct{ store SecretStore }

// openSecret is a secret that the guest has a handle of: one of a store, or one of the guest's own, whose bytes are
// overwritten when the sandbox ends.
type openSecret struct {
	stored    Secret // nil for one of the guest's own
	plaintext []byte
}

func (o *openSecret) size() int {
	if o.stored != nil {
		return o.stored.Len()
	}
	return len(o.plaintext)
}

// reveal writes the plaintext to dst, which has its size.
func (o *openSecret) reveal(dst []byte) error {
	if o.stored != nil {
		return o.stored.Reveal(dst)
	}
	copy(dst, o.plaintext)
	return nil
}

// use gives f the plaintext for as long as it runs.
func (o *openSecret) use(f func(plaintext []byte) error) error {
	b := make([]byte, o.size())
	defer clear(b)
	if err := o.reveal(b); err != nil {
		return err
	}
	return f(b)
}

// secretStoreOpen is open(name, name_len, out handle). None: no such store. Error: it cannot be read.
func secretStoreOpen(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > maxStoreName {
		return None // there is none of so long a name
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if s.env.SecretStores == nil {
		return None
	}
	store, err := s.env.SecretStores.OpenSecretStore(name)
	if err != nil {
		if errors.Is(err, ErrNoStore) {
			return None
		}
		s.warn("secret store cannot be opened", err)
		return Error
	}
	h, st := s.secretStores.add(&openSecretStore{store})
	if st == OK {
		out.put(h)
	}
	return st
}

// secretStoreGet is get(store, name, name_len, out secret). It decrypts nothing. None: no such secret. Error: the store
// cannot be read.
func secretStoreGet(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	store, st := s.secretStores.get(a.u32(0))
	if st != OK {
		return st
	}
	if a.u32(2) > maxSecretName {
		return None
	}
	name, st := text(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	secret, err := store.store.LookupSecret(name)
	if err != nil {
		s.warn("secret cannot be looked up", err)
		return Error
	}
	if secret == nil {
		return None
	}
	h, st := s.secrets.add(&openSecret{stored: secret})
	if st == OK {
		out.put(h)
	}
	return st
}

// secretFromBytes is from_bytes(buf, buf_len, out handle): a secret of the sandbox's own, which hostcalls take where they
// want one. LimitExceeded: it is too long, or there are too many.
func secretFromBytes(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > maxSecret {
		return LimitExceeded
	}
	b, st := in(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if int64(len(b)) > s.buffered {
		return LimitExceeded
	}
	own := &openSecret{plaintext: append([]byte(nil), b...)}
	h, st := s.secrets.add(own)
	if st != OK {
		clear(own.plaintext)
		return st
	}
	s.buffered -= int64(len(b)) // secrets are never closed
	out.put(h)
	return OK
}

// secretPlaintext is plaintext(secret, buf, buf_len, out nwritten). It decrypts straight into the guest's memory, for a copy
// here would have to be overwritten. Error: the secret does not authenticate, or its store has been closed.
func secretPlaintext(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(1), a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	secret, st := s.secrets.get(a.u32(0))
	if st != OK {
		return st
	}
	n := secret.size()
	buf.nwritten.put(uint32(n))
	if n > len(buf.dst) {
		return BufLen
	}
	if err := secret.reveal(buf.dst[:n]); err != nil {
		buf.nwritten.put(0)
		s.warn("secret cannot be decrypted", err)
		return Error
	}
	return OK
}

// forgetSecrets overwrites what the guest has left in secrets.
func (s *Sandbox) forgetSecrets() {
	for _, secret := range s.secrets.items {
		if secret != nil {
			clear(secret.plaintext)
		}
	}
	s.secrets.reset()
	s.secretStores.reset()
}
