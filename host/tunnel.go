package host

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Why a tunnel was ended before its two ends did.
var (
	errTunnelIdle  = errors.New("nothing passed for longer than allowed (setting: Limits.TunnelIdle, --tunnel-idle)")
	errTunnelTime  = errors.New("it lasted longer than allowed (setting: Limits.TunnelTime, --tunnel-time)")
	errTunnelBytes = errors.New("more passed than allowed (setting: Limits.TunnelBytes, --tunnel-bytes)")
)

// TunnelStats counts the clients that guests have handed off: WebSockets and what goes by way of a GRIP proxy.
type TunnelStats struct {
	Open     int    // now; those that wait for the origin's answer included
	Limit    int    // of Open
	Opened   uint64 // since the start
	Refused  uint64 // because there were too many
	Failed   uint64 // got no answer from their origin
	Switched uint64 // of Opened became WebSockets
	Ended    uint64 // by a limit of time, silence or size, or by the host's shutdown
	Sent     uint64 // bytes to clients through WebSockets
	Received uint64 // bytes from clients
}

// tunnels bounds and counts the clients of one service that were handed off, or those of a host.
type tunnels struct {
	limit int64
	above *tunnels // the host's; nil: this is it

	open                                                     atomic.Int64
	opened, refused, failed, switched, ended, sent, received atomic.Uint64

	ctx   context.Context // ends when all of them must
	close func(error)     // ends ctx
}

func newTunnels(limit int, above *tunnels) *tunnels {
	t := &tunnels{limit: int64(limit), above: above}
	t.ctx, t.close = context.WithCancelCause(context.Background())
	return t
}

// each calls f for the service's and the host's figures.
func (t *tunnels) each(f func(*tunnels)) {
	for ; t != nil; t = t.above {
		f(t)
	}
}

// enter takes a place, or reports that there is none.
func (t *tunnels) enter() bool {
	if t.open.Add(1) > t.limit || t.above != nil && !t.above.enter() {
		t.open.Add(-1)
		t.refused.Add(1)
		return false
	}
	t.opened.Add(1)
	return true
}

func (t *tunnels) leave() { t.each(func(t *tunnels) { t.open.Add(-1) }) }

func (t *tunnels) stats() TunnelStats {
	return TunnelStats{
		Open:     int(t.open.Load()),
		Limit:    int(t.limit),
		Opened:   t.opened.Load(),
		Refused:  t.refused.Load(),
		Failed:   t.failed.Load(),
		Switched: t.switched.Load(),
		Ended:    t.ended.Load(),
		Sent:     t.sent.Load(),
		Received: t.received.Load(),
	}
}

// farEnd is one end of a tunnel.
type farEnd interface {
	io.ReadWriter
	// closeWrite tells the peer that nothing more comes. An error means that this cannot be told alone.
	closeWrite() error
	// abort ends reads and writes, for good. It may be called more than once.
	abort()
	// tcp gives the connection to copy within the kernel, nil if there is more to it than TCP. It is always the same.
	tcp() *net.TCPConn
	// held reports whether bytes were received that are not to be read from tcp. It belongs to the goroutine that reads.
	held() bool
}

// epoch is when time began, for clocks that only count from somewhere.
var epoch = time.Now()

// tunnel carries bytes between a client and an origin.
type tunnel struct {
	client, origin farEnd
	all            *tunnels
	idle           time.Duration // 0: for ever
	last           time.Time     // when it must end; zero: never
	maxBytes       int64         // both directions together; 0: any number

	moved atomic.Int64 // when bytes passed last, since epoch
	bytes atomic.Int64
	sent  atomic.Int64 // of them to the client

	slack atomic.Int64 // by how much moved may lag behind, in nanoseconds

	once  sync.Once
	cause error // why it was ended early; set by once

	mu    sync.Mutex
	timer *time.Timer // for watch
	over  bool
}

// run copies both ways until both have ended, and gives the reason if the host ended it.
func (t *tunnel) run() error {
	t.touch()
	defer context.AfterFunc(t.all.ctx, func() { t.end(context.Cause(t.all.ctx)) })()
	t.watch()
	back := make(chan struct{})
	go func() {
		defer close(back)
		t.copy(t.client, t.origin, func(n int64) {
			t.sent.Add(n)
			t.all.each(func(a *tunnels) { a.sent.Add(uint64(n)) })
		})
	}()
	t.copy(t.origin, t.client, func(n int64) {
		t.all.each(func(a *tunnels) { a.received.Add(uint64(n)) })
	})
	<-back
	t.end(nil)
	if t.cause != nil {
		t.all.each(func(a *tunnels) { a.ended.Add(1) })
	}
	return t.cause
}

