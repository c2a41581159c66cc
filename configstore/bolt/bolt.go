// Package bolt keeps config stores in one file, a bbolt database: what an operator's commands write, and a running node
// follows.
//
// The file is open only while it is read or written, so that commands and nodes can share it: writers exclude each other and
// readers for the milliseconds that a transaction takes. A change is on disk when the call returns, and a crash in the middle of
// one leaves the state before it. A file that is damaged gives an error that wraps configstore.ErrDamaged, never a panic.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/edgewasm/wasmedge/configstore"
)

// The file: bucket "config stores" -> bucket of the store's name -> "created", "updated" (nanoseconds since 1970, 8 bytes,
// big-endian) and bucket "entries" -> 'k' and the key -> the value. (bbolt has no empty keys.)
var (
	rootBucket    = []byte("config stores")
	entriesBucket = []byte("entries")
	createdKey    = []byte("created")
	updatedKey    = []byte("updated")
)

// lockWait is how long a call waits for other processes.
const lockWait = 10 * time.Second

// File is the config stores in one file. It implements configstore.Admin.
type File struct {
	path   string
	limits configstore.Limits
}

var _ configstore.Admin = (*File)(nil)

// New gives the stores in the file at path, which need not be there yet: the first Create makes it, for its owner alone. The
// limits are those of entries that are written.
func New(path string, limits configstore.Limits) *File { return &File{path, limits} }

// Close does nothing: between calls nothing is open.
func (f *File) Close() error { return nil }

// view runs fn in a read-only transaction. root is nil when there are no stores.
func (f *File) view(ctx context.Context, fn func(root *bbolt.Bucket) error) error {
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return fn(nil)
	}
	return f.open(ctx, true, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error { return fn(tx.Bucket(rootBucket)) })
	})
}

// update runs fn in a transaction that is on disk when it returns nil.
func (f *File) update(ctx context.Context, fn func(root *bbolt.Bucket) error) error {
	return f.open(ctx, false, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			root, err := tx.CreateBucketIfNotExists(rootBucket)
			if err != nil {
				return err
			}
			return fn(root)
		})
	})
}

// open runs fn with the database open. bbolt answers some damage with panics, and a file that is shorter than it says faults
// where it is mapped. After that the database is not fit for closing, which could wait for its own locks: the file is closed,
// which lets others in, and the mapping is lost.
func (f *File) open(ctx context.Context, readOnly bool, fn func(db *bbolt.DB) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(deadline), time.Millisecond))
	}
	var file *os.File
	options := &bbolt.Options{Timeout: wait, ReadOnly: readOnly, PreLoadFreelist: !readOnly}
	options.OpenFile = func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(path, flag, mode)
		return file, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if file != nil {
				unlock(file)
				_ = file.Close()
			}
			err = fmt.Errorf("%s: %w: %v", f.path, configstore.ErrDamaged, p)
		}
	}()
	db, err := bbolt.Open(f.path, 0o600, options)
	switch {
	case err == nil:
		err = fn(db)
		return errors.Join(err, db.Close())
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s: another process has held it for %s", f.path, wait.Round(time.Millisecond))
	}
	var system *fs.PathError
	if errors.As(err, &system) {
		return err
	}
	return fmt.Errorf("%s: %w: %v", f.path, configstore.ErrDamaged, err)
}

func store(root *bbolt.Bucket, name string) (*bbolt.Bucket, error) {
	var b *bbolt.Bucket
	if root != nil && name != "" {
		b = root.Bucket([]byte(name))
	}
	if b == nil {
		return nil, configstore.NotFound(name)
	}
	if b.Bucket(entriesBucket) == nil {
		return nil, fmt.Errorf("%w: store %q has no entries", configstore.ErrDamaged, name)
	}
	return b, nil
}

func entryKey(key string) []byte { return append([]byte{'k'}, key...) }

func stamp(b *bbolt.Bucket, key []byte) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano())))
}

func stamped(b *bbolt.Bucket, key []byte) time.Time {
	v := b.Get(key)
	if len(v) != 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC()
}

// Create implements configstore.Admin.
func (f *File) Create(ctx context.Context, name string) error {
	if err := configstore.CheckName(name); err != nil {
		return err
	}
	return f.update(ctx, func(root *bbolt.Bucket) error {
		if root.Bucket([]byte(name)) != nil {
			return configstore.StoreExists(name)
		}
		b, err := root.CreateBucket([]byte(name))
		if err != nil {
			return err
		}
		if _, err := b.CreateBucket(entriesBucket); err != nil {
			return err
		}
		return errors.Join(stamp(b, createdKey), stamp(b, updatedKey))
	})
}

