package wasi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sub is a subscription as a guest writes it.
type sub struct {
	user      uint64
	kind      byte
	clock     uint32
	timeout   uint64
	precision uint64
	flags     uint16
	fd        uint32
}

func (s sub) put(b []byte) {
	binary.LittleEndian.PutUint64(b, s.user)
	b[8] = s.kind
	if s.kind != eventClock {
		binary.LittleEndian.PutUint32(b[16:], s.fd)
		return
	}
	binary.LittleEndian.PutUint32(b[16:], s.clock)
	binary.LittleEndian.PutUint64(b[24:], s.timeout)
	binary.LittleEndian.PutUint64(b[32:], s.precision)
	binary.LittleEndian.PutUint16(b[40:], s.flags)
}

// event is an event as a guest reads it.
type event struct {
	user  uint64
	err   Errno
	kind  byte
	bytes uint64
	flags uint16
}

const pollIn, pollOut, pollCount = 0, 1024, 2040

// poll puts the subscriptions at pollIn, calls, and gives the events.
func (g *guest) poll(subs ...sub) ([]event, Errno) {
	g.t.Helper()
	for i, s := range subs {
		s.put(g.mem[pollIn+48*i:])
	}
	if e := g.call("poll_oneoff", pollIn, pollOut, uint64(len(subs)), pollCount); e != ESUCCESS {
		return nil, e
	}
	var events []event
	for i := range g.u32(pollCount) {
		b := g.mem[pollOut+32*i:]
		events = append(events, event{
			user: binary.LittleEndian.Uint64(b), err: Errno(binary.LittleEndian.Uint16(b[8:])), kind: b[10],
			bytes: binary.LittleEndian.Uint64(b[16:]), flags: binary.LittleEndian.Uint16(b[24:]),
		})
	}
	rest := g.mem[pollOut+32*len(events) : pollCount]
	if bytes.Count(rest, []byte{'?'}) != len(rest) {
		g.t.Errorf("written past the last event: %q", []byte(rest))
	}
	return events, ESUCCESS
}

func (g *guest) pollReady(subs ...sub) bool {
	g.t.Helper()
	for i, s := range subs {
		s.put(g.mem[pollIn+48*i:])
	}
	before := bytes.Clone(g.mem)
	ready := g.ready("poll_oneoff", pollIn, pollOut, uint64(len(subs)), pollCount)
	if !bytes.Equal(before, g.mem) {
		g.t.Error("Ready changed memory")
	}
	return ready
}

