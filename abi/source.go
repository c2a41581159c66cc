package abi

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// ErrIncomplete is a message that ended before its framing said so: its sender went away or gave up.
var ErrIncomplete = errors.New("abi: the message ended early")

// readAhead is how many bytes a source fetches when a guest asks whether it is ready.
const readAhead = 16 << 10

// Source is content from outside the guest: the body of a client's request or of an origin's response. It is
// read by one goroutine at a time. Reads block; closing the underlying reader must end them.
type Source struct {
	r        io.ReadCloser
	trailers func(*httpfield.List) // fills in the trailers, once r has ended

	mu       sync.Mutex
	left     int64 // bytes to come; -1 when unknown
	ahead    []byte
	err      error         // of the read ahead
	fetching chan struct{} // closed when a read ahead is done; nil when none was started
}

// NewSource makes a source of r. length is the number of bytes to come, -1 when unknown. trailers may be nil;
// it is called once r has given io.EOF.
func NewSource(r io.ReadCloser, length int64, trailers func(*httpfield.List)) *Source {
	return &Source{r: r, left: length, trailers: trailers}
}

// Read implements io.Reader. At the end it gives io.EOF, for a message that ended early ErrIncomplete.
func (s *Source) Read(ctx context.Context, p []byte) (int, error) {
	s.mu.Lock()
	fetching := s.fetching
	s.mu.Unlock()
	if fetching != nil {
		select {
		case <-fetching:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		s.mu.Lock()
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		var err error
		if len(s.ahead) == 0 {
			err = s.err
			if err == nil {
				s.fetching = nil
			}
		}
		s.took(n)
		s.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	if n > 0 {
		s.mu.Lock()
		s.took(n)
		s.mu.Unlock()
		// The error will come again with the next read.
		return n, nil
	}
	return 0, readError(err)
}

func readError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrIncomplete
	}
	return err
}

func (s *Source) took(n int) {
	if s.left >= 0 {
		s.left = max(s.left-int64(n), 0)
	}
}

// ready reports whether Read would return at once. If not, it starts to read ahead and calls wake when done.
func (s *Source) ready(wake func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetching == nil {
		done := make(chan struct{})
		s.fetching = done
		go func() {
			buf := make([]byte, readAhead)
			var n int
			var err error
			for n == 0 && err == nil {
				n, err = s.r.Read(buf)
			}
			s.mu.Lock()
			s.ahead, s.err = buf[:n], readError(err)
			close(done)
			s.mu.Unlock()
			wake()
		}()
		return false
	}
	select {
	case <-s.fetching:
		return true
	default:
		return false
	}
}

// known gives the bytes to come, if their number is known.
func (s *Source) known() (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left, s.left >= 0
}

func (s *Source) close() { s.r.Close() }
