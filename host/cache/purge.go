package cache

// PurgeKey purges the objects that carry the surrogate key, and reports how many that were. A hard purge drops them. After
// a soft one they are stale, but as usable as their age and StaleWhileRevalidate allow, so that the next
// transaction gets the obligation to bring a newer one. Obligations that are pending stay, and
// open readers are undisturbed. Objects that are inserted later are not hit, even if their transaction is older. When many are
// dropped, their memory may be free only some time after PurgeKey has returned.
func (sp *Space) PurgeKey(key string, soft bool) int {
	n := 0
	if soft {
		sp.tags.each(sp.c.seed, key, func(o *object) {
			if !o.gone.Load() && !o.soft.Swap(true) {
				n++
			}
		})
	} else {
		// No lookup finds the objects any more once all are marked. Only then are they taken out of the index.
		hit := sp.tags.take(sp.c.seed, key)
		for i := range hit {
			if hit[i].o.gone.Swap(true) {
				hit[i].o = nil
			} else {
				n++
			}
		}
		sp.reap(hit)
	}
	sp.counts.purged.Add(uint64(n))
	return n
}

// reapAtOnce is how many objects a purge takes out of the index before it returns; what more there are, a goroutine does.
const reapAtOnce = 10_000

// reap takes objects out of the index that are marked as gone.
func (sp *Space) reap(hit []member) {
	work := func() {
		for _, m := range hit {
			if m.o != nil {
				sp.remove(m.o)
			}
		}
	}
	if len(hit) <= reapAtOnce {
		work()
		return
	}
	sp.c.reapers.Go(work)
}

// CountKey reports how many objects a purge of the surrogate key would hit.
func (sp *Space) CountKey(key string, soft bool) int {
	n := 0
	sp.tags.each(sp.c.seed, key, func(o *object) {
		if !o.gone.Load() && !(soft && o.soft.Load()) {
			n++
		}
	})
	return n
}

// Purge purges all variants of a key, as PurgeKey does those of a surrogate key.
func (sp *Space) Purge(key []byte, soft bool) int {
	hash := sp.hash(key)
	s := sp.at(hash)
	s.mu.Lock()
	n := 0
	if sl := s.slot(hash, key); sl != nil {
		var recs []*record
		sl.records(func(rec *record) { recs = append(recs, rec) })
		for _, rec := range recs {
			n += sp.purge(s, rec, soft)
		}
	}
	s.mu.Unlock()
	sp.counts.purged.Add(uint64(n))
	return n
}

// Count reports how many objects Purge of the key would hit.
func (sp *Space) Count(key []byte, soft bool) int {
	hash := sp.hash(key)
	s := sp.at(hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	if sl := s.slot(hash, key); sl != nil {
		sl.records(func(rec *record) {
			if o := rec.obj; o != nil && !o.gone.Load() && !(soft && o.soft.Load()) {
				n++
			}
		})
	}
	return n
}

// PurgeAll purges everything, as PurgeKey does the objects of a surrogate key. It raises Generation.
func (sp *Space) PurgeAll(soft bool) int {
	sp.purges.Add(1)
	var hit []member
	n := 0
	for i := range sp.shard {
		s := &sp.shard[i]
		s.mu.RLock()
		s.records(func(rec *record) {
			switch o := rec.obj; {
			case o == nil || o.gone.Load():
			case soft:
				if !o.soft.Swap(true) {
					n++
				}
			case !o.gone.Swap(true):
				n++
				hit = append(hit, member{o: o})
			}
		})
		s.mu.RUnlock()
	}
	sp.reap(hit)
	sp.counts.purged.Add(uint64(n))
	return n
}

// Generation counts the purges of everything.
func (sp *Space) Generation() uint64 { return sp.purges.Load() }

// purge purges the object of a record, if it has one, and gives how many that were. The caller holds the shard's lock.
func (sp *Space) purge(s *shard, rec *record, soft bool) int {
	o := rec.obj
	if o == nil {
		return 0
	}
	if soft {
		if o.gone.Load() || o.soft.Swap(true) {
			return 0
		}
		return 1
	}
	n := 1
	if o.gone.Swap(true) { // a purge that runs now has counted it
		n = 0
	}
	rec.obj = nil
	sp.retire(o)
	s.tidy(rec)
	return n
}
