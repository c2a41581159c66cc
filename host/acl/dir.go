package acl

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Info describes an ACL of a Dir.
type Info struct {
	ID   string // follows from the name
	Name string
	// Created and Updated are when the ACL came into being and when its entries last changed, in UTC and to the second.
	Created, Updated time.Time
}

// Dir keeps ACLs in a directory, one file each, and has them at hand in memory once they have been opened. What Create,
// Update, Replace and Delete have reported as done survives kill -9 and power loss: a file is written whole beside the old
// one, synced, and renamed over it, so that a reader finds the old contents or the new ones.
//
// Several processes may use one directory at the same time; updates take turns (but where there are no file locks, outside of
// Unix). Open sees what another process has changed, at once but for files above 1 MiB, which are read in the background. The
// methods may be called from many goroutines at once.
//
// A file is the ACL API's body with further members before its entries, so a manifest can name it, too.
type Dir struct {
	path string
	mu   sync.Mutex
	open map[string]*dirACL // by ID
}

// dirACL is an ACL that was opened.
type dirACL struct {
	ACL
	refresh sync.Mutex
	seen    atomic.Pointer[os.FileInfo] // the file as it was read
	failed  atomic.Pointer[error]       // of the latest reading
}

const (
	fileSuffix = ".acl.json"
	tempSuffix = ".tmp"
	lockName   = "lock"
	// stale is the age at which a temporary file was left behind by a process that died.
	stale = time.Hour
	// background is the size of files that nobody waits for: ten milliseconds are spent on less.
	background = 1 << 20
	// maxFile bounds the bytes that are read of a file: what MaxEntries can take.
	maxFile = MaxEntries * (96 + MaxActionBytes)
)

// OpenDir opens a directory, which is made if it is missing, and clears away what interrupted writes have left.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	names, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	for _, n := range names {
		if !strings.HasSuffix(n.Name(), tempSuffix) {
			continue
		}
		if info, err := n.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > stale {
			_ = os.Remove(filepath.Join(path, n.Name())) // it is in nobody's way
		}
	}
	return &Dir{path: path, open: make(map[string]*dirACL)}, nil
}

// id gives the ID of a name. It names the file as well: IDs have neither capitals nor marks, so they suit any file system.
func id(name string) string {
	sum := sha256.Sum256([]byte(name))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:22]
}

func isID(text string) bool {
	return len(text) == 22 && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '2' && r <= '7')
	})
}

func (d *Dir) file(id string) string { return filepath.Join(d.path, id+fileSuffix) }

// Create makes an empty ACL. The error wraps ErrExists when the name is taken, ErrInvalid when it cannot be one.
func (d *Dir) Create(name string) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	unlock, err := d.lock()
	if err != nil {
		return Info{}, err
	}
	defer unlock()
	now := time.Now().UTC().Truncate(time.Second)
	info := Info{ID: id(name), Name: name, Created: now, Updated: now}
	switch _, err := os.Lstat(d.file(info.ID)); {
	case err == nil:
		return Info{}, fmt.Errorf("%w: %s", ErrExists, quote(name))
	case !errors.Is(err, fs.ErrNotExist):
		return Info{}, fmt.Errorf("acl: %w", err)
	}
	return info, d.write(info, empty)
}

