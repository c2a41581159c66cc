package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// filled makes a closed file with values of all sizes.
func filled(t testing.TB) (path string, m model) {
	s := openAt(t, tempPath(t), Options{})
	st := makeStore(t, s, "a")
	m = model{}
	for i := range 300 {
		key, value := fmt.Sprintf("key/%03d", i), content(uint64(i), []int{0, 10, 300, 3000, 70_000, 300_000}[i%97%6*i%7%6])
		o := kvstore.InsertOptions{}
		if i%3 == 0 {
			o.TTL = time.Hour
		}
		insert(t, st, key, value, o)
		m[key] = string(value)
	}
	for i := 0; i < 300; i += 5 {
		key := fmt.Sprintf("key/%03d", i)
		if err := st.Delete(ctx, key, kvstore.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		delete(m, key)
	}
	waitUntil(t, "the janitor", func() bool { return entries(t, s, bucketLoose) == 0 })
	closeWell(t, s)
	return s.path, m
}

// TestDamageIsNeverSilent damages a file at random places. What Open with Verify takes must be as it was; without, no lookup gives
// anything but what was stored or an error, and nothing panics.
func TestDamageIsNeverSilent(t *testing.T) {
	path, m := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(whole)
	for used > 0 && whole[used-1] == 0 {
		used--
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	refused, harmless := 0, 0
	for trial := range 60 {
		b := bytes.Clone(whole)
		at := r.IntN(used)
		switch trial % 6 {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			copy(b[at:min(at+4096, used)], content(r.Uint64(), 4096))
		case 3:
			clear(b[at:min(at+1+r.IntN(5000), used)])
		case 4: // a page where another belongs
			from := r.IntN(used/4096) * 4096
			copy(b[at/4096*4096:], b[from:from+4096])
		case 5: // the head of a page, where the tree's structure is
			b[at/4096*4096+r.IntN(64)] ^= 1 << r.IntN(8)
		}
		p := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(p, Options{Verify: true, SweepInterval: time.Hour})
		if err == nil {
			harmless++
			st, err := s.Open(ctx, "a")
			if err == nil {
				err = holds(st, m)
			}
			if err != nil {
				t.Errorf("trial %d, at %d: verified, and yet: %v", trial, at, err)
			}
			s.Close()
			continue
		}
		refused++
		if !errors.Is(err, kvstore.ErrCorrupt) || !strings.Contains(err.Error(), p) {
			t.Errorf("trial %d, at %d: %v", trial, at, err)
		}
		useDamaged(t, p, m, fmt.Sprintf("trial %d, at %d", trial, at))
	}
	t.Logf("%d refused, %d harmless", refused, harmless)
	if refused < 25 {
		t.Errorf("only %d were refused", refused)
	}
}

// useDamaged uses a damaged file as if it were not.
func useDamaged(t *testing.T, path string, m model, what string) {
	s, err := Open(path, Options{SweepInterval: time.Hour, AcceptOlder: true})
	if err != nil {
		if !errors.Is(err, kvstore.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	defer s.Close()
	st, err := s.Open(ctx, "a")
	if err != nil {
		return
	}
	for key, want := range m {
		v, err := st.Lookup(ctx, key)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(v.Body)
			v.Body.Close()
			if err == nil && string(b) != want {
				t.Errorf("%s: %q has %d bytes, not %d, or wrong ones", what, key, len(b), len(want))
			}
		}
		if err != nil && !errors.Is(err, kvstore.ErrCorrupt) && !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("%s: %q: %v", what, key, err)
		}
	}
	c, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	n := 0
	for key := range m {
		_, err := st.Insert(c, key, bytes.NewReader(make([]byte, 5000)), kvstore.InsertOptions{})
		if err != nil && !errors.Is(err, kvstore.ErrCorrupt) && !errors.Is(err, kvstore.ErrReadOnly) {
			t.Errorf("%s: inserting: %v", what, err)
		}
		if n++; n == 3 {
			break
		}
	}
	st.List(c, kvstore.ListOptions{})
	st.Stat(c)
	s.Check(c, func(error) {}, nil)
}

func TestFilesThatAreNotOursAreRefusedClearly(t *testing.T) {
	foreign := tempPath(t)
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("else")); return err })
	db.Close()
	newer := tempPath(t)
	s := openAt(t, newer, Options{})
	if err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketFormat).Put(keyVersion, []byte{9}) }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	file := func(b []byte) string {
		p := tempPath(t)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct{ name, path, want string }{
		{"empty", file(nil), "is empty"},
		{"zeroes", file(make([]byte, 1<<16)), "not a bbolt file"},
		{"a text", file([]byte(strings.Repeat("hello ", 10_000))), "not a bbolt file"},
		{"short", file([]byte("x")), "too short"},
		{"a directory", t.TempDir(), "not a regular file"},
		{"in no directory", filepath.Join(t.TempDir(), "x", "kv.db"), "no such file"},
		{"another program's", foreign, "not one of stores"},
		{"of a later version", newer, "format version 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(tt.path, Options{})
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("missing and read-only", func(t *testing.T) {
		if _, err := Open(filepath.Join(t.TempDir(), "kv.db"), Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

func TestOneProcessOpensAFileAtATime(t *testing.T) {
	path := tempPath(t)
	s := openAt(t, path, Options{})
	if _, err := Open(path, Options{LockTimeout: 60 * time.Millisecond}); !errors.Is(err, kvstore.ErrBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if err := Restore(ctx, strings.NewReader(""), path, true, nil); !errors.Is(err, kvstore.ErrBusy) {
		t.Errorf("restoring over an open file: %v", err)
	}
	if _, _, err := Compact(ctx, path, nil); !errors.Is(err, kvstore.ErrBusy) {
		t.Errorf("compacting an open file: %v", err)
	}
	closeWell(t, s)
	a := openAt(t, path, Options{ReadOnly: true})
	b := openAt(t, path, Options{ReadOnly: true})
	if _, err := a.Create(ctx, "a"); !errors.Is(err, kvstore.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	b.Close()
	a.Close()
}

func TestBackupRestoreAndCompactKeepEverything(t *testing.T) {
	path, m := filled(t)
	s := openAt(t, path, Options{})
	st, err := s.Open(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	// A backup that is slower than the writes which go on.
	var backup bytes.Buffer
	r, w := io.Pipe()
	done := make(chan error)
	progress := int64(0)
	go func() {
		_, err := s.Backup(ctx, w, func(n, total int64) {
			if n < progress || n > total {
				t.Errorf("progress went from %d to %d of %d", progress, n, total)
			}
			progress = n
		})
		w.Close()
		done <- err
	}()
	io.CopyN(&backup, r, 10_000)
	for i := range 50 {
		insert(t, st, fmt.Sprint("later", i), content(1, 50_000), kvstore.InsertOptions{})
	}
	io.Copy(&backup, r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if progress != int64(backup.Len()) {
		t.Errorf("progress ended at %d of %d", progress, backup.Len())
	}
	// One that nobody reads ends with the stores.
	r, w = io.Pipe()
	go func() { _, err := s.Backup(ctx, w, nil); done <- err }()
	io.CopyN(io.Discard, r, 5000)
	go func() { time.Sleep(20 * time.Millisecond); io.Copy(io.Discard, r) }()
	s.Close()
	if err := <-done; err != nil && !errors.Is(err, kvstore.ErrClosed) {
		t.Errorf("got %v", err)
	}

	restored := tempPath(t)
	if err := Restore(ctx, bytes.NewReader(backup.Bytes()), restored, false, nil); err != nil {
		t.Fatal(err)
	}
	reopened(t, restored, m)
	if err := Restore(ctx, bytes.NewReader(backup.Bytes()), restored, false, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("restoring over a file: %v", err)
	}
	bad := bytes.Clone(backup.Bytes())
	bad[len(bad)/2] ^= 1
	bad[len(bad)/3] ^= 1
	if err := Restore(ctx, bytes.NewReader(bad[:len(bad)/2]), restored, true, nil); !errors.Is(err, kvstore.ErrCorrupt) {
		t.Errorf("restoring half a backup: %v", err)
	}
	reopened(t, restored, m)

	s = openAt(t, restored, Options{})
	st, _ = s.Open(ctx, "a")
	last := insert(t, st, "x", nil, kvstore.InsertOptions{})
	if err := st.Delete(ctx, "x", kvstore.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	closeWell(t, s)
	before, after, err := Compact(ctx, restored, nil)
	if err != nil || after > before {
		t.Errorf("from %d to %d bytes, %v", before, after, err)
	}
	reopened(t, restored, m)
	s = openAt(t, restored, Options{})
	st, _ = s.Open(ctx, "a")
	if g := insert(t, st, "x", nil, kvstore.InsertOptions{}); g <= last {
		t.Errorf("generation %d after %d", g, last)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(restored), ".*"))
	if len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Backup(canceled, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
