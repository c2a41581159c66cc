// Package modcache keeps compiled modules on disk, so that a module is compiled once, ever.
//
// What it promises:
//   - An artifact is native code, so only files that this cache wrote itself are loaded: the directory must
//     belong to the user and be writable by nobody else, and each file's name carries an HMAC-SHA-256 of its
//     contents under a random key that is kept in the directory (mode 0600) and never leaves it.
//   - What was checked is what is mapped: the file is opened once, checked through that descriptor and handed
//     to the engine as that descriptor's path (/proc/self/fd/N). Where there is no /proc the path inside the
//     private directory is used. Whoever runs as the same user could still change the file under the mapping;
//     such a one could change this process as well and is not defended against.
//   - A crash at any instruction leaves either the whole entry or none: contents are written to a temporary
//     file, synced and renamed. Leftovers are removed at the next Open.
//   - Several processes may share a directory. The first to need a module compiles it while the others wait.
//   - The directory stays below a size; the entries used longest ago go first. Unlinking a file that is
//     mapped does not disturb its mapping.
//   - The cache never makes a start fail: when the directory cannot be used, modules are compiled as if there
//     were no cache, and a warning says why.
//
// Only files whose names the cache could have made are ever removed; others in the directory are left alone.
package modcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// DefaultMaxBytes bounds the directory when Options.MaxBytes is zero.
const DefaultMaxBytes = 4 << 30

// Options are settings of a Cache. The zero value means the defaults named here.
type Options struct {
	// MaxBytes bounds the artifacts on disk; 0 means DefaultMaxBytes, negative is refused by Open.
	MaxBytes int64
	// Warn takes one line for each thing that went wrong without stopping the work; nil drops it.
	// It may be called by several goroutines at once.
	Warn func(msg string)
	// Progress is told about compilations, not about hits; nil is fine. The calls for one compilation come one
	// after the other; several compilations may report at once.
	Progress func(Progress)
}

// Phase is where a compilation stands.
type Phase int

// The phases in the order they are reported. Waiting and Compiling come repeatedly, about ten times a second.
const (
	// Waiting means that another process or goroutine is compiling the same module.
	Waiting Phase = iota
	// Started is reported once, before the engine is called.
	Started
	// Compiling means that the engine is still at work.
	Compiling
	// Done is reported once, after the engine has returned; Err says how.
	Done
)

// Progress is one report about a compilation.
type Progress struct {
	Phase   Phase
	Elapsed time.Duration // since the phase Waiting or Started began
	Size    int           // of the Wasm module in bytes
	Err     error         // with Done: why the compilation failed
}

// reportEvery is the time between two reports of one phase, and between two looks at another's lock.
const reportEvery = 100 * time.Millisecond

// lockPatience is how long to wait for another process before compiling beside it: that process may be
// stopped in a debugger, and two equal results do no harm.
const lockPatience = 2 * time.Minute

// Cache finds compiled modules on disk and compiles those that are missing. It is safe for concurrent use.
type Cache struct {
	opts  Options
	store *store // nil: compile always
	keys  keyedMutex
	// artless holds the fingerprints of engines that answered ErrNoArtifact.
	artless sync.Map
}

// DefaultDir is the directory of the user's module cache, below os.UserCacheDir.
func DefaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("modcache: no cache directory: %w", err)
	}
	return filepath.Join(base, "wasmedge", "modules"), nil
}

