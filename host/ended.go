package host

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Cause is why a guest did not end by itself, or not well.
type Cause string

// The causes, as they are counted in ServiceStats.Ended.
const (
	CauseCPU      Cause = "cpu"      // Limits.CPU
	CauseWall     Cause = "wall"     // Limits.Wall
	CauseMemory   Cause = "memory"   // it failed after it was refused memory or table elements, or with its memory nearly used up
	CauseStack    Cause = "stack"    // its call stack was used up
	CauseBody     Cause = "body"     // it failed after the client's body came too slowly (Limits.BodyTimeout)
	CauseStart    Cause = "start"    // it needs more from the start than it may have
	CauseTrap     Cause = "trap"     // any other trap
	CauseExit     Cause = "exit"     // an exit code other than 0
	CauseClient   Cause = "client"   // the client went away
	CauseShutdown Cause = "shutdown" // the service was closed
	CauseOther    Cause = "other"    // a hostcall that ended it, a fault of the host
)

var causes = []Cause{CauseCPU, CauseWall, CauseMemory, CauseStack, CauseBody, CauseStart, CauseTrap, CauseExit, CauseClient, CauseShutdown, CauseOther}

// LimitError is a guest that was ended by a limit, or failed because of one. It names the setting that lifts it.
type LimitError struct {
	Cause   Cause
	Setting string // for instance "Limits.CPU, --max-cpu"
	Detail  string // what is known besides Err; often empty
	Err     error  // *engine.CPULimitError, *engine.TrapError, *engine.ExitError or *engine.LimitError
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s%s (setting: %s)", e.Err, e.Detail, e.Setting)
}

// Unwrap gives Err.
func (e *LimitError) Unwrap() error { return e.Err }

const (
	settingCPU    = "Limits.CPU, --max-cpu"
	settingMemory = "Limits.Memory, --max-memory"
	settingTable  = "EngineConfig.MaxTableElements"
	settingBody   = "Limits.BodyTimeout, --body-timeout"
	settingStack  = "EngineConfig.MaxStack, --max-stack"
)

// endings counts how guests ended, by cause.
type endings [11]atomic.Uint64

func (e *endings) count(c Cause) {
	for i := range causes {
		if causes[i] == c {
			e[i].Add(1)
		}
	}
}

// explain finds out which limit a guest ran into, if any. usage is what the guest had used, memory what it might.
func explain(err error, usage engine.Usage, memory uint64) (Cause, error) {
	var cpu *engine.CPULimitError
	var trap *engine.TrapError
	var exit *engine.ExitError
	var start *engine.LimitError
	switch {
	case errors.As(err, &cpu):
		return CauseCPU, &LimitError{Cause: CauseCPU, Setting: settingCPU, Err: err}
	case errors.Is(err, ErrWallTime):
		return CauseWall, err
	case errors.Is(err, ErrClientGone), errors.Is(err, context.Canceled):
		return CauseClient, err
	case errors.Is(err, ErrShutdown):
		return CauseShutdown, err
	case errors.As(err, &start):
		setting := settingMemory
		if start.What == engine.LimitTable {
			setting = settingTable
		}
		return CauseStart, &LimitError{Cause: CauseStart, Setting: setting, Err: err}
	case errors.As(err, &trap):
		if trap.Code == engine.TrapStackOverflow {
			return CauseStack, &LimitError{Cause: CauseStack, Setting: settingStack, Err: err}
		}
		if detail, setting := shortOfMemory(usage, memory); detail != "" {
			return CauseMemory, &LimitError{Cause: CauseMemory, Setting: setting, Detail: detail, Err: err}
		}
		return CauseTrap, err
	case errors.As(err, &exit):
		if detail, setting := shortOfMemory(usage, memory); detail != "" {
			return CauseMemory, &LimitError{Cause: CauseMemory, Setting: setting, Detail: detail, Err: err}
		}
		return CauseExit, err
	}
	return CauseOther, err
}

// nearLimit is the part of its memory that a guest which lacks memory may have left: programs ask for more than a page at
// a time. An engine that counts refusals is believed without that.
const nearLimit = 16

// shortOfMemory says how a guest that failed was short of memory; the detail is empty when it was not.
func shortOfMemory(usage engine.Usage, memory uint64) (detail, setting string) {
	switch {
	case usage.GrowDenied > 0:
		return fmt.Sprintf(", after it was refused more memory or table elements (%d times; it has %d of at most %d bytes)", usage.GrowDenied, usage.Memory, memory),
			settingMemory + "; " + settingTable
	case memory > 0 && usage.Memory <= memory && memory-usage.Memory <= memory/nearLimit:
		return fmt.Sprintf(", with %d of at most %d bytes of memory in use", usage.Memory, memory), settingMemory
	}
	return "", ""
}

// ended counts how a guest ended and says which limit was in its way. It is only called with an error. u is the client's
// body, if there is one.
func (s *Service) ended(err error, usage engine.Usage, u *upload) error {
	cause, err := explain(err, usage, s.memory)
	if (cause == CauseTrap || cause == CauseExit) && u != nil && u.slow.Load() {
		cause = CauseBody
		err = &LimitError{Cause: cause, Setting: settingBody, Detail: ", after the client's body came too slowly", Err: err}
	}
	s.endings.count(cause)
	return err
}
