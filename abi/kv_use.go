package abi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// maxKVLeft bounds the writes that the guests of a service have left behind, at once.
const maxKVLeft = 1024

// kvLeftTime is for how long such a write may go on. Tests shorten it.
var kvLeftTime = 10 * time.Second

// KVUse counts what the guests of a service do with KV stores, and looks after the writes that they have not waited for:
// these go on when the guest has ended, for at most 10 seconds and as long as no more than 1024 of them are under way. The
// zero value is ready, and a nil one neither counts nor lets writes go on. It is safe for concurrent use.
type KVUse struct {
	ops                           [kvListOp + 1]atomic.Uint64
	failures, leftBehind, givenUp atomic.Uint64
	bytesRead, bytesWritten       atomic.Uint64

	left    atomic.Int64
	wait    sync.WaitGroup
	once    sync.Once
	stopped chan struct{} // closed when writes must end; see stop
}

// KVStats are the figures of a KVUse since it was made.
type KVStats struct {
	Lookups, Inserts, Deletes, Lists uint64 // that were begun
	Failures                         uint64 // of the store; a missing key or a failed precondition is none
	BytesRead                        uint64 // of values that were found
	BytesWritten                     uint64 // of values that were stored
	LeftBehind                       uint64 // writes that were under way when their guest ended
	GivenUp                          uint64 // of these, the ones that were cancelled
}

// Stats gives the present figures.
func (u *KVUse) Stats() KVStats {
	if u == nil {
		return KVStats{}
	}
	return KVStats{
		Lookups:      u.ops[kvLookupOp].Load(),
		Inserts:      u.ops[kvInsertOp].Load(),
		Deletes:      u.ops[kvDeleteOp].Load(),
		Lists:        u.ops[kvListOp].Load(),
		Failures:     u.failures.Load(),
		BytesRead:    u.bytesRead.Load(),
		BytesWritten: u.bytesWritten.Load(),
		LeftBehind:   u.leftBehind.Load(),
		GivenUp:      u.givenUp.Load(),
	}
}

// Close waits for the writes that guests have left behind. Those that go on when ctx ends are cancelled. No guest may run any
// more.
func (u *KVUse) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { close(u.stop()) })
	defer stop()
	u.wait.Wait()
}

func (u *KVUse) stop() chan struct{} {
	u.once.Do(func() { u.stopped = make(chan struct{}) })
	return u.stopped
}

func (u *KVUse) begun(kind kvKind) {
	if u != nil {
		u.ops[kind].Add(1)
	}
}

func (u *KVUse) failed() {
	if u != nil {
		u.failures.Add(1)
	}
}

func (u *KVUse) read(n int64) {
	if u != nil {
		u.bytesRead.Add(uint64(n))
	}
}

func (u *KVUse) wrote(n int64) {
	if u != nil {
		u.bytesWritten.Add(uint64(n))
	}
}

// leave takes over a write that is under way. warn is told if it fails.
func (u *KVUse) leave(op *kvOperation, warn func(err error)) {
	if u == nil {
		op.cancel()
		return
	}
	u.leftBehind.Add(1)
	u.wait.Add(1)
	grace := kvLeftTime
	if u.left.Add(1) > maxKVLeft {
		grace = 0
	}
	go func() {
		defer u.wait.Done()
		defer u.left.Add(-1)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-op.done:
		case <-timer.C:
			u.giveUp(op)
		case <-u.stop():
			u.giveUp(op)
		}
		op.cancel()
		if op.err != nil && !isOutcome(op.err) {
			u.failed()
			warn(op.err)
		}
	}()
}

func (u *KVUse) giveUp(op *kvOperation) {
	u.givenUp.Add(1)
	op.cancel()
	<-op.done
}
