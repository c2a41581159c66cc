// Package ratelimit counts events of clients and keeps those who cause too many in penalty boxes: the platform's edge rate
// limiting. A Limiter holds the rate counters and the penalty boxes of one service, by name; both come into being when they
// are first written to.
//
// A rate counter counts events in whole seconds. A window of N seconds is the present second, however much of it has passed,
// and the N-1 seconds before it; counts and rates are sums over windows, exact as long as nothing is evicted. A rate is an average
// for each second of the window, rounded down, but a limit is compared with the exact sum: it is exceeded by more than limit
// events for each second of the window. What was counted is forgotten after a minute. An entry of a penalty box stays until its
// time has passed; entering it again sets its time anew.
//
// Entries are spread over shards by a keyed hash of their name, each with a lock that is held for some hundred nanoseconds; no
// lock is shared by all. Memory is bounded by Options.MaxBytes. When a shard's part of it is used up, the counters lose what was
// least recently incremented, but of the entries that were incremented once, as long as these take more than a fifth: a flood of
// names that nobody uses twice pushes out others of its kind and not those that count. Penalty boxes have their own part of the
// memory, a quarter, and lose the entries that would leave soonest. Nothing of this depends on the order of map iteration, and no
// goroutine runs on behalf of a Limiter.
//
// All methods may be called from many goroutines at once.
package ratelimit

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The platform's bounds on arguments.
const (
	MaxNameBytes = 1024 // of a counter, a box or an entry
	MinPenalty   = time.Minute
	MaxPenalty   = time.Hour
)

// DefaultMaxBytes is Options.MaxBytes when that is 0. It holds some 190,000 entries of counters; the platform has room for 200,000.
const DefaultMaxBytes = 64 << 20

const (
	defaultMaxNames = 1000
	maxShards       = 64
	shardBytes      = 64 << 10 // a shard has no less, so that any entry fits
	history         = 60       // seconds for which events are remembered
)

var (
	// ErrInvalid is in the chain of errors about an argument outside its bounds.
	ErrInvalid = errors.New("ratelimit: not valid")
	// ErrTooManyNames means that a counter or a box was not made because there are Options.MaxNames of them.
	ErrTooManyNames = errors.New("ratelimit: too many counters or penalty boxes")
)

// Options are settings of a Limiter. The zero value means the defaults.
type Options struct {
	// MaxBytes bounds the memory for entries, three quarters of it for those of counters; 0 means DefaultMaxBytes. Less than 64 KiB
	// is taken for 64 KiB.
	MaxBytes int64
	// MaxNames bounds the number of counters, and likewise that of penalty boxes; 0 means 1000. They are never forgotten: their names
	// are meant to stand in a program, not to come from its clients.
	MaxNames int
	// Now gives the time since some moment. It never goes back. nil is the system's monotonic clock.
	Now func() time.Duration
}

// Limiter holds rate counters and penalty boxes.
type Limiter struct {
	now      func() time.Duration
	seed     maphash.Seed
	counters names
	boxes    names
	maxBytes int64

	// Most services limit no rates, so there are no shards before there is a name. Who has found a name sees them.
	begin  sync.Once
	shards []shard
}

// New makes a Limiter without entries.
func New(o Options) *Limiter {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	o.MaxBytes = max(o.MaxBytes, shardBytes)
	if o.MaxNames <= 0 {
		o.MaxNames = defaultMaxNames
	}
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Duration { return time.Since(start) }
	}
	return &Limiter{
		now:      o.Now,
		seed:     maphash.MakeSeed(),
		counters: names{limit: o.MaxNames},
		boxes:    names{limit: o.MaxNames},
		maxBytes: o.MaxBytes,
	}
}

// number gives the number of a counter or a box, a new one if need be.
func (l *Limiter) number(n *names, name string) (uint32, error) {
	if number, ok := n.find(name); ok {
		return number, nil
	}
	l.begin.Do(func() {
		l.shards = make([]shard, min(maxShards, l.maxBytes/shardBytes))
		for i := range l.shards {
			l.shards[i].init(l.maxBytes / int64(len(l.shards)))
		}
	})
	return n.add(name)
}

// Policy is when and for how long a client is penalised.
type Policy struct {
	Window time.Duration // 1, 10 or 60 seconds
	Limit  uint32        // events for each second of the window that are not too many
	TTL    time.Duration // from MinPenalty to MaxPenalty; what goes beyond whole minutes is cut off
}

func (p *Policy) check() error {
	if err := checkWindow(p.Window); err != nil {
		return err
	}
	return checkTTL(p.TTL)
}

func checkWindow(w time.Duration) error {
	if w != time.Second && w != 10*time.Second && w != time.Minute {
		return fmt.Errorf("%w: a window of %s: want 1, 10 or 60 seconds", ErrInvalid, w)
	}
	return nil
}

func checkTTL(ttl time.Duration) error {
	if ttl < MinPenalty || ttl > MaxPenalty {
		return fmt.Errorf("%w: a penalty of %s: want %s to %s", ErrInvalid, ttl, MinPenalty, MaxPenalty)
	}
	return nil
}

func checkNames(list ...string) error {
	for _, name := range list {
		if len(name) > MaxNameBytes {
			return fmt.Errorf("%w: a name of %d bytes: it may have %d", ErrInvalid, len(name), MaxNameBytes)
		}
	}
	return nil
}

