package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// Progress is told how much of a job is done. total is 0 while it is not known. The units are bytes.
type Progress func(done, total int64)

// Check verifies a file that nobody writes to: the pages of the tree, and all that (*Stores).Check does. The error wraps
// kvstore.ErrCorrupt if a problem was reported; an error without a report means that the check could not be made.
// progress may be nil.
func Check(ctx context.Context, path string, report func(problem error), progress Progress) error {
	s, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		if errors.Is(err, kvstore.ErrCorrupt) {
			report(err)
		}
		return err
	}
	defer s.Close()
	return s.verdict(ctx, true, report, progress)
}

// Check verifies every record and every part of every value against their checksums, that values are complete and named
// once, and that the index of expiry times agrees with the records. It looks at a snapshot, while writes go on; the
// pages of the tree are for the function Check. The error is as that of Check.
func (s *Stores) Check(ctx context.Context, report func(problem error), progress Progress) error {
	return s.verdict(ctx, false, report, progress)
}

func (s *Stores) verdict(ctx context.Context, pages bool, report func(error), progress Progress) error {
	n := 0
	err := s.check(ctx, pages, func(problem error) { n++; report(problem) }, progress)
	if n > 0 {
		return fmt.Errorf("%s: %w: %d problems", s.path, kvstore.ErrCorrupt, n)
	}
	return err
}

// maxProblems ends a check: a file with so many has no use for more.
const maxProblems = 1000

var errEnough = errors.New("too many problems")

// checker is a check under way.
type checker struct {
	ctx      context.Context
	report   func(error)
	n        int
	progress Progress
	done     int64
	total    int64
	steps    int
}

func (c *checker) problem(format string, args ...any) error {
	c.report(fmt.Errorf(format, args...))
	if c.n++; c.n >= maxProblems {
		return errEnough
	}
	return nil
}

// step counts bytes, and tells whether to go on.
func (c *checker) step(n int) error {
	c.done += int64(n)
	if c.steps++; c.steps%1024 != 0 {
		return nil
	}
	if c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
	return c.ctx.Err()
}

func (s *Stores) check(ctx context.Context, pages bool, report func(error), progress Progress) (err error) {
	if err := s.usable(ctx); err != nil {
		return err
	}
	c := &checker{ctx: ctx, report: report, progress: progress}
	defer func() {
		if err == errEnough {
			err = nil
		}
		if err == nil && progress != nil {
			progress(c.total, c.total)
		}
	}()
	err = s.checkIn(c, pages)
	if errors.Is(err, kvstore.ErrCorrupt) {
		report(err)
	}
	return err
}

func (s *Stores) checkIn(c *checker, pages bool) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	if pages {
		// Walks over a tree that is damaged need not end, so this comes first.
		info, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		c.total = 2 * info.Size()
		if err := inspect(s.path, s.opts.AcceptOlder, lookLeaves, c.step); err != nil {
			return err
		}
		c.done = info.Size()
	}
	tx, err := s.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	c.total = c.done + tx.Size()
	ids, err := c.stores(tx)
	if err != nil {
		return err
	}
	owned, err := c.records(tx, ids)
	if err != nil {
		return err
	}
	return c.blobs(tx, owned)
}

