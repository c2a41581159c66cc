package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// boltField gives access to a field of bbolt's that is not exported: it is how the tests come between bbolt and its file.
func boltField[T any](t testing.TB, db *bbolt.DB, names ...string) *T {
	t.Helper()
	v := reflect.ValueOf(db).Elem()
	for _, n := range names {
		if v = v.FieldByName(n); !v.IsValid() {
			t.Fatalf("bbolt.DB has no field %q any more", names)
		}
	}
	p, ok := reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Interface().(*T)
	if !ok {
		t.Fatalf("bbolt.DB's field %q has type %v", names, v.Type())
	}
	return p
}

var errInjected = &os.PathError{Op: "write", Path: "kv.db", Err: syscall.EIO}

// disk fails one of bbolt's operations on the file.
type disk struct {
	mu     sync.Mutex
	t      testing.TB
	file   *os.File
	saved  int // a descriptor of the file while the file's own is something else
	write  func([]byte, int64) (int, error)
	failAt int // which write fails; the sync after it, if it is to be that
	kind   string
	n      int
	failed bool
}

func newDisk(t testing.TB, s *Stores, failAt int, kind string) *disk {
	d := &disk{t: t, file: *boltField[*os.File](t, s.db, "file"), saved: -1, failAt: failAt, kind: kind}
	hook := boltField[func([]byte, int64) (int, error)](t, s.db, "ops", "writeAt")
	d.write = *hook
	*hook = d.writeAt
	return d
}

func (d *disk) writeAt(b []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.saved >= 0 {
		d.restore()
		return 0, errInjected // the write that came instead of a sync
	}
	n := d.n
	d.n++
	if n != d.failAt {
		return d.write(b, off)
	}
	d.failed = true
	switch d.kind {
	case "no write":
		return 0, errInjected
	case "disk full":
		return 0, &os.PathError{Op: "write", Path: "kv.db", Err: syscall.ENOSPC}
	case "half a write":
		m, _ := d.write(b[:len(b)/2], off)
		return m, errInjected
	case "a whole write":
		m, _ := d.write(b, off)
		return m, errInjected
	}
	m, written := d.write(b, off)
	// What is done with the descriptor next fails: fdatasync does on a pipe.
	var pipe [2]int
	err := syscall.Pipe(pipe[:])
	if err != nil {
		d.t.Fatal(err)
	}
	if d.saved, err = syscall.Dup(int(d.file.Fd())); err != nil {
		d.t.Fatal(err)
	}
	if err = syscall.Dup3(pipe[0], int(d.file.Fd()), syscall.O_CLOEXEC); err != nil {
		d.t.Fatal(err)
	}
	syscall.Close(pipe[0])
	syscall.Close(pipe[1])
	return m, written
}

func (d *disk) restore() {
	if d.saved >= 0 {
		if err := syscall.Dup3(d.saved, int(d.file.Fd()), syscall.O_CLOEXEC); err != nil {
			d.t.Fatal(err)
		}
		syscall.Close(d.saved)
		d.saved = -1
	}
}

func (d *disk) rest() (failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restore()
	return d.failed
}

