package host

import (
	"context"
	"slices"
	"sync"
	"time"
)

// life is the context of one guest run. It ends with ErrWallTime, ErrClientGone or ErrShutdown, which is what Err
// and context.Cause give.
//
// Most guests compute for microseconds and never wait. For them a life costs nothing but its fields: the engine asks
// Err now and then; timers, channels and registrations are made only when something waits on Done.
type life struct {
	service *Service

	mu       sync.Mutex
	deadline time.Time
	serving  *exchange       // whose request the guest has; nil between two
	client   context.Context // the client's request; nil once its going away does not matter
	err      error
	done     chan struct{} // nil until something waits
	timer    *time.Timer
	unhook   func() bool // ends the watch on client
	over     bool        // the run has ended
	late     bool        // something from outside may still call fail, though the run has ended
	hooks    []*func()   // called when the life ends; see AfterFunc
	after    func()      // called once when the life ends before the guest is done with the request
}

var _ context.Context = (*life)(nil)

// begin starts a life; l may have served another run before.
func (l *life) begin(s *Service, x *exchange, wall time.Duration) {
	*l = life{service: s, serving: x, client: x.r.Context(), deadline: time.Now().Add(wall)}
}

// leave says that the guest is done with its request, serve that it has another one.
func (l *life) leave(wall time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serving, l.after = nil, nil
	l.detachClient()
	l.deadline = time.Now().Add(wall)
}

// It is false when the life has ended, which is not that request's fault.
func (l *life) serve(x *exchange, wall time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || time.Now().After(l.deadline) {
		return false
	}
	l.serving, l.client = x, x.r.Context()
	l.deadline = time.Now().Add(wall)
	if l.timer != nil { // something waits
		l.watchClient()
	}
	return true
}

// Deadline implements context.Context.
func (l *life) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline, true
}

// Value implements context.Context; a life carries nothing.
func (l *life) Value(any) any { return nil }

// Err implements context.Context.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.over {
		switch {
		case l.client != nil && l.client.Err() != nil:
			l.end(ErrClientGone)
		case l.service.stopping.Load():
			l.end(ErrShutdown)
		case time.Now().After(l.deadline):
			l.end(ErrWallTime)
		}
	}
	return l.err
}

// Done implements context.Context.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.err != nil {
			close(l.done)
		} else if !l.over {
			l.watch()
		}
	}
	return l.done
}

// AfterFunc has f called in a goroutine of its own when the life ends, unless stop is called before; stop reports
// whether it prevented the call. Package context knows this method. It costs less than waiting on Done.
func (l *life) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go f()
		return func() bool { return false }
	}
	hook := &f
	l.hooks = append(l.hooks, hook)
	if !l.over {
		l.watch() // which may end it at once
	}
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.Index(l.hooks, hook)
		if i < 0 {
			return false
		}
		l.hooks = slices.Delete(l.hooks, i, i+1)
		return true
	}
}

// watch arranges for the life to end by itself. The caller holds mu.
func (l *life) watch() {
	if l.timer != nil {
		return
	}
	l.timer = time.AfterFunc(time.Until(l.deadline), l.expire)
	if l.client != nil {
		l.watchClient()
	}
	l.service.waiting.add(l)
	if l.service.stopping.Load() { // it may have missed this one
		l.end(ErrShutdown)
	}
}

// watchClient is the part of watch that concerns the client.
func (l *life) watchClient() {
	x := l.serving
	l.unhook = context.AfterFunc(l.client, func() { l.lose(x) })
}

// expire ends the life if it is time. A guest that got another request has more of it.
func (l *life) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch left := time.Until(l.deadline); {
	case l.err != nil || l.over:
	case left > 0:
		l.timer.Reset(left)
	default:
		l.end(ErrWallTime)
	}
}

// whenEnded has f called when the life ends before the guest is done with the request whose body u is.
func (l *life) whenEnded(u *upload, f func()) {
	l.mu.Lock()
	if l.serving == nil || l.serving.upload != u {
		l.mu.Unlock()
		return
	}
	l.after = f
	ended := l.err != nil
	l.mu.Unlock()
	if ended {
		f()
		return
	}
	l.Done()
}

// lose ends the life of a guest whose client went away.
func (l *life) lose(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A client that goes away once it has its response has not failed the run.
	if l.err == nil && !l.over && l.client != nil && l.serving == x {
		l.end(ErrClientGone)
	}
}

// fail ends the life.
func (l *life) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.over {
		l.end(err)
	}
}

// end ends the life. The caller holds mu.
func (l *life) end(err error) {
	l.err = err
	if l.done != nil {
		close(l.done)
	}
	l.release()
	for _, f := range l.hooks {
		go (*f)()
	}
	l.hooks = nil
	if l.after != nil {
		go l.after()
		l.after = nil
	}
}

// release undoes watch. The caller holds mu.
func (l *life) release() {
	if l.timer == nil {
		return
	}
	if !l.timer.Stop() {
		l.late = true
	}
	l.timer = nil
	if l.unhook != nil {
		if !l.unhook() {
			l.late = true
		}
		l.unhook = nil
	}
	l.service.waiting.remove(l)
}

// detach says that a client's going away matters no more: it has its response.
func (l *life) detach(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving == x {
		l.detachClient()
	}
}

// detachClient is detach by who holds mu.
func (l *life) detachClient() {
	l.client = nil
	if l.unhook != nil {
		if !l.unhook() {
			l.late = true
		}
		l.unhook = nil
	}
}

// finish says that the run has ended. The life must not be reused while something may still hold it, which is
// the case if it was waited on, or if what ends it was about to.
func (l *life) finish() (reusable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.after = nil
	l.release()
	return l.done == nil && !l.late && len(l.hooks) == 0 && !l.service.stopping.Load()
}

// lives is a set of runs that wait, to be told when their service stops.
type lives struct {
	mu  sync.Mutex
	all map[*life]struct{}
}

func (w *lives) add(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[*life]struct{})
	}
	w.all[l] = struct{}{}
}

func (w *lives) remove(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, l)
}

// failAll ends the lives of all that wait.
func (w *lives) failAll(err error) {
	w.mu.Lock()
	all := make([]*life, 0, len(w.all))
	for l := range w.all {
		all = append(all, l)
	}
	w.mu.Unlock()
	for _, l := range all {
		l.fail(err)
	}
}
