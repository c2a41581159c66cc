package ratelimit

import (
	"container/heap"
	"math"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// key names an entry within a shard: the number of its counter or its box, and its own name.
type key struct {
	of   uint32
	name string
}

func keyOf(of uint32, name string) key { return key{of, name} }

// slot is the events of one second.
type slot struct{ second, n uint32 }

// entry is what a counter knows of one client.
type entry struct {
	key        key
	next, prev *entry
	in         *list
	slots      []slot // in the order of time; the last one is that of the latest increment
	few        [2]slot
	hits       uint8 // increments, up to 2
}

// What an entry takes besides its name: itself, its key in a map that has just grown, and what the allocator rounds up.
const (
	mapBytes   = 3 * (unsafe.Sizeof(key{}) + unsafe.Sizeof((*entry)(nil)))
	entryBytes = int64(unsafe.Sizeof(entry{}) + mapBytes + 32)
	boxedBytes = int64(unsafe.Sizeof(boxed{}) + mapBytes + 2*unsafe.Sizeof((*boxed)(nil)) + 16)
	slotBytes  = int64(unsafe.Sizeof(slot{}))
)

func (e *entry) bytes() int64 {
	n := entryBytes + int64(len(e.key.name))
	if cap(e.slots) > len(e.few) {
		n += slotBytes * int64(cap(e.slots))
	}
	return n
}

// add counts events. Seconds never go back.
func (e *entry) add(second, delta uint32) {
	if n := len(e.slots); n > 0 && e.slots[n-1].second == second {
		last := &e.slots[n-1]
		last.n = saturated(uint64(last.n) + uint64(delta))
		return
	}
	if len(e.slots) == cap(e.slots) {
		old := 0
		for old < len(e.slots) && second-e.slots[old].second >= history {
			old++
		}
		if old > 0 {
			e.slots = e.slots[:copy(e.slots, e.slots[old:])]
		} else {
			more := make([]slot, len(e.slots), 2*cap(e.slots)) // at most 64, since 60 are never void
			copy(more, e.slots)
			e.slots = more
		}
	}
	e.slots = append(e.slots, slot{second, delta})
}

// sum gives the events in the window of seconds that ends with second.
func (e *entry) sum(second, window uint32) (n uint64) {
	for i := len(e.slots) - 1; i >= 0 && second-e.slots[i].second < window; i-- {
		n += uint64(e.slots[i].n)
	}
	return n
}

// void reports whether the entry knows nothing any more.
func (e *entry) void(second uint32) bool {
	return second-e.slots[len(e.slots)-1].second >= history
}

// list holds entries in the order of their latest increments, the latest first.
type list struct {
	root  entry // not an entry: the end of both directions
	bytes int64
}

func (l *list) init() { l.root.next, l.root.prev = &l.root, &l.root }

func (l *list) last() *entry {
	if l.root.prev == &l.root {
		return nil
	}
	return l.root.prev
}

func (l *list) push(e *entry) {
	e.in = l
	l.bytes += e.bytes()
	e.prev, e.next = &l.root, l.root.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry) leave() {
	e.in.bytes -= e.bytes()
	e.prev.next, e.next.prev = e.next, e.prev
	e.in, e.prev, e.next = nil, nil, nil
}

// shard holds some of the entries, and a lock for them.
type shard struct {
	mu     sync.Mutex
	second uint32 // the present one
	now    time.Duration

	entries map[key]*entry
	once    list // entries that were incremented once
	often   list // the others
	room    int64

	boxed     map[key]*boxed
	leaving   leaving // who leaves first comes first
	boxBytes  int64
	boxRoom   int64
	penalties uint64

	evicted, evictedPenalties uint64
	_                         [64]byte // keeps the locks of two shards out of one cache line
}

func (s *shard) init(bytes int64) {
	s.entries = make(map[key]*entry)
	s.boxed = make(map[key]*boxed)
	s.once.init()
	s.often.init()
	s.boxRoom = bytes / 4
	s.room = bytes - s.boxRoom
}

// advance sets the shard's clock. A caller who has waited for the lock may come with a time that is past for others: time
// stands still then. The shard is locked, here and below.
func (s *shard) advance(now time.Duration) time.Duration {
	if now > s.now {
		s.now = now
		s.second = uint32(min(now/time.Second, math.MaxUint32))
	}
	for len(s.leaving) > 0 && s.leaving[0].until <= s.now {
		s.release()
	}
	return s.now
}

// count adds events to an entry, nil for one that is not there yet.
func (s *shard) count(e *entry, k key, delta uint32) *entry {
	if e == nil {
		s.reclaim(2)                   // more than comes, so that what is void goes in time
		k.name = strings.Clone(k.name) // it may be part of something larger
		e = &entry{key: k}
		e.slots = e.few[:0]
		s.entries[k] = e
	} else {
		e.leave()
		if e.void(s.second) {
			e.slots, e.hits = e.few[:0], 0
		}
	}
	e.add(s.second, delta)
	if e.hits < 2 {
		e.hits++
	}
	if e.hits == 1 {
		s.once.push(e)
	} else {
		s.often.push(e)
	}
	for s.once.bytes+s.often.bytes > s.room && s.evict(e) {
	}
	return e
}

// reclaim drops up to n entries of each list that are void.
func (s *shard) reclaim(n int) {
	for _, l := range []*list{&s.once, &s.often} {
		for range n {
			e := l.last()
			if e == nil || !e.void(s.second) {
				break
			}
			s.drop(e)
		}
	}
}

// evict drops the entry that is missed least, but not keep; false when there is no other.
func (s *shard) evict(keep *entry) bool {
	for _, l := range []*list{&s.once, &s.often} {
		if e := l.last(); e != nil && e.void(s.second) {
			s.drop(e)
			return true
		}
	}
	l, other := &s.often, &s.once
	if s.once.bytes > s.room/5 {
		l, other = other, l
	}
	e := l.last()
	if e == nil || e == keep {
		e = other.last()
	}
	if e == nil || e == keep {
		return false
	}
	s.drop(e)
	s.evicted++
	return true
}

func (s *shard) drop(e *entry) {
	e.leave()
	delete(s.entries, e.key)
}

// boxed is an entry of a penalty box.
type boxed struct {
	key   key
	until time.Duration
	index int // in leaving
}

func (b *boxed) bytes() int64 { return boxedBytes + int64(len(b.key.name)) }

// leaving is a heap.
type leaving []*boxed

func (l leaving) Len() int           { return len(l) }
func (l leaving) Less(i, j int) bool { return l[i].until < l[j].until }
func (l leaving) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

func (l *leaving) Push(x any) {
	b := x.(*boxed)
	b.index = len(*l)
	*l = append(*l, b)
}

func (l *leaving) Pop() any {
	last := len(*l) - 1
	b := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return b
}

// penalise puts an entry in a box.
func (s *shard) penalise(k key, until time.Duration) {
	s.penalties++
	if b := s.boxed[k]; b != nil {
		b.until = until
		heap.Fix(&s.leaving, b.index)
		return
	}
	k.name = strings.Clone(k.name)
	b := &boxed{key: k, until: until}
	for s.boxBytes+b.bytes() > s.boxRoom && len(s.leaving) > 0 {
		s.release()
		s.evictedPenalties++
	}
	s.boxed[k] = b
	s.boxBytes += b.bytes()
	heap.Push(&s.leaving, b)
}

// penalised reports whether an entry is in a box.
func (s *shard) penalised(k key) bool { return s.boxed[k] != nil }

// release lets the first entry leave.
func (s *shard) release() {
	b := heap.Pop(&s.leaving).(*boxed)
	s.boxBytes -= b.bytes()
	delete(s.boxed, b.key)
}

func (s *shard) stats(now time.Duration, st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	s.reclaim(len(s.entries))
	st.Entries += len(s.entries)
	st.Penalised += len(s.boxed)
	st.Bytes += s.once.bytes + s.often.bytes + s.boxBytes
	st.Evicted += s.evicted
	st.EvictedPenalties += s.evictedPenalties
	st.Penalties += s.penalties
}
