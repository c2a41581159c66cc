//go:build unix

package modcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestAModuleIsCompiledOnceAndLoadedEverAfter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "deep")
	wasm := bytes.Repeat([]byte("module"), 700_000) // several chunks
	e := &fakeEngine{fingerprint: "a"}

	c, w := open(t, dir, Options{})
	get(t, c, e, wasm, false)
	get(t, c, e, wasm, true)
	c.Close()

	c, w2 := open(t, dir, Options{})
	get(t, c, e, wasm, true)
	mustBe(t, "compilations", e.compiles.Load(), 1)
	mustBe(t, "warnings", append(w.take(), w2.take()...), "[]")

	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "mode of the directory", info.Mode().Perm(), os.FileMode(0o700))
	for _, name := range append(entries(t, c), secretName) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, "mode of "+name, info.Mode().Perm(), os.FileMode(0o600))
	}
	for _, name := range c.store.names() {
		if !isEntry(name) && name != secretName {
			t.Errorf("%s was left behind", name)
		}
	}
}

func TestAnythingThatAnArtifactDependsOnChangesItsKey(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	wasm := bytes.Repeat([]byte{7}, chunkSize+5)
	a, b := &fakeEngine{fingerprint: "a"}, &fakeEngine{fingerprint: "b"}
	get(t, c, a, wasm, false)
	get(t, c, b, wasm, false)
	for _, at := range []int{0, chunkSize - 1, chunkSize, len(wasm) - 1} {
		other := bytes.Clone(wasm)
		other[at]++
		get(t, c, a, other, false)
	}
	get(t, c, a, wasm[:len(wasm)-1], false)
	get(t, c, a, append(bytes.Clone(wasm), 7), false)
	get(t, c, a, wasm, true)
	get(t, c, b, wasm, true)
	if makeKey("a", []byte("bc")) == makeKey("ab", []byte("c")) {
		t.Error("fields run into each other")
	}
}

func TestOnLinuxTheCheckedDescriptorIsLoaded(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("no /proc")
	}
	c, _ := open(t, t.TempDir(), Options{})
	e := &fakeEngine{}
	get(t, c, e, []byte("m"), false)
	get(t, c, e, []byte("m"), true)
	if path := e.lastPath.Load().(string); !strings.HasPrefix(path, "/proc/self/fd/") {
		t.Errorf("loaded by the path %s", path)
	}
}

func TestAnEntryThatThisCacheDidNotWriteIsRemovedAndCompiledAnew(t *testing.T) {
	wasm := bytes.Repeat([]byte("w"), 2*chunkSize)
	e := &fakeEngine{fingerprint: "a"}
	flip := func(at int) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			b := read(t, path)
			if at < 0 {
				at += len(b)
			}
			b[at] ^= 1
			write(t, path, b)
		}
	}
	tests := []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"the first byte is another", flip(0)},
		{"a byte in the first chunk is another", flip(1000)},
		{"the last byte of the first chunk is another", flip(chunkSize - 1)},
		{"the first byte of the second chunk is another", flip(chunkSize)},
		{"the last byte is another", flip(-1)},
		{"a byte is missing", func(t *testing.T, path string) { b := read(t, path); write(t, path, b[:len(b)-1]) }},
		{"a chunk is missing", func(t *testing.T, path string) { b := read(t, path); write(t, path, b[:chunkSize]) }},
		{"two chunks have changed places", func(t *testing.T, path string) {
			b := read(t, path)
			write(t, path, append(append(bytes.Clone(b[chunkSize:2*chunkSize]), b[:chunkSize]...), b[2*chunkSize:]...))
		}},
		{"a byte is added", func(t *testing.T, path string) { write(t, path, append(read(t, path), 0)) }},
		{"the file is empty", func(t *testing.T, path string) { write(t, path, nil) }},
		{"it is the entry of another module", func(t *testing.T, path string) {
			k := makeKey("fake\x00a", []byte("other"))
			s := filepath.Base(path)
			for _, name := range names(t, filepath.Dir(path)) {
				if strings.HasPrefix(name, k.String()) {
					// With its contents goes its digest; only the key in the name is false.
					must(t, os.Rename(filepath.Join(filepath.Dir(path), name), filepath.Join(filepath.Dir(path), s[:65]+name[65:])))
				}
			}
			must(t, os.Remove(path))
		}},
		{"the name's digest is another", func(t *testing.T, path string) {
			must(t, os.Rename(path, path[:len(path)-len(entrySuffix)-64]+strings.Repeat("0", 64)+entrySuffix))
		}},
		{"others may write the file", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o622)) }},
		{"it is a directory", func(t *testing.T, path string) { must(t, os.Remove(path), os.Mkdir(path, 0o700)) }},
		{"it is a pipe", func(t *testing.T, path string) { must(t, os.Remove(path), syscall.Mkfifo(path, 0o600)) }},
		{"it is a link that leads out", func(t *testing.T, path string) {
			out := filepath.Join(t.TempDir(), "out")
			must(t, os.Rename(path, out), os.Symlink(out, path))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c, w := open(t, dir, Options{})
			get(t, c, e, []byte("other"), false)
			get(t, c, e, wasm, false)
			var path string
			for _, name := range c.store.find(makeKey("fake\x00a", wasm)) {
				path = filepath.Join(dir, name)
			}
			tt.harm(t, path)
			loads := e.loads.Load()
			get(t, c, e, wasm, false)
			mustBe(t, "loads", e.loads.Load()-loads, 1) // of the new one
			if got := w.take(); len(got) == 0 || !strings.Contains(got[0], "compiled anew") {
				t.Errorf("warnings: %q", got)
			}
			get(t, c, e, wasm, true)
			mustBe(t, "later warnings", w.take(), "[]")
		})
	}
}

