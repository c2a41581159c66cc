// Package wazero is the portable engine: it runs guests with wazero, needs no cgo, and works wherever Go
// does. Where wazero has a compiler (amd64 and arm64) guests run as native code, elsewhere in an
// interpreter.
//
// wazero cannot interrupt a guest cheaply, and a Go scheduler cannot preempt one. Modules are therefore
// rewritten when they are compiled (host/wasm, InsertInterrupts): a counter in the guest calls the engine
// every fraction of a millisecond of computing, which then looks at the context and the CPU time and lets
// other goroutines run. A waiting guest costs a parked goroutine and no thread.
//
// Time in the guest is measured by the clock between those calls, so that on an overloaded machine CPU time
// includes what the operating system gave to other threads. The stack is bounded at those calls and at
// hostcalls, so that it may exceed its limit by what a guest can push within a fraction of a millisecond.
//
// Data segments are taken out of modules as well, into an image of memory's first content that instances map
// copy-on-write. An instance that has ended is set back and parked for the next use of its template, where
// that is provably complete; see slot.restore. Parked instances count as instances, are bounded in number and bytes,
// and are given up when they are not needed.
package wazero

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
	wz "github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/cpu"
)

// maxMemory is the largest linear memory: wazero gives sizes as 32 bits, so the last page cannot be used.
const maxMemory = 1<<32 - 1<<16

// Engine implements engine.Engine.
type Engine struct {
	cfg         engine.Config
	features    api.CoreFeatures
	dir         string // private, for artifacts in the making
	config      wz.RuntimeConfig
	lot         *lot
	compiler    bool // as opposed to the interpreter
	mapped      bool // memory is mapped; see linearMemory
	fingerprint string

	mu     sync.Mutex
	open   map[*code]struct{}
	closed bool
}

var _ engine.Engine = (*Engine)(nil)

// New makes an engine. It keeps a private temporary directory until Close.
func New(cfg engine.Config) (*Engine, error) { return open(cfg, wz.NewRuntimeConfig()) }

func open(cfg engine.Config, config wz.RuntimeConfig) (*Engine, error) {
	cfg = cfg.WithDefaults()
	cfg.MaxMemory = min(cfg.MaxMemory, maxMemory)
	if cfg.MaxInstances < 0 {
		return nil, fmt.Errorf("wazero: %d instances at once are not possible", cfg.MaxInstances)
	}
	if cfg.GC {
		return nil, fmt.Errorf("wazero: this engine does not have the garbage-collection proposal; use the wasmtime engine")
	}
	e := &Engine{cfg: cfg, open: map[*code]struct{}{}, lot: newLot(cfg.MaxInstances), mapped: canMap}
	e.features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst
	if cfg.Exceptions {
		e.features |= experimental.CoreFeaturesExceptionHandling
	}
	e.config = config.WithCoreFeatures(e.features).WithDebugInfoEnabled(false)
	var err error
	if e.dir, err = os.MkdirTemp("", "wasmedge-wazero-"); err != nil {
		return nil, fmt.Errorf("wazero: %w", err)
	}
	// The compiler leaves what it made in its directory, the interpreter has nothing to leave.
	probe, err := e.build(context.Background(), rewritten{binary: wasm.AppendHeader(nil)})
	if err == nil {
		var entry *os.File
		entry, err = probe.takeEntry()
		if entry != nil {
			e.compiler = true
			entry.Close()
		}
		probe.release()
	}
	if err != nil {
		os.RemoveAll(e.dir)
		return nil, fmt.Errorf("wazero: %w", err)
	}
	e.fingerprint = e.describe()
	return e, nil
}

// Name is "wazero".
func (e *Engine) Name() string { return "wazero" }

// Version is that of the wazero module in the binary.
func (e *Engine) Version() string { return version() }

// Suspends implements engine.Engine: a guest runs on its goroutine's stack and stays there.
func (e *Engine) Suspends() bool { return false }

var version = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "1.12" // binaries of tests do not say
})

