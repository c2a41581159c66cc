package host

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/abi"
)

// upload is the client's body. The guest reads it while the server's goroutine waits for its end: a body must not
// be read once the handler has returned.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	ended   chan struct{} // closed at the end, after an error or when closed
	life    *life         // of the guest

	mu          sync.Mutex
	watched     bool // interrupt is called when the guest must stop
	reading     bool
	interrupted bool
	returned    bool // the handler is about to return: the connection is no longer ours
	once        sync.Once
	slow        atomic.Bool // a read took too long
}

// errUploadTimeout is a client that sends its body too slowly.
var errUploadTimeout = errors.New("the client's body came too slowly (setting: Limits.BodyTimeout, --body-timeout)")

// Read implements io.Reader; one read takes Limits.BodyTimeout at most.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	if u.interrupted || u.returned {
		u.mu.Unlock()
		return 0, abi.ErrIncomplete
	}
	deadline := time.Now().Add(u.timeout)
	u.control.SetReadDeadline(deadline) // not every writer has deadlines
	u.reading = true
	watched := u.watched
	u.watched = true
	u.mu.Unlock()
	if !watched {
		u.life.whenEnded(u, u.interrupt)
	}
	n, err := u.body.Read(p)
	u.mu.Lock()
	u.reading = false
	u.mu.Unlock()
	if err != nil {
		var slow interface{ Timeout() bool } // os.ErrDeadlineExceeded, *wire.BodyError
		if errors.As(err, &slow) && slow.Timeout() && !time.Now().Before(deadline) {
			err = errUploadTimeout
			u.slow.Store(true)
			s := u.life.service
			s.slowBodies.Add(1)
			s.log.Warn(err.Error(), zap.String("service", s.cfg.Name))
		} else if err != io.EOF {
			err = abi.ErrIncomplete
		}
		u.end()
	}
	return n, err
}

// Close says that the guest will not read on.
func (u *upload) Close() error {
	u.end()
	return nil
}

func (u *upload) end() {
	u.once.Do(func() {
		u.mu.Lock()
		if !u.interrupted && !u.returned {
			u.control.SetReadDeadline(time.Time{})
		}
		u.mu.Unlock()
		close(u.ended)
	})
}

// interrupt ends a read that waits, for a guest that must stop.
func (u *upload) interrupt() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.interrupted || u.returned {
		return
	}
	select {
	case <-u.ended:
		return
	default:
	}
	u.interrupted = true
	u.control.SetReadDeadline(time.Unix(1, 0))
}

// detach is called when the handler returns. A read that still waits, because the guest asked whether there is
// something to read and then lost interest, would hold the server up: it is ended.
func (u *upload) detach() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.returned = true
	if u.reading && !u.interrupted {
		u.control.SetReadDeadline(time.Unix(1, 0))
	}
}