// Drop implements configstore.Admin.
func (f *File) Drop(ctx context.Context, name string) error {
	return f.change(ctx, name, func(root, _ *bbolt.Bucket) error { return root.DeleteBucket([]byte(name)) })
}

// change runs fn on a store that is there. It does not make a file.
func (f *File) change(ctx context.Context, name string, fn func(root, b *bbolt.Bucket) error) error {
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return configstore.NotFound(name)
	}
	return f.update(ctx, func(root *bbolt.Bucket) error {
		b, err := store(root, name)
		if err != nil {
			return err
		}
		return fn(root, b)
	})
}

// Names implements configstore.Admin.
func (f *File) Names(ctx context.Context) (names []string, err error) {
	err = f.view(ctx, func(root *bbolt.Bucket) error {
		if root == nil {
			return nil
		}
		return root.ForEachBucket(func(name []byte) error {
			names = append(names, string(name))
			return nil
		})
	})
	return names, err
}

// Describe implements configstore.Admin.
func (f *File) Describe(ctx context.Context, name string) (info configstore.Info, err error) {
	err = f.view(ctx, func(root *bbolt.Bucket) error {
		b, err := store(root, name)
		if err != nil {
			return err
		}
		info = configstore.Info{Name: name, Created: stamped(b, createdKey), Updated: stamped(b, updatedKey)}
		return b.Bucket(entriesBucket).ForEach(func(_, _ []byte) error {
			info.Entries++
			return nil
		})
	})
	return info, err
}

// Lookup implements configstore.Admin.
func (f *File) Lookup(ctx context.Context, name, key string) (value string, err error) {
	err = f.view(ctx, func(root *bbolt.Bucket) error {
		b, err := store(root, name)
		if err != nil {
			return err
		}
		v := b.Bucket(entriesBucket).Get(entryKey(key))
		if v == nil {
			return configstore.NoKey(name, key)
		}
		value = string(v)
		return nil
	})
	return value, err
}

// Contents implements configstore.Admin.
func (f *File) Contents(ctx context.Context, name string) (contents map[string]string, err error) {
	err = f.view(ctx, func(root *bbolt.Bucket) error {
		b, err := store(root, name)
		if err != nil {
			return err
		}
		contents, err = entries(b)
		return err
	})
	return contents, err
}

func entries(b *bbolt.Bucket) (map[string]string, error) {
	contents := map[string]string{}
	err := b.Bucket(entriesBucket).ForEach(func(k, v []byte) error {
		if len(k) == 0 || k[0] != 'k' || v == nil {
			return fmt.Errorf("%w: an entry is none", configstore.ErrDamaged)
		}
		contents[string(k[1:])] = string(v)
		return nil
	})
	return contents, err
}

// Put implements configstore.Admin.
func (f *File) Put(ctx context.Context, name, key, value string) error {
	if err := f.limits.CheckEntry(key, value); err != nil {
		return err
	}
	return f.change(ctx, name, func(_, b *bbolt.Bucket) error {
		return errors.Join(b.Bucket(entriesBucket).Put(entryKey(key), []byte(value)), stamp(b, updatedKey))
	})
}

// Delete implements configstore.Admin.
func (f *File) Delete(ctx context.Context, name, key string) error {
	return f.change(ctx, name, func(_, b *bbolt.Bucket) error {
		e := b.Bucket(entriesBucket)
		if e.Get(entryKey(key)) == nil {
			return configstore.NoKey(name, key)
		}
		return errors.Join(e.Delete(entryKey(key)), stamp(b, updatedKey))
	})
}

// Replace implements configstore.Admin, in one transaction.
func (f *File) Replace(ctx context.Context, name string, contents map[string]string) error {
	for key, value := range contents {
		if err := f.limits.CheckEntry(key, value); err != nil {
			return err
		}
	}
	return f.change(ctx, name, func(_, b *bbolt.Bucket) error {
		if err := b.DeleteBucket(entriesBucket); err != nil {
			return err
		}
		e, err := b.CreateBucket(entriesBucket)
		if err != nil {
			return err
		}
		for key, value := range contents {
			if err := e.Put(entryKey(key), []byte(value)); err != nil {
				return err
			}
		}
		return stamp(b, updatedKey)
	})
}
