package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/configstore/bolt"
	"github.com/edgewasm/wasmedge/configstore/configstoretest"
)

// childEnv makes the test binary a process that writes until it is killed.
const childEnv = "CONFIGSTORE_BOLT_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		write(path)
		return
	}
	os.Exit(m.Run())
}

// write replaces contents, each version with one value under all keys, and tells of each that was acknowledged.
func write(path string) {
	f := bolt.New(path, configstore.Limits{})
	for n := 1; ; n++ {
		if err := f.Replace(context.Background(), "s", version(n)); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(n)
	}
}

func version(n int) map[string]string {
	m := map[string]string{}
	for i := range 50 {
		m[fmt.Sprint(i)] = fmt.Sprint(n)
	}
	return m
}

func TestConformance(t *testing.T) {
	var paths sync.Map
	path := func(t *testing.T) string {
		p, ok := paths.Load(t.Name())
		if !ok {
			p, _ = paths.LoadOrStore(t.Name(), filepath.Join(t.TempDir(), "config.db"))
		}
		return p.(string)
	}
	configstoretest.Run(t, configstoretest.Driver{
		Open: func(t *testing.T) configstore.Admin { return bolt.New(path(t), configstore.Limits{}) },
		Follow: func(t *testing.T, m *configstore.Mirror) {
			w, err := bolt.New(path(t), configstore.Limits{}).Follow(m, func(err error) { t.Error(err) })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Stop)
		},
	})
}

func TestAWriterThatIsKilledLosesNothingItHasAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	f := bolt.New(path, configstore.Limits{})
	if err := f.Create(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		out := new(strings.Builder)
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(200+13*round) * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		lines := strings.Fields(out.String())
		contents, err := f.Contents(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			continue // killed before its first
		}
		var last int
		if _, err := fmt.Sscan(lines[len(lines)-1], &last); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(contents, version(last)) && !maps.Equal(contents, version(last+1)) {
			t.Errorf("round %d: acknowledged was %d, there is %v", round, last, contents)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	f := bolt.New(path, configstore.Limits{})
	ctx := t.Context()
	if err := f.Create(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for i := range 300 {
		contents[fmt.Sprint("key", i)] = strings.Repeat("v", 300)
	}
	if err := f.Replace(ctx, "s", contents); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{
		"text":           []byte(strings.Repeat("hello\n", 5000)),
		"one byte":       {1},
		"cut in half":    good[:len(good)/2],
		"cut at a page":  good[:4*4096],
		"without metas":  append(make([]byte, 2*4096), good[2*4096:]...),
		"without a root": append(append([]byte{}, good[:2*4096]...), make([]byte, len(good)-2*4096)...),
	}
	for i := 2; i < len(good)/4096; i++ {
		b := append([]byte{}, good...)
		for j := range 4096 {
			b[i*4096+j] ^= 0xa5
		}
		damage[fmt.Sprint("page ", i)] = b
	}
	clear := 0
	for name, b := range damage {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := f.Contents(ctx, "s")
		if err == nil && maps.Equal(got, contents) {
			continue // a free page
		}
		if err == nil {
			t.Errorf("%s: no error, and %d entries", name, len(got))
			continue
		}
		if !errors.Is(err, configstore.ErrDamaged) && !errors.Is(err, configstore.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		clear++
		_ = f.Put(ctx, "s", "k", "v") // must not panic
		w, err := f.Follow(configstore.NewMirror(new(configstore.Set), configstore.Limits{}, nil), nil)
		if err == nil {
			w.Stop()
			if !strings.HasPrefix(name, "page") && name != "without a root" {
				t.Errorf("%s: it is followed", name)
			}
		}
	}
	if clear < 6 {
		t.Errorf("%d of %d damages told of", clear, len(damage))
	}
}

func TestAFollowerKeepsWhatItHasWhenTheFileGoesBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	f := bolt.New(path, configstore.Limits{ValueChars: -1})
	ctx := t.Context()
	var mu sync.Mutex
	var warned []string
	set := new(configstore.Set)
	w, err := f.Follow(configstore.NewMirror(set, configstore.Limits{}, nil), func(err error) {
		mu.Lock()
		defer mu.Unlock()
		warned = append(warned, err.Error())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	told := func(part string) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(warned) > 0 && strings.Contains(warned[len(warned)-1], part)
	}
	value := func() string {
		s, err := set.Open("s")
		if err != nil {
			return err.Error()
		}
		v, _ := s.Lookup("k")
		return v
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%s does not show; it holds %q, warnings %q", what, value(), warned)
			}
		}
	}
	for _, err := range []error{f.Create(ctx, "s"), f.Put(ctx, "s", "k", "1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wait("the first value", func() bool { return value() == "1" })
	if err := f.Put(ctx, "s", "long", strings.Repeat("x", 8001)); err != nil {
		t.Fatal(err)
	}
	wait("a warning", func() bool { return told(`config store "s": value of key "long" has 8001 characters`) })
	if err := f.Delete(ctx, "s", "long"); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(ctx, "s", "k", "2"); err != nil {
		t.Fatal(err)
	}
	wait("the value after that", func() bool { return value() == "2" })
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait("a warning", func() bool { return told(configstore.ErrDamaged.Error()) })
	if value() != "2" {
		t.Errorf("it holds %q", value())
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(ctx, "s", "k", "3"); err != nil {
		t.Fatal(err)
	}
	wait("the value of the mended file", func() bool { return value() == "3" })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wait("the end", func() bool { return len(set.Names()) == 0 })
}

func BenchmarkLookupFollowed(b *testing.B) {
	path := filepath.Join(b.TempDir(), "config.db")
	f := bolt.New(path, configstore.Limits{})
	if err := f.Create(b.Context(), "s"); err != nil {
		b.Fatal(err)
	}
	if err := f.Replace(b.Context(), "s", version(1)); err != nil {
		b.Fatal(err)
	}
	set := new(configstore.Set)
	w, err := f.Follow(configstore.NewMirror(set, configstore.Limits{}, nil), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	b.ReportAllocs()
	for b.Loop() {
		s, err := set.Open("s")
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := s.Lookup("7"); !ok {
			b.Fatal("no entry")
		}
	}
}
