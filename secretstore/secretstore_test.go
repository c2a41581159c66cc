package secretstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// eachDriver runs a test on stores in memory and in a directory.
func eachDriver(t *testing.T, test func(t *testing.T, s *Stores)) {
	t.Run("memory", func(t *testing.T) {
		s := NewMemory()
		t.Cleanup(func() { s.Close() })
		test(t, s)
	})
	t.Run("directory", func(t *testing.T) {
		s, _ := openTestDir(t, t.TempDir(), NewKey())
		test(t, s)
	})
}

// openTestDir opens a directory with copies of the keys, which Close destroys.
func openTestDir(t testing.TB, path string, keys ...*Key) (*Stores, *Keyring) {
	t.Helper()
	ring := &Keyring{}
	for _, k := range keys {
		ring.keys = append(ring.keys, copyOf(t, k))
	}
	s, err := OpenDir(path, ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, ring
}

func copyOf(t testing.TB, k *Key) *Key {
	t.Helper()
	text, err := k.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t testing.TB, s *Stores, name string) *Store {
	t.Helper()
	store, err := s.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func put(t testing.TB, s *Store, name, value string) Info {
	t.Helper()
	info, err := s.Put(name, []byte(value), CreateOrRecreate)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// reveal gives the plaintext of the newest version, or the error's text after "error: ".
func reveal(s *Store, name string) string {
	secret, err := s.Get(name)
	if err != nil {
		return "error: " + err.Error()
	}
	b, err := secret.AppendTo(nil)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

func wantSecret(t testing.TB, s *Store, name, want string) {
	t.Helper()
	if got := reveal(s, name); got != want {
		t.Errorf("secret %s holds %q, want %q", name, got, want)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestStoresComeAndGo(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		_, err := s.Open("a")
		wantErr(t, err, ErrNoStore)
		store := create(t, s, "b")
		create(t, s, "a")
		_, err = s.Create("a")
		wantErr(t, err, ErrStoreExists)
		if names, err := s.Names(); err != nil || !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("names %v, %v", names, err)
		}
		put(t, store, "k", "v")
		secret, err := store.Get("k")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Drop("b"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, s.Drop("b"), ErrNoStore)
		_, err = s.Open("b")
		wantErr(t, err, ErrNoStore)
		_, err = store.Get("k")
		wantErr(t, err, ErrNoStore)
		_, err = store.Put("k", nil, CreateOrRecreate)
		wantErr(t, err, ErrNoStore)
		if b, err := secret.AppendTo(nil); string(b) != "v" {
			t.Errorf("a secret that was looked up before its store was dropped: %q, %v", b, err)
		}
		again := create(t, s, "b")
		if again.ID() == store.ID() {
			t.Error("a new store has the ID of the old one")
		}
		_, err = again.Get("k")
		wantErr(t, err, ErrNotFound)
		_, err = store.Put("k", nil, CreateOrRecreate)
		wantErr(t, err, ErrNoStore)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"Open":   second(s.Open("a")),
			"Create": second(s.Create("c")),
			"Drop":   s.Drop("a"),
			"Names":  second(s.Names()),
			"Get":    second(again.Get("k")),
			"Put":    second(again.Put("k", nil, Create)),
			"Reveal": secret.Reveal(make([]byte, 1)),
			"Use":    secret.Use(func([]byte) error { t.Error("called"); return nil }),
			"Delete": again.Delete("k"),
			"List":   second(again.List()),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestVersions(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		store := create(t, s, "s")
		_, err := store.Put("k", []byte("no"), Recreate)
		wantErr(t, err, ErrNotFound)
		one, err := store.Put("k", []byte("one"), Create)
		if err != nil || one.Version == 0 || one.Size != 3 || one.Name != "k" || one.Created.IsZero() {
			t.Fatalf("%+v, %v", one, err)
		}
		_, err = store.Put("k", []byte("no"), Create)
		wantErr(t, err, ErrExists)
		held, err := store.Get("k")
		if err != nil {
			t.Fatal(err)
		}
		put(t, store, "other", "x")
		two, err := store.Put("k", []byte("one"), Recreate)
		if err != nil || two.Version <= one.Version || two.Digest == one.Digest || two.Versions != 2 {
			t.Fatalf("%+v after %+v, %v", two, one, err)
		}
		three := put(t, store, "k", "three")
		wantSecret(t, store, "k", "three")
		if held.Info() != one {
			one.Versions = 0
			if held.Info() != one {
				t.Errorf("a secret that was looked up is %+v now, want %+v", held.Info(), one)
			}
		}
		if b, _ := held.AppendTo(nil); string(b) != "one" {
			t.Errorf("it holds %q now", b)
		}
		old, err := store.GetVersion("k", two.Version)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := old.AppendTo([]byte("> ")); string(b) != "> one" {
			t.Errorf("version 2 holds %q", b)
		}
		for _, version := range []uint64{0, three.Version + 1, one.Version + 1} {
			_, err = store.GetVersion("k", version)
			wantErr(t, err, ErrNotFound)
		}
		versions, err := store.Versions("k")
		if err != nil || len(versions) != 3 || versions[0].Version != three.Version || versions[2].Version != one.Version {
			t.Errorf("versions %v, %v", versions, err)
		}
		list, err := store.List()
		if err != nil || len(list) != 2 || list[0].Name != "k" || list[0].Version != three.Version || list[0].Versions != 3 || list[1].Name != "other" {
			t.Errorf("list %v, %v", list, err)
		}
		_, err = store.Prune("k", 0)
		if err == nil {
			t.Error("pruned to nothing")
		}
		_, err = store.Prune("none", 1)
		wantErr(t, err, ErrNotFound)
		for _, want := range []int{2, 0} {
			if n, err := store.Prune("k", 1); n != want || err != nil {
				t.Errorf("pruned %d, %v, want %d", n, err, want)
			}
		}
		wantSecret(t, store, "k", "three")
		_, err = store.GetVersion("k", one.Version)
		wantErr(t, err, ErrNotFound)
		if err := store.Delete("k"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, store.Delete("k"), ErrNotFound)
		_, err = store.Get("k")
		wantErr(t, err, ErrNotFound)
		if again := put(t, store, "k", "again"); again.Version <= three.Version {
			t.Errorf("version %d is given a second time", again.Version)
		}
	})
}

func TestNamesAndSizes(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		long := strings.Repeat("Ab.-_9", 43)[:MaxName]
		for _, name := range []string{long, ".", "..", "a", "A", "con", "-x", strings.ToLower(long)} {
			store := create(t, s, name)
			put(t, store, name, name)
			wantSecret(t, store, name, name)
		}
		if names, err := s.Names(); err != nil || len(names) != 8 {
			t.Errorf("%v, %v", names, err)
		}
		store, err := s.Open("A")
		if err != nil {
			t.Fatal(err)
		}
		wantSecret(t, store, "A", "A")
		for _, name := range []string{"", long + "x", "a/b", "a b", "é", "a\x00", "a\n", `a\b`, "hunter2!"} {
			_, err := s.Create(name)
			wantErr(t, err, ErrName)
			_, err = s.Open(name)
			wantErr(t, err, ErrNoStore)
			wantErr(t, s.Drop(name), ErrNoStore)
			_, err = store.Put(name, nil, Create)
			wantErr(t, err, ErrName)
			_, err2 := store.Get(name)
			wantErr(t, err2, ErrNotFound)
			if text := fmt.Sprint(err, err2); strings.Contains(text, "hunter2") {
				t.Errorf("%q repeats a bad name", text)
			}
		}
		full := bytes.Repeat([]byte("x"), MaxSecret)
		for _, b := range [][]byte{nil, {}, {0}, full} {
			if _, err := store.Put("size", b, CreateOrRecreate); err != nil {
				t.Fatal(err)
			}
			secret, err := store.Get("size")
			if err != nil || secret.Len() != len(b) {
				t.Fatalf("%d bytes: %d, %v", len(b), secret.Len(), err)
			}
			wantSecret(t, store, "size", string(b))
		}
		_, err = store.Put("size", append(full, 0), CreateOrRecreate)
		wantErr(t, err, ErrTooLarge)
		wantSecret(t, store, "size", string(full))
	})
}

func TestPlaintextIsOverwrittenAfterUse(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		store := create(t, s, "s")
		put(t, store, "k", "hunter2")
		secret, err := store.Get("k")
		if err != nil {
			t.Fatal(err)
		}
		var kept []byte
		wantErr(t, secret.Use(func(b []byte) error {
			kept = b
			if string(b) != "hunter2" {
				t.Errorf("plaintext %q", b)
			}
			return os.ErrInvalid
		}), os.ErrInvalid)
		if !bytes.Equal(kept, make([]byte, 7)) {
			t.Errorf("after use the buffer holds %q", kept)
		}
		func() {
			defer func() { _ = recover() }()
			_ = secret.Use(func(b []byte) error { kept = b; panic("the user's fault") })
		}()
		if !bytes.Equal(kept, make([]byte, 7)) {
			t.Errorf("after a panic the buffer holds %q", kept)
		}
		if err := secret.Reveal(make([]byte, 6)); err == nil {
			t.Error("revealed into too small a buffer")
		}
	})
}

