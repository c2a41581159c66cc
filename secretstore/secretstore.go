// Package secretstore holds named stores of named secrets, encrypted wherever they are kept. It stands alone: it needs
// nothing of this module's other packages, and any Go program may use it.
//
// Each store has a random data key. A secret is sealed with it by XChaCha20-Poly1305, bound to the names of store and
// secret, to its version and its time, so that no record can stand in for another. The data key is itself sealed
// ("wrapped") by a master key, which comes from a file, an environment variable or a command that asks a key management
// service (KeyFromFile, KeyFromEnv, KeyFromCommand). Stores in a directory (OpenDir) are one file each, written whole, synced
// and renamed into place, and authenticated as a whole; those of NewMemory are gone with the process. Both keep sealed
// secrets only: plaintext appears when Secret.Use, Secret.Reveal or Secret.AppendTo decrypts it, for about a microsecond's work.
//
// What is promised:
//   - A Put or Delete that returned nil survives a crash of the process or the machine. One that failed changed nothing, unless
//     the last of its steps failed, syncing the directory: then the change may be there.
//   - A file that is damaged, was tampered with or stands in another's place is refused with an error that wraps
//     ErrDamaged and names the store, and the secret where it can be told. No part of a secret that does not authenticate
//     is ever given out.
//   - Secrets, keys and errors print as what they are called, never as what they hold, whatever formats them.
//   - Master keys and data keys live in memory of their own, outside the heap: on Linux it is locked against swapping where the
//     limit on locked memory allows it and left out of core dumps, and it is overwritten when a key is destroyed.
//
// What is not: the caller has plaintext in its own buffers, and whoever may read the memory of the running process or attach
// a debugger to it can read keys. The one-time key of a record that was opened, and key text that came from a file, variable
// or command, may stay in freed heap memory until it is used again. Somebody who may write to the directory can put an older
// copy of a whole file back, or remove it. The names, sizes, times and number of secrets are not hidden.
package secretstore

import (
	"errors"
	"fmt"
	"strconv"
)

// The platform's published limits, in bytes.
const (
	MaxName   = 255      // of a store or secret
	MaxSecret = 64 << 10 // of a secret
)

// Errors to match with errors.Is.
var (
	ErrNoStore     = errors.New("no such secret store")
	ErrStoreExists = errors.New("the secret store exists already")
	ErrNotFound    = errors.New("no such secret")
	ErrExists      = errors.New("the secret exists already")
	ErrName        = errors.New("bad name")
	ErrTooLarge    = errors.New("too large")
	ErrDamaged     = errors.New("stored secrets are damaged or were tampered with")
	ErrKey         = errors.New("no fitting master key")
	ErrClosed      = errors.New("the secret stores are closed")
)

// CheckName tells whether a name of a store or secret is 1 to MaxName bytes of A-Z a-z 0-9 _ - and dot. The error wraps
// ErrName and does not repeat the name: somebody may have put the secret there.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrName, len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return fmt.Errorf("%w: byte %d is none of A-Z a-z 0-9 _ - and dot", ErrName, i+1)
		}
	}
	return nil
}

// DamageError says what is damaged. It wraps ErrDamaged.
type DamageError struct {
	File   string // "" for a secret in memory
	Store  string // "" when not even that can be told
	Secret string // "" when the damage is not in a secret's record
	Reason string
}

// Unwrap gives ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

func (e *DamageError) Error() string {
	text := ErrDamaged.Error()
	if e.File != "" {
		text = e.File + ": " + text
	}
	if e.Store != "" {
		text += ": store " + strconv.Quote(e.Store)
	}
	if e.Secret != "" {
		text += ", secret " + strconv.Quote(e.Secret)
	}
	text += ": " + e.Reason
	if e.File != "" {
		text += "; put a backup of the file in its place"
	}
	return text
}

func noStore(name string) error  { return fmt.Errorf("%w: %s", ErrNoStore, quoteName(name)) }
func noSecret(name string) error { return fmt.Errorf("%w: %s", ErrNotFound, quoteName(name)) }

// quoteName shows a name that may be one, and says so of one that cannot.
func quoteName(name string) string {
	if CheckName(name) != nil {
		return "the name is not a valid one"
	}
	return strconv.Quote(name)
}
