// Package bolt is the embedded, durable driver of kvstore: all stores of a node in one file of go.etcd.io/bbolt.
//
// It promises what kvstore does, and:
//   - a write that was acknowledged is on the disk (fdatasync) and survives kill -9 and loss of power; writes that come
//     at the same time share one sync, and a lone one is not delayed;
//   - one write that fails does not fail others; where it cannot be told whether writes took effect (the disk refused to
//     sync the file's header), they get ErrUnknown and the file takes no more of them until it is opened again;
//   - values beyond 248 KiB are written while they come in, a bounded part at a time; neither a slow upload nor a slow
//     reader holds anybody up, and readers keep no transaction of the file open;
//   - every record and every chunk of a value has a checksum that is verified when it is read: damage gives
//     ErrCorrupt with the key, and never wrong bytes. What Lookup alone cannot see, such as a damaged page of the tree
//     that hides a key, Check finds, and Open with Options.Verify refuses;
//   - a file that is damaged, cut off, foreign or in use by another process is refused with an error that says so.
//
// # The file
//
// Numbers are big-endian. Checksums are CRC-32C. The file's buckets:
//
//	format   "version" -> one byte, formatVersion
//	stores   name -> id (4 bytes). The bucket's sequence is the last id given; ids are never used again.
//	dropped  id -> nothing; stores whose records are still to be removed
//	records  id, key -> record. The bucket's sequence is the last generation given.
//	expiry   time (8, Unix nanoseconds), id, key -> nothing; one for each record that expires
//	blobs    blob (8), index (4) -> checksum (4) of key and bytes, bytes: chunkSize of them, the last chunk fewer.
//	         The bucket's sequence is the last blob number given.
//	ballast  pages to live on when the disk is full; the bucket may be missing
//	loose    blob -> one byte, looseUpload or looseDead; the blobs that no record names: they are being written,
//	         or to be removed
//
// A record:
//
//	0   version, recordVersion
//	1   flags: 1 = the value is in a blob
//	2   length of the metadata (2)
//	4   generation (8)
//	12  expires (8, Unix nanoseconds; 0 = never)
//	20  size of the value in bytes (8)
//	28  checksum (4) of the record's key in the bucket and of bytes 0 to 27
//	32  checksum (4) continued over bytes 36 to the end
//	36  metadata, then the value, or the blob's number (8)
//
// A blob belongs to one record and is never changed. A record that is replaced puts its blob among the loose ones in the
// same transaction; the blob is removed once nobody in the process reads it, or when the file is opened next.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	formatVersion = 1

	inlineMax = 2 << 10         // bytes of a value that is kept in its record
	chunkSize = 1984            // bytes of a value in one entry of the blobs bucket: two fill a page of 4096
	partMax   = 32 * chunkSize  // bytes of a value that one transaction reads at most
	batchMax  = 128 * chunkSize // bytes of a value that one transaction writes at most
	groupMax  = 1024            // writes that share a transaction
	groupSize = 4 << 20         // bytes that they hold together

	looseUpload = 1
	looseDead   = 2
)

var (
	bucketFormat  = []byte("format")
	bucketStores  = []byte("stores")
	bucketDropped = []byte("dropped")
	bucketRecords = []byte("records")
	bucketExpiry  = []byte("expiry")
	bucketBlobs   = []byte("blobs")
	bucketLoose   = []byte("loose")
	bucketBallast = []byte("ballast")
	buckets       = [][]byte{bucketFormat, bucketStores, bucketDropped, bucketRecords, bucketExpiry, bucketBlobs, bucketLoose}

	keyVersion = []byte("version")
)

// Options changes how a file is opened. The zero value is fit for use.
type Options struct {
	// MaxValue is the most bytes a value may have; 0 means kvstore.DefaultMaxValue.
	MaxValue int64
	// MaxFile is the size in bytes beyond which inserts are refused with ErrReadOnly; 0 means no limit. Deletes go
	// on, so the file may grow a little beyond it.
	MaxFile int64
	// LockTimeout is how long to wait for another process that has the file open; 0 means one second.
	LockTimeout time.Duration
	// ReadOnly refuses writes, and lets other processes open the file so as well. Nothing is reclaimed.
	ReadOnly bool
	// Queue is how many writes may wait for the one that is under way before others wait to be let in; 0 means 1024.
	Queue int
	// SweepInterval is how often expired keys are reclaimed; 0 means ten seconds. It has no influence on what is seen.
	SweepInterval time.Duration
	// Verify checks everything, as Check does, before the file is used. It reads the whole file.
	Verify bool
	// AcceptOlder opens a file of whose two headers one is damaged. The newest writes may be missing then.
	AcceptOlder bool
	// Now is the clock by which keys expire; nil means time.Now.
	Now func() time.Time

	stats bool // count transactions, for tests
}

