package modcache

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Names in the directory:
//
//	secret              the key of the keyed digests
//	<key>.<mac>.module  an entry
//	<key>.lock          held with flock by the process that compiles the entry
//	<random>.tmp        a file being written, held with flock by its writer
const (
	secretName  = "secret"
	entrySuffix = ".module"
	lockSuffix  = ".lock"
	tempSuffix  = ".tmp"
	secretSize  = 32
	tempDigits  = 32
)

// store is the directory and what it is trusted by. All access goes through root, a descriptor of the directory
// that was checked: putting another directory in its place changes nothing for us.
type store struct {
	dir    string
	root   *os.Root
	secret []byte
	max    int64
	warn   func(string)
}

func openStore(dir string, maxBytes int64, warn func(string)) (*store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, root: root, max: maxBytes, warn: warn}
	if err := s.init(); err != nil {
		root.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) init() error {
	info, err := s.root.Stat(".")
	if err != nil {
		return err
	}
	if err := checkPrivate(info, 0o022); err != nil {
		return fmt.Errorf("%s %w: native code is only loaded from a directory that nobody else can write (chmod 700, or choose another)", s.dir, err)
	}
	if s.secret, err = s.readSecret(); err != nil {
		return err
	}
	s.sweep()
	return nil
}

func (s *store) close() error { return s.root.Close() }

// readSecret gives the directory's secret and makes one when there is none that may be used.
func (s *store) readSecret() ([]byte, error) {
	secret, err := s.loadSecret()
	if err == nil {
		return secret, nil
	}
	replace := false
	if !errors.Is(err, fs.ErrNotExist) {
		s.warn(fmt.Sprintf("module cache: a new secret is made and all modules are compiled anew: %v", err))
		replace = true
	}

	fresh := make([]byte, secretSize)
	rand.Read(fresh) // never fails, crypto/rand
	temp, err := s.writeTemp(fresh)
	if err != nil {
		return nil, fmt.Errorf("cannot write the secret of the cache: %w", err)
	}
	defer temp.Close()
	if replace {
		err = s.root.Rename(temp.Name(), secretName)
	} else {
		// Unlike a rename, a link does not replace the secret that another process has made meanwhile.
		err = s.root.Link(temp.Name(), secretName)
		s.root.Remove(temp.Name())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		s.root.Remove(temp.Name())
		return nil, fmt.Errorf("cannot write the secret of the cache: %w", err)
	}
	s.syncDir()
	return s.loadSecret()
}

func (s *store) loadSecret() ([]byte, error) {
	f, info, err := s.open(secretName, 0o077)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() != secretSize {
		return nil, fmt.Errorf("%s has %d bytes, want %d", filepath.Join(s.dir, secretName), info.Size(), secretSize)
	}
	secret := make([]byte, secretSize)
	if _, err := io.ReadFull(f, secret); err != nil {
		return nil, err
	}
	return secret, nil
}

// open opens a regular file that belongs to us and lacks all permission bits of forbidden.
func (s *store) open(name string, forbidden fs.FileMode) (*os.File, fs.FileInfo, error) {
	f, err := s.root.OpenFile(name, os.O_RDONLY|openFlags, 0) // openFlags: a pipe must not block us
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil {
		err = checkPrivate(info, forbidden)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(s.dir, name), err)
	}
	return f, info, nil
}

// find gives the names of the entries for k, usually one or none.
func (s *store) find(k key) []string {
	var found []string
	prefix := k.String() + "."
	for _, name := range s.names() {
		if strings.HasPrefix(name, prefix) && isEntry(name) {
			found = append(found, name)
		}
	}
	return found
}

