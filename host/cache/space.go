package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const shards = 64

// A Space is the cache of one service: its keys and surrogate keys are its own. Its methods may be called at the same time.
type Space struct {
	c      *Cache
	name   string
	quota  atomic.Int64
	closed atomic.Bool
	purges atomic.Uint64 // purges of everything
	shard  [shards]shard
	tags   tags
	policy policy
	counts counts
}

// shard is a part of the keys. Locks are taken in this order: shard, then a body's, a tag's or the policy's.
type shard struct {
	mu    sync.RWMutex
	slots map[uint64]*slot
}

type counts struct {
	objects, bytes, waiting                                    atomic.Int64
	hits, misses, collapsed, inserts, updates, evicted, purged atomic.Uint64
}

// Stats counts what happened in a space since it was made, except Objects, Bytes and Waiting, which are as of now. The numbers
// are read one by one while the space is in use.
type Stats struct {
	Objects   int64  // objects that lookups may find, or might if they were not too old
	Bytes     int64  // memory charged: bodies, metadata and a fixed cost for each object
	Waiting   int64  // transactions that wait for another
	Hits      uint64 // lookups and transactions that found a usable object
	Misses    uint64 // those that did not
	Collapsed uint64 // transactions that had to wait for another
	Inserts   uint64
	Updates   uint64
	Evictions uint64 // objects that went to make room
	Purged    uint64 // objects that purges hit
}

// Name is the space's name.
func (sp *Space) Name() string { return sp.name }

// Stats tells how the space is doing.
func (sp *Space) Stats() Stats {
	c := &sp.counts
	return Stats{
		Objects: c.objects.Load(), Bytes: c.bytes.Load(), Waiting: c.waiting.Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(), Collapsed: c.collapsed.Load(), Inserts: c.inserts.Load(),
		Updates: c.updates.Load(), Evictions: c.evicted.Load(), Purged: c.purged.Load(),
	}
}

// Lookup finds a usable object, fresh or stale, without joining transactions and without waiting; nil if there is none.
func (sp *Space) Lookup(key []byte, h Header) *Entry {
	hash := sp.hash(key)
	s := sp.at(hash)
	s.mu.RLock()
	o, st, _, _ := s.slot(hash, key).find(h, sp.c.now())
	s.mu.RUnlock()
	if o == nil || o.body == nil || st&Usable == 0 {
		sp.counts.misses.Add(1)
		return nil
	}
	sp.hit(o)
	return newEntry(o, sp.c, st)
}

func (sp *Space) hit(o *object) {
	sp.counts.hits.Add(1)
	o.hits.Add(1)
	o.touch()
}

