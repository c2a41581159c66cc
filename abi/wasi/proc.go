package wasi

import "github.com/edgewasm/wasmedge/host/engine"

// Signals of preview 1 that proc_raise tells apart. The numbers are not those of Linux from 16 on.
const (
	sigNone   = 0
	sigChld   = 16
	sigCont   = 17
	sigStop   = 18
	sigTtou   = 21
	sigUrg    = 22
	sigWinch  = 27
	signalMax = 30
)

// procExit is proc_exit(code). It ends the guest with an *engine.ExitError.
func procExit(_ *System, _ *engine.Caller, a []uint64) (Errno, error) {
	return 0, &engine.ExitError{Code: uint32(a[0])}
}

// procRaise is proc_raise(signal) -> errno. A guest cannot install handlers here, so the signal's default action is
// taken: to be ignored, or to end the guest with exit code 128 + signal, as a shell would report it.
//
// EINVAL: no such signal. ENOTSUP: the signal would stop the guest, and nothing could continue it.
func procRaise(_ *System, _ *engine.Caller, a []uint64) (Errno, error) {
	switch signal := uint32(a[0]); {
	case signal > signalMax:
		return EINVAL, nil
	case signal == sigNone, signal == sigChld, signal == sigCont, signal == sigUrg, signal == sigWinch:
		return ESUCCESS, nil
	case signal >= sigStop && signal <= sigTtou:
		return ENOTSUP, nil
	default:
		return 0, &engine.ExitError{Code: 128 + signal}
	}
}

// schedYield is sched_yield() -> errno. A guest has no other thread to yield to, and the engine sees to it that one
// sandbox does not starve another, so there is nothing to do.
func schedYield(*System, *engine.Caller, []uint64) (Errno, error) { return ESUCCESS, nil }
