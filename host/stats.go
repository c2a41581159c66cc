package host

import (
	"cmp"
	"slices"
	"strings"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// Stats is what a host uses of each of its bounds at one moment, and what it has counted since it was made. The parts are
// read one after the other, so sums need not agree to the last request.
type Stats struct {
	Engine    string       // its name
	Sandboxes SandboxStats // of all services
	// Idle is how many sandboxes wait for another request, and how many may.
	Idle, IdleLimit int
	Tunnels         TunnelStats // of all services
	// Pool is the engine's pool of instances; the zero value when the engine does not tell.
	Pool engine.PoolStats
	// Modules counts what Load got from the module cache and what had to be compiled.
	Modules  ModuleStats
	Services []ServiceStats // sorted by Name, then Serial
}

// SandboxStats is a bound of sandboxes at once, and of the requests that wait for one.
type SandboxStats struct {
	InUse, Limit       int               // sandboxes
	Waiting, WaitLimit int               // requests
	Waited             uint64            // requests that had to wait, since the beginning
	Refused            map[string]uint64 // requests that got no sandbox, by reason
}

// Reasons in SandboxStats.Refused.
const (
	RefusedServiceFull = "service-full" // the service's sandboxes were busy and its queue full
	RefusedServiceLate = "service-late" // the service's sandboxes stayed busy for longer than Limits.QueueWait
	RefusedHostFull    = "host-full"    // the host's sandboxes were busy and its queue full
	RefusedHostLate    = "host-late"    // the host's sandboxes stayed busy for longer than Limits.QueueWait
	RefusedClosing     = "closing"      // the service was being closed
	RefusedGone        = "gone"         // the client went away while it waited
	RefusedNoSlot      = "no-slot"      // the engine had no slot
)

var refusalNames = [refusals]string{
	serviceFull: RefusedServiceFull,
	serviceLate: RefusedServiceLate,
	nodeFull:    RefusedHostFull,
	nodeLate:    RefusedHostLate,
	gateClosed:  RefusedClosing,
	clientLeft:  RefusedGone,
	enginesLack: RefusedNoSlot,
}

// ModuleStats counts modules that were loaded.
type ModuleStats struct {
	Cached   uint64 // found compiled on disk
	Compiled uint64
	Failed   uint64
}

// ServiceStats is what a service uses of its bounds, and what it has counted.
type ServiceStats struct {
	Name, ID  string
	Version   int
	Serial    uint64 // which of its host's services it is, in the order of Load
	Requests  uint64 // that arrived, refused ones included
	Sandboxes SandboxStats
	// Idle is how many sandboxes wait for another request, Reused how many requests went to such.
	Idle    int
	Reused  uint64
	Tunnels TunnelStats
	// Ended counts the guests that did not end well, by cause. Causes that did not occur are there, too.
	Ended map[Cause]uint64
	KV    abi.KVStats // what guests did with KV stores
	// SlowBodies counts bodies of clients that took longer than Limits.BodyTimeout for one read.
	SlowBodies uint64
	Memory     uint64 // bytes that one sandbox may have
	Backends   []BackendStats
	// Dynamic is the number of backends that guests have defined and that are still kept; DynamicLimit is 0 when that
	// is refused.
	Dynamic, DynamicLimit int
	// RateLimits are the rate counters and penalty boxes; services that share a ratelimit.Limiter have the same.
	RateLimits ratelimit.Stats
}

// BackendStats are the connections and requests of a named backend.
type BackendStats struct {
	Name string
	backend.Stats
}

// Stats gives the present figures of the host and its services.
func (h *Host) Stats() Stats {
	st := Stats{
		Engine:    h.engine.Name(),
		Sandboxes: h.node.stats(),
		Idle:      int(h.idle.Load()),
		IdleLimit: h.maxIdle,
		Tunnels:   h.tunnels.stats(),
		Modules:   ModuleStats{Cached: h.modules.cached.Load(), Compiled: h.modules.compiled.Load(), Failed: h.modules.failed.Load()},
	}
	if p, ok := h.engine.(engine.Pooled); ok {
		st.Pool = p.Pool()
	}
	h.mu.Lock()
	services := make([]*Service, 0, len(h.services))
	for s := range h.services {
		services = append(services, s)
	}
	h.mu.Unlock()
	for _, s := range services {
		st.Services = append(st.Services, s.Stats())
	}
	slices.SortFunc(st.Services, func(a, b ServiceStats) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Serial, b.Serial))
	})
	return st
}

// Stats gives the present figures of the service.
func (s *Service) Stats() ServiceStats {
	st := ServiceStats{
		Name:       s.cfg.Name,
		ID:         s.cfg.ID,
		Version:    s.cfg.Version,
		Serial:     s.serial,
		Requests:   s.requests.Load(),
		Sandboxes:  s.gate.stats(),
		Idle:       int(s.idlers.n.Load()),
		Reused:     s.requestsReused.Load(),
		Tunnels:    s.tunnels.stats(),
		Ended:      make(map[Cause]uint64, len(causes)),
		SlowBodies: s.slowBodies.Load(),
		KV:         s.kvUse.Stats(),
		Memory:     s.memory,
		RateLimits: s.env.RateLimiter.Stats(),
	}
	for i, c := range causes {
		st.Ended[c] = s.endings[i].Load()
	}
	for _, name := range s.env.Backends.Names() {
		st.Backends = append(st.Backends, BackendStats{name, s.env.Backends.Lookup(name).Stats()})
	}
	if s.dynamic != nil {
		st.Dynamic, st.DynamicLimit = s.dynamic.Len(), maxDynamic
	}
	return st
}

func (g *gate) stats() SandboxStats {
	return SandboxStats{
		InUse:     g.inside(),
		Limit:     int(g.limit),
		Waiting:   int(g.waiting.Load()),
		WaitLimit: g.queue,
		Waited:    g.queued.Load(),
		Refused:   g.refused.byName(),
	}
}

func (n *node) stats() SandboxStats {
	return SandboxStats{
		InUse:     int(n.used.Load()),
		Limit:     int(n.limit),
		Waiting:   int(n.waiting.Load()),
		WaitLimit: int(n.queue),
		Waited:    n.queued.Load(),
		Refused:   n.refused.byName(),
	}
}

func (r *refusalCounts) byName() map[string]uint64 {
	m := make(map[string]uint64, refusals)
	for i := admitted + 1; i < refusals; i++ {
		m[refusalNames[i]] = r[i].Load()
	}
	return m
}
