package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// write is one change that the writer makes, all or nothing.
type write struct {
	// apply looks at what is there and makes the change. It runs again if the transaction has to be repeated, so
	// what it leaves outside counts only after the commit. When it returns an error it has changed nothing.
	apply func(*txn) error
	after func() // runs once the change is durable, before the caller is told; may be nil
	size  int    // bytes it writes, about
	frees bool   // it makes room, and goes on beyond Options.MaxFile

	state atomic.Int32 // waiting, then one of the others
	err   error
	done  chan error
}

const (
	waiting int32 = iota
	taken
	cancelled
)

// txn is a transaction of the writer.
type txn struct {
	records, stores, dropped, expiry, blobs, loose *bbolt.Bucket

	now int64
}

// fatal is a panic by which a transaction ends that bbolt refused to go on with.
type fatal struct{ error }

func (t *txn) put(b *bbolt.Bucket, key, value []byte) {
	if err := b.Put(key, value); err != nil {
		panic(fatal{err})
	}
}

func (t *txn) del(b *bbolt.Bucket, key []byte) {
	if err := b.Delete(key); err != nil {
		panic(fatal{err})
	}
}

// sequence gives a bucket's next number.
func sequence(b *bbolt.Bucket) uint64 {
	n, err := b.NextSequence()
	if err != nil {
		panic(fatal{err})
	}
	return n
}

// errNothing rolls a transaction back in which nothing was changed.
var errNothing = errors.New("nothing to commit")

// do hands a write to the writer and gives its outcome. A context that ends before the writer took it withdraws it; after
// that the outcome is waited for, which takes as long as a commit.
func (s *Stores) do(ctx context.Context, w *write) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("%w: %s was opened read-only", kvstore.ErrReadOnly, s.path)
	}
	w.done = make(chan error, 1)
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return kvstore.ErrClosed
	}
	select {
	case s.queue <- w:
		s.closing.RUnlock()
	case <-ctx.Done():
		s.closing.RUnlock()
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, cancelled) {
			return ctx.Err()
		}
		return <-w.done
	}
}

// write is the writer's goroutine.
func (s *Stores) write() {
	defer s.writer.Done()
	group := make([]*write, 0, groupMax)
	last := 0
	for w := range s.queue {
		group, size := group[:0], 0
		add := func(w *write) {
			if w.state.CompareAndSwap(waiting, taken) {
				group = append(group, w)
				size += w.size
			}
		}
		add(w)
		// Those that were told of the last commit are about to come again: let them run before the next begins. When
		// there was only one there is nobody to wait for.
		for yields := 0; len(group) < groupMax && size < groupSize; {
			select {
			case w, ok := <-s.queue:
				if ok {
					add(w)
					continue
				}
			default:
				if len(group) < last && yields < 8 {
					yields++
					runtime.Gosched()
					continue
				}
			}
			break
		}
		last = len(group)
		s.commit(group)
		clear(group)
	}
}

// commit makes the changes of a group and tells their callers.
func (s *Stores) commit(group []*write) {
	for len(group) > 0 {
		culprit, err := -1, error(nil)
		if limited(group) {
			err = s.loadBallast()
		}
		if err == nil {
			culprit, err = s.transact(group)
		}
		if err != nil && !limited(group) && s.unloadBallast(err) {
			culprit, err = s.transact(group)
		}
		switch {
		case culprit >= 0:
			// Whatever it had begun was rolled back; the others begin anew.
			w := group[culprit]
			w.done <- w.err
			group = append(group[:culprit], group[culprit+1:]...)
			continue
		case err == nil:
			for _, w := range group {
				if w.err == nil && w.after != nil {
					w.after()
				}
				w.done <- w.err
			}
		case len(group) > 1 && s.broken.Load() == nil:
			// There may be room for some of them, and deletes make more.
			s.commitEach(group)
		default:
			answer(group, err)
		}
		return
	}
}

// commitEach commits the writes of a group one by one: first those that free space, then the others until one fails.
func (s *Stores) commitEach(group []*write) {
	for _, w := range group {
		if w.frees {
			s.commit([]*write{w})
		}
	}
	for i, w := range group {
		if w.frees {
			continue
		}
		err := s.loadBallast()
		if err == nil {
			_, err = s.transact(group[i : i+1])
		}
		if err != nil {
			for _, w := range group[i:] {
				if !w.frees {
					answer([]*write{w}, err)
				}
			}
			return
		}
		if w.err == nil && w.after != nil {
			w.after()
		}
		w.done <- w.err
	}
}

func answer(group []*write, err error) {
	for _, w := range group {
		w.done <- err
	}
}

// limited tells whether a group holds writes that take space.
func limited(group []*write) bool {
	return slices.ContainsFunc(group, func(w *write) bool { return !w.frees })
}

// transact applies a group in one transaction. A culprit is a write that made the transaction impossible to go on with; it
// has the error. A write that failed by itself has its error, and the transaction went on.
func (s *Stores) transact(group []*write) (culprit int, err error) { return s.transactWith(group, nil) }

