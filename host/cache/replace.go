package cache

// A Strategy says how a replacement takes its turn among those that are after the same object.
type Strategy uint8

// Strategies of BeginReplace.
const (
	// Immediate waits for nobody and keeps nobody waiting: others find the object that there is until the new one is inserted.
	Immediate Strategy = iota
	// ForceMiss is Immediate that drops the object at once: those that come later wait until the new one is inserted.
	ForceMiss
	// InTurn waits for the obligations that were there before it, as a transaction does that finds nothing, and has the obligation
	// itself then. So replacements that are all InTurn follow each other, and each finds what the one before has inserted.
	InTurn
)

// BeginReplace begins a transaction that is to bring an object however fresh the one that there is may be. It never waits. Its
// Entry is the object that it replaces, if that is usable; Insert brings the new one. The error wraps ErrKey.
func (sp *Space) BeginReplace(key []byte, h Header, strategy Strategy) (*Transaction, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	hash := sp.hash(key)
	t := &Transaction{sp: sp, s: sp.at(hash), key: string(key), hash: hash, h: h, turn: strategy == InTurn}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if strategy == InTurn {
		sp.place(t)
		return t, nil
	}
	sl := t.s.slot(hash, key)
	now := sp.c.now()
	if o, st, past, pastState := sl.find(h, now); o != nil && o.body != nil {
		t.find(o, st)
	} else if past != nil && pastState&Found != 0 {
		t.find(past, pastState)
	}
	t.state |= MustInsertOrUpdate
	t.pass = true
	if strategy == ForceMiss && !sp.closed.Load() {
		sp.miss(t)
	}
	t.settle()
	return t, nil
}

// miss drops what the transaction's request would find and gives it the obligation, unless another has it. The caller holds the
// shard's lock.
func (sp *Space) miss(t *Transaction) {
	for {
		o, _, past, _ := t.s.slot(t.hash, []byte(t.key)).find(t.h, sp.c.now())
		if o == nil {
			o = past
		}
		if o == nil {
			break
		}
		rec := o.rec
		rec.obj = nil
		sp.retire(o)
		t.s.tidy(rec)
	}
	sl := t.s.makeSlot(t.hash, t.key)
	t.key = sl.key
	if rec := sl.target(t.h); rec.flight == nil {
		t.pass = false
		sp.oblige(t, rec)
	}
}
