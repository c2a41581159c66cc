package cache

import (
	"hash/maphash"
	"sync"
)

// tags finds the objects of a surrogate key. Each key has the list of its objects, and each object its place in each
// list, so that an object leaves all its lists without a search.
type tags [tagShards]tagShard

const tagShards = 32

type tagShard struct {
	mu     sync.Mutex
	byName map[string]*tag
}

// tag is a surrogate key. It is guarded by its shard's lock.
type tag struct {
	home    *tagShard
	name    string
	members []member
}

// member is an object of a tag, and which of the object's tags this is.
type member struct {
	o *object
	i int
}

// tagRef is a tag of an object, and where the object is among its members. The place is guarded by the tag's lock, and void
// unless the object is found there.
type tagRef struct {
	tag *tag
	at  int
}

func (ts *tags) shard(seed maphash.Seed, name string) *tagShard {
	return &ts[maphash.String(seed, name)%tagShards]
}

// bind enters an object under its keys.
func (ts *tags) bind(seed maphash.Seed, o *object, names []string) {
	if len(names) == 0 {
		return
	}
	o.tags = make([]tagRef, len(names))
	for i, name := range names {
		s := ts.shard(seed, name)
		s.mu.Lock()
		t := s.byName[name]
		if t == nil {
			t = &tag{home: s, name: name}
			if s.byName == nil {
				s.byName = make(map[string]*tag)
			}
			s.byName[name] = t
		}
		o.tags[i] = tagRef{t, len(t.members)}
		t.members = append(t.members, member{o, i})
		s.mu.Unlock()
	}
}

// unbind takes an object out of the lists.
func (ts *tags) unbind(o *object) {
	for i := range o.tags {
		ref := &o.tags[i]
		t := ref.tag
		s := t.home
		s.mu.Lock()
		if n := len(t.members) - 1; ref.at <= n && t.members[ref.at] == (member{o, i}) {
			last := t.members[n]
			t.members[ref.at] = last
			last.o.tags[last.i].at = ref.at
			t.members[n] = member{}
			t.members = t.members[:n]
			if n == 0 && s.byName[t.name] == t {
				delete(s.byName, t.name)
			} else if cap(t.members) > 64 && n < cap(t.members)/4 {
				t.members = append(make([]member, 0, 2*n), t.members...)
			}
		}
		s.mu.Unlock()
	}
}

// take empties the list of a key and gives what was in it.
func (ts *tags) take(seed maphash.Seed, name string) []member {
	s := ts.shard(seed, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName[name]
	if t == nil {
		return nil
	}
	delete(s.byName, name)
	m := t.members
	t.members = nil
	return m
}

// each calls f for the objects of a key.
func (ts *tags) each(seed maphash.Seed, name string, f func(*object)) {
	s := ts.shard(seed, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.byName[name]; t != nil {
		for _, m := range t.members {
			f(m.o)
		}
	}
}
