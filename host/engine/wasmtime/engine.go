//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #cgo nocallback we_engine_tick
// #include <stdlib.h>
// #include <unistd.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Available says whether this build has the engine.
const Available = true

const (
	page = 64 << 10

	// fiberHeadroom is what a fiber has beyond the Wasm stack: for wasmtime's own code that guests call, such as
	// growing memory or collecting a backtrace, and for the shim. Go runs elsewhere.
	fiberHeadroom = 256 << 10

	// tablesPerModule bounds the tables of one module. Toolchains emit one; two are seen with exceptions.
	tablesPerModule = 4

	// wholeReservation of address space, plus wholeGuard, makes every 32-bit access land in the slot, so that
	// compiled code needs no bounds checks.
	wholeReservation = 4 << 30
	wholeGuard       = 32 << 20
)

// The largest settings that New accepts.
const (
	maxInstances     = 100_000
	maxMemory        = 4 << 30
	maxTableElements = 10_000_000
	maxStack         = 256 << 20
	minStack         = 64 << 10
)

var errClosed = errors.New("wasmtime: the engine is closed")

// wasmtimeEngine is the engine.Engine. It lives until it and all that was made from it are closed.
type wasmtimeEngine struct {
	refs        refs
	c           *C.we_engine
	cfg         engine.Config
	fingerprint string
	ticker      *ticker
	instances   atomic.Int64 // parked ones included
	lane        lane
	lot         lot
	cooler      cooler
	closed      atomic.Bool
}

// New opens an engine. The pool's address space, about 4 GiB for each of cfg.MaxInstances and less where that
// much cannot be had, is reserved but takes no memory until instances use it. What instances have used of their
// stacks stays resident for the next ones, at most cfg.MaxStack each.
//
// On Linux an instance takes five memory mappings. The default of the sysctl vm.max_map_count is enough for some
// 12,000 instances; New refuses more than there can be.
func New(cfg engine.Config) (engine.Engine, error) {
	cfg = cfg.WithDefaults()
	for _, limit := range []struct {
		name     string
		v        uint64
		min, max uint64
	}{
		{"MaxInstances", uint64(cfg.MaxInstances), 1, maxInstances},
		{"MaxMemory", cfg.MaxMemory, page, maxMemory},
		{"MaxTableElements", uint64(cfg.MaxTableElements), 1, maxTableElements},
		{"MaxStack", cfg.MaxStack, minStack, maxStack},
	} {
		if limit.v < limit.min || limit.v > limit.max {
			return nil, fmt.Errorf("wasmtime: %s is %d, it must be between %d and %d", limit.name, int64(limit.v), limit.min, limit.max)
		}
	}
	if cfg.Tick < 0 {
		return nil, fmt.Errorf("wasmtime: Tick is %s, it must not be negative", cfg.Tick)
	}
	cfg.MaxMemory = cfg.MaxMemory / page * page

	osPage := uint64(C.sysconf(C._SC_PAGESIZE))
	round := func(n uint64) uint64 { return (n + osPage - 1) / osPage * osPage }
	k := C.we_config{
		instances:          C.uint32_t(cfg.MaxInstances),
		tables_per_module:  tablesPerModule,
		memory_size:        C.uint64_t(cfg.MaxMemory),
		memory_reservation: wholeReservation,
		memory_guard:       wholeGuard,
		table_elements:     C.uint64_t(cfg.MaxTableElements),
		wasm_stack:         C.uint64_t(cfg.MaxStack),
		fiber_stack:        C.uint64_t(round(cfg.MaxStack + fiberHeadroom)),
		exceptions:         C.bool(cfg.Exceptions),
		gc:                 C.bool(cfg.GC),
		profile:            C.bool(cfg.ProfileGuest),
	}
	// wasmtime ends the process when it cannot have its pool, so see first whether it can.
	if err := checkMappings(cfg.MaxInstances); err != nil {
		return nil, err
	}
	writable := uint64(cfg.MaxInstances) * (round(uint64(cfg.MaxTableElements)*8)*tablesPerModule + uint64(k.fiber_stack) + osPage)
	memories := func() uint64 { return uint64(cfg.MaxInstances) * uint64(k.memory_reservation+k.memory_guard) }
	if !reservable(memories(), writable) {
		// Smaller slots, at the price of bounds checks in compiled code.
		k.memory_reservation = C.uint64_t(cfg.MaxMemory)
		k.memory_guard = C.uint64_t(round(page))
	}
	if !reservable(memories(), writable) {
		return nil, fmt.Errorf("wasmtime: no address space for %d instances with %d bytes of memory each: lower MaxInstances or MaxMemory, or raise the limit on address space (ulimit -v)",
			cfg.MaxInstances, cfg.MaxMemory)
	}
	e := &wasmtimeEngine{c: C.we_engine_new(&k), cfg: cfg}
	e.fingerprint = fmt.Sprintf("wasmtime %s; %s/%s %s; fibers, epochs, cow, state exports, kept sizes; reservation=%d guard=%d tables=%d exceptions=%t gc=%t unwind=%t",
		Version(), runtime.GOOS, runtime.GOARCH, cpuFeatures(), uint64(k.memory_reservation), uint64(k.memory_guard), tablesPerModule,
		cfg.Exceptions, cfg.GC, cfg.ProfileGuest)
	e.lot.most = maxParked
	e.lane.init(runtime.GOMAXPROCS(0))
	e.ticker = newTicker(cfg.Tick, func() {
		C.we_engine_tick(e.c)
		e.lane.tick()
	})
	e.refs.init(func() {
		e.ticker.stop()
		C.we_engine_delete(e.c)
	})
	return e, nil
}

