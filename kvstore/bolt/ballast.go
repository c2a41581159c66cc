package bolt

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"syscall"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// A deletion needs pages before it frees any. So that a full disk can be left by deletions, and the dead uploads that filled it are
// reclaimed, the file holds some pages that do nothing until then. They are let go when a write that frees space finds
// none, and there are no inserts before they are there again.

// ballastSize is how many bytes the ballast has.
const ballastSize = 256 << 10

// addBallast puts the ballast in its place, if it is not there.
func addBallast(tx *bbolt.Tx) error {
	if tx.Bucket(bucketBallast) != nil {
		return errNothing
	}
	b, err := tx.CreateBucket(bucketBallast)
	if err != nil {
		return err
	}
	// Bytes that a file system cannot make less of.
	junk := make([]byte, ballastSize)
	seed := maphash.MakeSeed()
	for i := 0; i < len(junk); i += 8 {
		binary.NativeEndian.PutUint64(junk[i:], maphash.Comparable(seed, i))
	}
	for i := 0; i < len(junk); i += chunkSize {
		if err := b.Put(binary.BigEndian.AppendUint32(nil, uint32(i)), junk[i:min(i+chunkSize, len(junk))]); err != nil {
			return err
		}
	}
	return nil
}

func dropBallast(tx *bbolt.Tx) error {
	if err := tx.DeleteBucket(bucketBallast); err != nil {
		return errNothing
	}
	return nil
}

// change runs one of the two, as a transaction of the writer's own.
func (s *Stores) change(f func(*bbolt.Tx) error) error {
	_, err := s.transactWith(nil, f)
	return err
}

// loadBallast puts the ballast back if inserts have to wait for that.
func (s *Stores) loadBallast() error {
	if s.ballast {
		return nil
	}
	err := s.change(addBallast)
	s.ballast = err == nil
	return err
}

// unloadBallast lets the ballast go for a write that failed for want of space, and tells whether to try it again.
func (s *Stores) unloadBallast(err error) (again bool) {
	if !s.ballast || !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, kvstore.ErrReadOnly) || s.change(dropBallast) != nil {
		return false
	}
	s.ballast = false
	return true
}
