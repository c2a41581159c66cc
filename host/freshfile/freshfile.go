// Package freshfile keeps a value in step with the small file that it was parsed from, for files that a person edits
// while a server runs.
//
// Get asks the operating system once whether the file has changed, which is all that an unchanged file costs, and
// takes no lock. A changed file is read and parsed by one caller; others meanwhile get what was there before. A file that
// cannot be read or parsed changes nothing: Get goes on giving the last good value, and the failure is told once for
// each state of the file.
package freshfile

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// unsettled is how long after a file's modification time an unchanged time is no proof of unchanged contents: a
// second write within one tick of the file system's clock leaves size and time alone. FAT's ticks every two seconds.
const unsettled = 2 * time.Second

// Options are how a File is read. Parse is required.
type Options[T any] struct {
	// Limit is the most bytes that the file may have; 0 means 64 MiB.
	Limit int64
	// Parse makes a value of the file's contents. Its calls do not overlap. Its errors should begin with line:column.
	Parse func(src []byte) (T, error)
	// Warn, if set, is told why the file could not be read or parsed.
	Warn func(error)
}

// File is one file with its value. It is safe for concurrent use.
type File[T any] struct {
	path  string
	o     Options[T]
	value atomic.Pointer[T]
	seen  atomic.Pointer[state]

	mu     sync.Mutex // held while reading
	warned string     // the last failure that was told
}

// state is how the file looked when it was read.
type state struct {
	info os.FileInfo // nil: it was not there
	sure bool        // false: so young that it may change without showing it
}

// New makes a File of the file at path, whose value is first until the file has been read.
func New[T any](path string, first T, o Options[T]) *File[T] {
	if o.Limit == 0 {
		o.Limit = 64 << 20
	}
	f := &File[T]{path: path, o: o}
	f.value.Store(&first)
	return f
}

// Get gives the value. It must not be written to.
func (f *File[T]) Get() T {
	info, err := os.Stat(f.path)
	if err != nil {
		info = nil
	}
	if f.changed(info) && f.mu.TryLock() {
		f.read(info, err)
		f.mu.Unlock()
	}
	return *f.value.Load()
}

func (f *File[T]) changed(info os.FileInfo) bool {
	seen := f.seen.Load()
	switch {
	case seen == nil:
		return true
	case info == nil || seen.info == nil:
		return (info == nil) != (seen.info == nil)
	}
	return !seen.sure || info.Size() != seen.info.Size() || !info.ModTime().Equal(seen.info.ModTime()) || !os.SameFile(info, seen.info)
}

// read runs with mu held. The state was taken before the contents are, so that a write in between shows later.
func (f *File[T]) read(info os.FileInfo, err error) {
	s := &state{info: info}
	if err == nil {
		age := time.Since(info.ModTime())
		s.sure = age > unsettled || age < -unsettled
	}
	var v T
	if err == nil {
		v, err = f.parse(info)
	}
	if err == nil {
		f.value.Store(&v)
		f.warned = ""
	} else if text := err.Error(); text != f.warned {
		f.warned = text
		if f.o.Warn != nil {
			f.o.Warn(err)
		}
	}
	f.seen.Store(s)
}

func (f *File[T]) parse(info os.FileInfo) (v T, err error) {
	// Opening a named pipe would wait for a writer.
	if !info.Mode().IsRegular() {
		return v, fmt.Errorf("%s: not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return v, err
	}
	defer func() { _ = file.Close() }() // read only: closing tells nothing new
	src, err := io.ReadAll(io.LimitReader(file, f.o.Limit+1))
	if err != nil {
		return v, err
	}
	if int64(len(src)) > f.o.Limit {
		return v, fmt.Errorf("%s: larger than %d bytes", f.path, f.o.Limit)
	}
	if v, err = f.o.Parse(src); err != nil {
		return v, fmt.Errorf("%s:%w", f.path, err)
	}
	return v, nil
}