// CheckRate adds delta to an entry of a counter and, when that exceeds the policy's limit, puts the entry in the box. It
// reports whether the entry is in the box then, for whatever reason. A delta of 0 checks without counting.
func (l *Limiter) CheckRate(counter, box, entry string, delta uint32, p Policy) (penalised bool, err error) {
	if err := p.check(); err != nil {
		return false, err
	}
	if err := checkNames(counter, box, entry); err != nil {
		return false, err
	}
	c, err := l.number(&l.counters, counter)
	if err != nil {
		return false, err
	}
	b, err := l.number(&l.boxes, box)
	if err != nil {
		return false, err
	}
	window := uint32(p.Window / time.Second)
	now := l.now()
	s := l.shard(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.advance(now)
	key := keyOf(c, entry)
	e := s.entries[key]
	if delta > 0 {
		e = s.count(e, key, delta)
	}
	if e != nil && e.sum(s.second, window) > uint64(p.Limit)*uint64(window) {
		s.penalise(keyOf(b, entry), now+p.TTL.Truncate(time.Minute))
		return true, nil
	}
	return s.penalised(keyOf(b, entry)), nil
}

// Increment adds delta to an entry of a counter.
func (l *Limiter) Increment(counter, entry string, delta uint32) error {
	if err := checkNames(counter, entry); err != nil {
		return err
	}
	c, err := l.number(&l.counters, counter)
	if err != nil || delta == 0 {
		return err
	}
	now := l.now()
	s := l.shard(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	key := keyOf(c, entry)
	s.count(s.entries[key], key, delta)
	return nil
}

// Rate gives the events of an entry for each second of the window, which is 1, 10 or 60 seconds, rounded down; 0 for what was
// never counted.
func (l *Limiter) Rate(counter, entry string, window time.Duration) (uint32, error) {
	if err := checkWindow(window); err != nil {
		return 0, err
	}
	n, err := l.sum(counter, entry, window)
	return saturated(n / uint64(window/time.Second)), err
}

// Count gives the events of an entry in the latest 10, 20, 30, 40, 50 or 60 seconds; 0 for what was never counted.
func (l *Limiter) Count(counter, entry string, duration time.Duration) (uint32, error) {
	if duration < 10*time.Second || duration > time.Minute || duration%(10*time.Second) != 0 {
		return 0, fmt.Errorf("%w: a duration of %s: want 10, 20, 30, 40, 50 or 60 seconds", ErrInvalid, duration)
	}
	n, err := l.sum(counter, entry, duration)
	return saturated(n), err
}

func (l *Limiter) sum(counter, entry string, window time.Duration) (uint64, error) {
	if err := checkNames(counter, entry); err != nil {
		return 0, err
	}
	c, ok := l.counters.find(counter)
	if !ok {
		return 0, nil
	}
	now := l.now()
	s := l.shard(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	e := s.entries[keyOf(c, entry)]
	if e == nil {
		return 0, nil
	}
	return e.sum(s.second, uint32(window/time.Second)), nil
}

func saturated(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// Penalise puts an entry in a box for ttl, from MinPenalty to MaxPenalty; what goes beyond whole minutes is cut off. An entry that
// is there already stays for ttl from now on.
func (l *Limiter) Penalise(box, entry string, ttl time.Duration) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	if err := checkNames(box, entry); err != nil {
		return err
	}
	b, err := l.number(&l.boxes, box)
	if err != nil {
		return err
	}
	now := l.now()
	s := l.shard(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.advance(now)
	s.penalise(keyOf(b, entry), now+ttl.Truncate(time.Minute))
	return nil
}

// Penalised reports whether an entry is in a box.
func (l *Limiter) Penalised(box, entry string) (bool, error) {
	if err := checkNames(box, entry); err != nil {
		return false, err
	}
	b, ok := l.boxes.find(box)
	if !ok {
		return false, nil
	}
	now := l.now()
	s := l.shard(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	return s.penalised(keyOf(b, entry)), nil
}

// shard gives the shard that an entry is in, in whatever counter or box: so one lock serves all of CheckRate.
func (l *Limiter) shard(entry string) *shard {
	return &l.shards[maphash.String(l.seed, entry)%uint64(len(l.shards))]
}

// Stats is what a Limiter holds, and what it has counted since it was made.
type Stats struct {
	Counters, Boxes  int    // names in use
	Entries          int    // of counters, with events in the last minute
	Penalised        int    // entries of boxes
	Bytes, MaxBytes  int64  // an estimate of the entries' memory, and its bound
	Evicted          uint64 // entries of counters that were given up for want of memory
	EvictedPenalties uint64 // entries of boxes that left before their time for want of memory
	Penalties        uint64 // times that CheckRate or Penalise put an entry in a box
}

// Stats gives the present figures. It gives back the memory of entries that have become void.
func (l *Limiter) Stats() Stats {
	st := Stats{Counters: l.counters.len(), Boxes: l.boxes.len(), MaxBytes: l.maxBytes}
	if st.Counters+st.Boxes == 0 {
		return st
	}
	for i := range l.shards {
		l.shards[i].stats(l.now(), &st)
	}
	return st
}

// names numbers counters, or boxes. Who finds a name takes no lock.
type names struct {
	limit  int
	known  atomic.Pointer[map[string]uint32] // the map is never written to once it is here
	change sync.Mutex
}

func (n *names) find(name string) (uint32, bool) {
	m := n.known.Load()
	if m == nil {
		return 0, false
	}
	number, ok := (*m)[name]
	return number, ok
}

func (n *names) len() int {
	if m := n.known.Load(); m != nil {
		return len(*m)
	}
	return 0
}

// add gives a name a number, unless it has one already.
func (n *names) add(name string) (uint32, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if number, ok := n.find(name); ok {
		return number, nil
	}
	m := map[string]uint32{}
	if old := n.known.Load(); old != nil {
		if len(*old) >= n.limit {
			return 0, fmt.Errorf("%w: there may be %d of each", ErrTooManyNames, n.limit)
		}
		m = maps.Clone(*old)
	}
	number := uint32(len(m))
	m[strings.Clone(name)] = number
	n.known.Store(&m)
	return number, nil
}
