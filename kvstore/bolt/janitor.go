package bolt

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

const (
	sweepRecords = 512  // records that one transaction reclaims at most
	sweepChunks  = 4096 // chunks, likewise
)

// janitor is the goroutine that reclaims expired keys, the records of dropped stores, and blobs without an owner.
func (s *Stores) janitor() {
	defer s.others.Done()
	tick := time.NewTicker(s.opts.SweepInterval)
	defer tick.Stop()
	for {
		// What fails is tried again at the next tick: the disk may have room then.
		for s.ctx.Err() == nil {
			more, err := s.reclaim()
			if err != nil || !more {
				break
			}
		}
		select {
		case <-s.nudge:
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// reclaim does a bounded amount of each kind of work, and tells whether there is more.
func (s *Stores) reclaim() (more bool, err error) {
	for _, step := range []func() (bool, error){s.sweepAbandoned, s.sweepExpired, s.sweepDropped, s.sweepLoose} {
		again, err := step()
		if err != nil {
			return false, err
		}
		more = more || again
	}
	return more, nil
}

// view runs f in a short read transaction.
func (s *Stores) view(f func(*bbolt.Tx)) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	f(tx)
	return nil
}

// expiryParts takes an entry of the expiry bucket apart.
func expiryParts(entry []byte) (expires int64, key []byte, ok bool) {
	if len(entry) < 8+4 {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(entry)), entry[8:], true
}

func (s *Stores) sweepExpired() (more bool, err error) {
	due := false
	err = s.view(func(tx *bbolt.Tx) {
		k, _ := tx.Bucket(bucketExpiry).Cursor().First()
		at, _, ok := expiryParts(k)
		due = k != nil && (!ok || at <= s.now().UnixNano())
	})
	if err != nil || !due {
		return false, err
	}
	err = s.do(s.ctx, &write{frees: true, apply: func(t *txn) error {
		more = false
		var entries [][]byte
		c := t.expiry.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if at, _, ok := expiryParts(k); ok && at > t.now {
				break
			}
			if len(entries) == sweepRecords {
				more = true
				break
			}
			entries = append(entries, bytes.Clone(k))
		}
		for _, e := range entries {
			at, key, ok := expiryParts(e)
			if ok {
				// A record that is damaged stays for Check to find.
				if r, err := t.get(key); err == nil && r != nil && r.expires == at {
					t.replace(key, r, nil)
				}
			}
			t.del(t.expiry, e)
		}
		return nil
	}})
	return more, err
}

func (s *Stores) sweepDropped() (more bool, err error) {
	var id []byte
	err = s.view(func(tx *bbolt.Tx) {
		k, _ := tx.Bucket(bucketDropped).Cursor().First()
		id = bytes.Clone(k)
	})
	if err != nil || id == nil {
		return false, err
	}
	err = s.do(s.ctx, &write{frees: true, apply: func(t *txn) error {
		more = true
		var keys [][]byte
		c := t.records.Cursor()
		for k, _ := c.Seek(id); bytes.HasPrefix(k, id) && len(keys) < sweepRecords; k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
		for _, key := range keys {
			r, err := t.get(key)
			if err != nil {
				r = nil // its blob, if it had one, is found by Check
			}
			t.replace(key, r, nil)
		}
		if len(keys) < sweepRecords {
			t.del(t.dropped, id)
		}
		return nil
	}})
	return more, err
}

// sweepLoose removes dead blobs that nobody reads.
func (s *Stores) sweepLoose() (more bool, err error) {
	var numbers []uint64
	err = s.view(func(tx *bbolt.Tx) {
		c := tx.Bucket(bucketLoose).Cursor()
		for k, v := c.First(); k != nil && len(numbers) < sweepChunks; k, v = c.Next() {
			if len(k) == blobNumber && len(v) == 1 && v[0] == looseDead {
				// No record names it, so a hold that comes later than this look does not count; see Store.lookup.
				if n := binary.BigEndian.Uint64(k); !s.blobs.held(n) {
					numbers = append(numbers, n)
				}
			}
		}
	})
	if err != nil || len(numbers) == 0 {
		return false, err
	}
	err = s.do(s.ctx, &write{frees: true, apply: func(t *txn) error {
		var gone [][]byte
		c := t.blobs.Cursor()
		more = len(numbers) == sweepChunks
		for _, n := range numbers {
			prefix := blobKey(n)
			k, _ := c.Seek(prefix)
			for ; bytes.HasPrefix(k, prefix) && len(gone) < sweepChunks; k, _ = c.Next() {
				gone = append(gone, bytes.Clone(k))
			}
			if bytes.HasPrefix(k, prefix) {
				more = true
				break
			}
			t.del(t.loose, prefix)
		}
		for _, k := range gone {
			t.del(t.blobs, k)
		}
		return nil
	}})
	return more, err
}

// abandon gives up a blob of an upload: the janitor makes it a dead one. If there is no time for that, it happens when
// the file is opened next.
func (s *Stores) abandon(number uint64) {
	s.mu.Lock()
	s.abandoned = append(s.abandoned, number)
	s.mu.Unlock()
	s.wake()
}

func (s *Stores) sweepAbandoned() (more bool, err error) {
	s.mu.Lock()
	numbers := s.abandoned
	s.abandoned = nil
	s.mu.Unlock()
	if len(numbers) == 0 {
		return false, nil
	}
	err = s.do(s.ctx, &write{frees: true, apply: func(t *txn) error {
		for _, n := range numbers {
			t.put(t.loose, blobKey(n), []byte{looseDead})
		}
		return nil
	}})
	if err != nil {
		s.mu.Lock()
		s.abandoned = append(s.abandoned, numbers...)
		s.mu.Unlock()
	}
	return false, err
}

// killUploads makes dead blobs of the uploads that the last process did not finish. It runs before any write.
func killUploads(tx *bbolt.Tx) error {
	b := tx.Bucket(bucketLoose)
	var keys [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(v) == 1 && v[0] == looseUpload {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		if err := b.Put(k, []byte{looseDead}); err != nil {
			return err
		}
	}
	return nil
}