func TestNothingPrintsASecret(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		store := create(t, s, "s")
		const plain = "hunter2-hunter2-hunter2"
		put(t, store, "k", plain)
		secret, err := store.Get("k")
		if err != nil {
			t.Fatal(err)
		}
		key := NewKey()
		text, err := key.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		hidden := struct {
			secret Secret
			key    *Key
			store  *Store
			stores *Stores
		}{secret, key, store, s}
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%10.3v"} {
			for _, v := range []any{secret, &secret, hidden, &hidden, []Secret{secret}, map[string]any{"a": secret}, key, store, s, s.keys} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		fmt.Fprintln(&out, secret, key, secret.String(), key.String())
		for _, v := range []any{secret, key, map[string]any{"a": secret}, secret.Info()} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(b)
		}
		log := slog.New(slog.NewTextHandler(&out, nil))
		log.Info("x", "secret", secret, "key", key)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "key", key)
		for _, s := range []string{plain, plain[8:], string(text), fmt.Sprintf("%x", plain), fmt.Sprint([]byte(plain)[:8])[1:20]} {
			if strings.Contains(out.String(), s) {
				t.Errorf("the output has %q", s)
			}
		}
		if n := strings.Count(out.String(), redacted); n < 20 {
			t.Errorf("%q stands %d times in\n%s", redacted, n, out.String())
		}
	})
}

