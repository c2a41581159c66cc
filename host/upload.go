package host

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/abi"
)

// upload is the client's body. The guest reads it, or a backend to which it was passed on, while the server's goroutine waits
// for its end: a body must not be read once the handler has returned, nor twice at the same time.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	ended   chan struct{} // closed at the end, after an error or when closed
	life    *life         // of the guest

	mu          sync.Mutex
	watched     bool // interrupt is called when the guest must stop
	reading     bool
	atEnd       bool          // its reader was given, or is to be given, the end
	whole       bool          // nothing of it is left on the connection
	stuck       bool          // the writer has no deadlines: a read cannot be ended
	read        chan struct{} // closed when the read under way has ended; nil unless someone waits for that
	interrupted bool
	returned    bool // the handler is about to return: the connection is no longer ours
	once        sync.Once
	slow        atomic.Bool // a read took too long
	kept        atomic.Bool // it is read on when the guest has ended
}

var _ abi.Keeper = (*upload)(nil)

// Keep implements abi.Keeper: the body is being stored, and the guest need not wait for that. The handler does.
func (u *upload) Keep() { u.kept.Store(true) }

// errUploadTimeout is a client that sends its body too slowly.
var errUploadTimeout = errors.New("the client's body came too slowly (setting: Limits.BodyTimeout, --body-timeout)")

// Read implements io.Reader; one read takes Limits.BodyTimeout at most.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	if u.atEnd {
		// The end may have come with the last bytes, and the handler may have returned since.
		u.mu.Unlock()
		return 0, io.EOF
	}
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
	u.atEnd = u.atEnd || err == io.EOF
	u.whole = u.whole || u.atEnd
	if u.read != nil {
		close(u.read)
		u.read = nil
	}
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

// Close says that nobody will read on, and ends a read that waits.
func (u *upload) Close() error {
	u.mu.Lock()
	if u.reading && !u.returned {
		u.stop()
	}
	u.mu.Unlock()
	u.end()
	return nil
}

// stop ends the read under way and refuses others. The caller holds mu.
func (u *upload) stop() {
	if !u.interrupted {
		u.interrupted = true
		// Any other error comes from a connection that is closed already, which ends reads as well.
		u.stuck = errors.Is(u.control.SetReadDeadline(time.Unix(1, 0)), http.ErrNotSupported)
	}
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
	u.stop()
}

// detach is called when the handler returns. A read that still waits is ended: the guest asked whether there is
// something to read and then lost interest, or an origin has answered before it had read all. The server reads what
// is left of the body by itself, so nobody else may still do that.
func (u *upload) detach() {
	u.mu.Lock()
	if !u.returned && u.reading {
		u.stop()
	}
	u.returned = true
	if !u.reading || u.stuck {
		u.mu.Unlock()
		return
	}
	if u.read == nil {
		u.read = make(chan struct{})
	}
	read := u.read
	u.mu.Unlock()
	<-read
}

// readWhole reports whether the connection holds nothing of the body any more. A nil upload is an empty body.
func (u *upload) readWhole() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.whole
}

// lastDrop is how much of a body that nobody wants is read so that its connection can serve another request, and dropTime how
// long that may take: a client may be waiting for the end of the response before it sends on.
const (
	lastDrop = 256 << 10
	dropTime = 5 * time.Millisecond
)

// settleUpload is called before the handler returns, when nobody reads the body any more. A body of which something is left then
// costs its connection. net/http would read the rest by itself, but with full duplex it also goes on to watch the
// connection when it comes upon the body's end, and trips over that with the next request.
func (x *exchange) settleUpload() {
	u := x.upload
	if u.stuck || u.whole || x.r.ProtoMajor != 1 {
		return
	}
	if !u.interrupted {
		u.control.SetReadDeadline(time.Now().Add(dropTime))
		_, err := io.CopyN(io.Discard, u.body, lastDrop)
		u.control.SetReadDeadline(time.Time{})
		if u.whole = err == io.EOF; u.whole {
			return
		}
	}
	// A body beyond its limit is how net/http can be told that a connection is to be closed once the head is out.
	http.MaxBytesReader(x.w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
	u.whole = true
}
