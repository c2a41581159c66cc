// Package kvstore holds named stores of keys and values with the semantics of the Compute platform's KV stores: insert
// modes, generations, metadata, time to live, sorted listing in pages, values that stream both ways. It stands
// alone: it needs nothing of this module's other packages, and any Go program may use it.
//
// A driver keeps the data: kvstore/memory in memory, kvstore/bolt in one file, kvstore/nats in a JetStream cluster. All pass the
// suite in kvstore/kvstoretest.
//
// What every driver promises: an Insert or Delete that returned nil is seen by every later Lookup and strong List of the same
// Stores, and by everyone after a restart if the driver is durable; one that returned an error changed nothing, except
// where the error wraps ErrUnknown; a reader sees a value whole or not at all, and goes on reading the one it began with
// while it is replaced or deleted; an expired key is absent from the moment it expires, and its space is reclaimed
// later.
package kvstore

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors to match with errors.Is. Drivers wrap them with what was being done; the texts never hold a value.
var (
	ErrNoStore      = errors.New("no such store")
	ErrStoreExists  = errors.New("the store exists already")
	ErrNotFound     = errors.New("no such key")
	ErrPrecondition = errors.New("precondition failed") // the key exists (Add), or has another generation
	ErrKey          = errors.New("bad key")
	ErrName         = errors.New("bad store name")
	ErrCursor       = errors.New("bad cursor")
	ErrTooLarge     = errors.New("too large") // value, metadata
	ErrBusy         = errors.New("too many requests")
	ErrCorrupt      = errors.New("stored data is damaged")
	ErrReadOnly     = errors.New("the store cannot be written to") // disk full, or opened so
	ErrClosed       = errors.New("the stores are closed")
	// ErrUnknown is a write of which it is not known whether it took effect, as when a server's answer was lost.
	ErrUnknown = errors.New("the outcome is not known")
)

// Stores is a driver's collection of stores. Its methods may be called from many goroutines at once.
type Stores interface {
	// Open gives the store of that name; ErrNoStore.
	Open(ctx context.Context, name string) (Store, error)
	// Create makes an empty store; ErrStoreExists, ErrName.
	Create(ctx context.Context, name string) (Store, error)
	// Drop removes a store and all its keys; ErrNoStore. Stores opened before answer ErrNoStore from then on.
	Drop(ctx context.Context, name string) error
	// Names gives the stores' names, sorted.
	Names(ctx context.Context) ([]string, error)
	// Close flushes what is to be flushed and lets go of everything. Values still being read fail with ErrClosed or are
	// read to their end.
	Close() error
}

// Store is one map from keys to values. Its methods may be called from many goroutines at once. A cancelled
// context ends a call with the context's error.
type Store interface {
	// Lookup gives the value of key; ErrNotFound, ErrKey. The caller closes the value's Body.
	Lookup(ctx context.Context, key string) (Value, error)
	// Insert stores what value gives, read to its end, and returns the key's new generation. It fails with ErrKey,
	// ErrPrecondition, ErrTooLarge, with the error of value if reading fails, and changes nothing then.
	// value may be nil for an empty one. A *Body that holds bytes is not copied through a buffer.
	Insert(ctx context.Context, key string, value io.Reader, o InsertOptions) (generation uint64, err error)
	// Delete removes a key; ErrNotFound, ErrKey, ErrPrecondition.
	Delete(ctx context.Context, key string, o DeleteOptions) error
	// List gives one page of keys in byte order; ErrCursor.
	List(ctx context.Context, o ListOptions) (Page, error)
	// Stat counts what is there; it may cost a walk over the keys.
	Stat(ctx context.Context) (Stat, error)
}

// Prompt is what a Store implements besides when some of its calls may be made where nothing may wait, such as on the thread of
// an event loop. Callers make the other calls in goroutines of their own. The answers do not change.
type Prompt interface {
	// PromptLookup reports that Lookup waits for no network, for no write to a disk, and for no lock that is held meanwhile.
	PromptLookup() bool
	// PromptWrite reports the same of Delete, and of Insert with a value that is in memory.
	PromptWrite() bool
}

// Value is a stored value as it was when it was looked up.
type Value struct {
	Body       *Body
	Metadata   []byte    // nil when there is none or it is empty; do not write to it
	Generation uint64    // never 0; greater after each write of the key, even when it was deleted in between
	Expires    time.Time // zero when it does not expire
}

// InsertMode says what an Insert does with a value that is there already.
type InsertMode int

// The modes have the guest ABI's numbers (enum kv_insert_mode).
const (
	Overwrite InsertMode = iota
	Add                  // ErrPrecondition if the key exists
	Append               // after the present value; a missing key counts as empty
	Prepend              // before it
)

// Valid tells whether m is one of the modes. An Insert in another fails.
func (m InsertMode) Valid() bool { return m >= Overwrite && m <= Prepend }

// InsertOptions changes what Insert does. The zero value overwrites, without metadata and forever.
type InsertOptions struct {
	Mode InsertMode
	// Metadata is kept beside the value; nil or empty for none. An insert replaces it, in every mode. It must not be written
	// to after the call.
	Metadata []byte
	// TTL is when the key expires, counted from the insert; 0 for never. An insert replaces it, in every mode. A key whose TTL is
	// negative has expired already.
	TTL time.Duration
	// IfGeneration makes the insert conditional, if HasIfGeneration is set: the key has this generation now, else
	// ErrPrecondition. A missing or expired key has generation 0.
	IfGeneration    uint64
	HasIfGeneration bool
}

// DeleteOptions changes what Delete does.
type DeleteOptions struct {
	IfGeneration    uint64 // as that of InsertOptions; ErrNotFound for a missing key if it is 0
	HasIfGeneration bool
}

// ListOptions picks the page.
type ListOptions struct {
	Prefix string // only keys that begin with it
	Cursor string // Page.NextCursor of the page before, with the same Prefix; "" for the first
	Limit  int    // most keys on a page, see PageSize
	// Eventual allows a driver to answer from a copy that lags behind. Otherwise every write acknowledged before is seen.
	Eventual bool
}

// PageSize is the most keys that a page has: Limit, cut to MaxListLimit; DefaultListLimit if it is 0 or less.
func (o ListOptions) PageSize() int {
	if o.Limit <= 0 {
		return DefaultListLimit
	}
	return min(o.Limit, MaxListLimit)
}

// Page is one page of a listing.
type Page struct {
	Keys []string
	// NextCursor is opaque, and "" on the last page. Keys that are inserted or deleted between two pages may or may not
	// show; every other key shows exactly once.
	NextCursor string
}

// Stat is what a store holds. Figures of expired keys that are not reclaimed yet may be in it.
type Stat struct {
	Keys  int64
	Bytes int64 // of values and metadata
}
