package cache

import (
	"math"
	"sync/atomic"
	"time"
)

// object is what was inserted under one variant: its facts, which do not change, and its body, which may still be
// arriving and which an update passes on to the next object. An object without a body marks a variant as one that is
// unlikely to be cacheable.
type object struct {
	rec  *record
	body *body
	tags []tagRef

	born         int64 // by the cache's clock
	maxAge       int64
	initialAge   int64
	whileRevalid int64
	ifError      int64
	edgeMaxAge   int64
	names        []string // the vary rule
	userMetadata []byte
	sensitive    bool

	gone  atomic.Bool // purged, replaced or evicted: no lookup finds it any more
	soft  atomic.Bool // softly purged: not fresh any more
	where uint8       // the rest is guarded by the policy's lock, except freq
	freq  atomic.Uint32
	hits  atomic.Uint64

	before, after *object
	weight        int64
}

// objectCost is about what an object costs beside its key, its metadata and its body, in bytes: records, map slots, headers.
const (
	objectCost = 512
	tagCost    = 48
)

// overhead is what the object is charged for beside its body.
func (o *object) overhead() int64 {
	n := objectCost + len(o.rec.slot.key) + len(o.rec.variant) + len(o.userMetadata) + tagCost*len(o.tags)
	for _, name := range o.names {
		n += 16 + len(name)
	}
	return int64(n)
}

// identity names key and variant to the eviction policy.
func (o *object) identity() uint64 {
	h := o.rec.slot.hash
	for i := range len(o.rec.variant) {
		h = (h ^ uint64(o.rec.variant[i])) * 0x100000001b3
	}
	return h * 0x9e3779b97f4a7c15
}

func (o *object) age(now int64) int64 {
	a := o.initialAge + max(now-o.born, 0)
	if a < 0 {
		return math.MaxInt64
	}
	return a
}

// state gives the bits that a lookup finds at a time: 0 if the object is of no use to one.
func (o *object) state(now int64) State {
	age := o.age(now)
	if age < o.maxAge && !o.soft.Load() {
		return Found | Usable
	}
	st := Stale
	if age < o.maxAge+o.whileRevalid {
		st |= Found | Usable
	}
	if o.ifError > 0 && age < o.maxAge+o.ifError {
		st |= Found | UsableIfError
	}
	if st == Stale {
		return 0
	}
	return st
}

// An Entry is an object that a lookup found, as it was then: what happens to the cache later does not change it and does not
// take its body away. Its methods may be called at the same time. There is nothing to close.
type Entry struct {
	o      *object
	c      *Cache
	length int64 // -1: not known when it was looked up
	state  State
}

func newEntry(o *object, c *Cache, st State) *Entry {
	e := new(Entry)
	e.set(o, c, st)
	return e
}

func (e *Entry) set(o *object, c *Cache, st State) {
	e.o, e.c, e.state = o, c, st
	e.length = o.body.length()
}

// State tells how the object may be used: Found, with Usable, Stale and UsableIfError.
func (e *Entry) State() State { return e.state }

// Length gives the length of the body in bytes, if it was known at the lookup: declared, or complete by then.
func (e *Entry) Length() (n int64, known bool) { return max(e.length, 0), e.length >= 0 }

// Age is the object's age now: its age when it was inserted and the time since.
func (e *Entry) Age() time.Duration { return time.Duration(e.o.age(e.c.now())) }

// MaxAge is the age up to which the object is fresh.
func (e *Entry) MaxAge() time.Duration { return time.Duration(e.o.maxAge) }

// InitialAge is the age at which the object was inserted.
func (e *Entry) InitialAge() time.Duration { return time.Duration(e.o.initialAge) }

// EdgeMaxAge is what was given at the insert, else MaxAge.
func (e *Entry) EdgeMaxAge() time.Duration { return time.Duration(e.o.edgeMaxAge) }

// StaleWhileRevalidate is for how long after MaxAge the object is usable while a newer one is looked for.
func (e *Entry) StaleWhileRevalidate() time.Duration { return time.Duration(e.o.whileRevalid) }

// StaleIfError is for how long after MaxAge the object is usable if no newer one can be had.
func (e *Entry) StaleIfError() time.Duration { return time.Duration(e.o.ifError) }

// Hits counts the lookups that found the object, this one included.
func (e *Entry) Hits() uint64 { return e.o.hits.Load() }

// UserMetadata is what was given at the insert or the last update. It must not be changed.
func (e *Entry) UserMetadata() []byte { return e.o.userMetadata }

// SurrogateKeys gives the object's surrogate keys.
func (e *Entry) SurrogateKeys() []string {
	if len(e.o.tags) == 0 {
		return nil
	}
	keys := make([]string, len(e.o.tags))
	for i, t := range e.o.tags {
		keys[i] = t.tag.name
	}
	return keys
}

// Vary gives the header names of the object's vary rule: in lower case, sorted. It must not be changed.
func (e *Entry) Vary() []string { return e.o.names }

// Sensitive reports whether the object was inserted as one that must not be written to a disk.
func (e *Entry) Sensitive() bool { return e.o.sensitive }

// SoftPurged reports whether the object has been softly purged.
func (e *Entry) SoftPurged() bool { return e.o.soft.Load() }

// Complete reports whether the whole body is there by now.
func (e *Entry) Complete() bool { return e.o.body.complete() }
