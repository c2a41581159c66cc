package secretstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dir is a directory of stores' files.
type dir struct {
	root  string
	files files
}

const (
	fileSuffix = ".secrets"
	lockName   = ".lock"
	tempPrefix = ".new-"
)

// files are the operations of the file system that a write is made of.
type files interface {
	CreateTemp(dir, pattern string) (tempFile, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
}

type tempFile interface {
	io.WriteCloser
	Name() string
	Sync() error
	Stat() (fs.FileInfo, error)
}

// osFiles is the real file system.
type osFiles struct{}

func (osFiles) CreateTemp(dir, pattern string) (tempFile, error) { return os.CreateTemp(dir, pattern) }
func (osFiles) Rename(from, to string) error                     { return os.Rename(from, to) }
func (osFiles) Remove(path string) error                         { return os.Remove(path) }
func (osFiles) SyncDir(path string) error                        { return syncDir(path) }

func openDir(path string, files files) (*dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a directory", path)
	}
	if err := checkWritable(path, info); err != nil {
		return nil, err
	}
	return &dir{path, files}, nil
}

// path gives the file of a store: part of its name for people, and a digest because file systems fold case, know names
// such as "..", and have limits.
func (d *dir) path(store string) string { return filepath.Join(d.root, fileName(store)) }

func fileName(store string) string {
	sum := sha256.Sum256([]byte(store))
	word := strings.ReplaceAll(strings.ToLower(store[:min(len(store), 64)]), ".", "_")
	return word + "-" + hex.EncodeToString(sum[:16]) + fileSuffix
}

// fileState tells one file from what later stands in its place.
type fileState struct {
	path string
	info fs.FileInfo
	sure bool // false when the file was so young that another could look the same
}

// unsettled is how old a file must be before one that looks the same is the same: another one can have got its number,
// its size and, within a tick of the file system's clock, its time.
const unsettled = 100 * time.Millisecond

func settled(path string, info fs.FileInfo) fileState {
	age := time.Since(info.ModTime())
	return fileState{path, info, age > unsettled || age < -unsettled}
}

// unchanged tells whether the file is the one that was seen.
func (seen fileState) unchanged() bool {
	if !seen.sure {
		return false
	}
	info, err := os.Stat(seen.path)
	return err == nil && info.Size() == seen.info.Size() && info.ModTime().Equal(seen.info.ModTime()) && os.SameFile(info, seen.info)
}

func (d *dir) read(store string) ([]byte, fileState, error) {
	path := d.path(store)
	b, info, err := readRegular(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fileState{}, noStore(store)
	}
	if err != nil {
		return nil, fileState{}, err
	}
	return b, settled(path, info), nil
}

// readRegular reads a file of at most limit bytes and gives its state from before. Opening a named pipe would wait for a
// writer, so it looks first.
func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // read only: closing tells nothing new
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if info.Size() > limit {
		return nil, nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, info, nil
}

// write puts a store's file in place: all of it or nothing, and for good once it returns nil. When it fails after the
// renaming, the new file may be there; what is in memory is the old state, and the next look at the file finds out.
func (d *dir) write(store string, b []byte) (seen fileState, err error) {
	f, err := d.files.CreateTemp(d.root, tempPrefix+"*")
	if err != nil {
		return fileState{}, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = d.files.Remove(f.Name()) // it may have been renamed
		}
	}()
	if _, err = f.Write(b); err != nil {
		return fileState{}, err
	}
	if err = f.Sync(); err != nil {
		return fileState{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return fileState{}, err
	}
	if err = f.Close(); err != nil {
		return fileState{}, err
	}
	if err = d.files.Rename(f.Name(), d.path(store)); err != nil {
		return fileState{}, err
	}
	if err = d.files.SyncDir(d.root); err != nil {
		return fileState{}, err
	}
	return settled(d.path(store), info), nil
}

func (d *dir) remove(store string) error {
	err := d.files.Remove(d.path(store))
	if errors.Is(err, fs.ErrNotExist) {
		return noStore(store)
	}
	if err != nil {
		return err
	}
	return d.files.SyncDir(d.root)
}

// names reads which stores there are from the beginnings of the files.
func (d *dir) names() ([]string, error) {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), fileSuffix) || !e.Type().IsRegular() {
			continue
		}
		name, err := readName(filepath.Join(d.root, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // dropped just now
		case err != nil:
			return nil, err
		case fileName(name) != e.Name():
			return nil, &DamageError{File: filepath.Join(d.root, e.Name()), Reason: fmt.Sprintf("the file is that of store %q", name)}
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func readName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, len(magic)+1+MaxName)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", err
	}
	r := reader{rest: head[:n], size: n}
	known := string(r.take(len(magic))) == magic
	name := r.name()
	if r.err == nil && !known {
		r.err = errors.New("it is no file of a secret store, or of another format")
	}
	if r.err != nil {
		return "", &DamageError{File: path, Reason: r.err.Error()}
	}
	return name, nil
}

// lock keeps other processes out until unlock, and removes what a crashed one left.
func (d *dir) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.root, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	entries, _ := os.ReadDir(d.root) // what cannot be read or removed costs room and nothing else
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			_ = os.Remove(filepath.Join(d.root, e.Name()))
		}
	}
	return func() { _ = f.Close() }, nil
}
