package abi

import (
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// computeRuntimeCalls is the guest module fastly_compute_runtime.
var computeRuntimeCalls = calls{
	"get_vcpu_ms":  {fn: getVCPU},
	"get_heap_mib": {fn: getHeap},

	"has_domain_inspector": {fn: hasProduct},
	"has_image_optimizer":  {fn: hasProduct},
	"has_origin_inspector": {fn: hasProduct},
}

// hasProduct is has_...(out u32): whether a product of the platform is there for the service. This host has none of
// those that can be asked for.
func hasProduct(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st == OK {
		out.putBool(false)
	}
	return st
}

// getVCPU is get_vcpu_ms(out u64): time spent computing, waiting excluded.
func getVCPU(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u64Out(m, a.u32(0))
	if st != OK {
		return st
	}
	out.put(uint64(s.caller.Instance.Usage().CPU / time.Millisecond))
	return OK
}

// getHeap is get_heap_mib(out u32): linear memory, rounded up.
func getHeap(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	out.put(uint32((uint64(len(m)) + 1<<20 - 1) >> 20))
	return OK
}