// List describes all ACLs, sorted by name. A file that cannot be read is an error.
func (d *Dir) List() ([]Info, error) {
	names, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	var list []Info
	for _, n := range names {
		id, ok := strings.CutSuffix(n.Name(), fileSuffix)
		if !ok || !isID(id) {
			continue
		}
		info, err := d.describe(id)
		if errors.Is(err, ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Describe describes the ACL with an ID.
func (d *Dir) Describe(id string) (Info, error) {
	if !isID(id) {
		return Info{}, noID(id)
	}
	return d.describe(id)
}

// Find describes the ACL with a name.
func (d *Dir) Find(name string) (Info, error) {
	info, err := d.describe(id(name))
	if errors.Is(err, ErrNotFound) {
		return Info{}, fmt.Errorf("%w: %s", ErrNotFound, quote(name))
	}
	return info, err
}

func noID(id string) error { return fmt.Errorf("%w: ID %s", ErrNotFound, quote(id)) }

// describe reads what stands before a file's entries.
func (d *Dir) describe(id string) (Info, error) {
	f, err := d.openFile(id)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, _, err := readFile(f, id, false)
	return info, err
}

// Delete removes the ACL with an ID. Who has opened it keeps it.
func (d *Dir) Delete(id string) error {
	if !isID(id) {
		return noID(id)
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(d.file(id)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return noID(id)
		}
		return fmt.Errorf("acl: %w", err)
	}
	d.mu.Lock()
	delete(d.open, id)
	d.mu.Unlock()
	return syncDir(d.path)
}

// Update applies operations to the ACL with an ID, in their order: all of them or, with an error, none. See Table.Update.
func (d *Dir) Update(id string, ops []Op) (Changes, error) {
	var c Changes
	err := d.change(id, func(t *Table) (_ *Table, err error) {
		t, c, err = t.Update(ops)
		return t, err
	})
	return c, err
}

// Replace puts t in place of all that the ACL with an ID holds.
func (d *Dir) Replace(id string, t *Table) error {
	return d.change(id, func(*Table) (*Table, error) { return t, nil })
}

// change replaces a table by what f makes of it.
func (d *Dir) change(id string, f func(*Table) (*Table, error)) error {
	if !isID(id) {
		return noID(id)
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	a := d.acl(id)
	a.refresh.Lock()
	defer a.refresh.Unlock()
	if err := d.load(a, id); err != nil {
		return err
	}
	info, err := d.describe(id)
	if err != nil {
		return err
	}
	old := a.Table()
	t, err := f(old)
	if err != nil || t == old {
		return err
	}
	info.Updated = time.Now().UTC().Truncate(time.Second)
	if err := d.write(info, t); err != nil {
		return err
	}
	// Those who have opened it see the change now, and need not read the file for it.
	a.Replace(t)
	if written, err := os.Stat(d.file(id)); err == nil {
		a.seen.Store(&written)
	}
	return nil
}

// Open gives the ACL of that name as its file has it now; when that has not changed since the last time, it costs one system
// call. A changed file above 1 MiB is read in the background: until that is done the ACL holds what it held. The error wraps
// ErrNotFound when there is none, else it says what is wrong with the file; an ACL that was opened before keeps then what it had.
func (d *Dir) Open(name string) (*ACL, error) {
	a, err := d.OpenID(id(name))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, quote(name))
	}
	return a, err
}

// OpenID is Open for an ID.
func (d *Dir) OpenID(id string) (*ACL, error) {
	if !isID(id) {
		return nil, noID(id)
	}
	// Guests choose names: nothing is kept of those that do not exist.
	d.mu.Lock()
	a := d.open[id]
	d.mu.Unlock()
	if a == nil {
		if _, err := os.Lstat(d.file(id)); errors.Is(err, fs.ErrNotExist) {
			return nil, noID(id)
		}
		a = d.acl(id)
	}
	if err := d.reload(a, id); err != nil {
		return nil, err
	}
	return &a.ACL, nil
}

func (d *Dir) acl(id string) *dirACL {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.open[id]
	if a == nil {
		a = new(dirACL)
		d.open[id] = a
	}
	return a
}

// reload reads the file again if it has changed.
func (d *Dir) reload(a *dirACL, id string) error {
	info, err := os.Stat(d.file(id))
	if err == nil && a.current(info) {
		return a.failure()
	}
	if err == nil && info.Size() > background && a.seen.Load() != nil {
		if a.refresh.TryLock() { // else somebody is reading it
			go func() {
				defer a.refresh.Unlock()
				_ = d.load(a, id) // the next Open tells
			}()
		}
		return a.failure()
	}
	a.refresh.Lock()
	defer a.refresh.Unlock()
	return d.load(a, id)
}

// load is reload for who has refresh locked.
func (d *Dir) load(a *dirACL, id string) error {
	f, err := d.openFile(id)
	if errors.Is(err, ErrNotFound) {
		d.mu.Lock()
		if d.open[id] == a {
			delete(d.open, id)
		}
		d.mu.Unlock()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("acl: %w", err)
	}
	if a.current(info) {
		return a.failure()
	}
	_, t, err := readFile(f, id, true)
	if err != nil {
		a.failed.Store(&err)
	} else {
		a.failed.Store(nil)
		a.Replace(t)
	}
	a.seen.Store(&info)
	return err
}

// current reports whether the file is still what was read. A Dir's files are renamed into place and not written to after that,
// so another file shows by its identity, even within one tick of the clock.
func (a *dirACL) current(now os.FileInfo) bool {
	p := a.seen.Load()
	if p == nil {
		return false
	}
	seen := *p
	return now.Size() == seen.Size() && now.ModTime().Equal(seen.ModTime()) && os.SameFile(now, seen)
}

func (a *dirACL) failure() error {
	if err := a.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *Dir) openFile(id string) (*os.File, error) {
	path := d.file(id)
	// Opening a named pipe would wait for a writer, so look first.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noID(id)
	}
	if err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	return f, nil
}

// readFile reads a file's description and, if wanted, its table.
func readFile(f *os.File, fileID string, entries bool) (Info, *Table, error) {
	info := Info{ID: fileID}
	d := &decoder{scanner: newScanner(&io.LimitedReader{R: f, N: maxFile}), entry: -1, ignoreOp: true}
	moment := func(text []byte) (t time.Time, err error) { return time.Parse(time.RFC3339, string(text)) }
	member := func(key string) (bool, error) {
		if key != "name" && key != "created_at" && key != "updated_at" {
			return false, nil
		}
		text, err := d.text()
		if err != nil {
			return true, err
		}
		switch key {
		case "name":
			info.Name = string(text)
		case "created_at":
			info.Created, err = moment(text)
		case "updated_at":
			info.Updated, err = moment(text)
		}
		return true, err
	}
	var b *builder
	var each func(Op) error
	if entries {
		b = new(builder)
		each = func(op Op) error { return b.insert(op.Entry) }
	}
	err := d.body(each, member)
	if each == nil && errors.Is(err, errStop) {
		err = nil
	}
	if err == nil && id(info.Name) != fileID {
		err = fmt.Errorf("it is the file of another name than %s", quote(info.Name))
	}
	if err != nil {
		return Info{}, nil, fmt.Errorf("acl: %s: %w", f.Name(), err)
	}
	if b == nil {
		return info, nil, nil
	}
	return info, b.table(), nil
}

// write puts a file in place of the ACL's, durably.
func (d *Dir) write(info Info, t *Table) (err error) {
	f, err := os.CreateTemp(d.path, info.ID+"-*"+tempSuffix)
	if err != nil {
		return fmt.Errorf("acl: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("acl: %w", err)
		}
	}()
	b := bufio.NewWriterSize(f, 256<<10)
	head := append([]byte(nil), `{"name":`...)
	head = appendString(head, info.Name)
	head = fmt.Appendf(head, ",\"id\":\"%s\",\"created_at\":\"%s\",\"updated_at\":\"%s\",\n\"entries\":[",
		info.ID, info.Created.Format(time.RFC3339), info.Updated.Format(time.RFC3339))
	b.Write(head)
	writeEntries(b, t.All(), "\n", ",\n", "")
	b.WriteString("\n]}\n")
	if err := b.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), d.file(info.ID)); err != nil {
		return err
	}
	return syncDir(d.path)
}

// lock keeps other updates out, those of this Dir and of other processes.
func (d *Dir) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("acl: %w", err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("acl: %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}
