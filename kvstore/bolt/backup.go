package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// Backup writes a snapshot of the file, which is one that Open takes, while reads and writes go on. What is replaced
// meanwhile keeps its space in the file until the backup ends. progress may be nil.
func (s *Stores) Backup(ctx context.Context, w io.Writer, progress Progress) (n int64, err error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return 0, kvstore.ErrClosed
	}
	s.others.Add(1)
	s.closing.RUnlock()
	defer s.others.Done()
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	out := &meter{ctx: ctx, also: s.ctx, w: w, total: tx.Size(), progress: progress}
	if n, err = tx.WriteTo(out); err != nil {
		if out.err != nil {
			err = out.err
		}
		return n, fmt.Errorf("backing up %s: %w", s.path, err)
	}
	return n, nil
}

// meter counts what passes through it, and stops with its contexts.
type meter struct {
	ctx, also context.Context // also may be nil; its end is that of the stores
	w         io.Writer
	r         io.Reader
	n, total  int64
	progress  Progress
	err       error
}

func (m *meter) live() error {
	if m.err == nil {
		m.err = m.ctx.Err()
	}
	if m.err == nil && m.also != nil && m.also.Err() != nil {
		m.err = kvstore.ErrClosed
	}
	return m.err
}

func (m *meter) count(n int) {
	m.n += int64(n)
	if m.progress != nil {
		m.progress(m.n, m.total)
	}
}

func (m *meter) Write(p []byte) (n int, err error) {
	if err := m.live(); err != nil {
		return 0, err
	}
	n, err = m.w.Write(p)
	m.count(n)
	return n, err
}

func (m *meter) Read(p []byte) (n int, err error) {
	if err := m.live(); err != nil {
		return 0, err
	}
	n, err = m.r.Read(p)
	m.count(n)
	return n, err
}

// Restore makes a file of a backup. It is checked as Check does before it gets its name, all at once. If there is a file
// at path the error wraps fs.ErrExist, unless it may be replaced; one that a process has open is never
// (kvstore.ErrBusy). progress may be nil.
func Restore(ctx context.Context, src io.Reader, path string, replace bool, progress Progress) error {
	var lock *bbolt.DB
	if _, err := os.Lstat(path); err == nil {
		if !replace {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		if lock, err = lockFile(path); err != nil {
			return err
		}
	}
	if lock != nil {
		defer lock.Close()
	}
	temp, err := tempFile(path)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	f, err := os.OpenFile(temp, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	in := &meter{ctx: ctx, r: src, progress: progress}
	_, err = io.Copy(f, in)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	var first error
	err = Check(ctx, temp, func(problem error) {
		if first == nil {
			first = problem
		}
	}, nil)
	if err != nil {
		return fmt.Errorf("restoring %s: the backup was not taken: %w", path, errors.Join(err, first))
	}
	if err := install(temp, path, replace); err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	return nil
}

// lockFile keeps other processes from opening a file, if it is one that can be opened at all.
func lockFile(path string) (*bbolt.DB, error) {
	o := Options{LockTimeout: time.Second}
	if err := o.fill(); err != nil {
		return nil, err
	}
	db, _, err := open(path, o)
	if errors.Is(err, kvstore.ErrCorrupt) {
		return nil, nil
	}
	return db, err
}

// Compact copies what is in use of a file that no process has open into a new one, which then takes its name. It
// gives the sizes in bytes before and after. The file's directory must have room for both. progress may be nil.
func Compact(ctx context.Context, path string, progress Progress) (before, after int64, err error) {
	o := Options{}
	if err := o.fill(); err != nil {
		return 0, 0, err
	}
	src, _, err := open(path, o)
	if err != nil {
		return 0, 0, err
	}
	defer src.Close() // the lock is kept until the new file is in its place
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	temp, err := tempFile(path)
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(temp)
	fail := func(err error) (int64, int64, error) {
		return 0, 0, fmt.Errorf("compacting %s: %w", path, err)
	}
	if err := os.Chmod(temp, info.Mode().Perm()); err != nil {
		return fail(err)
	}
	dst, err := bbolt.Open(temp, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true, NoGrowSync: true})
	if err != nil {
		return fail(err)
	}
	err = copyBuckets(ctx, dst, src, progress)
	if err := errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return fail(err)
	}
	var first error
	if err := Check(ctx, temp, func(problem error) {
		if first == nil {
			first = problem
		}
	}, nil); err != nil {
		return fail(errors.Join(err, first))
	}
	small, err := os.Stat(temp)
	if err != nil {
		return fail(err)
	}
	if err := install(temp, path, true); err != nil {
		return fail(err)
	}
	return info.Size(), small.Size(), nil
}

// compactBatch is how many bytes a transaction of copyBuckets writes.
const compactBatch = 16 << 20

// copyBuckets copies all buckets in order, so that pages are full.
func copyBuckets(ctx context.Context, dst, src *bbolt.DB, progress Progress) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	from, err := src.Begin(false)
	if err != nil {
		return err
	}
	defer from.Rollback()
	done := int64(0)
	return from.ForEach(func(name []byte, b *bbolt.Bucket) error {
		c := b.Cursor()
		k, v := c.First()
		for first := true; first || k != nil; first = false {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := dst.Update(func(tx *bbolt.Tx) error {
				to, err := tx.CreateBucketIfNotExists(name)
				if err != nil {
					return err
				}
				to.FillPercent = 0.95
				if err := to.SetSequence(b.Sequence()); err != nil {
					return err
				}
				for size := 0; k != nil && size < compactBatch; k, v = c.Next() {
					if v == nil {
						return fmt.Errorf("%w: %q holds a bucket", kvstore.ErrCorrupt, bytes.Clone(name))
					}
					if err := to.Put(k, v); err != nil {
						return err
					}
					size += len(k) + len(v)
					done += int64(len(k) + len(v))
				}
				return nil
			})
			if err != nil {
				return err
			}
			if progress != nil {
				progress(min(done, from.Size()), from.Size())
			}
		}
		return nil
	})
}
