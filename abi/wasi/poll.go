package wasi

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

const (
	subscriptionSize = 48
	eventSize        = 32
	// maxSubscriptions bounds the work of one call to well under a millisecond.
	maxSubscriptions = 1 << 14

	eventClock   = 0
	eventFDRead  = 1
	eventFDWrite = 2

	clockAbsolute = 1 << 0 // subclockflags
	eventHangup   = 1 << 0 // eventrwflags
)

// pollOneoff is poll_oneoff(in, out, nsubscriptions, nevents) -> errno. It waits until at least one subscription has
// come true and gives an event for each that has, in the order of the subscriptions.
//   - in: nsubscriptions records of 48 bytes
//   - out: room for as many events of 32 bytes; it may be the same place as in
//   - nevents: takes the number of events as u32
//
// A clock comes true when its time has passed: relative, or absolute on the monotonic or the wall clock; setting the
// wall clock during the wait has no effect. Its precision permits to be late and is not made use of. Reading comes
// true when input is there or has ended, writing at once. A subscription that cannot come true gives an event at once,
// whose error is EBADF (not open, or not in that direction), ENOTCAPABLE (a right was given up) or ENOTSUP (waiting for
// CPU time).
//
// EINVAL: no subscriptions or more than 16384, a type, clock or flag that does not exist, a misaligned pointer. EFAULT:
// one of the three areas is not wholly inside memory. Then nothing was waited for.
func pollOneoff(s *System, c *engine.Caller, a []uint64) (Errno, error) {
	in, e := subscriptions(c.Memory, a)
	if e != ESUCCESS {
		return e, nil
	}
	out, e := region(c.Memory, uint32(a[1]), uint32(a[2]), eventSize, 8)
	if e != ESUCCESS {
		return e, nil
	}
	result, e := region(c.Memory, uint32(a[3]), 1, 4, 4)
	if e != ESUCCESS {
		return e, nil
	}

	p := poll{s: s}
	soonest, e := p.soonest(in)
	if e != ESUCCESS {
		return e, nil
	}
	var waited uint64
	if soonest > 0 {
		if waited, e = p.wait(c.Context, soonest); e != ESUCCESS {
			return 0, context.Cause(c.Context)
		}
	}

	// Where in and out overlap, an event never reaches a subscription that is still to be read if both start at
	// the same place; otherwise the guest spoils its own data.
	n := uint32(0)
	for ; len(in) > 0; in = in[subscriptionSize:] {
		sub, e := p.decode(in)
		if e != ESUCCESS || !p.true(&sub, waited) {
			continue
		}
		b := out[:eventSize]
		out = out[eventSize:]
		clear(b)
		binary.LittleEndian.PutUint64(b, sub.userdata)
		binary.LittleEndian.PutUint16(b[8:], uint16(sub.err))
		b[10] = sub.kind
		if sub.err == ESUCCESS && sub.kind != eventClock {
			bytes, flags := uint64(1), uint16(0)
			if sub.kind == eventFDRead {
				there, end, _ := s.stdinState()
				bytes = uint64(there)
				if end {
					flags = eventHangup
				}
			}
			binary.LittleEndian.PutUint64(b[16:], bytes)
			binary.LittleEndian.PutUint16(b[24:], flags)
		}
		n++
	}
	binary.LittleEndian.PutUint32(result, n)
	return ESUCCESS, nil
}

// pollOneoffReady says whether a subscription is true already, or the call fails.
func pollOneoffReady(s *System, c *engine.Caller, a []uint64) bool {
	in, e := subscriptions(c.Memory, a)
	if e != ESUCCESS {
		return true
	}
	p := poll{s: s}
	soonest, e := p.soonest(in)
	return e != ESUCCESS || soonest == 0
}

func subscriptions(m engine.Memory, a []uint64) ([]byte, Errno) {
	if n := uint32(a[2]); n == 0 || n > maxSubscriptions {
		return nil, EINVAL
	}
	return region(m, uint32(a[0]), uint32(a[2]), subscriptionSize, 8)
}