func TestTheFailureOfAnyFileOperationLosesNothing(t *testing.T) {
	for _, kind := range []string{"no write", "disk full", "half a write", "a whole write", "no sync"} {
		t.Run(kind, func(t *testing.T) {
			path := tempPath(t)
			s := openAt(t, path, Options{SweepInterval: time.Hour})
			makeStore(t, s, "a")
			closeWell(t, s)
			unknown := 0
			for i := 0; ; i++ {
				path := copyFile(t, path)
				s := openAt(t, path, Options{SweepInterval: time.Hour})
				st, err := s.Open(ctx, "a")
				if err != nil {
					t.Fatal(err)
				}
				d := newDisk(t, s, i, kind)
				m := model{}
				possible := []model{m}
				broken := false
				for j := range script {
					after, err := step(st, j, m)
					d.mu.Lock()
					d.restore()
					d.mu.Unlock()
					switch {
					case broken:
						if !errors.Is(err, kvstore.ErrReadOnly) && !errors.Is(err, kvstore.ErrNotFound) {
							t.Fatalf("operation %d: a broken file takes writes: %v", i, err)
						}
					case err == nil:
						m, possible = after, []model{after}
					case errors.Is(err, kvstore.ErrUnknown):
						possible = []model{m, after}
						broken = true
						unknown++
					case errors.Is(err, kvstore.ErrReadOnly):
						// It goes on with the next attempt.
						if after, err = step(st, j, m); err == nil {
							m, possible = after, []model{after}
						} else if broken = errors.Is(err, kvstore.ErrReadOnly); !broken {
							t.Fatalf("operation %d, step %d, again: %v", i, j, err)
						}
					case errors.Is(err, kvstore.ErrNotFound) && d.failed:
						t.Fatalf("operation %d, step %d: %v", i, j, err)
					default:
						t.Fatalf("operation %d, step %d: %v", i, j, err)
					}
					if err := holdsOne(st, possible...); err != nil {
						t.Fatalf("operation %d, step %d: %v", i, j, err)
					}
				}
				failed := d.rest()
				reopened(t, copyFile(t, path), possible...)
				closeWell(t, s)
				reopened(t, path, possible...)
				if !failed {
					t.Logf("%d operations, %d outcomes unknown", i, unknown)
					if i < 50 {
						t.Errorf("only %d operations", i)
					}
					break
				}
				if i > 6 {
					i += rand.IntN(14) // all of them take too long for every run
				}
			}
			if sure := kind == "no write" || kind == "disk full"; sure != (unknown == 0) {
				t.Errorf("%d outcomes unknown", unknown)
			}
		})
	}
}