func TestAnEntryThatTheEngineRefusesIsCompiledAnew(t *testing.T) {
	c, w := open(t, t.TempDir(), Options{})
	e := &fakeEngine{fingerprint: "a"}
	// A sound entry, written by this cache, yet not to the engine's liking.
	must(t, c.store.write(makeKey("fake\x00a", []byte("m")), []byte("junk")))
	get(t, c, e, []byte("m"), false)
	if got := strings.Join(w.take(), ""); !strings.Contains(got, "not an artifact of mine") {
		t.Errorf("warnings: %q", got)
	}
	get(t, c, e, []byte("m"), true)
}

func TestASecretThatMayBeKnownOrIsDamagedIsReplaced(t *testing.T) {
	tests := []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"others may read it", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o604)) }},
		{"it is too short", func(t *testing.T, path string) { write(t, path, make([]byte, 31)) }},
		{"it is empty", func(t *testing.T, path string) { write(t, path, nil) }},
		{"it is too long", func(t *testing.T, path string) { write(t, path, make([]byte, 33)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			e := &fakeEngine{}
			c, _ := open(t, dir, Options{})
			get(t, c, e, []byte("m"), false)
			before := c.store.secret
			tt.harm(t, filepath.Join(dir, secretName))

			c, w := open(t, dir, Options{})
			if c.Dir() == "" || len(c.store.secret) != secretSize || bytes.Equal(c.store.secret, before) {
				t.Errorf("secret not replaced: %q", w.take())
			}
			get(t, c, e, []byte("m"), false)
			mustBe(t, "warnings", len(w.take()), 2) // the secret, and the entry written under the old one
			get(t, c, e, []byte("m"), true)
		})
	}
}

func TestASecretThatIsGoneIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	e := &fakeEngine{}
	c, _ := open(t, dir, Options{})
	get(t, c, e, []byte("m"), false)
	must(t, os.Remove(filepath.Join(dir, secretName)))
	c, _ = open(t, dir, Options{})
	get(t, c, e, []byte("m"), false)
	get(t, c, e, []byte("m"), true)
}

func TestTheEntriesUsedLongestAgoGoFirst(t *testing.T) {
	dir := t.TempDir()
	e := &fakeEngine{pad: 1000}
	c, w := open(t, dir, Options{MaxBytes: 3500}) // three entries
	for i, m := range []string{"a", "b", "c"} {
		get(t, c, e, []byte(m), false)
		age(t, c, e, m, time.Duration(10-i)*time.Hour)
	}
	mapped := get(t, c, e, []byte("a"), true) // now b is the oldest
	get(t, c, e, []byte("d"), false)
	get(t, c, e, []byte("a"), true)
	get(t, c, e, []byte("c"), true)
	get(t, c, e, []byte("d"), true)
	mustBe(t, "entries", len(entries(t, c)), 3)
	get(t, c, e, []byte("b"), false)

	t.Run("also at Open, and what is mapped stays usable", func(t *testing.T) {
		c, _ := open(t, dir, Options{MaxBytes: 1})
		mustBe(t, "entries", len(entries(t, c)), 0)
		e.wants(t, mapped, []byte("a"))
	})
	mustBe(t, "warnings", w.take(), "[]")
}

