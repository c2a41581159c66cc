package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/host/acl"
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/cache"
	"github.com/edgewasm/wasmedge/host/device"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/geo"
	"github.com/edgewasm/wasmedge/host/ratelimit"
	"github.com/edgewasm/wasmedge/host/readthrough"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/secretstore"
)

// ServiceConfig is all that one program may reach, and how much of it. The zero value is a program without
// stores and logs, under the default limits.
type ServiceConfig struct {
	Name    string // for logs
	ID      string // FASTLY_SERVICE_ID; empty means 22 zeros
	Version int    // FASTLY_SERVICE_VERSION
	Limits  Limits

	// Logs takes what guests write to log endpoints; nil drops it.
	Logs telemetry.Endpoints
	// Warm is how many instances are made ready before the first request, on engines that keep instances; 0 means one
	// for each CPU that Go may use, negative means none, and that a start function is not tried before the first request.
	Warm int
	// Output gives the standard output and error of one sandbox, on its first write; Close is called when the
	// guest has ended. nil discards.
	Output func(request uint64) (stdout, stderr io.WriteCloser)
	// ConfigStores are the service's config stores and dictionaries; nil is none.
	ConfigStores *configstore.Set
	// ACLs are the service's access control lists, an *acl.Set or an *acl.Dir; nil is none.
	ACLs acl.Opener
	// RateLimiter holds the program's rate counters and penalty boxes. nil is one of the service's own, with
	// Limits.RateLimitBytes; give several services the same to let them count together, or the next version of a service that of
	// the one before to let it go on.
	RateLimiter *ratelimit.Limiter
	// Geo tells where IP addresses are. The zero value knows none.
	Geo geo.Locator
	// SecretStores are the service's secret stores, such as a *secretstore.Stores or a secretstore.Chain; nil is none.
	// They are closed by whoever opened them, after the service.
	SecretStores secretstore.Opener
	// KVStores are the service's KV stores; nil is none. They are closed by whoever opened them, after the service.
	KVStores kvstore.Stores
	// Devices tells what clients are by their User-Agent texts. Without a Detector the host's own answers, which loads
	// nothing before a program asks.
	Devices device.Finder
	// Backends are the origins that the program may send requests to by name.
	Backends []backend.Config
	// NoDynamicBackends refuses the backends that the program defines itself.
	NoDynamicBackends bool
	// Shields are the sites that the program may send requests through, by name.
	Shields map[string]abi.Shield
	// BackendOptions are the host's own settings of all of them.
	BackendOptions backend.Options
	// GRIPProxy is the GRIP proxy, such as Pushpin, that requests are handed to which the program sends by way of one;
	// the field pushpin-route tells it the backend's name. nil: such a request is answered with 500.
	GRIPProxy *backend.Config
	// NoReadThrough sends every request of the program to its backend, and never an answer from the cache.
	NoReadThrough bool
	// FastlyCache follows the platform where its HTTP caching differs from RFC 9111 (docs/CACHE.md).
	FastlyCache bool
	// NoWebSockets lets the program not hand WebSockets to backends.
	NoWebSockets bool
	// FastlyKeys are the values of the fastly-key request header that count as valid.
	FastlyKeys []string
	// UnknownImports says what happens to imports that are not in the ABI.
	UnknownImports engine.UnknownImports
	// ExposeErrors puts the reason of a failed guest into the 500 answer. For development: it tells clients about
	// the program's inside.
	ExposeErrors bool
	// AccessLog prints one record for each request.
	AccessLog bool
}

// maxDynamic is how many backends the guests of a service may have defined at once.
const maxDynamic = 1024

// EntryPoint is the export that a sandbox runs.
const EntryPoint = "_start"

// ErrNoEntryPoint means that a program has no EntryPoint.
var ErrNoEntryPoint = errors.New("host: the module exports no function " + EntryPoint + "; build it as a command (a program with main)")

// Service is a loaded program. It is an http.Handler, safe for concurrent use.
type Service struct {
	host     *Host
	cfg      ServiceConfig
	limits   Limits
	serial   uint64
	memory   uint64 // that a sandbox may have
	template engine.Template
	env      abi.Environment
	dynamic  *backend.Registry  // nil when refused
	space    *cache.Space       // what the program caches
	through  *readthrough.Cache // nil when switched off
	environ  []string           // of guests, without the trace id
	tunnels  *tunnels           // clients handed off
	grip     *backend.Backend   // nil: there is no GRIP proxy
	gate     *gate
	log      *zap.Logger
	requests atomic.Uint64

	idlers         idlers
	reused         sync.WaitGroup // sandboxes that have asked for another request
	requestsReused atomic.Uint64  // requests that such sandboxes got

	running    sync.WaitGroup // requests past the gate
	stopping   atomic.Bool    // running guests must end
	stopped    chan struct{}  // closed with it
	halted     sync.Once
	missing    sync.Map // names of hostcalls that are not available and were called
	waiting    lives    // those of them that wait
	endings    endings
	slowBodies atomic.Uint64
	kvUse      abi.KVUse
	told       [refusals]sometimes // that requests were refused
}