// Stores is an open file. It implements kvstore.Stores.
type Stores struct {
	path string
	opts Options
	db   *bbolt.DB
	file *os.File // db's
	now  func() time.Time

	queue   chan *write
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	closing sync.RWMutex // held for reading while a write is put into the queue
	closed  bool         // guarded by closing
	closeMu sync.Mutex
	writer  sync.WaitGroup        // the writer
	others  sync.WaitGroup        // the janitor, backups
	broken  atomic.Pointer[error] // why there are no more writes
	stuck   bool                  // the writer's: a transaction cannot be ended
	ballast bool                  // the writer's: the ballast is there

	mu        sync.RWMutex // the fields below
	byName    map[string]*state
	abandoned []uint64 // blobs of uploads that came to nothing

	blobs   blobRefs
	nudge   chan struct{} // wakes the janitor
	appends [64]chan struct{}
}

// state is what all handles of a store share.
type state struct {
	name    string
	id      uint32
	dropped atomic.Bool
}

// Store is one store of a file. It implements kvstore.Store.
type Store struct {
	s  *Stores
	st *state
}

var (
	_ kvstore.Stores = (*Stores)(nil)
	_ kvstore.Store  = (*Store)(nil)
	_ kvstore.Prompt = (*Store)(nil)
)

// Open gives the store of that name.
func (s *Stores) Open(ctx context.Context, name string) (kvstore.Store, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	st := s.byName[name]
	s.mu.RUnlock()
	if st == nil {
		return nil, noStore(name)
	}
	return &Store{s, st}, nil
}

// Create makes an empty store.
func (s *Stores) Create(ctx context.Context, name string) (kvstore.Store, error) {
	if err := kvstore.CheckName(name); err != nil {
		return nil, err
	}
	var st *state
	err := s.do(ctx, &write{
		apply: func(t *txn) error {
			if t.stores.Get([]byte(name)) != nil {
				return fmt.Errorf("%w: %s", kvstore.ErrStoreExists, short(name))
			}
			n := sequence(t.stores)
			if n > 1<<32-1 {
				return fmt.Errorf("%w: all store numbers are used", kvstore.ErrTooLarge)
			}
			st = &state{name: name, id: uint32(n)}
			t.put(t.stores, []byte(name), storeKey(st.id, ""))
			return nil
		},
		after: func() {
			s.mu.Lock()
			s.byName[name] = st
			s.mu.Unlock()
		},
	})
	if err != nil {
		return nil, err
	}
	return &Store{s, st}, nil
}

// Drop removes a store and all its keys. Their space is reclaimed afterwards.
func (s *Stores) Drop(ctx context.Context, name string) error {
	return s.do(ctx, &write{
		frees: true,
		apply: func(t *txn) error {
			id := t.stores.Get([]byte(name))
			if id == nil {
				return noStore(name)
			}
			t.put(t.dropped, slices.Clone(id), nil)
			t.del(t.stores, []byte(name))
			return nil
		},
		after: func() {
			s.mu.Lock()
			if st := s.byName[name]; st != nil {
				st.dropped.Store(true)
			}
			delete(s.byName, name)
			s.mu.Unlock()
			s.wake()
		},
	})
}

// Names gives the stores' names, sorted.
func (s *Stores) Names(ctx context.Context) ([]string, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.byName)), nil
}

// Path is the file's path as it was given to Open.
func (s *Stores) Path() string { return s.path }

// Close finishes the writes that are waiting and closes the file. Backups under way end with ErrClosed, and so do
// values that are still being read.
func (s *Stores) Close() error {
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	s.closing.Lock()
	was := s.closed
	s.closed = true
	s.closing.Unlock()
	if was {
		return nil
	}
	s.stop()
	s.others.Wait()
	close(s.queue)
	s.writer.Wait()
	if s.stuck {
		// bbolt would wait for the transaction. Its mapping stays; the lock goes with the file.
		return s.file.Close()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", s.path, err)
	}
	return nil
}

// usable tells whether a call may go on.
func (s *Stores) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return kvstore.ErrClosed
	}
	return nil
}

func (s *Stores) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// begin starts a read transaction. They are short, but for those of Backup and Check.
func (s *Stores) begin() (*bbolt.Tx, error) {
	if s.ctx.Err() != nil {
		return nil, kvstore.ErrClosed
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, wrap(err)
	}
	return tx, nil
}

func noStore(name string) error {
	return fmt.Errorf("%w: %s", kvstore.ErrNoStore, short(name))
}

// wrap gives an error of bbolt the name it has here.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen), errors.Is(err, bolterrors.ErrTxClosed):
		return kvstore.ErrClosed
	case errors.Is(err, bolterrors.ErrDatabaseReadOnly):
		return fmt.Errorf("%w: it was opened so", kvstore.ErrReadOnly)
	}
	return err
}

// guard is deferred around whatever reads the file's pages: bbolt panics, or reads beyond its mapping, where they are
// damaged or the file was cut off underneath it.
//
//	defer guard(debug.SetPanicOnFault(true), &err)
func guard(fault bool, err *error) {
	debug.SetPanicOnFault(fault)
	if p := recover(); p != nil {
		*err = damage(p)
	}
}

// damage makes an error of a panic.
func damage(p any) error {
	if e, ok := p.(runtime.Error); ok {
		return fmt.Errorf("%w: %v", kvstore.ErrCorrupt, e)
	}
	return fmt.Errorf("%w: %.200v", kvstore.ErrCorrupt, p)
}