func TestPollOneoff(t *testing.T) {
	const wall, mono = uint64(1_000_000_000_000), uint64(5_000_000_000)
	const ms = uint64(time.Millisecond)
	for _, tt := range []struct {
		name     string
		sys      System
		subs     []sub
		want     Errno
		events   []event
		wantWait time.Duration // also: whether Ready must say no
	}{
		{name: "a clock that has passed", subs: []sub{{user: 7}}, events: []event{{user: 7}}},
		{name: "a relative wait on the monotonic clock", subs: []sub{{user: 7, clock: 1, timeout: 3 * ms}}, events: []event{{user: 7}}, wantWait: 3 * time.Millisecond},
		{name: "a relative wait on the wall clock", subs: []sub{{user: 7, clock: 0, timeout: 3 * ms}}, events: []event{{user: 7}}, wantWait: 3 * time.Millisecond},
		{name: "an absolute wait on the monotonic clock", subs: []sub{{user: 7, clock: 1, timeout: mono + 4*ms, flags: 1}}, events: []event{{user: 7}}, wantWait: 4 * time.Millisecond},
		{name: "an absolute wait on the wall clock", subs: []sub{{user: 7, clock: 0, timeout: wall + 4*ms, flags: 1}}, events: []event{{user: 7}}, wantWait: 4 * time.Millisecond},
		{name: "absolute times in the past", subs: []sub{{user: 7, clock: 1, timeout: mono - 1, flags: 1}, {user: 8, flags: 1}}, events: []event{{user: 7}, {user: 8}}},
		{name: "precision does not delay", subs: []sub{{user: 7, clock: 1, timeout: ms, precision: math.MaxUint64}, {user: 8, clock: 1, timeout: 9 * ms}}, events: []event{{user: 7}}, wantWait: time.Millisecond},
		{name: "the first of several clocks", subs: []sub{{user: 1, clock: 1, timeout: 9 * ms}, {user: 2, clock: 1, timeout: 2 * ms}, {user: 3, clock: 0, timeout: 2 * ms}, {user: 4, clock: 1, timeout: math.MaxUint64}},
			events: []event{{user: 2}, {user: 3}}, wantWait: 2 * time.Millisecond},
		{name: "a clock that has passed, among others", subs: []sub{{user: 1, clock: 1, timeout: 9 * ms}, {user: 2, clock: 1}}, events: []event{{user: 2}}},
		{name: "empty input has ended", subs: []sub{{user: 1, kind: eventFDRead, fd: 0}}, events: []event{{user: 1, kind: eventFDRead, flags: eventHangup}}},
		{name: "input in memory", sys: System{Stdin: strings.NewReader("hello")}, subs: []sub{{user: 1, kind: eventFDRead, fd: 0}}, events: []event{{user: 1, kind: eventFDRead, bytes: 5}}},
		{name: "output is always ready", subs: []sub{{user: 1, kind: eventFDWrite, fd: 1}, {user: 2, kind: eventFDWrite, fd: 2}, {user: 3, clock: 1, timeout: ms}},
			events: []event{{user: 1, kind: eventFDWrite, bytes: 1}, {user: 2, kind: eventFDWrite, bytes: 1}}},
		{name: "bad descriptors are events", subs: []sub{{user: 1, kind: eventFDWrite, fd: 3}, {user: 2, kind: eventFDRead, fd: 0xffffffff}, {user: 3, kind: eventFDRead, fd: 1}, {user: 4, kind: eventFDWrite, fd: 0}, {user: 5, clock: 1, timeout: ms}},
			events: []event{{user: 1, err: EBADF, kind: eventFDWrite}, {user: 2, err: EBADF, kind: eventFDRead}, {user: 3, err: EBADF, kind: eventFDRead}, {user: 4, err: EBADF, kind: eventFDWrite}}},
		{name: "CPU time cannot be waited for", subs: []sub{{user: 1, clock: 2}, {user: 2, clock: 3, timeout: ms}}, events: []event{{user: 1, err: ENOTSUP}, {user: 2, err: ENOTSUP}}},
		{name: "no subscriptions", want: EINVAL},
		{name: "no such kind", subs: []sub{{}, {kind: 3}}, want: EINVAL},
		{name: "no such clock", subs: []sub{{}, {clock: 4}}, want: EINVAL},
		{name: "no such flag", subs: []sub{{}, {clock: 1, flags: 2}}, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sys := tt.sys
				sys.Realtime = func() uint64 { return wall }
				sys.Monotonic = func() uint64 { return mono }
				g := newGuest(t, &sys, 2048)
				if ready := g.pollReady(tt.subs...); ready != (tt.wantWait == 0) {
					t.Errorf("ready: %v", ready)
				}
				start := time.Now()
				events, e := g.poll(tt.subs...)
				if e != tt.want {
					t.Fatalf("got %v, want %v", e, tt.want)
				}
				if waited := time.Since(start); waited != tt.wantWait { // exact: the clock is the test's
					t.Errorf("waited %v, want %v", waited, tt.wantWait)
				}
				if len(events) != len(tt.events) {
					t.Fatalf("events %+v, want %+v", events, tt.events)
				}
				for i := range events {
					if events[i] != tt.events[i] {
						t.Errorf("event %d is %+v, want %+v", i, events[i], tt.events[i])
					}
				}
				if e != ESUCCESS && g.mem[pollOut] != '?' {
					t.Error("an event was written")
				}
			})
		})
	}
}

func TestPollAgainAfterAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuest(t, &System{}, 2048)
		for i := range 4 {
			g.mem = bytes.Repeat([]byte{'?'}, 2048)
			start := time.Now()
			if events, e := g.poll(sub{user: uint64(i), clock: 1, timeout: uint64(i) * 1000}); e != ESUCCESS || len(events) != 1 {
				t.Fatalf("%v %v", events, e)
			}
			if waited := time.Since(start); waited != time.Duration(i)*1000 {
				t.Errorf("wait %d took %v", i, waited)
			}
		}
	})
}