// Open makes a cache in dir, which is created with mode 0700 when absent, and removes what crashed processes
// left there. With an empty dir the cache keeps nothing. A directory that cannot be used is no error: the
// reason goes to Options.Warn and nothing is kept. Errors are those of the options alone.
func Open(dir string, opts Options) (*Cache, error) {
	if opts.MaxBytes < 0 {
		return nil, fmt.Errorf("modcache: MaxBytes is %d, want 0 or more", opts.MaxBytes)
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	c := &Cache{opts: opts}
	if dir == "" {
		return c, nil
	}
	s, err := openStore(dir, opts.MaxBytes, opts.Warn)
	if err != nil {
		opts.Warn(fmt.Sprintf("module cache is off, modules are compiled at each start: %v", err))
		return c, nil
	}
	c.store = s
	return c, nil
}

// Dir is the directory in use, empty when nothing is kept.
func (c *Cache) Dir() string {
	if c.store == nil {
		return ""
	}
	return c.store.dir
}

// Close releases the directory. Modules stay usable.
func (c *Cache) Close() error {
	if c.store == nil {
		return nil
	}
	return c.store.close()
}

// Module gives the compiled form of wasm, which is not changed and not kept. hit says that it came from disk. The
// caller closes the module. Errors are those of the engine's Compile, or context.Cause(ctx); whatever
// goes wrong with the cache itself is a warning.
func (c *Cache) Module(ctx context.Context, eng engine.Engine, wasm []byte) (mod engine.Module, hit bool, err error) {
	fingerprint := eng.Name() + "\x00" + eng.Fingerprint()
	if _, ok := c.artless.Load(fingerprint); ok || c.store == nil {
		mod, err = c.compile(ctx, eng, wasm)
		return mod, false, err
	}

	key := makeKey(fingerprint, wasm)
	if mod := c.load(eng, key); mod != nil {
		return mod, true, nil
	}

	unlock, err := c.lock(ctx, key, len(wasm))
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	// Whoever held the lock before has probably just written the entry.
	if mod := c.load(eng, key); mod != nil {
		return mod, true, nil
	}

	mod, err = c.compile(ctx, eng, wasm)
	if err != nil {
		return nil, false, err
	}
	artifact, err := mod.Serialize()
	switch {
	case errors.Is(err, engine.ErrNoArtifact):
		c.artless.Store(fingerprint, true)
	case err != nil:
		c.opts.Warn(fmt.Sprintf("module cache: cannot serialize the compiled module: %v", err))
	default:
		if err := c.store.write(key, artifact); err != nil {
			c.opts.Warn(fmt.Sprintf("module cache: the compiled module is not kept: %v", err))
		} else if stored := c.load(eng, key); stored != nil {
			// Of a file the system can take pages back; what was compiled is this process's own memory.
			mod.Close()
			mod = stored
		}
	}
	return mod, false, nil
}

// load gives the entry for key, or nil when there is none that can be trusted and read.
func (c *Cache) load(eng engine.Engine, key key) engine.Module {
	for _, name := range c.store.find(key) {
		mod, err := c.loadFile(eng, key, name)
		switch {
		case err == nil:
			c.store.touch(name)
			return mod
		case errors.Is(err, fs.ErrNotExist):
			// Evicted by another process since the directory was read.
		default:
			c.opts.Warn(fmt.Sprintf("module cache: entry %s is removed and compiled anew: %v", filepath.Join(c.store.dir, name), err))
			c.store.remove(name)
		}
	}
	return nil
}

func (c *Cache) loadFile(eng engine.Engine, key key, name string) (engine.Module, error) {
	f, err := c.store.openVerified(key, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mod, err := eng.Load(descriptorPath(f, filepath.Join(c.store.dir, name)))
	if err != nil {
		// Not wrapped: a file the engine misses is a bad entry, not an absent one.
		return nil, fmt.Errorf("%s cannot load it: %v", eng.Name(), err)
	}
	return mod, nil
}

// lock makes the caller the only one to compile key, in this process and among those that share the directory.
func (c *Cache) lock(ctx context.Context, key key, size int) (unlock func(), err error) {
	start := time.Now()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	waiting := func() {
		c.opts.Progress(Progress{Phase: Waiting, Elapsed: time.Since(start), Size: size})
	}

	inner, err := c.keys.lock(ctx, key, report.C, waiting)
	if err != nil {
		return nil, err
	}
	for {
		outer, held, err := c.store.tryLock(key)
		if held {
			return func() { outer(); inner() }, nil
		}
		if err != nil || time.Since(start) > lockPatience {
			// Without the lock two processes may do the same work; renaming keeps the result sound.
			return inner, nil
		}
		select {
		case <-ctx.Done():
			inner()
			return nil, context.Cause(ctx)
		case <-report.C:
			waiting()
		}
	}
}

// compile calls the engine and reports progress meanwhile.
func (c *Cache) compile(ctx context.Context, eng engine.Engine, wasm []byte) (engine.Module, error) {
	start := time.Now()
	tell := func(phase Phase, err error) {
		c.opts.Progress(Progress{Phase: phase, Elapsed: time.Since(start), Size: len(wasm), Err: err})
	}
	tell(Started, nil)

	stop := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				tell(Compiling, nil)
			}
		}
	})
	mod, err := eng.Compile(ctx, wasm)
	close(stop)
	reporter.Wait()
	tell(Done, err)
	return mod, err
}

// keyedMutex is a mutex per key that can be waited for with a context.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[key]*keyLock
}

type keyLock struct {
	turn chan struct{} // holds one token while the lock is taken
	refs int           // holders and waiters, under keyedMutex.mu
}

// lock takes the lock of k. While it waits it calls waiting at each tick.
func (m *keyedMutex) lock(ctx context.Context, k key, tick <-chan time.Time, waiting func()) (unlock func(), err error) {
	m.mu.Lock()
	if m.locks == nil {
		m.locks = make(map[key]*keyLock)
	}
	l := m.locks[k]
	if l == nil {
		l = &keyLock{turn: make(chan struct{}, 1)}
		m.locks[k] = l
	}
	l.refs++
	m.mu.Unlock()

	drop := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(m.locks, k)
		}
	}
	for {
		select {
		case l.turn <- struct{}{}:
			return func() { <-l.turn; drop() }, nil
		case <-ctx.Done():
			drop()
			return nil, context.Cause(ctx)
		case <-tick:
			waiting()
		}
	}
}