// reservable reports whether the pool's address space can be had, with a tenth to spare.
func reservable(memories, writable uint64) bool {
	memories += memories / 10
	if memories > math.MaxInt64 || writable > math.MaxInt64 {
		return false
	}
	return bool(C.we_reserve(C.size_t(memories), false)) && bool(C.we_reserve(C.size_t(writable), true))
}

const (
	mappingsPerInstance = 5    // a stack and its guard; a memory's image, its rest and its guard
	otherMappings       = 4096 // for Go's heap, threads, libraries, files
)

// checkMappings compares what a full pool needs with the most that Linux gives a process.
func checkMappings(instances int) error {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return nil // not Linux
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	need := instances*mappingsPerInstance + otherMappings
	if err != nil || need <= most {
		return nil
	}
	return fmt.Errorf("wasmtime: %d instances need %d memory mappings, the system allows %d: lower MaxInstances or run `sysctl -w vm.max_map_count=%d`",
		instances, need, most, need)
}

func (e *wasmtimeEngine) Name() string        { return "wasmtime" }
func (e *wasmtimeEngine) Version() string     { return Version() }
func (e *wasmtimeEngine) Suspends() bool      { return true }
func (e *wasmtimeEngine) Fingerprint() string { return e.fingerprint }

// Close implements engine.Engine. Instances that are still there, and what they need, live on until they are closed.
func (e *wasmtimeEngine) Close() error {
	if e.closed.Swap(true) {
		return errClosed
	}
	e.cooler.close()
	e.lot.drain(nil)
	e.refs.release()
	return nil
}

// acquire keeps the engine alive for a user.
func (e *wasmtimeEngine) acquire() error {
	if e.closed.Load() || !e.refs.acquire() {
		return errClosed
	}
	return nil
}

// claim takes one of the pool's slots, that of a parked instance if there is no other.
func (e *wasmtimeEngine) claim() bool {
	if e.claimFree() {
		return true
	}
	// One at a time, and not while parked instances are being taken down: nobody is refused for a moment's count.
	e.lot.leaving.Lock()
	defer e.lot.leaving.Unlock()
	for !e.claimFree() {
		if !e.lot.evict() {
			return false
		}
	}
	return true
}

// claimFree takes a free slot.
func (e *wasmtimeEngine) claimFree() bool {
	for {
		n := e.instances.Load()
		if n >= int64(e.cfg.MaxInstances) {
			return false
		}
		if e.instances.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// WatToWasm translates the Wasm text format to the binary format.
func WatToWasm(src []byte) ([]byte, error) {
	var out C.wasm_byte_vec_t
	if err := takeError(C.we_wat2wasm((*C.char)(unsafe.Pointer(unsafe.SliceData(src))), C.size_t(len(src)), &out)); err != nil {
		return nil, err
	}
	return takeBytes(&out), nil
}

// takeError makes an error of a message that C allocated.
func takeError(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New("wasmtime: " + oneLine(C.GoString(message)))
}

// takeBytes copies and frees a vector.
func takeBytes(v *C.wasm_byte_vec_t) []byte {
	b := C.GoBytes(unsafe.Pointer(v.data), C.int(v.size))
	C.wasm_byte_vec_delete(v)
	return b
}

// oneLine joins the lines of wasmtime's messages, which name a context and then its cause.
func oneLine(s string) string {
	var parts []string
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" || line == "Caused by:" {
			continue
		}
		parts = append(parts, strings.TrimPrefix(line, "0: "))
	}
	return strings.Join(parts, ": ")
}
