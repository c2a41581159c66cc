package geo

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxFile bounds a database that is read into memory, in bytes; the largest in use have less than a quarter.
const maxFile = 4 << 30

// Options are how a Database is kept. The zero value reads files into memory and looks for changes every second.
type Options struct {
	// Map maps files into memory instead of reading them, so that only what is looked up takes memory. Then a file must
	// never be written to in place, only replaced by another under its name: a process that reads a page of a mapped file
	// which somebody has cut short is killed by the system.
	Map bool
	// Interval is how often files are looked at; 0 means a second, negative never. A file is read again when it has
	// changed and then stayed the same for one interval.
	Interval time.Duration
	// Warn, if set, is told of what goes on with the files: a new one that cannot be used, a record that cannot be
	// read. It is called from several goroutines.
	Warn func(error)
	// Reloaded, if set, is told that a file was read again.
	Reloaded func(path string, built time.Time)
}

// Database answers from one or several files in MaxMind's format. It is safe for concurrent use.
type Database struct {
	o       Options
	sources []*source
	zones   zones
	close   func()
}

// source is one file.
type source struct {
	path   string
	reader atomic.Pointer[maxminddb.Reader]
	told   atomic.Bool // that a record of this reader cannot be read

	// The rest is for whoever holds mu.
	mu     sync.Mutex
	loaded os.FileInfo // of what reader was made of, or of what no reader could be made of
	ahead  os.FileInfo // a change that was seen once
}

// Open opens database files. Where several know the same thing, the first counts. Each must be there and usable now; later
// it may change, or go away, which leaves what was read. The beginning of each file is checked here, the whole of it when
// it is read again.
func Open(paths []string, o Options) (*Database, error) {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	d := &Database{o: o}
	for _, path := range paths {
		s := &source{path: path}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		r, err := d.open(path, info, startLeaves)
		if err != nil {
			return nil, err
		}
		s.loaded = info
		s.reader.Store(r)
		d.sources = append(d.sources, s)
	}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	if o.Interval > 0 && len(paths) > 0 {
		watching.Go(func() { d.watch(stop) })
	}
	d.close = sync.OnceFunc(func() {
		close(stop)
		watching.Wait()
	})
	return d, nil
}

// Close ends the watch over the files. Lookups go on to work; the files' memory is given back when nobody has the
// Database any more.
func (d *Database) Close() { d.close() }

// open reads a file and tries what it holds.
func (d *Database) open(path string, info os.FileInfo, leaves uint) (r *maxminddb.Reader, err error) {
	if !info.Mode().IsRegular() { // opening a named pipe would wait for a writer
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if d.o.Map {
		r, err = maxminddb.Open(path)
	} else {
		var src []byte
		if src, err = read(path); err == nil {
			r, err = maxminddb.OpenBytes(src)
		}
	}
	if err == nil {
		err = try(r, leaves)
	}
	if err != nil {
		var inner *os.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("%s: cannot be used as a geolocation database: %w", path, err)
	}
	return r, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: closing tells nothing new
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", int64(maxFile))
	}
	src := make([]byte, info.Size())
	if _, err := io.ReadFull(f, src); err != nil {
		return nil, err
	}
	return src, nil
}

// startLeaves is how many leaves of a tree are looked at by Open: who starts a server should not wait for all of a large
// file, some seconds, and a file of the wrong shape shows at once.
const startLeaves = 50_000

