package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/abi"
	objects "github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/device"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
	"github.com/edgewasm/wasmedge/host/engine/wazero"
	"github.com/edgewasm/wasmedge/host/modcache"
)

// Options are settings of a Host. The zero value is a host with the best engine of this build, the user's
// module cache, and no log.
type Options struct {
	// Engine is "wasmtime", "wazero" or empty for the first of them that this build has.
	Engine string
	// EngineConfig sizes the engine.
	EngineConfig engine.Config
	// Concurrent is how many sandboxes all services may have at once; 0 means all slots of the engine.
	Concurrent int
	// Queue is how many requests may wait for a sandbox, those of all services together; 0 means four times
	// Concurrent, negative means none. When it is full, the service with the most of them gives way.
	Queue int
	// MaxTunnels is how many clients all services may have handed off at once; 0 means 8192.
	MaxTunnels int
	// ChainKey is shared by the hosts that believe each other's marks of the services that a request has passed
	// (see backend.Chain). Empty means one of the process's own.
	ChainKey []byte
	// CacheDir keeps compiled modules; empty means the user's cache directory.
	CacheDir string
	// NoCache compiles modules anew at each start.
	NoCache bool
	// CacheBytes bounds the memory of what programs cache, those of all services together; 0 means 256 MiB.
	CacheBytes int64
	// Progress is told about compilations.
	Progress func(modcache.Progress)
	// Log takes what operators should know; nil drops it.
	Log *zap.Logger
}

// Host owns an engine and the services on it. It is safe for concurrent use.
type Host struct {
	engine engine.Engine
	node   *node
	memory uint64 // that the engine gives a sandbox at most
	cache  *modcache.Cache
	log    *zap.Logger
	calls  []engine.Hostcall

	chainKey []byte
	objects  *objects.Cache // that programs cache

	tunnels *tunnels // clients handed off, of all services

	idle    atomic.Int64 // sandboxes that wait for another request
	maxIdle int

	modules moduleCounts
	devices device.Detector // of the services without one

	mu       sync.Mutex
	services map[*Service]struct{}
	serial   uint64 // of the latest
	closed   bool
}

// moduleCounts counts what Load got from the module cache.
type moduleCounts struct{ cached, compiled, failed atomic.Uint64 }

func (c *moduleCounts) count(hit bool, err error) {
	switch {
	case err != nil:
		c.failed.Add(1)
	case hit:
		c.cached.Add(1)
	default:
		c.compiled.Add(1)
	}
}

// ErrClosed is returned by Load after Close.
var ErrClosed = errors.New("host: closed")

// Engines lists the engines of this build, the preferred one first.
func Engines() []string {
	if wasmtime.Available {
		return []string{"wasmtime", "wazero"}
	}
	return []string{"wazero"}
}

// NewEngine opens an engine by name; empty means the first of Engines.
func NewEngine(name string, cfg engine.Config) (engine.Engine, error) {
	if name == "" {
		name = Engines()[0]
	}
	switch name {
	case "wasmtime":
		return wasmtime.New(cfg)
	case "wazero":
		return wazero.New(cfg)
	}
	return nil, fmt.Errorf("host: there is no engine %q; this build has %v", name, Engines())
}

// FromText translates a module in the text format (.wat). It needs a build with the wasmtime engine.
func FromText(wat []byte) ([]byte, error) { return wasmtime.WatToWasm(wat) }

// New makes a host. Close it to free the engine.
func New(o Options) (*Host, error) {
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	cfg := o.EngineConfig.WithDefaults()
	concurrent, queue := nodeLimits(o, cfg.MaxInstances)
	idle := maxIdle(concurrent)
	cfg.MaxInstances += idle
	eng, err := NewEngine(o.Engine, cfg)
	if err != nil {
		return nil, err
	}
	dir := o.CacheDir
	if dir == "" && !o.NoCache {
		if dir, err = modcache.DefaultDir(); err != nil {
			log.Warn("compiled modules are not kept", zap.Error(err))
		}
	}
	if o.NoCache {
		dir = ""
	}
	cache, err := modcache.Open(dir, modcache.Options{
		Warn:     func(msg string) { log.Warn(msg) },
		Progress: o.Progress,
	})
	if err != nil {
		eng.Close()
		return nil, err
	}
	kept, err := objects.New(objects.Options{MaxBytes: o.CacheBytes})
	if err != nil {
		return nil, errors.Join(err, eng.Close(), cache.Close())
	}
	maxTunnels := o.MaxTunnels
	if maxTunnels <= 0 {
		maxTunnels = 8192
	}
	return &Host{
		engine:   eng,
		node:     newNode(concurrent, queue),
		memory:   cfg.MaxMemory,
		cache:    cache,
		log:      log,
		calls:    abi.Hostcalls(),
		chainKey: o.ChainKey,
		objects:  kept,
		services: make(map[*Service]struct{}),
		tunnels:  newTunnels(maxTunnels, nil),
		maxIdle:  idle,
	}, nil
}

// nodeLimits are the limits that concern all services together.
func nodeLimits(o Options, slots int) (concurrent, queue int) {
	concurrent, queue = o.Concurrent, o.Queue
	if concurrent <= 0 || concurrent > slots {
		concurrent = slots
	}
	if queue == 0 {
		queue = 4 * concurrent
	}
	return concurrent, max(queue, 0)
}

// Engine is the engine in use.
func (h *Host) Engine() engine.Engine { return h.engine }

// Tunnels counts the clients that all services have handed off.
func (h *Host) Tunnels() TunnelStats { return h.tunnels.stats() }

// Close closes all services (see Service.Close) and frees the engine. When ctx ends before the last guest, the
// guests are stopped.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	services := make([]*Service, 0, len(h.services))
	for s := range h.services {
		services = append(services, s)
	}
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range services {
		wg.Go(func() { s.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(h.engine.Close(), h.cache.Close(), h.objects.Close())
}
