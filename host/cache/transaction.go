package cache

import (
	"context"
	"fmt"
	"sync/atomic"
)

// State tells what a transaction found and what it is to do. The bits are those of the platform's cache_lookup_state.
type State uint32

// Bits of a State.
const (
	Found              State = 1 << iota // there is an object that is usable, or would be after an error
	Usable                               // it is fresh, or within stale-while-revalidate
	Stale                                // it is not fresh
	MustInsertOrUpdate                   // the transaction has the obligation to bring a newer one
	UsableIfError                        // it is stale, and usable if no newer one can be had
)

// flight is the obligation to bring an object for a record, and the transactions that wait for it in the order in which
// they came. It is guarded by the shard's lock.
type flight struct {
	rec         *record
	owner       *Transaction
	first, last *Transaction
}

// A Transaction is a lookup that others with the same key wait for. It belongs to one goroutine, except that Ready,
// Wait and Close may be called from any. It is over with Close.
type Transaction struct {
	sp    *Space
	s     *shard
	key   string
	hash  uint64
	h     Header
	entry Entry   // o is nil: nothing was found
	past  *object // stale and not usable; what an update renews if entry has nothing
	state State
	pass  bool // an obligation that nobody waits for
	turn  bool // it is to bring an object whatever it finds; see InTurn

	apart  bool // it was a hit from the beginning, so no flight knows it; set before anybody else can see it
	waited bool // it has been counted as one that had to wait

	ready  atomic.Bool
	closed atomic.Bool
	sig    signal  // as the rest, guarded by the shard's lock
	flight *flight // that it owns or waits for
	before *Transaction
	after  *Transaction
}

// Begin begins a transaction and never waits. It is ready at once if it found a usable object, or if no other
// transaction is to bring one. The cache calls h until the transaction is closed. The error wraps ErrKey.
func (sp *Space) Begin(key []byte, h Header) (*Transaction, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	hash := sp.hash(key)
	t := &Transaction{sp: sp, s: sp.at(hash), hash: hash, h: h}
	t.s.mu.RLock()
	sl := t.s.slot(hash, key)
	o, st, _, _ := sl.find(h, sp.c.now())
	t.s.mu.RUnlock()
	if o != nil && st == Found|Usable { // fresh
		t.key = sl.key
		t.find(o, st)
		t.apart = true
		t.settle()
		return t, nil
	}
	t.key = string(key)
	t.s.mu.Lock()
	sp.place(t)
	t.s.mu.Unlock()
	return t, nil
}

func (t *Transaction) find(o *object, st State) {
	t.state = st
	t.entry.set(o, t.sp.c, st&^MustInsertOrUpdate)
}

// settle makes the transaction ready.
func (t *Transaction) settle() {
	if t.state&Usable != 0 {
		t.sp.hit(t.entry.o)
	} else {
		t.sp.counts.misses.Add(1)
	}
	t.ready.Store(true)
}

// place decides what a transaction that has just come, or comes again after a flight's end, finds and does. The caller holds the
// shard's lock.
func (sp *Space) place(t *Transaction) {
	sl := t.s.slot(t.hash, []byte(t.key))
	o, st, past, pastState := sl.find(t.h, sp.c.now())
	if t.turn && o != nil && o.body == nil {
		o, st = nil, 0
	}
	switch {
	case o != nil && st == Found|Usable && !t.turn:
		t.find(o, st)
		t.settle()
		return
	case o != nil && o.body == nil || sp.closed.Load():
		t.state, t.pass = MustInsertOrUpdate, true
		t.settle()
		return
	}
	if sl == nil {
		sl = t.s.makeSlot(t.hash, t.key)
		t.key = sl.key
	}
	rec := sl.target(t.h)
	f := rec.flight
	if o != nil && (f == nil || !t.turn) {
		t.find(o, st)
		if f == nil {
			sp.oblige(t, rec)
		}
		t.settle()
		return
	}
	if f == nil {
		t.past = past
		if past != nil && pastState&Found != 0 {
			t.find(past, pastState)
		}
		sp.oblige(t, rec)
		t.settle()
		return
	}
	t.flight = f
	t.before = f.last
	if f.last != nil {
		f.last.after = t
	} else {
		f.first = t
	}
	f.last = t
	sp.counts.waiting.Add(1)
	if !t.waited {
		t.waited = true
		sp.counts.collapsed.Add(1)
	}
}

