//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSeatsGoToThoseWhoHaveUsedLeast(t *testing.T) {
	var l lane
	l.init(1)
	if !l.turn(t.Context(), false, 0) {
		t.Fatal("no seat")
	}
	order := make(chan string, 10)
	wait := func(name string, used time.Duration) {
		before := l.waiting.Load()
		go func() {
			l.turn(t.Context(), false, used)
			order <- name
		}()
		for l.waiting.Load() == before {
			runtime.Gosched()
		}
	}
	wait("heavy", heavyCPU)
	wait("medium", lightCPU)
	wait("light", 0)
	wait("also light", lightCPU-1)
	// Every lastFirst-th pick, and the first one here has been the first pick, goes to the heaviest.
	for _, want := range []string{"light", "also light", "heavy", "medium"} {
		l.leave()
		if got := <-order; got != want {
			t.Errorf("%s got the seat of %s", got, want)
		}
	}
	l.leave()
	if l.taken != 0 {
		t.Errorf("%d seats are taken", l.taken)
	}
}

func TestTheLaneLeavesRoomForThoseWhoCome(t *testing.T) {
	for _, tt := range []struct{ cpus, most, fewer int }{{1, 1, 1}, {2, 2, 1}, {4, 4, 3}, {16, 16, 12}} {
		var l lane
		l.init(tt.cpus)
		if l.limit != tt.most {
			t.Errorf("%d CPUs: %d seats at first", tt.cpus, l.limit)
		}
		if !l.enter(t.Context()) {
			t.Errorf("%d CPUs: somebody who came anew did not get in", tt.cpus)
		}
		l.leaveFresh(true)
		l.tick()
		if l.limit != tt.fewer {
			t.Errorf("%d CPUs: %d seats with somebody about", tt.cpus, l.limit)
		}
		for range quietTicks {
			l.tick()
		}
		if l.limit != tt.most {
			t.Errorf("%d CPUs: %d seats when nobody came for long", tt.cpus, l.limit)
		}
	}
}

func TestABurstIsBounded(t *testing.T) {
	var l lane
	l.init(1)
	for range l.maxFresh {
		if !l.enter(t.Context()) {
			t.Fatal("refused")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l.enter(ctx) {
		t.Error("one more got in although nobody left")
	}
	in := make(chan bool)
	for range 2 {
		go func() { in <- l.enter(t.Context()) }()
	}
	for l.outside.Load() < 2 {
		runtime.Gosched()
	}
	for _, early := range []bool{true, false} {
		l.leaveFresh(early)
		if !<-in {
			t.Error("nobody got the place of one who left")
		}
	}
	if l.fresh.Load() != l.maxFresh || l.outside.Load() != 0 {
		t.Errorf("%d are inside, %d outside", l.fresh.Load(), l.outside.Load())
	}
}

// TestNobodyIsForgottenInTheLane has many guests take turns, wait and give up at random.
func TestNobodyIsForgottenInTheLane(t *testing.T) {
	var l lane
	l.init(3)
	l.maxFresh = 2
	var inside atomic.Int64
	stop := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if n%100 == 0 {
				l.busy.Store(true)
			}
			l.tick()
			time.Sleep(20 * time.Microsecond)
		}
	})
	var wg sync.WaitGroup
	for worker := range 30 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(3) == 0 {
					time.AfterFunc(time.Duration(random.IntN(200))*time.Microsecond, cancel)
				}
				if l.enter(ctx) {
					l.leaveFresh(random.IntN(2) == 0)
				}
				seated := false
				for range random.IntN(8) {
					seated = l.turn(ctx, seated, time.Duration(random.Int64N(int64(2*heavyCPU))))
					if !seated {
						break
					}
					if n := inside.Add(1); n > 3 {
						t.Errorf("%d are inside", n)
					}
					runtime.Gosched()
					inside.Add(-1)
				}
				if seated {
					l.leave()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	close(stop)
	ticking.Wait()
	if l.taken != 0 || l.waiting.Load() != 0 || l.fresh.Load() != 0 || l.outside.Load() != 0 {
		t.Errorf("%d seats are taken, %d wait; %d are fresh, %d outside", l.taken, l.waiting.Load(), l.fresh.Load(), l.outside.Load())
	}
}