// openVerified opens an entry and checks that this cache wrote it. The descriptor is what was checked.
func (s *store) openVerified(k key, name string) (*os.File, error) {
	f, info, err := s.open(name, 0o022)
	if err != nil {
		return nil, err
	}
	got, err := makeMAC(s.secret, k, f, info.Size())
	if err == nil {
		want, _ := hex.DecodeString(strings.TrimSuffix(name[len(k.String())+1:], entrySuffix))
		if !hmac.Equal(got[:], want) {
			err = errors.New("its contents are not what this cache wrote")
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// write makes the entry for k and then evicts others until the directory is below its bound.
func (s *store) write(k key, artifact []byte) error {
	if int64(len(artifact)) > s.max {
		return fmt.Errorf("it has %d bytes, the whole cache may have %d (raise the cache's size)", len(artifact), s.max)
	}
	m, err := makeMAC(s.secret, k, memory(artifact), int64(len(artifact)))
	if err != nil {
		return err
	}
	temp, err := s.writeTemp(artifact)
	if err != nil {
		return err
	}
	defer temp.Close()
	name := k.String() + "." + hex.EncodeToString(m[:]) + entrySuffix
	if err := s.root.Rename(temp.Name(), name); err != nil {
		s.root.Remove(temp.Name())
		return err
	}
	s.syncDir()
	s.evict(name)
	return nil
}

// tempFile is an open temporary file that is locked, so that sweep knows its writer is alive.
type tempFile struct {
	*os.File
	name string
}

// Name is relative to the cache's directory.
func (t *tempFile) Name() string { return t.name }

// writeTemp makes a synced temporary file. The caller renames or removes it, then closes it.
func (s *store) writeTemp(contents []byte) (*tempFile, error) {
	temp, err := s.createTemp()
	if err != nil {
		return nil, err
	}
	_, err = temp.Write(contents)
	if err == nil {
		err = temp.Sync()
	}
	if err != nil {
		s.root.Remove(temp.Name())
		temp.Close()
		return nil, err
	}
	return temp, nil
}

func (s *store) createTemp() (*tempFile, error) {
	for {
		var r [tempDigits / 2]byte
		rand.Read(r[:])
		name := hex.EncodeToString(r[:]) + tempSuffix
		f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		// A sweeper may have taken the new file for a leftover before it was locked; then take another name.
		// An error means that there are no locks on this file system, and then nothing is swept either.
		if held, err := tryLockFile(f); err == nil && (!held || !s.stillNamed(f, name)) {
			f.Close()
			continue
		}
		return &tempFile{f, name}, nil
	}
}

// stillNamed reports whether name is f.
func (s *store) stillNamed(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := s.root.Lstat(name)
	return err == nil && os.SameFile(opened, named)
}

// tryLock takes the lock of k among processes. An error means that there can be none here.
func (s *store) tryLock(k key) (unlock func(), held bool, err error) {
	name := k.String() + lockSuffix
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|openFlags, 0o600)
	if err != nil {
		return nil, false, err
	}
	held, err = tryLockFile(f)
	if err != nil || !held {
		f.Close()
		return nil, false, err
	}
	if !s.stillNamed(f, name) {
		// The holder before us has removed the file that we opened: the lock is another file now.
		f.Close()
		return nil, false, nil
	}
	return func() {
		s.root.Remove(name) // while it is still locked
		f.Close()
	}, true, nil
}

// sweep removes what processes that are gone have left, and what is above the bound.
func (s *store) sweep() {
	for _, name := range s.names() {
		if !isTemp(name) && !isLock(name) {
			continue
		}
		f, err := s.root.OpenFile(name, os.O_RDWR|openFlags, 0)
		if err != nil {
			continue
		}
		if held, err := tryLockFile(f); err == nil && held && s.stillNamed(f, name) {
			s.root.Remove(name)
		}
		f.Close()
	}
	s.evict("")
}

// evict removes the entries used longest ago until the rest is below the bound. It spares the entry keep.
func (s *store) evict(keep string) {
	type entry struct {
		name string
		size int64
		used time.Time
	}
	var entries []entry
	var total int64
	for _, name := range s.names() {
		if !isEntry(name) {
			continue
		}
		info, err := s.root.Lstat(name)
		if err != nil {
			continue
		}
		total += info.Size()
		if name != keep {
			entries = append(entries, entry{name, info.Size(), info.ModTime()})
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].used.Before(entries[j].used) })
	for _, e := range entries {
		if total <= s.max {
			return
		}
		s.remove(e.name)
		total -= e.size
	}
}

// touch marks an entry as used now. A read-only directory keeps the old mark.
func (s *store) touch(name string) {
	now := time.Now()
	_ = s.root.Chtimes(name, now, now)
}

func (s *store) remove(name string) {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.warn(fmt.Sprintf("module cache: cannot remove an entry: %v", err))
	}
}

func (s *store) names() []string {
	d, err := s.root.Open(".")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // those read before an error are good
	return names
}

// syncDir makes a new name durable. Where a directory cannot be synced a crash costs the entry, no more.
func (s *store) syncDir() {
	if d, err := s.root.Open("."); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

func isEntry(name string) bool {
	body, ok := strings.CutSuffix(name, entrySuffix)
	k, m, dot := strings.Cut(body, ".")
	return ok && dot && isHex(k, 2*len(key{})) && isHex(m, 2*len(mac{}))
}

func isLock(name string) bool {
	body, ok := strings.CutSuffix(name, lockSuffix)
	return ok && isHex(body, 2*len(key{}))
}

func isTemp(name string) bool {
	body, ok := strings.CutSuffix(name, tempSuffix)
	return ok && isHex(body, tempDigits)
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
