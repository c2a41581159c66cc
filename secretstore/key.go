package secretstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/crypto/chacha20"
)

// Key is a master key. It prints as its ID. Its methods may be called from many goroutines at once.
type Key struct {
	key *lockedKey
	id  keyID
}

// keyID tells keys apart and says nothing about them.
type keyID [8]byte

// idNonce is the message that a key's ID is derived from.
var idNonce = []byte("secretstore: ID.")

func newKey(k *lockedKey) *Key {
	key := &Key{key: k}
	_ = k.with(func(b []byte) error { // it is open and has the right size
		sum, err := chacha20.HChaCha20(b, idNonce)
		copy(key.id[:], sum)
		clear(sum)
		return err
	})
	return key
}

// NewKey makes a random key.
func NewKey() *Key { return newKey(randomKey()) }

// ParseKey reads a key of 32 bytes: as they are, or written in hexadecimal or base64, with white space around. It
// overwrites text. Errors do not show any of it.
func ParseKey(text []byte) (*Key, error) {
	defer clear(text)
	const want = "want a key of 32 bytes: as they are, or in base64 or hexadecimal"
	if len(text) == keySize && slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		return newKey(copyKey(text)), nil
	}
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 {
		return nil, errors.New("it is empty; " + want)
	}
	if len(trimmed) > 2*keySize {
		return nil, fmt.Errorf("%d bytes of text are too many; %s", len(trimmed), want)
	}
	var raw [2 * keySize]byte
	defer clear(raw[:])
	if len(trimmed) == 2*keySize {
		if _, err := hex.Decode(raw[:], trimmed); err != nil {
			return nil, errors.New("it is no hexadecimal; " + want)
		}
		return newKey(copyKey(raw[:keySize])), nil
	}
	plain := bytes.TrimRight(trimmed, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if n, err := encoding.Decode(raw[:], plain); err == nil && n == keySize {
			return newKey(copyKey(raw[:keySize])), nil
		}
	}
	return nil, errors.New(want)
}

// AppendText appends the key in base64, for whoever keeps it. It fails with ErrClosed on a destroyed key.
func (k *Key) AppendText(dst []byte) ([]byte, error) {
	err := k.key.with(func(b []byte) error {
		dst = base64.StdEncoding.AppendEncode(dst, b)
		return nil
	})
	return dst, err
}

// ID tells keys apart: 16 hexadecimal digits that say nothing about the key. Files of stores hold the ID of the key that
// they need.
func (k *Key) ID() string { return hex.EncodeToString(k.id[:]) }

// Destroy overwrites the key. What needs it fails with ErrClosed from then on.
func (k *Key) Destroy() { k.key.destroy() }

// String names the key by its ID.
func (k *Key) String() string { return "[key " + k.ID() + "]" }

// Format gives String for every verb and flag.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// MarshalText gives String, also to encoding/json.
func (k *Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue gives String.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Keyring is the master keys of a directory. The first seals; all open. While a master key is being replaced, the ring
// holds the new one first and the old one after it (see Stores.Rotate).
type Keyring struct{ keys []*Key }

// NewKeyring makes a ring of at least one key.
func NewKeyring(primary *Key, older ...*Key) *Keyring {
	return &Keyring{append([]*Key{primary}, older...)}
}

// Destroy destroys all of its keys.
func (r *Keyring) Destroy() {
	for _, k := range r.keys {
		k.Destroy()
	}
}

func (r *Keyring) primary() *Key { return r.keys[0] }

func (r *Keyring) find(id keyID) *Key {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// describe lists the IDs.
func (r *Keyring) describe() string {
	text := ""
	for i, k := range r.keys {
		if i > 0 {
			text += ", "
		}
		text += k.ID()
	}
	return text
}
