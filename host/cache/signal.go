package cache

import "context"

// signal wakes the one that waits for something, by a function or a channel. Its owner guards it.
type signal struct {
	wake func()
	ch   chan struct{}
}

// fire adds what wakes the one that waits. It waits no more then.
func (s *signal) fire(w wakes) wakes {
	if s.wake != nil {
		w = append(w, s.wake)
		s.wake = nil
	}
	if ch := s.ch; ch != nil {
		s.ch = nil
		close(ch) // never waits, so it needs no delay
	}
	return w
}

// ask sets the function that wakes the one that waits, unless it is nil.
func (s *signal) ask(wake func()) {
	if wake != nil {
		s.wake = wake
	}
}

// channel gives a channel that is closed by the next fire.
func (s *signal) channel() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// await waits for a channel or the end of ctx.
func await(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
