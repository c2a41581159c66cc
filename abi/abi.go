package abi

import "github.com/edgewasm/wasmedge/host/engine"

// abiCalls is the guest module fastly_abi.
var abiCalls = calls{"init": {fn: abiInit}}

// abiInit is fastly_abi.init(abi_version): the guest names the version it was built for; only 1 exists.
func abiInit(s *Sandbox, m engine.Memory, a args) Status {
	if a.u64(0) != 1 {
		return Error
	}
	return OK
}
