package secretstore

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"crypto/sha256"
)

const redacted = "[secret]"

// Secret is one version of a secret, still sealed. It stays that version, and can be opened, whatever becomes of the store,
// until the Stores are closed. Every way of formatting it gives "[secret]". The zero Secret is not usable.
type Secret struct {
	sealed *sealed
	key    *lockedKey
	store  string
}

// Info describes a version of a secret. None of it tells anything about the contents but their size.
type Info struct {
	Name    string    `json:"name"`
	Version uint64    `json:"version"` // of a secret's versions the newest has the greatest; none is used twice in a store
	Created time.Time `json:"created_at"`
	Size    int       `json:"size"` // bytes
	// Digest tells versions apart: 32 hexadecimal digits. Equal contents have different ones.
	Digest string `json:"digest"`
	// Versions is how many versions the secret has. It is filled in by List alone.
	Versions int `json:"versions,omitempty"`
}

// Info describes it.
func (s Secret) Info() Info { return s.sealed.info() }

// Len is the plaintext's length in bytes.
func (s Secret) Len() int { return s.sealed.size() }

// Reveal decrypts into dst, which must have exactly Len bytes. When it fails dst holds zeros. Errors: *DamageError,
// ErrClosed.
func (s Secret) Reveal(dst []byte) error {
	if len(dst) != s.Len() {
		return fmt.Errorf("secretstore: a buffer of %d bytes for a secret of %d", len(dst), s.Len())
	}
	err := s.key.open(dst, &s.sealed.nonce, s.sealed.box, s.sealed.ad)
	if err == errOpen {
		return &DamageError{Store: s.store, Secret: s.sealed.name, Reason: "it does not authenticate"}
	}
	return err
}

// AppendTo decrypts to the end of dst. Where dst has no room for Len more bytes the result is a new slice, and what dst held
// is in both. The caller overwrites the result when it has done its work.
func (s Secret) AppendTo(dst []byte) ([]byte, error) {
	n := len(dst)
	if cap(dst)-n < s.Len() {
		dst = append(make([]byte, 0, n+s.Len()), dst...)
	}
	dst = dst[:n+s.Len()]
	if err := s.Reveal(dst[n:]); err != nil {
		return dst[:n], err
	}
	return dst, nil
}

// Use gives f the plaintext, which is overwritten when f has returned or panicked: f keeps no reference to it.
func (s Secret) Use(f func(plaintext []byte) error) error {
	b := make([]byte, s.Len())
	defer clear(b)
	if err := s.Reveal(b); err != nil {
		return err
	}
	return f(b)
}

// String gives "[secret]".
func (s Secret) String() string { return redacted }

// Format gives "[secret]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText gives "[secret]", also to encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[secret]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// sealed is a version of a secret as it is kept. It does not change.
type sealed struct {
	name    string
	version uint64
	created int64 // nanoseconds since 1970
	nonce   [nonceSize]byte
	box     []byte
	ad      []byte // what the box is bound to
}

func (s *sealed) size() int { return len(s.box) - tagSize }

func (s *sealed) info() Info {
	h := sha256.New()
	h.Write(s.nonce[:])
	h.Write(s.box)
	return Info{Name: s.name, Version: s.version, Created: time.Unix(0, s.created).UTC(), Size: s.size(),
		Digest: hex.EncodeToString(h.Sum(nil)[:16])}
}