// transactWith also runs a function in the transaction.
func (s *Stores) transactWith(group []*write, f func(*bbolt.Tx) error) (culprit int, err error) {
	culprit = -1
	if err := s.broken.Load(); err != nil {
		return culprit, *err
	}
	id, committing := 0, false
	s.db.MaxSize = 0
	if limited(group) {
		s.db.MaxSize = int(s.opts.MaxFile)
	}
	err = s.update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		t := s.newTxn(tx)
		changed := false
		for i, w := range group {
			if stop := t.run(w); stop {
				culprit = i
				return errNothing
			}
			changed = changed || w.err == nil
		}
		if f != nil {
			if err := f(tx); err != nil {
				return err
			}
			changed = true
		}
		if !changed {
			return errNothing
		}
		committing = true
		return nil
	})
	switch {
	case err == nil || !committing && errors.Is(err, errNothing):
		return culprit, nil
	case s.stuck:
		return culprit, *s.broken.Load()
	case !committing:
		return -1, fmt.Errorf("writing to %s: %w", s.path, err)
	}
	// The commit failed. If its header is the one in use, then it was written, and nobody knows whether it reached the
	// disk: later commits would build on it, so there must be none.
	if visible, verr := s.transaction(); verr != nil || visible >= id {
		unknown := fmt.Errorf("%w: committing to %s: %w", kvstore.ErrUnknown, s.path, err)
		readOnly := fmt.Errorf("%w: a commit to %s failed (%w); open it again", kvstore.ErrReadOnly, s.path, err)
		s.broken.Store(&readOnly)
		return -1, unknown
	}
	switch {
	case errors.Is(err, kvstore.ErrCorrupt):
		readOnly := fmt.Errorf("%w: %s is damaged (%w); check it", kvstore.ErrReadOnly, s.path, err)
		s.broken.Store(&readOnly)
		return -1, readOnly
	case errors.Is(err, bolterrors.ErrMaxSizeReached):
		return -1, fmt.Errorf("%w: %s has reached the size that MaxFile allows, %d bytes", kvstore.ErrReadOnly, s.path, s.opts.MaxFile)
	case errors.Is(err, syscall.ENOSPC):
		return -1, fmt.Errorf("%w: no space is left for %s: %w", kvstore.ErrReadOnly, s.path, err)
	}
	return -1, fmt.Errorf("%w: committing to %s: %w", kvstore.ErrReadOnly, s.path, err)
}

// update is bbolt's, with its panics as errors: the transaction was rolled back and the free pages read again.
func (s *Stores) update(f func(*bbolt.Tx) error) (err error) {
	var used *bbolt.Tx
	defer func() {
		if err != nil && used != nil && used.DB() != nil {
			s.stuck = true // it could not even be rolled back
			readOnly := fmt.Errorf("%w: %s is damaged (%w); check it", kvstore.ErrReadOnly, s.path, err)
			s.broken.Store(&readOnly)
		}
	}()
	defer guard(debug.SetPanicOnFault(true), &err)
	return s.db.Update(func(tx *bbolt.Tx) error {
		used = tx
		return f(tx)
	})
}

// transaction gives the number of the newest transaction that readers see.
func (s *Stores) transaction() (id int, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	return tx.ID(), nil
}

func (s *Stores) newTxn(tx *bbolt.Tx) *txn {
	t := &txn{
		records: tx.Bucket(bucketRecords), stores: tx.Bucket(bucketStores), dropped: tx.Bucket(bucketDropped),
		expiry: tx.Bucket(bucketExpiry), blobs: tx.Bucket(bucketBlobs), loose: tx.Bucket(bucketLoose), now: s.now().UnixNano(),
	}
	t.blobs.FillPercent = 1 // chunks are only ever appended
	return t
}

// run applies a write, and tells whether the transaction can only be rolled back.
func (t *txn) run(w *write) (stop bool) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			w.err, stop = p.error, true
		default:
			w.err, stop = damage(p), true
		}
	}()
	w.err = w.apply(t)
	return false
}

// get gives the record at that key of the bucket, nil if there is none or it has expired.
func (t *txn) get(key []byte) (*record, error) {
	b := t.records.Get(key)
	if b == nil {
		return nil, nil
	}
	r, err := decode(key, b)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// replace puts a record in the place of old, which may be nil; a nil record removes it.
func (t *txn) replace(key []byte, old, r *record) {
	if old != nil {
		if old.blob {
			t.put(t.loose, blobKey(old.number), []byte{looseDead})
		}
		if old.expires != 0 {
			t.del(t.expiry, expiryKey(old.expires, key))
		}
	}
	if r == nil {
		t.del(t.records, key)
		return
	}
	if r.expires != 0 {
		t.put(t.expiry, expiryKey(r.expires, key), []byte{})
	}
	t.put(t.records, key, r.encode(key))
}

// has tells whether the store is still there.
func (t *txn) has(st *state) bool {
	id := t.stores.Get([]byte(st.name))
	return id != nil && string(id) == string(storeKey(st.id, ""))
}
