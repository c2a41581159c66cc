package abi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// Where the names of these tests stand in memory.
const (
	counterAt = textA
	entryAt   = textA + 0x800
	boxAt     = textB
)

func erlGuest(t *testing.T) *guest {
	g := newGuest(t, nil)
	now := 1000 * time.Second
	g.sandbox.env.RateLimiter = ratelimit.New(ratelimit.Options{Now: func() time.Duration { return now }, MaxNames: 3})
	g.put(counterAt, "rc")
	g.put(entryAt, "client")
	g.put(boxAt, "box")
	return g
}

func TestERL(t *testing.T) {
	g := erlGuest(t)
	check := func(delta, window, limit, ttl, want uint32) {
		t.Helper()
		g.ok("erl.check_rate", counterAt, 2, entryAt, 6, delta, window, limit, boxAt, 3, ttl, outA)
		if got := g.u32(outA); got != want {
			t.Errorf("blocked %d, want %d", got, want)
		}
	}
	value := func(call string, seconds, want uint32) {
		t.Helper()
		g.ok("erl."+call, counterAt, 2, entryAt, 6, seconds, outA)
		if got := g.u32(outA); got != want {
			t.Errorf("%s(%d) = %d, want %d", call, seconds, got, want)
		}
	}
	has := func(want uint32) {
		t.Helper()
		g.ok("erl.penaltybox_has", boxAt, 3, entryAt, 6, outA)
		if got := g.u32(outA); got != want {
			t.Errorf("has %d, want %d", got, want)
		}
	}
	value("ratecounter_lookup_rate", 1, 0)
	has(0)
	check(100, 10, 10, 60, 0)
	has(0)
	g.ok("erl.ratecounter_increment", counterAt, 2, entryAt, 6, 100)
	value("ratecounter_lookup_rate", 1, 200)
	value("ratecounter_lookup_rate", 10, 20)
	value("ratecounter_lookup_rate", 60, 3)
	for d := uint32(10); d <= 60; d += 10 {
		value("ratecounter_lookup_count", d, 200)
	}
	check(0, 60, 10, 60, 0)
	check(1, 10, 10, 60, 1)
	has(1)
	check(1, 60, 1_000_000, 3600, 1) // far from this limit, but still in the box
	g.put(entryAt, "other!")
	has(0)
	g.ok("erl.penaltybox_add", boxAt, 3, entryAt, 6, 3600)
	has(1)
	check(0, 1, 10, 60, 1)
}

func TestERLArguments(t *testing.T) {
	g := erlGuest(t)
	for _, window := range []uint32{0, 2, 9, 11, 59, 61, 1 << 31, 1<<32 - 1} {
		g.want(Inval, "erl.check_rate", counterAt, 2, entryAt, 6, 1, window, 10, boxAt, 3, 60, outA)
		g.want(Inval, "erl.ratecounter_lookup_rate", counterAt, 2, entryAt, 6, window, outA)
	}
	for _, d := range []uint32{0, 1, 15, 70, 1<<32 - 1} {
		g.want(Inval, "erl.ratecounter_lookup_count", counterAt, 2, entryAt, 6, d, outA)
	}
	for _, ttl := range []uint32{0, 59, 3601, 1<<32 - 1} {
		g.want(Inval, "erl.check_rate", counterAt, 2, entryAt, 6, 1, 10, 10, boxAt, 3, ttl, outA)
		g.want(Inval, "erl.penaltybox_add", boxAt, 3, entryAt, 6, ttl)
	}
	g.put(room, strings.Repeat("n", 1025))
	for _, tt := range []struct {
		name   string
		ptr, n uint32
		want   Status
	}{
		{"the longest name", room, 1024, OK},
		{"too long a name", room, 1025, Inval},
		{"a name outside memory", guestMemory - 1, 2, Inval},
		{"no name", 0, 0, OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, n := tt.ptr, tt.n
			g.want(tt.want, "erl.check_rate", p, n, entryAt, 6, 1, 10, 10, boxAt, 3, 60, outA)
			g.want(tt.want, "erl.check_rate", counterAt, 2, p, n, 1, 10, 10, boxAt, 3, 60, outA)
			g.want(tt.want, "erl.check_rate", counterAt, 2, entryAt, 6, 1, 10, 10, p, n, 60, outA)
			g.want(tt.want, "erl.ratecounter_increment", p, n, entryAt, 6, 1)
			g.want(tt.want, "erl.ratecounter_increment", counterAt, 2, p, n, 1)
			g.want(tt.want, "erl.ratecounter_lookup_rate", counterAt, 2, p, n, 10, outA)
			g.want(tt.want, "erl.ratecounter_lookup_count", p, n, entryAt, 6, 10, outA)
			g.want(tt.want, "erl.penaltybox_add", p, n, entryAt, 6, 60)
			g.want(tt.want, "erl.penaltybox_has", boxAt, 3, p, n, outA)
		})
	}
	p, n := g.put(room, "\xff")
	g.want(Inval, "erl.penaltybox_has", p, n, entryAt, 6, outA)
	for _, out := range []struct {
		ptr  uint32
		want Status
	}{{guestMemory, Inval}, {outA + 1, BadAlign}} {
		g.want(out.want, "erl.check_rate", counterAt, 2, entryAt, 6, 1000, 10, 10, boxAt, 3, 60, out.ptr)
		g.want(out.want, "erl.ratecounter_lookup_rate", counterAt, 2, entryAt, 6, 10, out.ptr)
		g.want(out.want, "erl.ratecounter_lookup_count", counterAt, 2, entryAt, 6, 10, out.ptr)
		g.want(out.want, "erl.penaltybox_has", boxAt, 3, entryAt, 6, out.ptr)
	}
	g.ok("erl.ratecounter_lookup_count", counterAt, 2, entryAt, 6, 10, outA)
	if got := g.u32(outA); got > 10 {
		t.Errorf("%d events: calls that failed have counted", got)
	}
	var last Status
	for i := range 4 {
		p, n := g.put(room, fmt.Sprint("counter", i))
		last = g.call("erl.ratecounter_increment", p, n, entryAt, 6, 1)
	}
	if last != LimitExceeded {
		t.Errorf("one counter too many: %s", last)
	}
	g.sandbox.env.RateLimiter = nil
	g.want(Unsupported, "erl.check_rate", counterAt, 2, entryAt, 6, 1, 10, 10, boxAt, 3, 60, outA)
	g.want(Unsupported, "erl.ratecounter_increment", counterAt, 2, entryAt, 6, 1)
	g.want(Unsupported, "erl.ratecounter_lookup_rate", counterAt, 2, entryAt, 6, 10, outA)
	g.want(Unsupported, "erl.penaltybox_add", boxAt, 3, entryAt, 6, 60)
	g.want(Unsupported, "erl.penaltybox_has", boxAt, 3, entryAt, 6, outA)
}

func BenchmarkERLCheckRate(b *testing.B) {
	g := newGuest(b, nil)
	g.put(counterAt, "rc")
	g.put(entryAt, "192.0.2.1")
	g.put(boxAt, "box")
	c := g.calls["erl.check_rate"]
	stack := make([]uint64, len(c.Type.Params))
	b.ReportAllocs()
	for b.Loop() {
		copy(stack, []uint64{counterAt, 2, entryAt, 9, 1, 10, 1 << 31, boxAt, 3, 60, outA})
		if err := c.Fn(g.caller, stack); err != nil || stack[0] != 0 {
			b.Fatal(err, stack[0])
		}
	}
}
