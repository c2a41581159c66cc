//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

// #include "shim.h"
import "C"

import (
	"context"
	"errors"

	"github.com/edgewasm/wasmedge/host/engine"
)

// maxKept is how many bytes of written memory an instance may hold that is kept for a service without requests.
const maxKept = 64 << 10

var (
	_ engine.Pooled  = (*wasmtimeEngine)(nil)
	_ engine.Warmer  = (*template)(nil)
	_ engine.Starter = (*instance)(nil)
)

// Pool implements engine.Pooled.
func (e *wasmtimeEngine) Pool() engine.PoolStats {
	st := engine.PoolStats{
		Instances:    int(e.instances.Load()),
		MaxInstances: e.cfg.MaxInstances,
		Computing:    int(e.ticker.running.Load()),
	}
	e.lot.mu.Lock()
	defer e.lot.mu.Unlock()
	for t := range e.lot.templates {
		st.Parked += len(t.parking.slots)
	}
	st.ParkedBytes, st.MaxParkedBytes = e.lot.resident, e.lot.most
	return st
}

// Warm implements engine.Warmer. What it makes stays parked until it is used or the pool needs its place; of later instances
// as many stay, if they have written to little memory. It leaves half of the pool to others.
func (t *template) Warm(n int) (made int, err error) {
	e := t.engine
	if !t.resettable {
		return 0, nil
	}
	e.lot.mu.Lock()
	t.parking.keep = n
	have := len(t.parking.slots)
	e.lot.mu.Unlock()
	for ; have < n && e.instances.Load() < int64(e.cfg.MaxInstances)/2; have++ {
		inst, err := t.fresh(engine.InstanceConfig{}, e.cfg.MaxMemory, e.cfg.MaxTableElements)
		if errors.Is(err, engine.ErrNoSlot) {
			return made, nil
		}
		if err != nil {
			return made, err
		}
		inst.Close()
		made++
	}
	return made, nil
}

// Start implements engine.Starter.
func (i *instance) Start(ctx context.Context) error {
	switch {
	case i.closed || i.ended:
		return errEnded
	case i.running || i.suspended:
		return errRunning
	case i.started:
		return nil
	}
	i.enter(ctx)
	defer i.leave()
	if !i.admitted() {
		return context.Cause(ctx)
	}
	if err := i.run(C.we_instantiate(i.c)); err != nil {
		return err
	}
	i.started = true
	return i.end(nil)
}