// TestLossOfPowerLosesNothingAcknowledged opens the files that a loss of power can leave: what was not synced may be on the disk or
// not, by sectors.
func TestLossOfPowerLosesNothingAcknowledged(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{SweepInterval: time.Hour})
	st := makeStore(t, s, "a")
	durable, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	durable = durable[:min(len(durable), 1<<20)]
	type change struct {
		b   []byte
		off int64
	}
	var mu sync.Mutex
	var data []change
	var m, next model
	images := 0
	m, next = model{}, model{}
	apply := func(image []byte, c change, sector func() bool) []byte {
		if need := int(c.off) + len(c.b); need > len(image) {
			image = append(image, make([]byte, need-len(image))...)
		}
		for i := 0; i < len(c.b); i += 512 {
			if sector() {
				copy(image[int(c.off)+i:], c.b[i:i+512])
			}
		}
		return image
	}
	always, maybe := func() bool { return true }, func() bool { return rand.IntN(2) == 0 }
	probe := func(image []byte, models ...model) {
		p := tempPath(t)
		if err := os.WriteFile(p, image, 0o600); err != nil {
			t.Fatal(err)
		}
		reopened(t, p, models...)
		os.Remove(p)
		images++
	}
	hook := boltField[func([]byte, int64) (int, error)](t, s.db, "ops", "writeAt")
	write := *hook
	*hook = func(b []byte, off int64) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		c := change{bytes.Clone(b), off}
		if off >= int64(2*os.Getpagesize()) {
			data = append(data, c)
			return write(b, off)
		}
		// The header is written once the data is synced.
		if rand.IntN(2) == 0 {
			lost := bytes.Clone(durable)
			for _, c := range data {
				lost = apply(lost, c, maybe)
			}
			probe(lost, m, next)
		}
		for _, c := range data {
			durable = apply(durable, c, always)
		}
		data = nil
		if rand.IntN(2) == 0 {
			probe(apply(bytes.Clone(durable), c, maybe), m, next)
		}
		durable = apply(durable, c, always)
		return write(b, off)
	}
	for range 2 {
		for i := range script {
			// Several commits belong to a step; the last one makes it visible.
			mu.Lock()
			value := content(uint64(i), script[i].size)
			next = maps.Clone(m)
			switch sc := script[i]; {
			case sc.del:
				delete(next, sc.key)
			case sc.o.Mode == kvstore.Append:
				next[sc.key] += string(value)
			case sc.o.Mode == kvstore.Prepend:
				next[sc.key] = string(value) + next[sc.key]
			default:
				next[sc.key] = string(value)
			}
			mu.Unlock()
			after, err := step(st, i, m)
			if err != nil && !errors.Is(err, kvstore.ErrPrecondition) {
				t.Fatal(err)
			}
			mu.Lock()
			if err == nil {
				m = after
			}
			next = m
			mu.Unlock()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	probe(bytes.Clone(durable), m)
	*hook = write
	if images < 20 {
		t.Errorf("only %d images", images)
	}
}

func TestAFullDiskRefusesInsertsAndRecovers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs privileges")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("no small file system: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, dir+"/kv.db", Options{}, "no space", func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheLargestFileSizeRefusesInsertsAndRecovers(t *testing.T) {
	path := tempPath(t)
	const limit = 8 << 20
	fillDisk(t, path, Options{MaxFile: limit}, "MaxFile", func() {})
	if info, err := os.Stat(path); err != nil || info.Size() > limit+limit/2 {
		t.Errorf("the file has %d bytes", info.Size())
	}
}

// fillDisk inserts until that is refused, and makes room again.
func fillDisk(t *testing.T, path string, o Options, says string, release func()) {
	s := openAt(t, path, o)
	st := makeStore(t, s, "a")
	m := model{}
	var err error
	for i := 0; i < 1000; i++ {
		key, value := fmt.Sprint("k", i), content(uint64(i), 3000+i%3*50_000+i%7/6*500_000)
		if _, err = st.Insert(ctx, key, bytes.NewReader(value), kvstore.InsertOptions{}); err != nil {
			break
		}
		m[key] = string(value)
	}
	if !errors.Is(err, kvstore.ErrReadOnly) || !bytes.Contains([]byte(err.Error()), []byte(says)) || len(m) < 10 {
		t.Fatalf("%d values: %v", len(m), err)
	}
	if err := holds(st, m); err != nil {
		t.Fatal(err)
	}
	release()
	// Deletes and inserts together: the deletes go through.
	var wg sync.WaitGroup
	for key := range maps.Clone(m) {
		if len(m) < 10 {
			break
		}
		delete(m, key)
		wg.Go(func() {
			if err := st.Delete(ctx, key, kvstore.DeleteOptions{}); err != nil {
				t.Errorf("%q: %v", key, err)
			}
		})
		wg.Go(func() {
			_, err := st.Insert(ctx, "big", bytes.NewReader(make([]byte, 3<<20)), kvstore.InsertOptions{})
			if err == nil {
				err = st.Delete(ctx, "big", kvstore.DeleteOptions{})
			}
			if err != nil && !errors.Is(err, kvstore.ErrReadOnly) && !errors.Is(err, kvstore.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st.Delete(ctx, "big", kvstore.DeleteOptions{})
	if err := holds(st, m); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "an insert", func() bool {
		_, err = st.Insert(ctx, "again", bytes.NewReader(make([]byte, 300_000)), kvstore.InsertOptions{})
		return err == nil
	})
	if err := st.Delete(ctx, "again", kvstore.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	waitUntil(t, "the janitor", func() bool { return entries(t, s, bucketLoose) == 0 })
}

func TestAFileThatIsCutOffUnderneathGivesErrors(t *testing.T) {
	s, err := Open(tempPath(t), Options{SweepInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	st := makeStore(t, s, "a")
	for i := range 200 {
		insert(t, st, fmt.Sprint("k", i), content(1, 10_000), kvstore.InsertOptions{})
	}
	if err := os.Truncate(s.path, 32<<10); err != nil {
		t.Fatal(err)
	}
	bad := 0
	for i := range 200 {
		v, err := st.Lookup(ctx, fmt.Sprint("k", i))
		switch {
		case err == nil:
			v.Body.Close()
		case errors.Is(err, kvstore.ErrCorrupt):
			bad++
		default:
			t.Error(err)
		}
	}
	if bad == 0 {
		t.Error("nobody noticed")
	}
	c, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := st.Insert(c, "k7", nil, kvstore.InsertOptions{}); err == nil || c.Err() != nil {
		t.Error("an insert: ", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