func TestAnArtifactLargerThanTheCacheIsNotKept(t *testing.T) {
	c, w := open(t, t.TempDir(), Options{MaxBytes: 100})
	e := &fakeEngine{pad: 1000}
	get(t, c, e, []byte("m"), false)
	get(t, c, e, []byte("m"), false)
	if got := w.take(); len(got) != 2 || !strings.Contains(got[0], "raise the cache's size") {
		t.Errorf("warnings: %q", got)
	}
}

func TestADirectoryThatCannotBeUsedMeansCompilingEachTime(t *testing.T) {
	tests := []struct {
		name, want string
		dir        func(t *testing.T) string
	}{
		{"a file stands in the way", "not a directory", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path, nil)
			return filepath.Join(path, "cache")
		}},
		{"no file can be made there", "", func(t *testing.T) string { return "/proc/self" }},
		{"others may write there", "nobody else can write", func(t *testing.T) string {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o777))
			return dir
		}},
		{"it belongs to another user", "belongs to user 12345", func(t *testing.T) string {
			dir := t.TempDir()
			if os.Chown(dir, 12345, -1) != nil {
				t.Skip("only root can give directories away")
			}
			return dir
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, w := open(t, tt.dir(t), Options{})
			mustBe(t, "Dir", c.Dir(), "")
			if got := w.take(); len(got) != 1 || !strings.Contains(got[0], "module cache is off") || !strings.Contains(got[0], tt.want) {
				t.Errorf("warnings: %q", got)
			}
			e := &fakeEngine{}
			get(t, c, e, []byte("m"), false)
			get(t, c, e, []byte("m"), false)
		})
	}
}

func TestAReadOnlyDirectoryStillGivesHits(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	e := &fakeEngine{}
	c, _ := open(t, dir, Options{})
	get(t, c, e, []byte("m"), false)
	must(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	c, w := open(t, dir, Options{})
	get(t, c, e, []byte("m"), true)
	mustBe(t, "warnings", w.take(), "[]")
	get(t, c, e, []byte("new"), false)
	mustBe(t, "warnings", len(w.take()), 1)
}

func TestADirectoryTakenAwayMeansCompilingWithAWarning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c, w := open(t, dir, Options{})
	must(t, os.RemoveAll(dir))
	get(t, c, &fakeEngine{}, []byte("m"), false)
	mustBe(t, "warnings", len(w.take()), 1)
}

func TestWithoutADirectoryNothingIsKept(t *testing.T) {
	c, w := open(t, "", Options{})
	e := &fakeEngine{}
	get(t, c, e, []byte("m"), false)
	get(t, c, e, []byte("m"), false)
	mustBe(t, "warnings", w.take(), "[]")
}

func TestNegativeSizeIsRefused(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{MaxBytes: -1}); err == nil {
		t.Error("no error")
	}
}

func TestAnEngineWithoutArtifactsJustCompiles(t *testing.T) {
	c, w := open(t, t.TempDir(), Options{})
	e := &fakeEngine{noArtifact: true}
	get(t, c, e, []byte("m"), false)
	get(t, c, e, []byte("m"), false)
	mustBe(t, "entries", len(entries(t, c)), 0)
	mustBe(t, "warnings", w.take(), "[]")
}

func TestACompileErrorIsReturnedAndNotKept(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := &fakeEngine{compileErr: errors.New("invalid opcode")}
	if _, _, err := c.Module(t.Context(), e, []byte("m")); !errors.Is(err, e.compileErr) {
		t.Errorf("error %v", err)
	}
	e.compileErr = nil
	get(t, c, e, []byte("m"), false)
}

func TestManyCallersOfOneModuleCompileItOnce(t *testing.T) {
	c, w := open(t, t.TempDir(), Options{})
	e := &fakeEngine{delay: 50 * time.Millisecond}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			wasm := fmt.Appendf(nil, "module %d", i%2)
			mod, _, err := c.Module(t.Context(), e, wasm)
			if err != nil {
				t.Error(err)
				return
			}
			e.wants(t, mod, wasm)
		})
	}
	wg.Wait()
	mustBe(t, "compilations", e.compiles.Load(), 2)
	mustBe(t, "locks left", len(c.keys.locks), 0)
	mustBe(t, "warnings", w.take(), "[]")
}

func TestWaitingForAnotherCompilationEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	compiling := make(chan struct{})
	release := make(chan struct{})
	e := &fakeEngine{onCompile: func() { close(compiling); <-release }}
	waited := make(chan struct{})
	opts := Options{Progress: func(p Progress) {
		if p.Phase == Waiting {
			waited <- struct{}{}
		}
	}}
	holder, _ := open(t, dir, opts)
	done := make(chan error)
	go func() {
		_, _, err := holder.Module(context.Background(), e, []byte("m"))
		done <- err
	}()
	<-compiling

	reason := errors.New("had enough")
	second, _ := open(t, dir, opts) // as another process: only the file lock is shared
	for name, c := range map[string]*Cache{"the same cache": holder, "another process": second} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-waited; cancel(reason) }()
			if _, _, err := c.Module(ctx, e, []byte("m")); err != reason {
				t.Errorf("error %v, want %v", err, reason)
			}
		})
	}
	close(release)
	must(t, <-done)
	mustBe(t, "compilations", e.compiles.Load(), 1)
}

func TestProgressTellsOfACompilation(t *testing.T) {
	var got []Progress
	c, _ := open(t, t.TempDir(), Options{Progress: func(p Progress) { got = append(got, p) }})
	e := &fakeEngine{delay: 3 * reportEvery}
	get(t, c, e, []byte("module"), false)
	if len(got) < 3 || got[0].Phase != Started || got[1].Phase != Compiling || got[len(got)-1].Phase != Done {
		t.Fatalf("reports: %+v", got)
	}
	for i, p := range got {
		mustBe(t, "size", p.Size, 6)
		if i > 0 && p.Elapsed < got[i-1].Elapsed {
			t.Errorf("time runs backwards: %+v", got)
		}
	}
	got = nil
	get(t, c, e, []byte("module"), true)
	mustBe(t, "reports of a hit", got, "[]")

	e.compileErr = errors.New("bad")
	c.Module(t.Context(), e, []byte("other"))
	if last := got[len(got)-1]; last.Phase != Done || last.Err != e.compileErr {
		t.Errorf("last report: %+v", last)
	}
}

func TestFilesThatTheCacheCouldNotHaveMadeAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	strangers := []string{"notes.txt", "a.module", "x.tmp", strings.Repeat("g", 32) + ".tmp", strings.Repeat("a", 64) + ".module", "b.lock"}
	for _, name := range strangers {
		write(t, filepath.Join(dir, name), []byte("mine"))
	}
	c, _ := open(t, dir, Options{MaxBytes: 1})
	get(t, c, &fakeEngine{}, []byte("m"), false)
	for _, name := range strangers {
		mustBe(t, name, string(read(t, filepath.Join(dir, name))), "mine")
	}
}

func TestLeftoversOfDeadWritersAreSweptAndThoseOfLiveOnesAreNot(t *testing.T) {
	dir := t.TempDir()
	c, _ := open(t, dir, Options{})
	live, err := c.store.writeTemp([]byte("being written"))
	must(t, err)
	defer live.Close()
	unlock, held, err := c.store.tryLock(key{1})
	if err != nil || !held {
		t.Fatal(held, err)
	}
	dead := []string{strings.Repeat("0", 32) + tempSuffix, key{2}.String() + lockSuffix}
	for _, name := range dead {
		write(t, filepath.Join(dir, name), []byte("half"))
	}
	open(t, dir, Options{})
	got := strings.Join(names(t, dir), " ")
	for _, name := range dead {
		if strings.Contains(got, name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range []string{live.Name(), key{1}.String() + lockSuffix} {
		if !strings.Contains(got, name) {
			t.Errorf("%s is gone", name)
		}
	}
	unlock()
	if _, err := os.Stat(filepath.Join(dir, key{1}.String()+lockSuffix)); err == nil {
		t.Error("the lock file stays after unlocking")
	}
}

func BenchmarkHit(b *testing.B) {
	for _, mib := range []int{1, 12, 40} {
		b.Run(fmt.Sprintf("artifact of %d MiB from a module of 11 MiB", mib), func(b *testing.B) {
			dir := b.TempDir()
			e := &fakeEngine{pad: mib << 20}
			wasm := make([]byte, 11<<20)
			c, _ := open(b, dir, Options{})
			c.Module(b.Context(), e, wasm)
			for b.Loop() {
				c, _ := open(b, dir, Options{})
				if _, hit, err := c.Module(b.Context(), e, wasm); err != nil || !hit {
					b.Fatal(hit, err)
				}
				c.Close()
			}
		})
	}
}

func age(t *testing.T, c *Cache, e *fakeEngine, wasm string, by time.Duration) {
	t.Helper()
	for _, name := range c.store.find(makeKey("fake\x00"+e.fingerprint, []byte(wasm))) {
		then := time.Now().Add(-by)
		must(t, os.Chtimes(filepath.Join(c.Dir(), name), then, then))
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var found []string
	for _, e := range list {
		found = append(found, e.Name())
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	must(t, os.WriteFile(path, b, 0o600))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
