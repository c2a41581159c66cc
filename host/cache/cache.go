package cache

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	DefaultMaxBytes    = 256 << 20
	DefaultMaxObject   = 100 << 20 // the platform's
	DefaultMaxVariants = 8         // the platform's
)

// Options bounds a cache. The zero value means the defaults named here.
type Options struct {
	MaxBytes    int64            // memory of all spaces; 0 means DefaultMaxBytes
	MaxObject   int64            // body of one object; 0 means DefaultMaxObject, at most MaxBytes
	MaxVariants int              // vary rules of one key; 0 means DefaultMaxVariants
	Clock       func() time.Time // for tests; nil means time.Now
}

// A Cache holds the spaces of the services of a node, within one bound on memory. Its methods may be called at the same time.
type Cache struct {
	opts Options
	seed maphash.Seed
	base time.Time

	bytes atomic.Int64
	mu    sync.Mutex
	named map[string]*Space
	list  atomic.Pointer[[]*Space] // for eviction, which must not wait for mu
	ended bool

	reapers sync.WaitGroup // goroutines that free what large purges dropped
}

// New makes an empty cache.
func New(o Options) (*Cache, error) {
	for _, v := range []struct {
		name string
		v    int64
	}{{"MaxBytes", o.MaxBytes}, {"MaxObject", o.MaxObject}, {"MaxVariants", int64(o.MaxVariants)}} {
		if v.v < 0 {
			return nil, fmt.Errorf("cache: %s is %d: it cannot be negative", v.name, v.v)
		}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxObject == 0 {
		o.MaxObject = min(DefaultMaxObject, o.MaxBytes)
	}
	if o.MaxObject > o.MaxBytes {
		return nil, fmt.Errorf("cache: MaxObject of %d bytes is above MaxBytes of %d", o.MaxObject, o.MaxBytes)
	}
	if o.MaxVariants == 0 {
		o.MaxVariants = DefaultMaxVariants
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Cache{opts: o, seed: maphash.MakeSeed(), base: o.Clock(), named: make(map[string]*Space)}, nil
}

// now is the time since the cache was made, by a clock that nobody sets.
func (c *Cache) now() int64 { return int64(c.opts.Clock().Sub(c.base)) }

// SpaceOptions bounds a space.
type SpaceOptions struct {
	MaxBytes int64 // memory; 0 or more than the cache has means that of the cache
}

// Space gives the space of this name, a new one if there is none. Its options become those given. After Close of the
// cache the space is closed too.
func (c *Cache) Space(name string, o SpaceOptions) *Space {
	quota := o.MaxBytes
	if quota <= 0 || quota > c.opts.MaxBytes {
		quota = c.opts.MaxBytes
	}
	c.mu.Lock()
	sp := c.named[name]
	if sp == nil {
		sp = &Space{c: c, name: name}
		sp.closed.Store(c.ended)
		if !c.ended {
			c.named[name] = sp
			c.relist()
		}
	}
	sp.quota.Store(quota)
	c.mu.Unlock()
	sp.fit()
	return sp
}

// relist renews the list that eviction reads. The caller holds mu.
func (c *Cache) relist() {
	list := make([]*Space, 0, len(c.named))
	for _, sp := range c.named {
		list = append(list, sp)
	}
	c.list.Store(&list)
}

// Spaces gives the spaces in use, in no order.
func (c *Cache) Spaces() []*Space {
	if p := c.list.Load(); p != nil {
		return append([]*Space(nil), *p...)
	}
	return nil
}

// Bytes gives the memory in use by all spaces.
func (c *Cache) Bytes() int64 { return c.bytes.Load() }

// Close closes all spaces. It is called when nothing else is any more.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	for _, sp := range c.Spaces() {
		sp.Close()
	}
	c.reapers.Wait()
	return nil
}

// fattest gives the space that uses most of its quota, nil if none uses anything. Taking from it leaves every service what it
// uses less than others do.
func (c *Cache) fattest() *Space {
	var most *Space
	best := 0.0
	for _, sp := range *c.list.Load() {
		if part := float64(sp.counts.bytes.Load()) / float64(sp.quota.Load()); part > best {
			most, best = sp, part
		}
	}
	return most
}
