package host

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// A life that something hooked into can serve another run only if nothing can reach it any more.
func TestHooksOfALife(t *testing.T) {
	s := &Service{stopped: make(chan struct{})}
	client, leave := context.WithCancel(t.Context())
	x := &exchange{r: new(http.Request).WithContext(client)}
	l := new(life)
	l.begin(s, x, time.Minute)
	called := make(chan error, 2)
	stop := l.AfterFunc(func() { called <- nil })
	if !stop() || stop() {
		t.Error("a hook is not taken off exactly once")
	}
	if !l.finish() {
		t.Error("a life that nothing can reach is not used again")
	}
	l.begin(s, x, time.Minute)
	l.AfterFunc(func() { called <- l.Err() })
	leave()
	if err := <-called; !errors.Is(err, ErrClientGone) {
		t.Errorf("the hook was called because of %v", err)
	}
	if l.finish() {
		t.Error("a life that has been ended is used again")
	}
	select {
	case <-called:
		t.Error("a hook that was taken off was called")
	default:
	}
	ended := new(life)
	ended.begin(s, x, time.Minute)
	ended.Err()
	ended.AfterFunc(func() { called <- ended.Err() })
	if err := <-called; !errors.Is(err, ErrClientGone) {
		t.Errorf("a hook into an ended life was called because of %v", err)
	}
}