// stores checks the list of stores and gives their numbers, those of dropped ones included.
func (c *checker) stores(tx *bbolt.Tx) (map[uint32]bool, error) {
	ids := map[uint32]bool{}
	last := tx.Bucket(bucketStores).Sequence()
	add := func(what string, id []byte) error {
		if len(id) != 4 {
			return c.problem("%w: %s has a number of %d bytes", kvstore.ErrCorrupt, what, len(id))
		}
		n := binary.BigEndian.Uint32(id)
		if ids[n] || n == 0 || uint64(n) > last {
			return c.problem("%w: %s has number %d, which is another's or was never given", kvstore.ErrCorrupt, what, n)
		}
		ids[n] = true
		return nil
	}
	cur := tx.Bucket(bucketStores).Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		if err := kvstore.CheckName(string(k)); err != nil {
			if err := c.problem("%w: %w", kvstore.ErrCorrupt, err); err != nil {
				return nil, err
			}
		}
		if err := add(fmt.Sprintf("store %q", k), v); err != nil {
			return nil, err
		}
	}
	cur = tx.Bucket(bucketDropped).Cursor()
	for k, _ := cur.First(); k != nil; k, _ = cur.Next() {
		if err := add("a dropped store", k); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// owner is what is known of a blob.
type owner struct {
	size  uint64
	loose bool
}

func (c *checker) records(tx *bbolt.Tx, ids map[uint32]bool) (map[uint64]owner, error) {
	owned := map[uint64]owner{}
	cur := tx.Bucket(bucketLoose).Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		if len(k) != blobNumber || len(v) != 1 || v[0] != looseUpload && v[0] != looseDead {
			if err := c.problem("%w: entry %x of the loose blobs makes no sense", kvstore.ErrCorrupt, k); err != nil {
				return nil, err
			}
			continue
		}
		owned[binary.BigEndian.Uint64(k)] = owner{loose: true}
	}

	records, expiry := tx.Bucket(bucketRecords), tx.Bucket(bucketExpiry)
	lastGeneration, lastBlob := records.Sequence(), tx.Bucket(bucketBlobs).Sequence()
	cur = records.Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		if err := c.step(len(k) + len(v)); err != nil {
			return nil, err
		}
		err := c.record(k, v, expiry, ids, owned, lastGeneration, lastBlob)
		if err != nil {
			if err := c.problem("%w", err); err != nil {
				return nil, err
			}
		}
	}
	cur = expiry.Cursor()
	for k, _ := cur.First(); k != nil; k, _ = cur.Next() {
		if err := c.step(len(k)); err != nil {
			return nil, err
		}
		at, key, ok := expiryParts(k)
		if ok {
			h, err := decodeHeader(key, records.Get(key))
			ok = err == nil && h.expires == at
		}
		if !ok {
			if err := c.problem("%w: entry %x of the index of expiry times has no record", kvstore.ErrCorrupt, k); err != nil {
				return nil, err
			}
		}
	}
	return owned, nil
}

// record checks one record and takes note of its blob.
func (c *checker) record(k, v []byte, expiry *bbolt.Bucket, ids map[uint32]bool, owned map[uint64]owner, lastGeneration, lastBlob uint64) error {
	r, err := decode(k, v)
	if err != nil {
		return err
	}
	switch {
	case len(k) < 4 || !ids[binary.BigEndian.Uint32(k)]:
		return corrupt(k, "it is in no store")
	case kvstore.CheckKey(string(k[4:])) != nil:
		return corrupt(k, "no key may be so")
	case r.generation > lastGeneration:
		return corrupt(k, "its generation %d was never given", r.generation)
	case r.expires != 0 && expiry.Get(expiryKey(r.expires, k)) == nil:
		return corrupt(k, "it expires and is not in the index of expiry times")
	}
	if !r.blob {
		return nil
	}
	if o, ok := owned[r.number]; ok || r.number == 0 || r.number > lastBlob {
		if o.loose {
			return corrupt(k, "its blob %d is a loose one", r.number)
		}
		return corrupt(k, "its blob %d is another's or was never given", r.number)
	}
	owned[r.number] = owner{size: r.size}
	buf := make([]byte, partMax)
	for i := uint64(0); i < chunks(r.size); i += partMax / chunkSize {
		n, err := readChunks(expiry.Tx(), k, r.number, r.size, i, buf)
		if err != nil {
			return err
		}
		if err := c.step(n); err != nil {
			return err
		}
	}
	return nil
}

// blobs looks for chunks that belong to nobody.
func (c *checker) blobs(tx *bbolt.Tx, owned map[uint64]owner) error {
	cur := tx.Bucket(bucketBlobs).Cursor()
	for k, _ := cur.First(); k != nil; k, _ = cur.Next() {
		if err := c.step(0); err != nil {
			return err
		}
		if len(k) == 12 {
			o, ok := owned[binary.BigEndian.Uint64(k)]
			if ok && (o.loose || uint64(binary.BigEndian.Uint32(k[8:])) < chunks(o.size)) {
				continue
			}
		}
		if err := c.problem("%w: entry %x of the blobs belongs to no value", kvstore.ErrCorrupt, k); err != nil {
			return err
		}
	}
	return nil
}
