package abi

import (
	"strings"

	"github.com/edgewasm/wasmedge/abi/wasi"
	"github.com/edgewasm/wasmedge/host/engine"
)

type specFlags uint8

const (
	blocks     specFlags = 1 << iota // may wait on something other than the CPU
	deprecated                       // superseded, kept for old guests
)

type specEntry struct {
	module, name, params string
	flags                specFlags
	alias                string // module.name of the call that this one shares its code with
}

// handler is the code of one hostcall.
type handler func(s *Sandbox, m engine.Memory, a args) Status

// call is a handler with what the engine should know of it.
type call struct {
	fn handler
	// ready reports whether a call that may block would return at once; see engine.Hostcall.Ready.
	ready func(s *Sandbox, a args) bool
}

// calls maps the names of one guest module to their code.
type calls map[string]call

// modules holds the code by guest module, the calls of a large one in several maps. A call of spec that is in none of
// them is missing.
var modules = map[string][]calls{
	"fastly_abi":              {abiCalls},
	"fastly_acl":              {aclCalls},
	"fastly_async_io":         {asyncIOCalls},
	"fastly_backend":          {backendCalls},
	"fastly_compute_runtime":  {computeRuntimeCalls},
	"fastly_config_store":     {configStoreCalls},
	"fastly_device_detection": {deviceDetectionCalls},
	"fastly_dictionary":       {configStoreCalls},
	"fastly_geo":              {geoCalls},
	"fastly_erl":              {erlCalls},
	"fastly_http_body":        {httpBodyCalls},
	"fastly_http_downstream":  {httpDownstreamCalls},
	"fastly_http_req":         {httpReqCalls, httpReqSendCalls, httpReqHandOffCalls},
	"fastly_http_resp":        {httpRespCalls},
	"fastly_kv_store":         {kvStoreCalls},
	"fastly_log":              {logCalls},
	"fastly_object_store":     {objectStoreCalls},
	"fastly_secret_store":     {secretStoreCalls},
	"fastly_shielding":        {shieldingCalls},
	"fastly_uap":              {uapCalls},
}

// missingReasons says per module why its missing calls are missing; docs/ABI.md shows it.
var missingReasons = map[string]string{
	"fastly_cache":           "the cache is not built yet",
	"fastly_http_cache":      "the cache is not built yet",
	"fastly_http_req":        "request inspection is not built yet",
	"fastly_image_optimizer": "the image optimiser is not built yet",
	"fastly_purge":           "the cache is not built yet",
	"fastly_secrets":         "superseded by fastly_secret_store: which store it reads from was never published, and no SDK imports it",
}

func lookupCall(module, name string) (call, bool) {
	for _, m := range modules[module] {
		if c, ok := m[name]; ok {
			return c, true
		}
	}
	return call{}, false
}

func (e *specEntry) code() (call, bool) {
	if e.alias != "" {
		module, name, _ := strings.Cut(e.alias, ".")
		if c, ok := lookupCall(module, name); ok {
			return c, true
		}
	}
	return lookupCall(e.module, e.name)
}

func (e *specEntry) paramNames() []string { return strings.Fields(e.params) }

func (e *specEntry) signature() engine.FuncType {
	names := e.paramNames()
	t := engine.FuncType{Params: make([]engine.ValueType, len(names)), Results: []engine.ValueType{engine.I32}}
	for i, n := range names {
		t.Params[i] = engine.I32
		if strings.HasSuffix(n, ":i64") {
			t.Params[i] = engine.I64
		}
	}
	return t
}

// Entry describes one hostcall for people and tools.
type Entry struct {
	Module      string   `json:"module"`
	Name        string   `json:"name"`
	Params      []string `json:"params"` // names; those that are not i32 are followed by ":" and the type
	MayBlock    bool     `json:"mayBlock"`
	Deprecated  bool     `json:"deprecated"`
	AliasOf     string   `json:"aliasOf,omitempty"` // module.name
	Implemented bool     `json:"implemented"`
	Reason      string   `json:"reason,omitempty"` // why it is missing
}

// Table lists every hostcall that links, in the order of the ABI's modules, WASI preview 1 last. A missing one
// links too and answers Unsupported.
func Table() []Entry {
	entries := make([]Entry, 0, len(spec)+64)
	for i := range spec {
		e := &spec[i]
		_, done := e.code()
		entry := Entry{Module: e.module, Name: e.name, Params: e.paramNames(), MayBlock: e.flags&blocks != 0,
			Deprecated: e.flags&deprecated != 0, AliasOf: e.alias, Implemented: done}
		if !done {
			module := e.module
			if e.alias != "" {
				module, _, _ = strings.Cut(e.alias, ".")
			}
			entry.Reason = missingReasons[module]
		}
		entries = append(entries, entry)
	}
	for _, h := range wasi.Hostcalls(nil) {
		params := make([]string, len(h.Type.Params))
		for i, p := range h.Type.Params {
			params[i] = p.String()
		}
		entries = append(entries, Entry{Module: h.Module, Name: h.Name, Params: params, MayBlock: h.MayBlock, Implemented: true})
	}
	return entries
}

// Hostcalls is the table that every engine links guests against. Caller.State must be the *Sandbox.
func Hostcalls() []engine.Hostcall {
	table := make([]engine.Hostcall, 0, len(spec)+64)
	for i := range spec {
		e := &spec[i]
		h := engine.Hostcall{Module: e.module, Name: e.name, Type: e.signature()}
		c, ok := e.code()
		if !ok {
			h.Fn = unsupported(e.module + "." + e.name)
			table = append(table, h)
			continue
		}
		h.MayBlock = e.flags&blocks != 0
		h.Fn = hostFunc(c.fn)
		if h.MayBlock && c.ready != nil {
			ready := c.ready
			h.Ready = func(c *engine.Caller, stack []uint64) bool {
				return ready(c.State.(*Sandbox), args(stack))
			}
		}
		table = append(table, h)
	}
	return append(table, wasi.Hostcalls(func(state any) *wasi.System { return &state.(*Sandbox).System })...)
}

func hostFunc(fn handler) engine.HostFunc {
	return func(c *engine.Caller, stack []uint64) error {
		s := c.State.(*Sandbox)
		s.caller = c
		stack[0] = uint64(fn(s, c.Memory, args(stack)))
		return s.fault
	}
}

// unsupported answers for a missing hostcall and notes once per sandbox that the guest asked for it.
func unsupported(name string) engine.HostFunc {
	return func(c *engine.Caller, stack []uint64) error {
		s := c.State.(*Sandbox)
		s.noteMissing(name)
		stack[0] = uint64(Unsupported)
		return nil
	}
}
