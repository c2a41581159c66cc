package wasi

import (
	"fmt"
	"io"
	"sync"
)

// inMemory is a reader that never waits, such as those of packages bytes and strings.
type inMemory interface {
	io.Reader
	Len() int
}

const pumpSize = 64 << 10

// pump reads a stream that may wait, one read at a time and only when asked, so that a guest's wait can end before the
// read does and poll_oneoff can tell whether there is input.
type pump struct {
	mu     sync.Mutex
	r      io.Reader
	buf    []byte
	unread []byte        // part of buf
	err    error         // what ended the stream; unread comes first
	filled chan struct{} // closed when the read under way has ended; nil when there is none
}

// state gives the bytes there are, whether the stream has ended, and whether a read would not wait.
func (p *pump) state() (n int, end, ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.unread), len(p.unread) == 0 && p.err != nil, len(p.unread) > 0 || p.err != nil
}

// fill starts a read unless one is under way and gives the channel that tells its end, nil when input is there.
func (p *pump) fill() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unread) > 0 || p.err != nil {
		return nil
	}
	if p.filled == nil {
		p.filled = make(chan struct{})
		if p.buf == nil {
			p.buf = make([]byte, pumpSize)
		}
		go p.read(p.filled)
	}
	return p.filled
}

func (p *pump) read(filled chan struct{}) {
	n, err := readSome(p.r, p.buf)
	p.mu.Lock()
	p.unread, p.err, p.filled = p.buf[:n], err, nil
	p.mu.Unlock()
	close(filled)
}

// take moves bytes to dst. EIO: the stream failed.
func (p *pump) take(dst []byte) (int, Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := copy(dst, p.unread)
	p.unread = p.unread[n:]
	if n == 0 && p.err != io.EOF {
		return 0, EIO
	}
	return n, ESUCCESS
}

// readSome reads until there is something or the stream ends. A reader that panics is one that failed: no one else
// could recover on this goroutine.
func readSome(r io.Reader, buf []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("wasi: stdin panicked: %v", v)
		}
	}()
	for range 100 {
		n, err = r.Read(buf)
		if n < 0 || n > len(buf) {
			return 0, io.ErrNoProgress
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// pumped gives the pump of a Stdin that may wait, nil when Stdin never waits.
func (s *System) pumped() *pump {
	if s.Stdin == nil {
		return nil
	}
	if _, ok := s.Stdin.(inMemory); ok {
		return nil
	}
	if s.pump == nil {
		s.pump = &pump{r: s.Stdin}
	}
	return s.pump
}

// stdinState gives the bytes there are, whether the stream has ended, and whether a read would not wait.
func (s *System) stdinState() (n int, end, ready bool) {
	if p := s.pumped(); p != nil {
		return p.state()
	}
	if s.Stdin != nil {
		n = s.Stdin.(inMemory).Len()
	}
	return n, n <= 0, true
}

// readStdin reads into dst. When there is nothing yet it asks wait, which answers ESUCCESS once filled is closed.
func (s *System) readStdin(dst []byte, wait func(filled <-chan struct{}) Errno) (int, Errno) {
	if s.Stdin == nil {
		return 0, ESUCCESS
	}
	if p := s.pumped(); p != nil {
		if filled := p.fill(); filled != nil {
			if e := wait(filled); e != ESUCCESS {
				return 0, e
			}
		}
		return p.take(dst)
	}
	n, err := readSome(s.Stdin, dst)
	if n == 0 && err != io.EOF {
		return 0, EIO
	}
	return n, ESUCCESS
}