// Fingerprint names the version, processor and settings that machine code depends on.
func (e *Engine) Fingerprint() string { return e.fingerprint }

func (e *Engine) describe() string {
	kind := "interpreter"
	if e.compiler {
		kind = "compiler"
	}
	x, a := cpu.X86, cpu.ARM64
	h := sha256.Sum256(fmt.Appendf(nil, "%v %v %v", x, a, e.features))
	return fmt.Sprintf("wazero %s %s %s/%s rewrite %d cpu %s", e.Version(), kind, runtime.GOOS, runtime.GOARCH, artifactFormat, hex.EncodeToString(h[:8]))
}

// Close frees the engine and its directory.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	open := e.open
	e.open = map[*code]struct{}{}
	e.mu.Unlock()
	e.lot.drain(nil)
	for c := range open {
		c.destroy()
	}
	if err := os.RemoveAll(e.dir); err != nil {
		return fmt.Errorf("wazero: %w", err)
	}
	return nil
}

// code is a compiled module with a runtime of its own, shared by the Module and its Templates.
type code struct {
	e        *Engine
	runtime  wz.Runtime
	cache    wz.CompilationCache
	compiled wz.CompiledModule
	dir      string // the cache's
	image    *image // nil when memory starts with zeros, or wazero copies segments
	traits

	mu   sync.Mutex
	refs int
	once sync.Once
}

// build compiles a module that was rewritten already.
func (e *Engine) build(ctx context.Context, r rewritten) (*code, error) {
	c, err := e.newRuntime()
	if err != nil {
		return nil, err
	}
	if err = c.provide(r); err == nil {
		err = c.compile(ctx, r.binary)
	}
	if err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// provide makes what instances need besides machine code.
func (c *code) provide(r rewritten) (err error) {
	c.traits = r.traits
	c.image, err = newImage(r.data, c.e.mapped, c.e.dir)
	return err
}

func (e *Engine) newRuntime() (*code, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("wazero: the engine is closed")
	}
	dir, err := os.MkdirTemp(e.dir, "code-")
	if err != nil {
		return nil, err
	}
	c := &code{e: e, dir: dir, refs: 1}
	if c.cache, err = wz.NewCompilationCacheWithDir(dir); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	c.runtime = wz.NewRuntimeWithConfig(context.Background(), e.config.WithCompilationCache(c.cache))
	e.open[c] = struct{}{}
	return c, nil
}

func (c *code) compile(ctx context.Context, binary []byte) error {
	// More than one worker makes wazero look at ctx, too.
	ctx = experimental.WithCompilationWorkers(ctx, max(2, runtime.GOMAXPROCS(0)))
	var err error
	c.compiled, err = c.runtime.CompileModule(ctx, binary)
	return err
}

// entries are the files that the compiler has left in the cache's directory.
func (c *code) entries() ([]string, error) {
	return filepath.Glob(filepath.Join(c.dir, "*", "*"))
}

// takeEntry opens the file that the compiler left and removes its name, so that it goes away with the
// process. It gives nil when there is none.
func (c *code) takeEntry() (*os.File, error) {
	names, err := c.entries()
	if err != nil || len(names) != 1 {
		return nil, err
	}
	f, err := os.Open(names[0])
	if err != nil {
		return nil, err
	}
	os.Remove(names[0]) // where an open file cannot be removed, Close does it
	return f, nil
}

func (c *code) retain() {
	c.mu.Lock()
	c.refs++
	c.mu.Unlock()
}

func (c *code) release() {
	c.mu.Lock()
	c.refs--
	last := c.refs == 0
	c.mu.Unlock()
	if last {
		c.e.mu.Lock()
		delete(c.e.open, c)
		c.e.mu.Unlock()
		c.destroy()
	}
}

func (c *code) destroy() {
	c.once.Do(func() {
		ctx := context.Background()
		c.runtime.Close(ctx)
		c.cache.Close(ctx)
		c.image.close()
		os.RemoveAll(c.dir)
	})
}