// oblige gives a transaction the obligation for a record.
func (sp *Space) oblige(t *Transaction, rec *record) {
	t.flight = &flight{rec: rec, owner: t}
	rec.flight = t.flight
	t.state |= MustInsertOrUpdate
}

// unqueue takes a transaction out of the queue that it waits in.
func (sp *Space) unqueue(f *flight, t *Transaction) {
	if t.before != nil {
		t.before.after = t.after
	} else {
		f.first = t.after
	}
	if t.after != nil {
		t.after.before = t.before
	} else {
		f.last = t.before
	}
	t.before, t.after, t.flight = nil, nil, nil
	sp.counts.waiting.Add(-1)
}

// rejoin lets the transactions that wait for a flight look again, in order: some find an object now, the others wait again or get
// the obligation. The caller holds the shard's lock.
func (sp *Space) rejoin(s *shard, f *flight, w wakes) wakes {
	t := f.first
	f.first, f.last = nil, nil
	for t != nil {
		next := t.after
		t.before, t.after, t.flight = nil, nil, nil
		sp.counts.waiting.Add(-1)
		sp.place(t)
		if t.ready.Load() {
			w = t.sig.fire(w)
		}
		t = next
	}
	return w
}

// end takes a flight from its owner. The caller holds the shard's lock, and tidies up around f.rec when it is done.
func (f *flight) end() {
	f.owner.flight = nil
	if f.rec.flight == f {
		f.rec.flight = nil
	}
}

// drop passes the obligation to the next transaction that needs it. The caller holds the shard's lock.
func (sp *Space) drop(s *shard, f *flight, w wakes) wakes {
	f.end()
	if t := f.first; t != nil {
		sp.unqueue(f, t)
		sp.place(t)
		if t.ready.Load() {
			w = t.sig.fire(w)
		}
		if g := t.flight; g != nil && g.owner == t && g.rec == f.rec {
			// Those who wait go on to wait in the same queue.
			f.owner, t.flight, f.rec.flight = t, f, f
			return w
		}
		w = sp.rejoin(s, f, w)
	}
	s.tidy(f.rec)
	return w
}