// Load compiles a program, or finds it in the module cache, and links it. wasm is not kept.
func (h *Host) Load(ctx context.Context, program []byte, cfg ServiceConfig) (*Service, error) {
	parsed, err := wasm.Parse(program)
	if err != nil {
		return nil, err
	}
	mod, hit, err := h.cache.Module(ctx, h.engine, program)
	h.modules.count(hit, err)
	if err != nil {
		return nil, err
	}
	defer mod.Close()
	if !hasEntryPoint(mod) {
		return nil, ErrNoEntryPoint
	}
	template, err := mod.Link(h.calls, engine.LinkOptions{UnknownImports: cfg.UnknownImports})
	if err != nil {
		return nil, err
	}
	s := &Service{
		host:     h,
		cfg:      cfg,
		limits:   cfg.Limits.withDefaults(int(h.node.limit)),
		template: template,
		environ:  environ(&cfg),
		memory:   h.memory,
		log:      h.log,
		stopped:  make(chan struct{}),
	}
	if s.limits.Memory > 0 {
		s.memory = min(s.memory, s.limits.Memory)
	}
	if s.limits.SandboxMemory == 0 {
		s.limits.SandboxMemory = s.memory / 2
	}
	backends, err := backend.NewSet(cfg.BackendOptions, cfg.Backends...)
	if err != nil {
		template.Close()
		return nil, err
	}
	if cfg.GRIPProxy != nil {
		if s.grip, err = backend.New(*cfg.GRIPProxy, cfg.BackendOptions); err != nil {
			backends.Close()
			template.Close()
			return nil, err
		}
	}
	s.tunnels = newTunnels(s.limits.Tunnels, h.tunnels)
	if !cfg.NoDynamicBackends {
		s.dynamic = backend.NewRegistry(backend.RegistryOptions{Options: cfg.BackendOptions, Max: maxDynamic})
	}
	if cfg.RateLimiter == nil {
		cfg.RateLimiter = ratelimit.New(ratelimit.Options{MaxBytes: s.limits.RateLimitBytes})
	}
	s.gate = newGate(h.node, s.limits.Concurrent, s.limits.Queue, s.limits.QueueWait)
	devices := cfg.Devices
	if devices.Detector == nil {
		devices.Detector = &h.devices
	}
	s.env = abi.Environment{
		Logs:         logs{cfg.Logs},
		ConfigStores: configStores{cfg.ConfigStores},
		ACLs:         acls{cfg.ACLs},
		RateLimiter:  cfg.RateLimiter,
		Geo:          &cfg.Geo,
		SecretStores: secretStores{cfg.SecretStores},
		Devices:      &devices,
		ServiceID:    cfg.ID,
		NoWebSockets: cfg.NoWebSockets,
		FastlyKeys:   cfg.FastlyKeys,
		Chain:        h.newChain(&cfg),
		Backends:     backends,
		Dynamic:      s.dynamic,
		Shields:      cfg.Shields,
		MaxExchanges: s.limits.BackendRequests,
		MaxBuffered:  s.limits.BodyBuffer,
		// The JavaScript SDK's struct is shorter than the others'.
		ShortErrorDetail: parsed.Toolchain().Language == "JavaScript",
		Missing: func(name string) {
			if _, told := s.missing.LoadOrStore(name, true); !told {
				s.log.Warn("the program called "+name+", which is not available (said once)", zap.String("service", cfg.Name))
			}
		},
		Warn: func(id, message string, err error) {
			fields := []zap.Field{zap.String("service", cfg.Name), zap.String("request_id", id)}
			if err != nil {
				fields = append(fields, zap.Error(err))
			}
			s.log.Warn(message, fields...)
		},
	}
	stale := func(err error) {
		s.log.Warn("a file of records cannot be read again; its last good ones count", zap.String("service", cfg.Name), zap.Error(err))
	}
	if o := cfg.Geo.Overrides; o != nil {
		o.OnProblem(stale)
	}
	if o := cfg.Devices.Overrides; o != nil {
		o.OnProblem(stale)
	}
	if cfg.KVStores != nil {
		s.env.KVStores = kvStores{cfg.KVStores}
	}
	s.openCache()
	s.env.KVUse = &s.kvUse
	s.env.MaxKVOperations = s.limits.KVOperations
	s.env.ShortKVErrors = parsed.Toolchain().Language == "Rust"
	if cfg.Warm >= 0 {
		if err := s.activate(ctx, parsed.HasStart); err != nil {
			s.free()
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		s.free()
		return nil, ErrClosed
	}
	h.serial++
	s.serial = h.serial
	h.services[s] = struct{}{}
	return s, nil
}

func hasEntryPoint(mod engine.Module) bool {
	for _, e := range mod.Exports() {
		if e.Name == EntryPoint && e.Kind == engine.KindFunc && len(e.Func.Params) == 0 && len(e.Func.Results) == 0 {
			return true
		}
	}
	return false
}

// environ is the environment of guests (ABI notes, section 13), without FASTLY_TRACE_ID.
func environ(cfg *ServiceConfig) []string {
	const zeros = "0000000000000000000000"
	id := cfg.ID
	if id == "" {
		id = zeros
	}
	return []string{
		"FASTLY_CACHE_GENERATION=0",
		"FASTLY_CUSTOMER_ID=" + zeros,
		"FASTLY_POP=" + popName,
		"FASTLY_REGION=Somewhere",
		"FASTLY_SERVICE_ID=" + id,
		"FASTLY_SERVICE_VERSION=" + strconv.Itoa(cfg.Version),
		"FASTLY_HOSTNAME=localhost",
		"FASTLY_IS_STAGING=0",
	}
}

// Close lets no more requests in, waits for running guests, and frees the program. When ctx ends first, the
// guests are stopped.
func (s *Service) Close(ctx context.Context) {
	s.host.mu.Lock()
	_, open := s.host.services[s]
	delete(s.host.services, s)
	s.host.mu.Unlock()
	if !open {
		return
	}
	s.idlers.close()
	if s.gate.drain(ctx) != nil {
		s.halt()
		s.gate.drain(context.Background())
	}
	// No guest runs any more. Responses may still be on their way to slow clients; those need nothing of the
	// service, so they are waited for as long as ctx lasts and no longer.
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		s.reused.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		s.halt()
		s.reused.Wait() // they stop within milliseconds
	}
	s.kvUse.Close(ctx)
	s.free()
}

