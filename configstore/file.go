package configstore

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// MaxFileSize is the most bytes that File reads: far above what entries within the limits need, low enough
// that a wrong path does not fill the memory.
const MaxFileSize = 32 << 20

// unsettled is how long after a file's modification time an unchanged time is no proof of unchanged
// contents: a second write within one tick of the file system's clock leaves size and time alone. The
// coarsest clock in use, FAT's, ticks every two seconds.
const unsettled = 2 * time.Second

// File is a Source that reads a JSON object of strings from a file (see ParseJSON). It is read again when
// its modification time, size or identity differ from the last reading, however that ended; so edits in
// place and files that are renamed over the old one both show at the next Refresh.
type File struct {
	path   string
	limits Limits
	seen   atomic.Pointer[reading] // nil: nothing could be read, try again
}

// reading is the state of the file as it was read.
type reading struct {
	info os.FileInfo
	// sure is false when the file was so young that it may change without showing it.
	sure bool
}

// NewFile makes a Source of the file at path. Nothing is read before Load. The limits are used to place
// an error at its line; those of the Store hold anyway.
func NewFile(path string, limits Limits) *File { return &File{path: path, limits: limits} }

// Changed implements Source with one stat call.
func (f *File) Changed() bool {
	seen := f.seen.Load()
	if seen == nil || !seen.sure {
		return true
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return true
	}
	return info.Size() != seen.info.Size() || !info.ModTime().Equal(seen.info.ModTime()) || !os.SameFile(info, seen.info)
}

// Load implements Source. Errors name the file, and where they can its line and column.
func (f *File) Load() (map[string]string, error) {
	f.seen.Store(nil)
	// Opening a named pipe would wait for a writer, so look first.
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // read only: closing tells nothing new
	// The state is taken before the contents, so that a write in between shows as a change later.
	info, err = file.Stat()
	if err != nil {
		return nil, err
	}
	src, err := io.ReadAll(io.LimitReader(file, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(src) > MaxFileSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", f.path, MaxFileSize)
	}
	age := time.Since(info.ModTime())
	f.seen.Store(&reading{info: info, sure: age > unsettled || age < -unsettled})
	contents, err := ParseJSON(src, f.limits)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", f.path, err)
	}
	return contents, nil
}