func TestChainAsksInOrder(t *testing.T) {
	first, behind := NewMemory(), NewMemory()
	put(t, create(t, first, "both"), "k", "first")
	put(t, create(t, behind, "both"), "k", "behind")
	put(t, create(t, behind, "one"), "k", "one")
	c := Chain{first, behind}
	for name, want := range map[string]string{"both": "first", "one": "one"} {
		store, err := c.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		wantSecret(t, store, "k", want)
	}
	_, err := c.Open("none")
	wantErr(t, err, ErrNoStore)
	first.Close()
	_, err = c.Open("one")
	wantErr(t, err, ErrClosed)
}

// TestManyAtOnce hammers a store: each version of a secret says which it is, and versions only go up.
func TestManyAtOnce(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Stores) {
		create(t, s, "s")
		const rounds = 30
		var writers, readers sync.WaitGroup
		done := make(chan struct{})
		for w := range 3 {
			writers.Go(func() {
				store, err := s.Open("s")
				if err != nil {
					t.Error(err)
					return
				}
				for i := range rounds {
					if _, err := store.Put("k", fmt.Appendf(nil, "%d %d", w, i), CreateOrRecreate); err != nil {
						t.Error(err)
					}
					if i%10 == 9 {
						if _, err := store.Prune("k", 2); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		for range 3 {
			readers.Go(func() {
				var last uint64
				for {
					select {
					case <-done:
						return
					default:
					}
					store, err := s.Open("s")
					if err != nil {
						t.Error(err)
						return
					}
					secret, err := store.Get("k")
					if errors.Is(err, ErrNotFound) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if v := secret.Info().Version; v < last {
						t.Errorf("version %d after %d", v, last)
						return
					} else {
						last = v
					}
					if _, err := secret.AppendTo(nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
		store, err := s.Open("s")
		if err != nil {
			t.Fatal(err)
		}
		secret, err := store.Get("k")
		if err != nil || secret.Info().Version != 3*rounds {
			t.Errorf("at last %+v, %v", secret.Info(), err)
		}
	})
}

func TestCloseWhileSecretsAreOpened(t *testing.T) {
	s, _ := openTestDir(t, t.TempDir(), NewKey())
	store := create(t, s, "s")
	put(t, store, "k", "v")
	secret, err := store.Get("k")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				b, err := secret.AppendTo(nil)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil || string(b) != "v" {
					t.Errorf("%q, %v", b, err)
					return
				}
			}
		})
	}
	s.Close()
	wg.Wait()
}

func Example() {
	stores := NewMemory()
	defer stores.Close()
	store, err := stores.Create("payments")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := store.Put("api-key", []byte("hunter2"), Create); err != nil {
		fmt.Println(err)
		return
	}
	secret, err := store.Get("api-key")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(secret, secret.Len())
	err = secret.Use(func(plaintext []byte) error {
		fmt.Println("it begins with", string(plaintext[:1]))
		return nil
	})
	fmt.Println(err)
	// Output:
	// [secret] 7
	// it begins with h
	// <nil>
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{32, 1024, MaxSecret} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, _ := openTestDir(b, filepath.Join(b.TempDir(), "s"), NewKey())
			put(b, create(b, s, "s"), "k", strings.Repeat("x", size))
			settle(b, s)
			dst := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				store, err := s.Open("s")
				if err != nil {
					b.Fatal(err)
				}
				secret, err := store.Get("k")
				if err != nil {
					b.Fatal(err)
				}
				if err := secret.Reveal(dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