// try walks the tree and reads each record once, up to so many leaves. The library's own Verify is no such test: it refuses files
// for want of a description, which many of other makers lack.
func try(r *maxminddb.Reader, limit uint) error {
	// A tree with n nodes has n+1 leaves, and a few parts of it have several names. In what only looks like a tree,
	// paths may meet over and over, and there are more than anybody can walk. So every leaf is asked for and counted.
	const names = 8
	leaves := uint(0)
	seen := map[uintptr]struct{}{}
	var rec record
	for result := range r.Networks(maxminddb.IncludeNetworksWithoutData(), maxminddb.IncludeAliasedNetworks()) {
		if err := result.Err(); err != nil {
			return err
		}
		if leaves++; leaves/names > r.Metadata.NodeCount+1 {
			return errors.New("the search tree is none")
		}
		if leaves > limit {
			return nil
		}
		if _, ok := seen[result.Offset()]; ok || !result.Found() {
			continue
		}
		seen[result.Offset()] = struct{}{}
		if err := decode(result, &rec); err != nil {
			return fmt.Errorf("the record of %s: %w", result.Prefix(), err)
		}
	}
	return nil
}

// decode reads a record in place of another.
func decode(result maxminddb.Result, rec *record) error {
	clear(rec.Subdivisions[:cap(rec.Subdivisions)]) // decoding into an element leaves what is not in the file
	*rec = record{Subdivisions: rec.Subdivisions[:0]}
	return result.Decode(rec)
}

func (d *Database) watch(stop <-chan struct{}) {
	tick := time.NewTicker(d.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			d.Refresh()
		}
	}
}

// Refresh looks at the files now, as it also happens every Interval. A changed file is read when it is found
// unchanged the next time: who writes it may not have finished.
func (d *Database) Refresh() {
	for _, s := range d.sources {
		d.refresh(s)
	}
}

func (d *Database) refresh(s *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	if err != nil {
		return // gone, or about to be replaced: nothing is lost by waiting
	}
	if same(info, s.loaded) {
		s.ahead = nil
		return
	}
	if s.ahead == nil || !same(info, s.ahead) {
		s.ahead = info
		return
	}
	s.ahead = nil
	s.loaded = info // also when it is bad: it is told once, and looked at again when it changes
	r, err := d.open(s.path, info, math.MaxUint)
	if err != nil {
		d.warn(fmt.Errorf("%w; the one before stays in use", err))
		return
	}
	// Readers of the old one go on with it. It has no other owner, so its memory goes, or its mapping, when they are
	// through: its Close must not be called while there may be any.
	s.reader.Store(r)
	s.told.Store(false)
	if d.o.Reloaded != nil {
		d.o.Reloaded(s.path, r.Metadata.BuildTime())
	}
}

func same(a, b os.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

func (d *Database) warn(err error) {
	if d.o.Warn != nil {
		d.o.Warn(err)
	}
}

// AppendGeo appends the record of an address to dst as JSON, and nothing when no file knows the address. It takes no
// lock and reads no file.
func (d *Database) AppendGeo(dst []byte, addr netip.Addr) []byte {
	addr = addr.Unmap()
	var f facts
	found := false
	for _, s := range d.sources {
		r := s.reader.Load()
		if addr.Is6() && r.Metadata.IPVersion == 4 {
			continue
		}
		result := r.Lookup(addr)
		if err := result.Err(); err != nil || !result.Found() {
			d.broken(s, addr, err)
			continue
		}
		rec := records.Get().(*record)
		if err := decode(result, rec); err != nil {
			d.broken(s, addr, err)
		} else {
			found = true
			f.add(rec)
		}
		records.Put(rec)
	}
	if !found {
		return dst
	}
	return f.append(dst, &d.zones, time.Now())
}

var records = sync.Pool{New: func() any { return new(record) }}

// broken tells once of each reader that a record could not be read.
func (d *Database) broken(s *source, addr netip.Addr, err error) {
	if err != nil && !s.told.Swap(true) {
		d.warn(fmt.Errorf("%s: the record of %s cannot be read, and answers as unknown (said once): %w", s.path, addr, err))
	}
}

// File describes one file of a Database.
type File struct {
	Path  string
	Type  string // such as GeoLite2-City
	Built time.Time
}

// Files describes what is in use.
func (d *Database) Files() []File {
	var files []File
	for _, s := range d.sources {
		m := &s.reader.Load().Metadata
		files = append(files, File{s.path, m.DatabaseType, m.BuildTime()})
	}
	return files
}
