package enginetest

import (
	"context"
	"errors"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

// suspender asks for the guest as often as it says.
type suspender struct{ left, asked int }

func (s *suspender) Suspend() bool {
	s.asked++
	s.left--
	return s.left >= 0
}

var suspendTests = []test{
	{"a guest that waits can be handed over, again and again", func(t *suite) {
		e := t.engine(engine.Config{})
		tmpl := t.link(e, "blocking", blockingCalls(answer, nil)...)
		var r record
		s := &suspender{left: 7}
		inst := t.instance(tmpl, engine.InstanceConfig{State: &r, Suspend: s})
		if err := inst.Resume(context.Background()); !errors.Is(err, engine.ErrNotSuspended) {
			t.Errorf("Resume before Call = %v", err)
		}
		err := t.call(inst, "hundred")
		for errors.Is(err, engine.ErrSuspended) {
			if again := t.call(inst, "hundred"); again == nil || errors.Is(again, engine.ErrSuspended) {
				t.Fatalf("Call of a suspended guest = %v", again)
			}
			ended := make(chan error)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				defer cancel()
				ended <- inst.Resume(ctx)
			}()
			err = <-ended
		}
		if err != nil {
			t.Fatal(err)
		}
		t.want(&r, sumOf(100))
		if e.Suspends() && s.left > -90 {
			t.Errorf("%d more suspensions were wanted; asked %d times", s.left, s.asked)
		}
		if !e.Suspends() && s.asked > 0 {
			t.Errorf("the engine asked %d times", s.asked)
		}
	}},
	{"a guest that computes can be handed over", func(t *suite) {
		e := t.engine(engine.Config{})
		if !e.Suspends() {
			t.Skip("the engine cannot hand guests over")
		}
		inst := t.instance(t.link(e, "loops", loopCalls(noWait)...), engine.InstanceConfig{Suspend: &suspender{left: 1}, MaxCPU: 100 * time.Millisecond})
		if err := t.call(inst, "busy"); !errors.Is(err, engine.ErrSuspended) {
			t.Fatalf("Call = %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		var limit *engine.CPULimitError
		if err := inst.Resume(ctx); !errors.As(err, &limit) {
			t.Errorf("Resume = %v, want the CPU limit", err)
		}
		if err := inst.Resume(ctx); !errors.Is(err, engine.ErrNotSuspended) {
			t.Errorf("Resume of an ended guest = %v", err)
		}
	}},
	{"a suspended guest can be thrown away", func(t *suite) {
		e := t.engine(engine.Config{MaxInstances: 2})
		if !e.Suspends() {
			t.Skip("the engine cannot hand guests over")
		}
		tmpl := t.link(e, "blocking", blockingCalls(answer, nil)...)
		for range 20 {
			inst, err := tmpl.Instantiate(engine.InstanceConfig{State: new(record), Suspend: &suspender{left: 1}})
			if err != nil {
				t.Fatal(err)
			}
			if err := t.call(inst, "once"); !errors.Is(err, engine.ErrSuspended) {
				t.Errorf("Call = %v", err)
			}
			inst.Close()
		}
	}},
}
