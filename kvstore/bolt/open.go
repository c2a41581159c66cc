package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// mapAhead is how much address space is reserved for the file: bbolt has to wait for all its readers to map more,
// and a backup may take long.
const mapAhead = 16 << 30

// Open opens the file, and makes an empty one if there is none. Its errors name the file; those of damaged files wrap
// kvstore.ErrCorrupt, that of one which another process has open wraps kvstore.ErrBusy.
func Open(path string, o Options) (*Stores, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
		if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making %s: %w", path, err)
		}
	}
	db, file, err := open(path, o)
	if err != nil {
		return nil, err
	}
	s := &Stores{path: path, opts: o, db: db, file: file, now: o.Now, queue: make(chan *write, o.Queue), nudge: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for i := range s.appends {
		s.appends[i] = make(chan struct{}, 1)
	}
	if err := s.load(); err != nil {
		s.stop()
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.writer.Add(1)
	go s.write()
	if !o.ReadOnly {
		s.others.Add(1)
		go s.janitor()
	}
	return s, nil
}

func (o *Options) fill() error {
	switch {
	case o.MaxValue < 0 || o.MaxFile < 0 || o.LockTimeout < 0 || o.Queue < 0 || o.SweepInterval < 0:
		return errors.New("bolt.Options: a negative number")
	case o.MaxValue > math.MaxUint32*chunkSize || o.MaxFile > math.MaxInt:
		return errors.New("bolt.Options: too large a number")
	}
	if o.MaxValue == 0 {
		o.MaxValue = kvstore.DefaultMaxValue
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = time.Second
	}
	if o.Queue == 0 {
		o.Queue = 1024
	}
	if o.SweepInterval == 0 {
		o.SweepInterval = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// create makes an empty file, whole or not at all: an empty file at the path is thus never one that was just begun.
func create(path string) error {
	temp, err := tempFile(path)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	db, err := bbolt.Open(temp, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := addBallast(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketFormat).Put(keyVersion, []byte{formatVersion})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return install(temp, path, false)
}

// tempFile gives the name of a new empty file beside path.
func tempFile(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// install gives a finished file its name, durably. Unless it may replace one, fs.ErrExist is the error if there is one.
func install(temp, path string, replace bool) error {
	var err error
	if replace {
		err = os.Rename(temp, path)
	} else if err = os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without hard links.
		if _, err = os.Lstat(path); err == nil {
			err = fs.ErrExist
		} else {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && runtime.GOOS != "windows" {
		return err
	}
	return nil
}

// open opens the file with bbolt, guarding against what it would trust.
func open(path string, o Options) (db *bbolt.DB, file *os.File, err error) {
	for tries := 0; ; {
		if err := inspect(path, true, lookHeaders, nil); err != nil {
			// A process that has the file open may have written to it between two of the looks.
			if tries++; tries < 5 && errors.Is(err, kvstore.ErrCorrupt) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return nil, nil, err
		}
		db, err = openBolt(path, o, &file)
		if err != nil {
			break
		}
		// What was at the path when it was opened may have been replaced while the lock was waited for.
		mine, err1 := file.Stat()
		there, err2 := os.Stat(path)
		if err := errors.Join(err1, err2); err != nil {
			db.Close()
			return nil, nil, err
		}
		if os.SameFile(mine, there) {
			// Now that nobody else writes to it.
			if err := inspect(path, o.AcceptOlder, lookBranches, nil); err != nil {
				db.Close()
				return nil, nil, err
			}
			return db, file, nil
		}
		db.Close()
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, nil, fmt.Errorf("%s: %w: another process has the file open (waited %v)", path, kvstore.ErrBusy, o.LockTimeout)
	}
	if errors.Is(err, kvstore.ErrCorrupt) {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return nil, nil, fmt.Errorf("opening %s: %w", path, err)
}

func openBolt(path string, o Options, file **os.File) (db *bbolt.DB, err error) {
	defer func() {
		if err != nil && *file != nil {
			(*file).Close() // bbolt does not where it panics
		}
	}()
	defer guard(debug.SetPanicOnFault(true), &err)
	bo := &bbolt.Options{
		Timeout:      o.LockTimeout,
		FreelistType: bbolt.FreelistMapType,
		ReadOnly:     o.ReadOnly,
		NoStatistics: !o.stats,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			f, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
			*file = f
			return f, err
		},
	}
	if strconv.IntSize == 64 && runtime.GOOS != "windows" {
		bo.InitialMmapSize = mapAhead
	}
	db, err = bbolt.Open(path, 0o600, bo)
	if errors.Is(err, syscall.ENOMEM) && bo.InitialMmapSize != 0 {
		bo.InitialMmapSize = 0 // address space is limited
		db, err = bbolt.Open(path, 0o600, bo)
	}
	if err != nil {
		return nil, err
	}
	if o.MaxFile != 0 {
		// The file grows in steps of this.
		db.AllocSize = int(min(max(o.MaxFile/64, 256<<10), int64(db.AllocSize)))
	}
	return db, nil
}

// load reads what is kept in memory, and does what a crash left to do.
func (s *Stores) load() error {
	s.byName = map[string]*state{}
	var inner error
	if err := errors.Join(s.view(func(tx *bbolt.Tx) { inner = s.loadFrom(tx) }), inner); err != nil {
		return err
	}
	if s.opts.Verify {
		var first error
		n := 0
		err := s.check(context.Background(), true, func(problem error) {
			if n++; first == nil {
				first = problem
			}
		}, nil)
		if n > 0 {
			return fmt.Errorf("%w (%d problems in all)", first, n)
		}
		if err != nil {
			return err
		}
	}
	if s.opts.ReadOnly {
		return nil
	}
	loose := false
	if err := s.view(func(tx *bbolt.Tx) {
		k, _ := tx.Bucket(bucketLoose).Cursor().First()
		loose = k != nil
	}); err != nil || !loose {
		return err
	}
	return s.update(killUploads)
}

func (s *Stores) loadFrom(tx *bbolt.Tx) error {
	format := tx.Bucket(bucketFormat)
	if format == nil {
		return errors.New("it is a bbolt file, and not one of stores")
	}
	switch v := format.Get(keyVersion); {
	case len(v) == 0:
		return fmt.Errorf("%w: its format has no version", kvstore.ErrCorrupt)
	case v[0] != formatVersion:
		return fmt.Errorf("it has format version %d; this program knows %d", v[0], formatVersion)
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: there is no bucket %q", kvstore.ErrCorrupt, name)
		}
	}
	s.ballast = tx.Bucket(bucketBallast) != nil
	c := tx.Bucket(bucketStores).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(v) != 4 || kvstore.CheckName(string(k)) != nil {
			return fmt.Errorf("%w: its list of stores makes no sense", kvstore.ErrCorrupt)
		}
		name := string(k)
		s.byName[name] = &state{name: name, id: binary.BigEndian.Uint32(v)}
	}
	return nil
}