func TestPollPointers(t *testing.T) {
	const memory = 256
	for _, tt := range []struct {
		name            string
		in, out, n, res uint64
		want            Errno
	}{
		{name: "subscriptions end past memory", in: memory - 40, out: 0, n: 1, res: 0, want: EFAULT},
		{name: "subscriptions wrap around", in: 0xffffffe8, out: 0, n: 1, res: 0, want: EFAULT},
		{name: "subscriptions misaligned", in: 4, out: 0, n: 1, res: 0, want: EINVAL},
		{name: "events end past memory", in: 0, out: memory - 24, n: 1, res: 0, want: EFAULT},
		{name: "events misaligned", in: 0, out: 100, n: 1, res: 0, want: EINVAL},
		{name: "count past memory", in: 0, out: 64, n: 1, res: memory, want: EFAULT},
		{name: "count misaligned", in: 0, out: 64, n: 1, res: 2, want: EINVAL},
		{name: "more subscriptions than memory", in: 0, out: 64, n: 100, res: 0, want: EFAULT},
		{name: "more subscriptions than there may be", in: 0, out: 64, n: maxSubscriptions + 1, res: 0, want: EINVAL},
		{name: "size overflows", in: 0, out: 64, n: 0xffffffff, res: 0, want: EINVAL},
		{name: "none", in: 0, out: 64, n: 0, res: 0, want: EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t, &System{}, memory)
			sub{clock: 1, timeout: math.MaxUint64}.put(g.mem) // would wait forever
			before := bytes.Clone(g.mem)
			g.want(tt.want, "poll_oneoff", tt.in, tt.out, tt.n, tt.res)
			if !bytes.Equal(before, g.mem) {
				t.Errorf("memory changed: %q", []byte(g.mem))
			}
		})
	}
}

func TestPollEventsMayReplaceSubscriptions(t *testing.T) {
	g := newGuest(t, &System{}, 256)
	for i := range 4 {
		sub{user: uint64(i), kind: eventFDWrite, fd: 1}.put(g.mem[48*i:])
	}
	g.want(ESUCCESS, "poll_oneoff", 0, 0, 4, 192)
	for i := range 4 {
		if g.u64(32*i) != uint64(i) || g.mem[32*i+10] != eventFDWrite {
			t.Errorf("event %d: %q", i, []byte(g.mem[32*i:32*i+32]))
		}
	}
	if g.u32(192) != 4 {
		t.Errorf("%d events", g.u32(192))
	}
}

func TestPollEndsWithTheContext(t *testing.T) {
	gone := errors.New("client gone")
	r, w := io.Pipe()
	defer w.Close()
	for _, s := range []sub{
		{clock: 1, timeout: math.MaxUint64}, {clock: 0, timeout: math.MaxUint64, flags: 1}, {clock: 1, timeout: uint64(time.Hour)},
		{kind: eventFDRead},
	} {
		g := newGuest(t, &System{Stdin: struct{ io.Reader }{r}}, 2048)
		ctx, cancel := context.WithCancelCause(context.Background())
		g.ctx = ctx
		time.AfterFunc(time.Millisecond, func() { cancel(gone) })
		s.put(g.mem)
		if g.ready("poll_oneoff", pollIn, pollOut, 1, pollCount) {
			t.Errorf("%+v is ready", s)
		}
		if _, err := g.try("poll_oneoff", pollIn, pollOut, 1, pollCount); err != gone {
			t.Errorf("%+v: got %v", s, err)
		}
	}
}

func TestPollWaitsForInput(t *testing.T) {
	r, w := io.Pipe()
	g := newGuest(t, &System{Stdin: r}, 2048)
	read, timeout := sub{user: 1, kind: eventFDRead}, sub{user: 2, clock: 1, timeout: uint64(time.Hour)}
	if g.pollReady(read, timeout) {
		t.Error("ready without input")
	}
	go w.Write([]byte("hello"))
	events, _ := g.poll(read, timeout)
	if len(events) != 1 || events[0] != (event{user: 1, kind: eventFDRead, bytes: 5}) {
		t.Fatalf("events %+v", events)
	}
	if !g.pollReady(read, timeout) {
		t.Error("not ready with input")
	}
	g.iovecs(0, 128, 64)
	g.want(ESUCCESS, "fd_read", 0, 0, 1, 16)
	g.wantMemory(128, "hello?")

	// The clock may win; then what comes later is still there.
	g.mem = bytes.Repeat([]byte{'?'}, 2048)
	timeout.timeout = 1000
	if events, _ = g.poll(read, timeout); len(events) != 1 || events[0] != (event{user: 2}) {
		t.Fatalf("events %+v", events)
	}
	go w.Close()
	g.mem = bytes.Repeat([]byte{'?'}, 2048)
	if events, _ = g.poll(read); len(events) != 1 || events[0] != (event{user: 1, kind: eventFDRead, flags: eventHangup}) {
		t.Fatalf("events %+v", events)
	}
}

func TestPollRights(t *testing.T) {
	g := newGuest(t, &System{}, 2048)
	g.want(ESUCCESS, "fd_fdstat_set_rights", 1, rightWrite, 0)
	g.mem = bytes.Repeat([]byte{'?'}, 2048)
	if events, _ := g.poll(sub{kind: eventFDWrite, fd: 1}); len(events) != 1 || events[0] != (event{err: ENOTCAPABLE, kind: eventFDWrite}) {
		t.Errorf("events %+v", events)
	}
}
