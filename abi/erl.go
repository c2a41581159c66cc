package abi

import (
	"errors"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/ratelimit"
)

// erlCalls is the guest module fastly_erl. Counters and penalty boxes have no handles: each call names them, and they come into
// being when they are first written to. Windows, durations and times to live are in seconds.
var erlCalls = calls{
	"check_rate":               {fn: erlCheckRate},
	"ratecounter_increment":    {fn: erlIncrement},
	"ratecounter_lookup_rate":  {fn: erlLookupRate},
	"ratecounter_lookup_count": {fn: erlLookupCount},
	"penaltybox_add":           {fn: erlPenalise},
	"penaltybox_has":           {fn: erlPenalised},
}

// erlNames are the texts that a call begins with: of a counter or a box, and of an entry.
type erlNames struct{ of, entry string }

func erlName(m engine.Memory, ptr, n uint32) (string, Status) {
	if n > ratelimit.MaxNameBytes {
		return "", Inval
	}
	return text(m, ptr, n)
}

func readERLNames(m engine.Memory, a args) (n erlNames, st Status) {
	if n.of, st = erlName(m, a.u32(0), a.u32(1)); st != OK {
		return n, st
	}
	n.entry, st = erlName(m, a.u32(2), a.u32(3))
	return n, st
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// erlStatus tells a guest what went wrong. Inval: an argument is outside its bounds. LimitExceeded: there would be too many
// counters or penalty boxes.
func erlStatus(err error) Status {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ratelimit.ErrInvalid):
		return Inval
	case errors.Is(err, ratelimit.ErrTooManyNames):
		return LimitExceeded
	}
	return Error
}

// limiter gives the service's Limiter. Unsupported: it has none.
func (s *Sandbox) limiter() (*ratelimit.Limiter, Status) {
	if s.env.RateLimiter == nil {
		return nil, Unsupported
	}
	return s.env.RateLimiter, OK
}

// erlCheckRate is check_rate(counter, counter_len, entry, entry_len, delta, window, limit, box, box_len, ttl, out blocked): counts
// delta events of the entry; when its rate over the window is above the limit, it goes to the box for ttl. blocked is 1 if it is
// there then, for whatever reason.
func erlCheckRate(s *Sandbox, m engine.Memory, a args) Status {
	blocked, st := u32Out(m, a.u32(10))
	if st != OK {
		return st
	}
	names, st := readERLNames(m, a)
	if st != OK {
		return st
	}
	box, st := erlName(m, a.u32(7), a.u32(8))
	if st != OK {
		return st
	}
	l, st := s.limiter()
	if st != OK {
		return st
	}
	is, err := l.CheckRate(names.of, box, names.entry, a.u32(4), ratelimit.Policy{
		Window: seconds(a.u32(5)), Limit: a.u32(6), TTL: seconds(a.u32(9)),
	})
	if err != nil {
		return erlStatus(err)
	}
	blocked.putBool(is)
	return OK
}

// erlIncrement is ratecounter_increment(counter, counter_len, entry, entry_len, delta).
func erlIncrement(s *Sandbox, m engine.Memory, a args) Status {
	names, st := readERLNames(m, a)
	if st != OK {
		return st
	}
	l, st := s.limiter()
	if st != OK {
		return st
	}
	return erlStatus(l.Increment(names.of, names.entry, a.u32(4)))
}

// erlLookupRate is ratecounter_lookup_rate(counter, counter_len, entry, entry_len, window, out rate): events per second, rounded
// down.
func erlLookupRate(s *Sandbox, m engine.Memory, a args) Status {
	return erlLookup(s, m, a, (*ratelimit.Limiter).Rate)
}

// erlLookupCount is ratecounter_lookup_count(counter, counter_len, entry, entry_len, duration, out count).
func erlLookupCount(s *Sandbox, m engine.Memory, a args) Status {
	return erlLookup(s, m, a, (*ratelimit.Limiter).Count)
}

func erlLookup(s *Sandbox, m engine.Memory, a args, ask func(l *ratelimit.Limiter, counter, entry string, d time.Duration) (uint32, error)) Status {
	out, st := u32Out(m, a.u32(5))
	if st != OK {
		return st
	}
	names, st := readERLNames(m, a)
	if st != OK {
		return st
	}
	l, st := s.limiter()
	if st != OK {
		return st
	}
	n, err := ask(l, names.of, names.entry, seconds(a.u32(4)))
	if err != nil {
		return erlStatus(err)
	}
	out.put(n)
	return OK
}

// erlPenalise is penaltybox_add(box, box_len, entry, entry_len, ttl): from 60 to 3600 seconds, in whole minutes.
func erlPenalise(s *Sandbox, m engine.Memory, a args) Status {
	names, st := readERLNames(m, a)
	if st != OK {
		return st
	}
	l, st := s.limiter()
	if st != OK {
		return st
	}
	return erlStatus(l.Penalise(names.of, names.entry, seconds(a.u32(4))))
}

// erlPenalised is penaltybox_has(box, box_len, entry, entry_len, out has).
func erlPenalised(s *Sandbox, m engine.Memory, a args) Status {
	has, st := u32Out(m, a.u32(4))
	if st != OK {
		return st
	}
	names, st := readERLNames(m, a)
	if st != OK {
		return st
	}
	l, st := s.limiter()
	if st != OK {
		return st
	}
	is, err := l.Penalised(names.of, names.entry)
	if err != nil {
		return erlStatus(err)
	}
	has.putBool(is)
	return OK
}