// Insert stores an object without joining transactions: it replaces that of the same variant, and those that wait for it get it.
// The headers select the variant. The object is found from now on, its body as far as it has been written.
// The error wraps ErrKey, ErrOptions, ErrTooLarge (the declared length), or is ErrNoRoom or ErrClosed.
func (sp *Space) Insert(key []byte, h Header, o WriteOptions) (*Writer, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	obj, names, keys, err := sp.newObject(&o)
	if err != nil {
		return nil, err
	}
	if err := sp.admit(&o); err != nil {
		return nil, err
	}
	hash := sp.hash(key)
	s := sp.at(hash)
	s.mu.Lock()
	if sp.closed.Load() {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	rec := sp.publish(s, s.makeSlot(hash, string(key)), h, obj, names, keys)
	var wake wakes
	if rec.flight != nil {
		wake = sp.rejoin(s, rec.flight, wake)
	}
	s.mu.Unlock()
	wake.call()
	sp.counts.inserts.Add(1)
	sp.fit()
	return &Writer{sp: sp, b: obj.body}, nil
}

// newObject makes an object with an empty body.
func (sp *Space) newObject(o *WriteOptions) (obj *object, names, keys []string, err error) {
	names, keys, err = o.check()
	if err != nil {
		return nil, nil, nil, err
	}
	obj = &object{
		born: sp.c.now(), maxAge: clampDuration(o.MaxAge), initialAge: clampDuration(o.InitialAge),
		whileRevalid: clampDuration(o.StaleWhileRevalidate), ifError: clampDuration(o.StaleIfError),
		edgeMaxAge: clampDuration(o.EdgeMaxAge), names: names, userMetadata: o.UserMetadata, sensitive: o.Sensitive,
	}
	if o.EdgeMaxAge == 0 {
		obj.edgeMaxAge = obj.maxAge
	}
	declared := int64(-1)
	if o.KnownLength {
		declared = o.Length
	}
	obj.body = newBody(sp, declared)
	return obj, names, keys, nil
}

// admit refuses what is known to be too large.
func (sp *Space) admit(o *WriteOptions) error {
	if limit := min(sp.c.opts.MaxObject, sp.quota.Load()-objectCost); o.KnownLength && o.Length > limit {
		return tooLarge(limit)
	}
	return nil
}

func (sp *Space) hash(key []byte) uint64 { return maphash.Bytes(sp.c.seed, key) }

func (sp *Space) at(hash uint64) *shard { return &sp.shard[hash%shards] }

// slot gives what is stored under a key, nil if nothing is.
func (s *shard) slot(hash uint64, key []byte) *slot {
	for sl := s.slots[hash]; sl != nil; sl = sl.next {
		if sl.key == string(key) {
			return sl
		}
	}
	return nil
}

// makeSlot gives the slot of a key, a new one if there is none. The caller puts something into it, or calls tidy.
func (s *shard) makeSlot(hash uint64, key string) *slot {
	first := s.slots[hash]
	for sl := first; sl != nil; sl = sl.next {
		if sl.key == key {
			return sl
		}
	}
	sl := &slot{key: key, hash: hash, next: first}
	sl.plain.slot = sl
	if s.slots == nil {
		s.slots = make(map[uint64]*slot)
	}
	s.slots[hash] = sl
	return sl
}

// tidy forgets what holds nothing any more around a record.
func (s *shard) tidy(rec *record) {
	sl := rec.slot
	if !sl.tidy(rec) {
		return
	}
	if s.slots[sl.hash] == sl {
		if sl.next == nil {
			delete(s.slots, sl.hash)
		} else {
			s.slots[sl.hash] = sl.next
		}
		return
	}
	for p := s.slots[sl.hash]; p != nil; p = p.next {
		if p.next == sl {
			p.next = sl.next
			return
		}
	}
}

// find gives the object of the newest rule that has a usable one for the request, or one that marks the variant as not
// cacheable (without a body). past is the newest object that was found but is not usable, nil if there is none or if o is not nil.
func (s *slot) find(h Header, now int64) (o *object, st State, past *object, pastState State) {
	if s == nil {
		return nil, 0, nil, 0
	}
	look := func(rec *record) bool {
		if rec == nil || rec.obj == nil || rec.obj.gone.Load() {
			return false
		}
		x := rec.obj
		xs := x.state(now)
		if x.body == nil {
			if xs&Stale == 0 && xs&Usable != 0 {
				o, st = x, 0
				return true
			}
			return false
		}
		if xs&Usable != 0 {
			o, st = x, xs
			return true
		}
		if past == nil {
			past, pastState = x, xs
		}
		return false
	}
	if s.vary == nil {
		look(&s.plain)
	} else {
		for _, r := range s.vary {
			if look(s.variant(r, h)) {
				break
			}
		}
	}
	if o != nil {
		past, pastState = nil, 0
	}
	return o, st, past, pastState
}

// publish puts an object in its place, which it gives. The caller holds the shard's lock.
func (sp *Space) publish(s *shard, sl *slot, h Header, o *object, names, keys []string) *record {
	r, dropped := sl.promote(names, sp.c.opts.MaxVariants)
	rec := sl.make(r, h)
	o.rec = rec
	var held int64
	whole := o.body == nil
	if b := o.body; b != nil {
		b.mu.Lock()
		b.owner = o // before the object that had the body until now is retired
		if whole = b.final.Load(); whole && b.held == 0 {
			for _, c := range b.chunks {
				b.held += int64(cap(c))
			}
			sp.charge(b.held)
		}
		held = b.held
		b.mu.Unlock()
	}
	old := rec.obj
	rec.obj = o
	if old != nil {
		sp.retire(old)
	}
	for _, d := range dropped {
		if len(d.names) == 0 {
			if x := sl.plain.obj; x != nil {
				sl.plain.obj = nil
				sp.retire(x)
			}
		}
		for _, v := range d.recs {
			if x := v.obj; x != nil {
				v.obj = nil
				sp.retire(x)
			}
		}
	}
	sp.tags.bind(sp.c.seed, o, keys)
	sp.counts.objects.Add(1)
	sp.charge(o.overhead())
	if whole {
		sp.policy.add(o, o.overhead()+held)
	}
	return rec
}

// retire does what is left to do for an object that was taken out of its record. The caller holds the shard's lock.
func (sp *Space) retire(o *object) {
	o.gone.Store(true)
	sp.tags.unbind(o)
	sp.policy.remove(o)
	sp.counts.objects.Add(-1)
	sp.charge(-o.overhead())
	if o.body != nil {
		o.body.detach(o, sp)
	}
}

// remove takes an object out of the index and reports whether it was there.
func (sp *Space) remove(o *object) bool {
	s := sp.at(o.rec.slot.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.rec.obj != o {
		return false
	}
	o.rec.obj = nil
	sp.retire(o)
	s.tidy(o.rec)
	return true
}

func (sp *Space) charge(n int64) {
	sp.counts.bytes.Add(n)
	sp.c.bytes.Add(n)
}

// fit evicts until space and cache are within their bounds. False: what is left cannot be evicted.
func (sp *Space) fit() bool {
	for sp.counts.bytes.Load() > sp.quota.Load() {
		if !sp.evict() {
			return false
		}
	}
	const lot = 64 << 10 // evicted from one space before the next is sought
	for sp.c.bytes.Load() > sp.c.opts.MaxBytes {
		from := sp.c.fattest()
		if from == nil {
			return false
		}
		for start := sp.c.bytes.Load(); start-sp.c.bytes.Load() < lot && sp.c.bytes.Load() > sp.c.opts.MaxBytes; {
			if !from.evict() {
				if from == sp || !sp.evict() {
					return false
				}
				break
			}
		}
	}
	return true
}

// evict makes room by one object. False: there is none that may go.
func (sp *Space) evict() bool {
	for range 64 { // objects with an obligation that are passed over
		o := sp.policy.victim(sp.quota.Load())
		if o == nil {
			return false
		}
		s := sp.at(o.rec.slot.hash)
		s.mu.Lock()
		switch {
		case o.rec.obj != o: // it went by itself
			s.mu.Unlock()
			return true
		case o.rec.flight != nil:
			s.mu.Unlock()
			sp.policy.restore(o)
			continue
		}
		o.rec.obj = nil
		sp.retire(o)
		s.tidy(o.rec)
		s.mu.Unlock()
		sp.counts.evicted.Add(1)
		return true
	}
	return false
}

// Close drops all objects. Transactions that wait go on, each by itself; what they insert is refused with ErrClosed.
// Open readers are undisturbed. The name is free for a new space.
func (sp *Space) Close() {
	if sp.closed.Swap(true) {
		return
	}
	sp.c.mu.Lock()
	if sp.c.named[sp.name] == sp {
		delete(sp.c.named, sp.name)
		sp.c.relist()
	}
	sp.c.mu.Unlock()
	for i := range sp.shard {
		s := &sp.shard[i]
		var wake wakes
		s.mu.Lock()
		s.records(func(rec *record) {
			if f := rec.flight; f != nil {
				wake = sp.rejoin(s, f, wake)
			}
			if o := rec.obj; o != nil {
				rec.obj = nil
				sp.retire(o)
			}
		})
		s.slots = nil
		s.mu.Unlock()
		wake.call()
	}
}

// records calls f for each record. f may change records, but the table is not tidied meanwhile.
func (s *shard) records(f func(*record)) {
	for _, sl := range s.slots {
		for ; sl != nil; sl = sl.next {
			sl.records(f)
		}
	}
}

func (s *slot) records(f func(*record)) {
	f(&s.plain)
	for _, r := range s.vary {
		for _, rec := range r.recs {
			f(rec)
		}
	}
}
