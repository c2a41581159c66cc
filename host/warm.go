package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
)

// activate makes a service ready for its first request, and finds out what would fail with every request: a module that
// needs more from the start than it may have, and one whose start function traps.
func (s *Service) activate(ctx context.Context, starts bool) error {
	if starts {
		if err := s.tryStart(ctx); err != nil {
			return fmt.Errorf("host: the program's start function: %w", err)
		}
	}
	inst, err := s.template.Instantiate(engine.InstanceConfig{MaxMemory: s.limits.Memory})
	if errors.Is(err, engine.ErrNoSlot) {
		return nil // a busy host; requests will see
	}
	if err != nil {
		_, err = explain(err, engine.Usage{}, s.memory)
		return err
	}
	inst.Close()
	w, ok := s.template.(engine.Warmer)
	if n := s.warm(); ok && n > 0 {
		_, err = w.Warm(n)
	}
	return err
}

// warm is how many instances are made ready.
func (s *Service) warm() int {
	n := s.cfg.Warm
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return min(n, s.limits.Concurrent)
}

// maxStart is for how long a start function may run at activation.
const maxStart = 10 * time.Second

// tryStart runs the start function once, in a sandbox without backends and logs.
func (s *Service) tryStart(ctx context.Context) error {
	client := &commandClient{}
	request := commandRequest(client)
	sandbox := abi.NewSandbox(&abi.Environment{Logs: logs{}, ConfigStores: s.env.ConfigStores, KVStores: s.env.KVStores}, &request)
	sandbox.Args, sandbox.Env = defaultArgs, s.environ
	inst, err := s.template.Instantiate(engine.InstanceConfig{State: sandbox, MaxMemory: s.limits.Memory, MaxCPU: s.limits.CPU})
	if errors.Is(err, engine.ErrNoSlot) {
		return nil
	}
	if err != nil {
		return err
	}
	defer inst.Close()
	defer sandbox.Finish()
	starter, ok := inst.(engine.Starter)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, min(maxStart, s.limits.Wall), ErrWallTime)
	defer cancel()
	if err := guestError(starter.Start(ctx)); err != nil {
		_, err = explain(err, inst.Usage(), s.memory)
		return err
	}
	return nil
}