// poll is one call of poll_oneoff. The clocks are read when first needed, and once, so that every subscription is
// measured from the same moment.
type poll struct {
	s             *System
	mono, wall    uint64
	hasMono       bool
	hasWall       bool
	waitsForStdin bool
}

// subscription is one that has been checked.
type subscription struct {
	userdata uint64
	kind     byte
	err      Errno  // what its event says at once
	left     uint64 // of a clock: nanoseconds from the start of the call
}

// forever is longer than any wait.
const forever = math.MaxUint64

// decode reads the first subscription of b.
// EINVAL: it is of no kind, clock or flag that exists.
func (p *poll) decode(b []byte) (sub subscription, e Errno) {
	sub.userdata = binary.LittleEndian.Uint64(b)
	sub.kind = b[8]
	switch sub.kind {
	case eventClock:
		id, flags := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint16(b[40:])
		if id > clockThreadCPU || flags&^clockAbsolute != 0 {
			return sub, EINVAL
		}
		sub.left = binary.LittleEndian.Uint64(b[24:])
		switch {
		case id > clockMonotonic:
			sub.err = ENOTSUP
		case flags&clockAbsolute == 0:
		case id == clockMonotonic:
			if !p.hasMono {
				p.mono, p.hasMono = p.s.monotonic(), true
			}
			sub.left -= min(sub.left, p.mono)
		default:
			if !p.hasWall {
				p.wall, p.hasWall = p.s.realtime(), true
			}
			sub.left -= min(sub.left, p.wall)
		}
	case eventFDRead, eventFDWrite:
		d, k, e := p.s.lookup(binary.LittleEndian.Uint32(b[16:]))
		switch {
		case e != ESUCCESS:
			sub.err = e
		case (k == stdin) != (sub.kind == eventFDRead):
			sub.err = EBADF
		default:
			sub.err = d.may(rightPoll)
		}
	default:
		return sub, EINVAL
	}
	return sub, ESUCCESS
}

// true reports whether the subscription has come true after a wait of so many nanoseconds.
func (p *poll) true(sub *subscription, waited uint64) bool {
	switch {
	case sub.err != ESUCCESS || sub.kind == eventFDWrite:
		return true
	case sub.kind == eventClock:
		return sub.left <= waited
	}
	_, _, ready := p.s.stdinState()
	return ready
}

// soonest gives the nanoseconds after which the first clock comes true, 0 when something is true already.
func (p *poll) soonest(in []byte) (uint64, Errno) {
	soonest := uint64(forever)
	for ; len(in) > 0; in = in[subscriptionSize:] {
		sub, e := p.decode(in)
		switch {
		case e != ESUCCESS:
			return 0, e
		case p.true(&sub, 0):
			soonest = 0
		case sub.kind == eventClock:
			soonest = min(soonest, sub.left)
		default:
			p.waitsForStdin = true
		}
	}
	return soonest, ESUCCESS
}

// wait returns after so many nanoseconds, or before that when input is there. It gives the nanoseconds waited.
// ECANCELED: the context ended first.
func (p *poll) wait(ctx context.Context, nanos uint64) (uint64, Errno) {
	start := time.Now()
	var elapsed <-chan time.Time
	if nanos != forever {
		d := time.Duration(min(nanos, math.MaxInt64))
		if p.s.timer == nil {
			p.s.timer = time.NewTimer(d)
		} else {
			p.s.timer.Reset(d)
		}
		defer p.s.timer.Stop()
		elapsed = p.s.timer.C
	}
	var filled <-chan struct{}
	if p.waitsForStdin {
		if filled = p.s.pumped().fill(); filled == nil {
			return 0, ESUCCESS // it came since we looked
		}
	}
	select {
	case <-elapsed:
		return nanos, ESUCCESS
	case <-filled:
		return uint64(max(time.Since(start), 0)), ESUCCESS
	case <-done(ctx):
		return 0, ECANCELED
	}
}
