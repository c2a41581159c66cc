package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// A Header gives the value of a request header for vary matching. The name is in lower case. A header that is
// absent differs from one that is empty. What several lines of one name mean is the caller's choice (joined with ", "
// is usual), the same for all its calls. It may be called while the cache holds a lock: it answers at once, calls
// nothing of this package, and keeps its answers until the lookup or transaction is over. Nil stands for no headers.
type Header func(name string) (value string, present bool)

// slot is all that is stored under one key. It is guarded by its shard's lock.
type slot struct {
	key   string
	hash  uint64
	next  *slot // another key of the same hash
	plain record
	vary  []*rule // newest first; nil means that the rule without names is the only one
}

// A rule names the headers that select among the variants of a key.
type rule struct {
	names []string           // sorted, lower case; empty: the one variant is slot.plain
	recs  map[string]*record // by variant key
}

// record is one variant of a key: its object, the flight that is to bring the next one, or both.
type record struct {
	slot    *slot
	rule    *rule // nil: slot.plain
	variant string
	obj     *object
	flight  *flight
}

func (r *record) idle() bool { return r.obj == nil && r.flight == nil }

// variantKey appends to b what selects the variant of a rule: each value with its length, or a mark that there is none.
// A long one is replaced by its digest, which bounds what a hostile client can make the cache hold.
func variantKey(b []byte, names []string, h Header) []byte {
	start := len(b)
	for _, n := range names {
		var v string
		ok := false
		if h != nil {
			v, ok = h(n)
		}
		if !ok {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	if len(b)-start > 128 {
		sum := sha256.Sum256(b[start:])
		b = append(append(b[:start], 2), sum[:]...)
	}
	return b
}

// variant gives the record of a rule that a request selects, nil if there is none.
func (s *slot) variant(r *rule, h Header) *record {
	if len(r.names) == 0 {
		return &s.plain
	}
	var room [192]byte
	return r.recs[string(variantKey(room[:0], r.names, h))]
}

// target gives the record under which a request's obligation is filed: that of the most recent rule.
func (s *slot) target(h Header) *record {
	if len(s.vary) == 0 {
		return &s.plain
	}
	return s.make(s.vary[0], h)
}

// make gives the record of a rule that a request selects, a new one if need be.
func (s *slot) make(r *rule, h Header) *record {
	if len(r.names) == 0 {
		return &s.plain
	}
	var room [192]byte
	key := variantKey(room[:0], r.names, h)
	rec := r.recs[string(key)]
	if rec == nil {
		rec = &record{slot: s, rule: r, variant: string(key)}
		r.recs[rec.variant] = rec
	}
	return rec
}

// promote makes the rule of these names the most recent one. It gives the rule, and those that are now too many.
func (s *slot) promote(names []string, limit int) (first *rule, dropped []*rule) {
	if len(s.vary) == 0 {
		if len(names) == 0 {
			return &rule{}, nil
		}
		if !s.plain.idle() {
			s.vary = append(s.vary, &rule{})
		}
	}
	i := slices.IndexFunc(s.vary, func(r *rule) bool { return slices.Equal(r.names, names) })
	if i < 0 {
		first = &rule{names: names}
		if len(names) > 0 {
			first.recs = make(map[string]*record)
		}
		s.vary = slices.Insert(s.vary, 0, first)
	} else {
		first = s.vary[i]
		copy(s.vary[1:i+1], s.vary[:i])
		s.vary[0] = first
	}
	if len(s.vary) > limit {
		dropped = slices.Clone(s.vary[limit:])
		clear(s.vary[limit:])
		s.vary = s.vary[:limit]
	}
	return first, dropped
}

// tidy forgets a record that holds nothing any more, and its rule with its last record. It reports whether the slot
// holds nothing any more.
func (s *slot) tidy(rec *record) bool {
	if rec.idle() {
		r := rec.rule
		if r != nil && r.recs[rec.variant] == rec {
			delete(r.recs, rec.variant)
		}
		s.vary = slices.DeleteFunc(s.vary, func(x *rule) bool {
			if len(x.names) == 0 {
				return s.plain.idle()
			}
			return len(x.recs) == 0
		})
		if len(s.vary) == 0 || len(s.vary) == 1 && len(s.vary[0].names) == 0 {
			s.vary = nil
		}
	}
	return len(s.vary) == 0 && s.plain.idle()
}
