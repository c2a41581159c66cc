package configstore

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxName is the most bytes that the name of a store may have.
const MaxName = 255

// Errors that an Admin gives, besides ErrNotFound and ErrLimit; match them with errors.Is.
var (
	ErrStoreExists = errors.New("the config store exists already")
	ErrNoKey       = errors.New("no such key")
	ErrName        = errors.New("bad name of a config store")
	ErrDamaged     = errors.New("the config stores are damaged")
)

// CheckName tells whether a store can have that name: 1 to MaxName bytes of printable UTF-8. The error wraps ErrName.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrName, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not UTF-8", ErrName)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: %s has characters that cannot be printed", ErrName, quoteKey(name))
		}
	}
	return nil
}

// CheckEntry tells whether an entry is UTF-8 and within the limits, as Check does for one that is UTF-8 anyhow.
func (l Limits) CheckEntry(key, value string) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("key %s is not UTF-8", quoteKey(key))
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("value of key %s is not UTF-8", quoteKey(key))
	}
	return l.Check(key, value)
}

// Info describes a store.
type Info struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"` // of the last change to its entries
	Entries int       `json:"item_count"`
}

// Admin is where stores are kept for good and changed: configstore/bolt is a file, configstore/nats a cluster. Programs that
// only read follow one by a Mirror. Its methods may be called from many goroutines and processes at once. What has returned
// nil lasts; what has failed changed nothing, unless its context ended or a server's answer was lost. Errors never hold a value.
type Admin interface {
	// Create makes an empty store; ErrStoreExists, ErrName.
	Create(ctx context.Context, store string) error
	// Drop removes a store with its entries; ErrNotFound.
	Drop(ctx context.Context, store string) error
	// Names gives the stores' names, sorted.
	Names(ctx context.Context) ([]string, error)
	// Describe counts entries, so it may take time; ErrNotFound.
	Describe(ctx context.Context, store string) (Info, error)
	// Lookup gives the value of a key; ErrNotFound, ErrNoKey.
	Lookup(ctx context.Context, store, key string) (string, error)
	// Contents gives all entries; ErrNotFound.
	Contents(ctx context.Context, store string) (map[string]string, error)
	// Put makes an entry or gives it another value; ErrNotFound, ErrLimit.
	Put(ctx context.Context, store, key, value string) error
	// Delete removes an entry; ErrNotFound, ErrNoKey.
	Delete(ctx context.Context, store, key string) error
	// Replace puts entries in place of all that the store has. Who follows the store sees all of it or nothing. Errors:
	// ErrNotFound, ErrLimit.
	Replace(ctx context.Context, store string, contents map[string]string) error
	// Close lets go of what the Admin holds open.
	Close() error
}

// NotFound makes the error of a store that is not there, for drivers.
func NotFound(store string) error { return fmt.Errorf("%w: %s", ErrNotFound, quoteKey(store)) }

// NoKey makes the error of an entry that is not there, for drivers.
func NoKey(store, key string) error {
	return fmt.Errorf("%w: %s in config store %s", ErrNoKey, quoteKey(key), quoteKey(store))
}

// StoreExists makes the error of a store that is there already, for drivers.
func StoreExists(store string) error { return fmt.Errorf("%w: %s", ErrStoreExists, quoteKey(store)) }
