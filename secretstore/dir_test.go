package secretstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// settle makes all files so old that they count as unchanged.
func settle(t testing.TB, s *Stores) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	paths, _ := filepath.Glob(filepath.Join(s.dir.root, "*"+fileSuffix))
	for _, path := range paths {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := s.Open(name); err != nil {
			t.Fatal(err)
		}
	}
}

func storePath(s *Stores, name string) string { return s.dir.path(name) }

func TestADirectoryKeepsItsStores(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "a", "b"), NewKey()
	s, _ := openTestDir(t, dir, key)
	put(t, create(t, s, "s"), "k", "hunter2-hunter2")
	path := storePath(s, "s")
	s.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("hunter2")) {
		t.Errorf("the file shows the secret: %v", err)
	}
	s, _ = openTestDir(t, dir, key)
	store, err := s.Open("s")
	if err != nil {
		t.Fatal(err)
	}
	wantSecret(t, store, "k", "hunter2-hunter2")
	if store.KeyID() != key.ID() || store.Name() != "s" || time.Since(store.Created()) > time.Hour {
		t.Errorf("key %s, name %s, created %s", store.KeyID(), store.Name(), store.Created())
	}
}

func TestAnotherProcessIsFollowed(t *testing.T) {
	dir, key := t.TempDir(), NewKey()
	node, _ := openTestDir(t, dir, key)
	tool, _ := openTestDir(t, dir, key)
	put(t, create(t, tool, "s"), "k", "1")
	open := func() *Store {
		t.Helper()
		store, err := node.Open("s")
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	wantSecret(t, store, "k", "1")
	theirs, err := tool.Open("s")
	if err != nil {
		t.Fatal(err)
	}
	put(t, theirs, "k", "2")
	wantSecret(t, store, "k", "1")
	if open() != store {
		t.Error("the store is another one after a change")
	}
	wantSecret(t, store, "k", "2")
	// Both change: nobody's change is lost.
	put(t, store, "n", "node")
	put(t, theirs, "t", "tool")
	put(t, store, "n2", "node")
	for _, name := range []string{"n", "t", "n2"} {
		if got := reveal(open(), name); got != "node" && got != "tool" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := tool.Drop("s"); err != nil {
		t.Fatal(err)
	}
	_, err = node.Open("s")
	wantErr(t, err, ErrNoStore)
	put(t, create(t, tool, "s"), "k", "new")
	wantSecret(t, open(), "k", "new")
	_, err = store.Put("k", nil, CreateOrRecreate)
	wantErr(t, err, ErrNoStore)
}

func TestAnUnchangedFileIsNotRead(t *testing.T) {
	s, _ := openTestDir(t, t.TempDir(), NewKey())
	store := create(t, s, "s")
	put(t, store, "k", "1")
	settle(t, s)
	before := store.state.Load()
	for range 3 {
		if _, err := s.Open("s"); err != nil {
			t.Fatal(err)
		}
	}
	if store.state.Load() != before {
		t.Error("it was read again")
	}
}

// TestEveryDamageIsFound changes each byte of a store's file, and cuts the file off at each.
func TestEveryDamageIsFound(t *testing.T) {
	dir, key := t.TempDir(), NewKey()
	s, _ := openTestDir(t, dir, key)
	store := create(t, s, "s")
	put(t, store, "first", "hunter2")
	put(t, store, "second", "hunter3")
	put(t, store, "second", "hunter4")
	path := storePath(s, "s")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	check := func(what string, bad []byte) {
		t.Helper()
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		fresh, err := OpenDir(dir, NewKeyring(copyOf(t, key)))
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		_, err = fresh.Open("s")
		var damage *DamageError
		switch {
		case errors.As(err, &damage) && damage.Store == "s" && damage.File == path:
			named[damage.Secret]++
		case errors.Is(err, ErrKey) && strings.Contains(err.Error(), path): // the ID of the master key was changed
			named["key"]++
		default:
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: the error holds a secret: %v", what, err)
		}
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("byte %d of %d changed", i, len(good)), bad)
		check(fmt.Sprintf("cut off at byte %d", i), good[:i])
	}
	check("a byte more", append(slices.Clone(good), 0))
	if named["first"] == 0 || named["second"] == 0 || named["key"] != 8 || named[""] == 0 {
		t.Errorf("what the errors named: %v", named)
	}
}

// TestRecordsCannotBeSwapped rewrites a file as somebody could who has no key but may move records about.
func TestRecordsCannotBeSwapped(t *testing.T) {
	dir, key := t.TempDir(), NewKey()
	s, _ := openTestDir(t, dir, key)
	store := create(t, s, "s")
	put(t, store, "a", "secret-a")
	put(t, store, "a", "secret-b")
	put(t, store, "b", "secret-c")
	put(t, create(t, s, "other"), "a", "secret-d")
	path := storePath(s, "s")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(storePath(s, "other"))
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(x, y *sealed) { x.box, y.box, x.nonce, y.nonce = y.box, x.box, y.nonce, x.nonce }
	for name, edit := range map[string]func(f *storeFile){
		"two versions":               func(f *storeFile) { exchange(f.secrets["a"][0], f.secrets["a"][1]) },
		"two secrets":                func(f *storeFile) { exchange(f.secrets["a"][1], f.secrets["b"][0]) },
		"an older version as newest": func(f *storeFile) { f.secrets["a"] = f.secrets["a"][:1] },
		"a secret removed":           func(f *storeFile) { delete(f.secrets, "b") },
		"the time changed":           func(f *storeFile) { f.secrets["b"][0].created++ },
		"the store's time changed":   func(f *storeFile) { f.created++ },
		"the counter set back":       func(f *storeFile) { f.last++ },
		"a secret of another store": func(f *storeFile) {
			other, err := decode(foreign)
			if err != nil {
				t.Fatal(err)
			}
			other.secrets["a"][0].version = f.secrets["b"][0].version
			f.secrets["b"] = other.secrets["a"]
		},
		"the data key of another store": func(f *storeFile) {
			other, err := decode(foreign)
			if err != nil {
				t.Fatal(err)
			}
			f.wrapped, f.wrapNonce = other.wrapped, other.wrapNonce
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := decode(slices.Clone(good))
			if err != nil {
				t.Fatal(err)
			}
			edit(f)
			stranger := randomKey()
			bad, err := f.encode(stranger)
			if err != nil {
				t.Fatal(err)
			}
			for _, trailer := range [][]byte{bad[len(bad)-trailerSize:], good[len(good)-trailerSize:]} {
				copy(bad[len(bad)-trailerSize:], trailer)
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err = s.Open("s")
				wantErr(t, err, ErrDamaged)
			}
		})
	}
	// Whole files in each other's place.
	if err := os.WriteFile(path, foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open("s")
	wantErr(t, err, ErrDamaged)
	_, err = s.Names()
	wantErr(t, err, ErrDamaged)
	if err := s.Drop("s"); err != nil {
		t.Errorf("a damaged store cannot be dropped: %v", err)
	}
	if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"other"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestAStoreNeedsItsKey(t *testing.T) {
	dir, key, other := t.TempDir(), NewKey(), NewKey()
	s, _ := openTestDir(t, dir, key)
	put(t, create(t, s, "s"), "k", "v")
	stranger, _ := openTestDir(t, dir, other)
	_, err := stranger.Open("s")
	wantErr(t, err, ErrKey)
	for _, id := range []string{key.ID(), other.ID(), `"s"`} {
		if !strings.Contains(err.Error(), id) {
			t.Errorf("%v does not name %s", err, id)
		}
	}
	_, err = stranger.Create("s")
	wantErr(t, err, ErrKey)
	wantSecret(t, create(t, stranger, "mine"), "k", `error: no such secret: "k"`)
}

func TestRotation(t *testing.T) {
	dir, one, two := t.TempDir(), NewKey(), NewKey()
	before, _ := openTestDir(t, dir, one)
	for _, name := range []string{"a", "b", "c"} {
		store := create(t, before, name)
		put(t, store, "k", name)
		put(t, store, "k", name+" newest")
	}
	node, _ := openTestDir(t, dir, two, one) // a running process with both keys
	store, err := node.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	held, err := store.Get("k")
	if err != nil {
		t.Fatal(err)
	}
	sealedBefore := held.sealed.box
	tool, _ := openTestDir(t, dir, two, one)
	if ok, err := tool.rotate("a", RotateOptions{}); !ok || err != nil { // interrupted after one
		t.Fatal(ok, err)
	}
	for _, name := range []string{"a", "b"} { // half way both keys are needed and do
		store, err := node.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		wantSecret(t, store, "k", name+" newest")
	}
	if n, err := tool.Rotate(RotateOptions{}); n != 2 || err != nil {
		t.Errorf("rotated %d, %v", n, err)
	}
	if n, err := tool.Rotate(RotateOptions{}); n != 0 || err != nil {
		t.Errorf("rotated %d for the second time, %v", n, err)
	}
	after, _ := openTestDir(t, dir, two)
	for _, name := range []string{"a", "b", "c"} {
		store, err := after.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		wantSecret(t, store, "k", name+" newest")
		if store.KeyID() != two.ID() {
			t.Errorf("%s needs key %s", name, store.KeyID())
		}
	}
	old, _ := openTestDir(t, dir, one)
	_, err = old.Open("a")
	wantErr(t, err, ErrKey)
	if store, err = node.Open("a"); err != nil {
		t.Fatal(err)
	}
	now, err := store.Get("k")
	if err != nil || !bytes.Equal(now.sealed.box, sealedBefore) {
		t.Errorf("rotating the master key changed what is sealed with the data key: %v", err)
	}

	if n, err := tool.Rotate(RotateOptions{DataKeys: true}); n != 3 || err != nil {
		t.Errorf("rotated %d, %v", n, err)
	}
	if store, err = node.Open("a"); err != nil {
		t.Fatal(err)
	}
	wantSecret(t, store, "k", "a newest")
	now, err = store.Get("k")
	if err != nil || bytes.Equal(now.sealed.box, sealedBefore) || now.Info().Version != held.Info().Version {
		t.Errorf("new data keys: %+v, %v", now.Info(), err)
	}
	if versions, err := store.Versions("k"); err != nil || len(versions) != 2 {
		t.Errorf("%v, %v", versions, err)
	}
	if b, err := held.AppendTo(nil); string(b) != "a newest" {
		t.Errorf("a secret that was looked up before: %q, %v", b, err)
	}
	node.Close()
	if _, err := held.AppendTo(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a secret under a data key of old can be opened after Close: %v", err)
	}
}

func TestRotationNamesWhatItCannotDo(t *testing.T) {
	dir, one, two := t.TempDir(), NewKey(), NewKey()
	s, _ := openTestDir(t, dir, one)
	create(t, s, "a")
	create(t, s, "b")
	other, _ := openTestDir(t, dir, NewKey())
	create(t, other, "c")
	path := storePath(s, "a")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tool, _ := openTestDir(t, dir, two, one)
	n, err := tool.Rotate(RotateOptions{})
	wantErr(t, err, ErrDamaged)
	wantErr(t, err, ErrKey)
	if n != 1 {
		t.Errorf("rotated %d of the good ones", n)
	}
}

// failing fails the operation with the number at, and tells how many there were.
type failing struct {
	files
	at, n int
}

var errInjected = errors.New("injected")

func (f *failing) step() error {
	f.n++
	if f.n-1 == f.at {
		return errInjected
	}
	return nil
}

func (f *failing) CreateTemp(dir, pattern string) (tempFile, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	t, err := f.files.CreateTemp(dir, pattern)
	return &failingTemp{t, f}, err
}

func (f *failing) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.files.Rename(from, to)
}

func (f *failing) Remove(path string) error { return f.files.Remove(path) }

func (f *failing) SyncDir(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.files.SyncDir(path)
}

type failingTemp struct {
	tempFile
	f *failing
}

func (t *failingTemp) Write(p []byte) (int, error) {
	if err := t.f.step(); err != nil { // the disk is full half way
		n, _ := t.tempFile.Write(p[:len(p)/2])
		return n, err
	}
	return t.tempFile.Write(p)
}

func (t *failingTemp) Sync() error {
	if err := t.f.step(); err != nil {
		return err
	}
	return t.tempFile.Sync()
}

func (t *failingTemp) Close() error {
	if err := t.f.step(); err != nil {
		_ = t.tempFile.Close()
		return err
	}
	return t.tempFile.Close()
}

func (t *failingTemp) Stat() (fs.FileInfo, error) {
	if err := t.f.step(); err != nil {
		return nil, err
	}
	return t.tempFile.Stat()
}

// TestAFailedWriteChangesNothing fails each operation of a Put in turn. What a crash at that point would leave is what the
// directory holds then, with the temporary file in place.
func TestAFailedWriteChangesNothing(t *testing.T) {
	for at := 0; ; at++ {
		dir, key := t.TempDir(), NewKey()
		s, _ := openTestDir(t, dir, key)
		store := create(t, s, "s")
		put(t, store, "k", "old")
		bad := &failing{files: osFiles{}, at: at}
		s.dir.files = bad
		_, err := store.Put("k", []byte("new"), Recreate)
		s.dir.files = osFiles{}
		if err == nil {
			if at < 6 {
				t.Errorf("a Put is made of %d operations only", at)
			}
			return
		}
		wantErr(t, err, errInjected)
		// The last operation comes after the renaming.
		after := reveal(store, "k")
		if after != "old" {
			t.Errorf("operation %d failed, and the store holds %q", at, after)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
			t.Errorf("operation %d failed and left %v", at, left)
		}
		fresh, _ := openTestDir(t, dir, key)
		again, err := fresh.Open("s")
		if err != nil {
			t.Fatalf("operation %d: %v", at, err)
		}
		if got := reveal(again, "k"); got != "old" && (got != "new" || at < 6) {
			t.Errorf("operation %d failed, and the file holds %q", at, got)
		}
		if _, err := store.Put("k", []byte("next"), Recreate); err != nil {
			t.Errorf("operation %d failed, and so does the next Put: %v", at, err)
		}
		wantSecret(t, store, "k", "next")
	}
}

func TestWhatACrashedWriterLeft(t *testing.T) {
	s, _ := openTestDir(t, t.TempDir(), NewKey())
	left := filepath.Join(s.dir.root, tempPrefix+"123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := s.Names(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	create(t, s, "s")
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "not a directory", open: "chmod go-w"} {
		if _, err := OpenDir(path, NewKeyring(NewKey())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestSealingIsXChaCha20Poly1305(t *testing.T) {
	key := randomKey()
	var nonce [nonceSize]byte
	box, err := key.seal(&nonce, []byte("plaintext"), []byte("bound"))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.NewX(bytes.Clone(key.slot[:]))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := aead.Open(nil, nonce[:], box, []byte("bound")); err != nil || string(plain) != "plaintext" {
		t.Errorf("%q, %v", plain, err)
	}
	dst := bytes.Repeat([]byte{'?'}, 9)
	if err := key.open(dst, &nonce, aead.Seal(nil, nonce[:], []byte("something"), nil), nil); err != nil || string(dst) != "something" {
		t.Errorf("%q, %v", dst, err)
	}
	if err := key.open(dst, &nonce, box, []byte("else")); err != errOpen || !bytes.Equal(dst, make([]byte, 9)) {
		t.Errorf("what does not authenticate gives %q, %v", dst, err)
	}
}

func FuzzDecode(f *testing.F) {
	stores, err := OpenDir(filepath.Join(f.TempDir(), "s"), NewKeyring(NewKey()))
	if err != nil {
		f.Fatal(err)
	}
	store := create(f, stores, "s")
	seed := func() {
		b, err := os.ReadFile(storePath(stores, "s"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed()
	put(f, store, "k", "v")
	seed()
	put(f, store, "k", "w")
	put(f, store, "l", "")
	seed()
	key := randomKey()
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := decode(b)
		if err != nil {
			return
		}
		again, err := file.encode(key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again[:len(again)-trailerSize], b[:len(b)-trailerSize]) {
			t.Errorf("encoded again it is\n%x, want\n%x", again, b)
		}
		if authenticate(b, key) == nil {
			t.Error("it authenticates under a random key")
		}
	})
}