// Ready reports whether the transaction has found something or has the obligation, so that its other methods may be used. If not, and
// wake is not nil, wake is called once as soon as it has. It must not wait and must not call this package; a
// later one replaces it.
func (t *Transaction) Ready(wake func()) bool {
	if t.ready.Load() || t.closed.Load() {
		return true
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.ready.Load() || t.closed.Load() {
		return true
	}
	t.sig.ask(wake)
	return false
}

// Wait waits until Ready. It gives the cause of ctx if that ends first, ErrClosed after Close.
func (t *Transaction) Wait(ctx context.Context) error {
	for !t.ready.Load() {
		t.s.mu.Lock()
		if t.ready.Load() || t.closed.Load() {
			t.s.mu.Unlock()
			break
		}
		ch := t.sig.channel()
		t.s.mu.Unlock()
		if err := await(ctx, ch); err != nil {
			return err
		}
	}
	if t.closed.Load() {
		return ErrClosed
	}
	return nil
}

// State tells what was found and what is to be done: 0 until the transaction is ready. MustInsertOrUpdate goes when it is done.
func (t *Transaction) State() State {
	if !t.ready.Load() {
		return 0
	}
	return t.state
}

// Entry is what was found: an object that is usable, or usable after an error. Nil: there was none, or the transaction is not ready.
func (t *Transaction) Entry() *Entry {
	if !t.ready.Load() || t.entry.o == nil {
		return nil
	}
	return &t.entry
}

// Past gives the object that Update would renew: the entry, if there is one, else an object that is too old to be used,
// of use for a conditional request. Nil: there is none, or the transaction has no obligation.
func (t *Transaction) Past() *Entry {
	switch {
	case !t.ready.Load() || t.state&MustInsertOrUpdate == 0:
		return nil
	case t.entry.o != nil:
		return &t.entry
	case t.past != nil:
		return newEntry(t.past, t.sp.c, Stale)
	}
	return nil
}

// Pass reports whether the obligation is the transaction's alone: no other waits for it, because the response was recorded as
// one that is unlikely to be cacheable.
func (t *Transaction) Pass() bool { return t.ready.Load() && t.pass }

// obliged reports whether the transaction has to bring an object.
func (t *Transaction) obliged() bool {
	return t.ready.Load() && !t.closed.Load() && t.state&MustInsertOrUpdate != 0
}

// Insert brings the object, which ends the obligation: those who wait find it from now on, and read its body while it is written.
// After an error the obligation stays; it is ErrNoObligation, or one of Space.Insert.
func (t *Transaction) Insert(o WriteOptions) (*Writer, error) {
	w, _, err := t.insert(o, false)
	return w, err
}

// InsertAndStreamBack is Insert that also gives the new object. Of one whose declared length is above what the cache stores, it
// gives the body to the reader of this entry alone.
func (t *Transaction) InsertAndStreamBack(o WriteOptions) (*Writer, *Entry, error) {
	return t.insert(o, true)
}

func (t *Transaction) insert(o WriteOptions, back bool) (*Writer, *Entry, error) {
	if !t.obliged() {
		return nil, nil, ErrNoObligation
	}
	sp := t.sp
	obj, names, keys, err := sp.newObject(&o)
	if err != nil {
		return nil, nil, err
	}
	if err := sp.admit(&o); err != nil {
		if !back {
			return nil, nil, err
		}
		l := obj.body.live
		l.window, l.reason, l.promised = true, err, true
		if err := t.fulfil(func() (*record, error) { return nil, nil }, true); err != nil {
			return nil, nil, err
		}
	} else {
		err := t.fulfil(func() (*record, error) {
			return sp.publish(t.s, t.s.makeSlot(t.hash, t.key), t.h, obj, names, keys), nil
		}, false)
		if err != nil {
			return nil, nil, err
		}
		sp.counts.inserts.Add(1)
		sp.fit()
	}
	w := &Writer{sp: sp, b: obj.body}
	if !back {
		return w, nil, nil
	}
	return w, newEntry(obj, sp.c, obj.state(obj.born)), nil
}

// fulfil ends the obligation by what act does under the shard's lock. Those who wait look again; with alone, each goes
// on by itself.
func (t *Transaction) fulfil(act func() (*record, error), alone bool) error {
	sp, s := t.sp, t.s
	s.mu.Lock()
	if t.closed.Load() {
		s.mu.Unlock()
		return ErrNoObligation
	}
	if sp.closed.Load() {
		s.mu.Unlock()
		return ErrClosed
	}
	rec, err := act()
	if err != nil {
		s.mu.Unlock()
		return err
	}
	var wake wakes
	f := t.flight
	t.state &^= MustInsertOrUpdate
	if f != nil {
		f.end()
		if alone {
			wake = sp.disperse(f, wake)
		}
		wake = sp.rejoin(s, f, wake)
	}
	if rec != nil && rec.flight != nil { // of others, that was filed there
		wake = sp.rejoin(s, rec.flight, wake)
	}
	if f != nil {
		s.tidy(f.rec)
	}
	s.mu.Unlock()
	wake.call()
	return nil
}

// disperse lets all that wait for a flight go on by themselves. The caller holds the shard's lock.
func (sp *Space) disperse(f *flight, w wakes) wakes {
	for t := f.first; t != nil; t = f.first {
		sp.unqueue(f, t)
		t.state, t.pass = MustInsertOrUpdate, true
		t.settle()
		w = t.sig.fire(w)
	}
	return w
}

// Update renews the object that was found (see Past): its body stays, everything else becomes as the options say, except the
// length and the hits. It ends the obligation. After an error the obligation stays; it is ErrNoObligation, ErrNotFound,
// ErrClosed, or wraps ErrOptions or what broke the body.
func (t *Transaction) Update(o WriteOptions) error {
	if !t.obliged() {
		return ErrNoObligation
	}
	base := t.entry.o
	if base == nil {
		base = t.past
	}
	if base == nil {
		return ErrNotFound
	}
	o.KnownLength = false
	obj, names, keys, err := t.sp.newObject(&o)
	if err != nil {
		return err
	}
	obj.body = base.body
	obj.hits.Store(base.hits.Load())
	err = t.fulfil(func() (*record, error) {
		if err := base.body.keepable(); err != nil {
			return nil, fmt.Errorf("cache: the object cannot be updated: %w", err)
		}
		rec := t.sp.publish(t.s, t.s.makeSlot(t.hash, t.key), t.h, obj, names, keys)
		if old := base.rec; old.obj == base {
			old.obj = nil
			t.sp.retire(base)
			t.s.tidy(old)
		}
		return rec, nil
	}, false)
	if err == nil {
		t.sp.counts.updates.Add(1)
		t.sp.fit()
	}
	return err
}

// RecordUncacheable ends the obligation with the note that what belongs here is unlikely to be cacheable: for MaxAge, transactions
// of this variant go on at once, each with an obligation of its own (see Pass), and so do those who wait now. Of the
// options, only MaxAge, Vary and SurrogateKeys count. An insert replaces the note, a purge drops it. Errors are those of Update.
func (t *Transaction) RecordUncacheable(o WriteOptions) error {
	if !t.obliged() {
		return ErrNoObligation
	}
	o = WriteOptions{MaxAge: o.MaxAge, Vary: o.Vary, SurrogateKeys: o.SurrogateKeys}
	obj, names, keys, err := t.sp.newObject(&o)
	if err != nil {
		return err
	}
	if o.MaxAge == 0 {
		return t.fulfil(func() (*record, error) { return nil, nil }, true)
	}
	obj.body = nil
	err = t.fulfil(func() (*record, error) {
		return t.sp.publish(t.s, t.s.makeSlot(t.hash, t.key), t.h, obj, names, keys), nil
	}, false)
	if err == nil {
		t.sp.fit()
	}
	return err
}

// ChooseStale ends the obligation by staying with the object that was found, which UsableIfError or Usable allows: no newer one
// could be had. Those who wait get it too; the next to come gets the obligation to try again.
func (t *Transaction) ChooseStale() error {
	if !t.obliged() {
		return ErrNoObligation
	}
	if t.state&(Usable|UsableIfError) == 0 {
		return ErrNotFound
	}
	s, sp := t.s, t.sp
	s.mu.Lock()
	if t.closed.Load() {
		s.mu.Unlock()
		return ErrNoObligation
	}
	t.state = t.state&^MustInsertOrUpdate | Usable
	t.entry.state |= Usable
	var wake wakes
	if f := t.flight; f != nil {
		f.end()
		sl := s.slot(t.hash, []byte(t.key))
		now := sp.c.now()
		for x := f.first; x != nil; {
			next := x.after
			if o, _, past, st := sl.find(x.h, now); o == nil && !x.turn && past != nil && st&UsableIfError != 0 {
				sp.unqueue(f, x)
				x.find(past, st|Usable)
				x.settle()
				wake = x.sig.fire(wake)
			}
			x = next
		}
		wake = sp.rejoin(s, f, wake)
		s.tidy(f.rec)
	}
	s.mu.Unlock()
	wake.call()
	return nil
}

// Cancel gives the obligation up: the next transaction that waits gets it. What was found stays. The error is ErrNoObligation.
func (t *Transaction) Cancel() error {
	if !t.obliged() {
		return ErrNoObligation
	}
	t.s.mu.Lock()
	t.state &^= MustInsertOrUpdate
	var wake wakes
	if f := t.flight; f != nil {
		wake = t.sp.drop(t.s, f, wake)
	}
	t.s.mu.Unlock()
	wake.call()
	return nil
}

// Close ends the transaction. An obligation that it still has passes to the next one that waits. Entries and writers stay
// usable. A second call does nothing.
func (t *Transaction) Close() {
	if t.closed.Swap(true) || t.apart {
		return
	}
	t.s.mu.Lock()
	var wake wakes
	if f := t.flight; f != nil {
		if f.owner == t {
			wake = t.sp.drop(t.s, f, wake)
		} else {
			t.sp.unqueue(f, t)
			wake = t.sig.fire(wake)
		}
	}
	t.s.mu.Unlock()
	wake.call()
}