// free gives back what Load has opened.
func (s *Service) free() {
	s.env.Backends.Close()
	if s.grip != nil {
		s.grip.Close()
	}
	if s.dynamic != nil {
		s.dynamic.Close()
	}
	s.closeCache()
	s.template.Close()
}

// halt stops what still runs for the service.
func (s *Service) halt() {
	s.halted.Do(func() {
		s.stopping.Store(true)
		close(s.stopped)
		s.waiting.failAll(ErrShutdown)
		s.tunnels.close(ErrShutdown)
	})
}

// Tunnels counts the clients that the program has handed off.
func (s *Service) Tunnels() TunnelStats { return s.tunnels.stats() }

// The types below are the host's stores as package abi wants them.

type logs struct{ telemetry.Endpoints }

func (l logs) Endpoint(name string) abi.LogEndpoint {
	if l.Endpoints == nil {
		return telemetry.Discard.Endpoint(name)
	}
	return l.Endpoints.Endpoint(name)
}

type kvStores struct{ stores kvstore.Stores }

func (k kvStores) OpenKVStore(ctx context.Context, name string) (kvstore.Store, error) {
	return k.stores.Open(ctx, name)
}

type configStores struct{ set *configstore.Set }

func (c configStores) OpenConfigStore(name string) (abi.ConfigStore, error) {
	if c.set == nil {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	store, err := c.set.Open(name)
	if errors.Is(err, configstore.ErrNotFound) {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	if err != nil {
		return nil, err
	}
	return store, nil
}

type acls struct{ acl.Opener }

func (a acls) OpenACL(name string) (abi.ACL, error) {
	if a.Opener == nil {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	opened, err := a.Open(name)
	if errors.Is(err, acl.ErrNotFound) {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	if err != nil {
		return nil, err
	}
	return opened, nil
}

type secretStores struct{ stores secretstore.Opener }

func (s secretStores) OpenSecretStore(name string) (abi.SecretStore, error) {
	if s.stores == nil {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	store, err := s.stores.Open(name)
	if errors.Is(err, secretstore.ErrNoStore) {
		return nil, fmt.Errorf("%w: %q", abi.ErrNoStore, name)
	}
	if err != nil {
		return nil, err
	}
	return secretStore{store}, nil
}

type secretStore struct{ *secretstore.Store }

func (s secretStore) LookupSecret(name string) (abi.Secret, error) {
	secret, err := s.Get(name)
	if errors.Is(err, secretstore.ErrNotFound) || errors.Is(err, secretstore.ErrNoStore) { // it may have been dropped since
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return secret, nil
}