// end closes both ends; the first call counts. nil means that they have ended by themselves.
func (t *tunnel) end(cause error) {
	t.once.Do(func() {
		t.cause = cause
		t.mu.Lock()
		t.over = true
		if t.timer != nil {
			t.timer.Stop()
		}
		t.mu.Unlock()
		t.client.abort()
		t.origin.abort()
	})
}

func (t *tunnel) touch() { t.moved.Store(int64(time.Since(epoch))) }

// watch ends the tunnel when it has been silent or open for too long, else looks again when that may be.
func (t *tunnel) watch() {
	wait := time.Duration(1<<63 - 1)
	if t.idle > 0 {
		silent := time.Since(epoch) - time.Duration(t.moved.Load())
		if wait = t.idle + time.Duration(t.slack.Load()) - silent; wait <= 0 {
			t.end(errTunnelIdle)
			return
		}
	}
	if !t.last.IsZero() {
		left := time.Until(t.last)
		if left <= 0 {
			t.end(errTunnelTime)
			return
		}
		wait = min(wait, left)
	}
	if wait == 1<<63-1 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
	case t.timer == nil:
		t.timer = time.AfterFunc(wait, t.watch)
	default:
		t.timer.Reset(wait)
	}
}

// copy carries one direction to its end and then tells dst, or ends the tunnel if there is no other way.
func (t *tunnel) copy(dst, src farEnd, count func(int64)) {
	err := t.through(dst, src, count)
	if err == nil {
		err = dst.closeWrite()
	}
	if err != nil {
		t.end(nil)
	}
}

// buffers are what tunnels copy with where the kernel cannot.
var buffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

func (t *tunnel) through(dst, src farEnd, count func(int64)) error {
	buf := buffers.Get().(*[16 << 10]byte)
	for {
		// What came with a head is read first; then there may be nothing left between the two connections.
		if to, from := dst.tcp(), src.tcp(); to != nil && from != nil && !src.held() {
			buffers.Put(buf)
			return t.splice(to, from, count)
		}
		n, err := src.Read(buf[:])
		if n > 0 {
			// Counted before: who has the bytes may ask at once.
			if !t.passed(int64(n), count) {
				err = errTunnelBytes
			} else if _, werr := dst.Write(buf[:n]); werr != nil {
				err = werr
			}
			t.touch()
		}
		if err != nil {
			buffers.Put(buf)
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// passed takes note of n bytes; false means that they are too many.
func (t *tunnel) passed(n int64, count func(int64)) bool {
	t.touch()
	if all := t.bytes.Add(n); t.maxBytes > 0 && all > t.maxBytes {
		t.end(errTunnelBytes)
		return false
	}
	count(n)
	return true
}

// spliceTurn is how long the kernel may copy before it is asked how much; a silent connection is asked less often, up
// to maxSpliceTurn. spliceChunk is how many bytes it may copy.
const (
	spliceTurn    = time.Second
	maxSpliceTurn = time.Minute
	spliceChunk   = 1 << 20
)

// splice lets the kernel copy, in turns, so that it shows what passes.
func (t *tunnel) splice(dst, src *net.TCPConn, count func(int64)) error {
	longest := maxSpliceTurn
	if t.idle > 0 {
		longest = min(longest, max(t.idle/4, time.Millisecond))
	}
	t.slack.Store(int64(longest))
	for turn := min(spliceTurn, longest); ; {
		src.SetReadDeadline(time.Now().Add(turn))
		chunk := int64(spliceChunk)
		if t.maxBytes > 0 {
			chunk = min(chunk, t.maxBytes-t.bytes.Load())
		}
		var n int64
		var err error
		if chunk > 0 {
			n, err = io.CopyN(dst, src, chunk)
		} else { // a byte more is one too many
			var one int
			one, err = src.Read(make([]byte, 1))
			n = int64(one)
		}
		if n > 0 && !t.passed(n, count) {
			return errTunnelBytes
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case n > 0:
			turn = min(spliceTurn, longest)
		default:
			turn = min(2*turn, longest)
		}
	}
}
