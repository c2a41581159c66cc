package backend

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrTooMany is given by Registry.Acquire when all backends it may hold are in use.
var ErrTooMany = errors.New("backend: too many dynamic backends in use")

// ErrRegistryClosed is given by Registry.Acquire after Close.
var ErrRegistryClosed = errors.New("backend: the registry is closed")

// Set holds the named backends of a service. It does not change.
type Set struct {
	byName map[string]*Backend
	names  []string
}

// NewSet makes a backend of each definition. Names must be distinct and not empty.
func NewSet(o Options, configs ...Config) (*Set, error) {
	s := &Set{byName: make(map[string]*Backend, len(configs))}
	for _, c := range configs {
		var err error
		var b *Backend
		switch {
		case c.Name == "":
			err = errors.New("backend: a definition has no name")
		case s.byName[c.Name] != nil:
			err = fmt.Errorf("backend: %s is defined twice", quote(c.Name))
		default:
			b, err = New(c, o)
		}
		if err != nil {
			s.Close()
			return nil, err
		}
		s.byName[c.Name] = b
		s.names = append(s.names, c.Name)
	}
	slices.Sort(s.names)
	return s, nil
}

// Lookup gives the backend of a name, nil if there is none. It works on a nil Set.
func (s *Set) Lookup(name string) *Backend {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// Names gives all names, sorted. The slice must not be changed.
func (s *Set) Names() []string {
	if s == nil {
		return nil
	}
	return s.names
}

// Close closes all backends.
func (s *Set) Close() {
	if s == nil {
		return
	}
	for _, b := range s.byName {
		b.Close()
	}
}

// RegistryOptions are limits of a Registry. The zero value means the defaults named here.
type RegistryOptions struct {
	Options  Options
	Max      int           // backends at the same time, unused ones included; 0: 1024
	IdleTime time.Duration // that an unused backend is kept with its connections; 0: 1 minute
}

// Registry shares backends that are defined while programs run: equal definitions (all but the name) give the same
// Backend, so that its connections serve many sandboxes. Use one per service, so that programs of different owners
// never send over the same connection.
type Registry struct {
	o RegistryOptions

	mu     sync.Mutex
	shared map[key]*entry
	unused []*entry // the longest unused first
	alone  map[*entry]struct{}
	timer  *time.Timer
	closed bool
}

// entry is a backend of a Registry.
type entry struct {
	b     *Backend
	key   key
	refs  int
	since time.Time // unused
}

// NewRegistry makes an empty Registry.
func NewRegistry(o RegistryOptions) *Registry {
	if o.Max <= 0 {
		o.Max = 1024
	}
	if o.IdleTime <= 0 {
		o.IdleTime = time.Minute
	}
	return &Registry{o: o, shared: make(map[key]*entry), alone: make(map[*entry]struct{})}
}

// Acquire gives the backend of a definition, made if there is none. With DontPool it is always a new one. release must
// be called when the caller sends nothing more; exchanges under way are not disturbed by it, and calling it again does
// nothing. Errors are ErrTooMany, ErrRegistryClosed and those of New. Backend.Name may be that of another caller's
// equal definition.
func (r *Registry) Acquire(c Config) (b *Backend, release func(), err error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	c = c.withDefaults()
	k := c.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, ErrRegistryClosed
	}
	e := r.shared[k]
	if e == nil || c.DontPool {
		if len(r.shared)+len(r.alone) >= r.o.Max {
			if len(r.unused) == 0 {
				return nil, nil, ErrTooMany
			}
			r.forget(r.unused[0])
			r.unused = slices.Delete(r.unused, 0, 1)
		}
		e = &entry{b: newBackend(c, r.o.Options), key: k}
		if c.DontPool {
			r.alone[e] = struct{}{}
		} else {
			r.shared[k] = e
		}
	} else if e.refs == 0 {
		r.unused = slices.DeleteFunc(r.unused, func(x *entry) bool { return x == e })
	}
	e.refs++
	return e.b, sync.OnceFunc(func() { r.release(e) }), nil
}

func (r *Registry) release(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.refs--
	if e.refs > 0 || r.closed {
		return
	}
	if _, alone := r.alone[e]; alone {
		delete(r.alone, e)
		e.b.Close()
		return
	}
	e.since = time.Now()
	r.unused = append(r.unused, e)
	if r.timer == nil {
		r.timer = time.AfterFunc(r.o.IdleTime, r.expire)
	}
}

// forget closes an unused backend. The registry is locked.
func (r *Registry) forget(e *entry) {
	delete(r.shared, e.key)
	e.b.Close()
}

// expire closes what was unused for too long.
func (r *Registry) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	if r.closed {
		return
	}
	now := time.Now()
	n := 0
	for n < len(r.unused) && now.Sub(r.unused[n].since) >= r.o.IdleTime {
		r.forget(r.unused[n])
		n++
	}
	r.unused = slices.Delete(r.unused, 0, n)
	if len(r.unused) > 0 {
		r.timer = time.AfterFunc(r.unused[0].since.Add(r.o.IdleTime).Sub(now), r.expire)
	}
}

// Len is the number of backends, unused ones included.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.shared) + len(r.alone)
}

// Close closes all backends; exchanges under way end as they do with Backend.Close. Later Acquires fail.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	for _, e := range r.shared {
		e.b.Close()
	}
	for e := range r.alone {
		e.b.Close()
	}
	r.shared, r.alone, r.unused = nil, nil, nil
}
