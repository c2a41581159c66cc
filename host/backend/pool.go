package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errLimit  = errors.New("every connection that the limit allows was busy")
	errClosed = errors.New("the backend was closed")
	errStale  = errors.New("the origin closed the connection at once")
)

// conn is a pooled connection. The pool's mutex guards its fields but the first ones.
type conn struct {
	cc      client
	h1      *h1Client // cc, if it is one
	raw     *rawConn
	h2      bool
	created time.Time

	uses   uint32 // requests given to it
	active int    // requests under way
	idle   time.Time
	gone   bool // not in the pool any more
}

// pool is the connections of one backend. Idle HTTP/1 connections are taken last in, first out, so that surplus ones
// age; HTTP/2 connections are filled before others are made. Who finds every permitted connection busy waits in line.
type pool struct {
	b *Backend

	mu      sync.Mutex
	idle1   []*conn // HTTP/1, unused, the longest unused first
	h2      []*conn
	total   int // connections and those being made
	making  int
	line    []*waiter
	prune   *time.Timer
	closed  bool
	sawH2   bool // the origin chose HTTP/2 last time: wait for a connection being made rather than make one more
	waiting atomic.Int32
}

// waiter stands in line for a connection.
type waiter struct {
	ch   chan *conn // capacity 1; nil: make one
	left bool
}

// take gives a connection on which exactly one round trip is reserved. fresh insists on a new one.
func (p *pool) take(ctx context.Context, fresh bool) (c *conn, reused bool, err error) {
	if p.b.conf.DontPool {
		select {
		case <-p.b.closed:
			return nil, false, errClosed
		default:
		}
		c, err = p.make(ctx)
		if err == nil {
			c.uses, c.active, c.gone = 1, 1, true
			if c.cc.Reserve() != nil {
				_ = c.cc.Close()
				err = errStale
			}
		}
		return c, false, err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, errClosed
	}
	if !fresh {
		if c := p.pick(); c != nil {
			reused = c.uses > 1
			p.mu.Unlock()
			return c, reused, nil
		}
	} else if p.full() {
		p.evictIdle()
	}
	if !p.full() && (fresh || !p.sawH2 || p.making == 0) {
		p.total++
		p.making++
		p.mu.Unlock()
		c, err = p.makeFor(ctx)
		return c, false, err
	}
	w := &waiter{ch: make(chan *conn, 1)}
	p.line = append(p.line, w)
	p.waiting.Add(1)
	p.mu.Unlock()
	defer p.waiting.Add(-1)

	var limit <-chan time.Time
	var deadline time.Time
	if d := p.b.conf.ConnectTimeout; d > 0 {
		deadline = time.Now().Add(d)
		t := time.NewTimer(d)
		defer t.Stop()
		limit = t.C
	}
	select {
	case c = <-w.ch:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-limit:
		err = errLimit
		if p.b.conf.Pool.MaxConnections == 0 {
			err = errConnectTimeout // of those that others were making
		}
	}
	if err != nil {
		p.mu.Lock()
		w.left = true
		select {
		case c = <-w.ch: // it came after all: pass it on
			p.mu.Unlock()
			if c != nil {
				c.cc.Release()
				p.give(c, true)
			} else {
				p.unmake()
			}
		default:
			p.line = slices.DeleteFunc(p.line, func(x *waiter) bool { return x == w })
			p.mu.Unlock()
		}
		return nil, false, err
	}
	if c == nil {
		if !deadline.IsZero() { // waiting in line and connecting share the time
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadlineCause(ctx, deadline, errConnectTimeout)
			defer cancel()
		}
		c, err = p.makeFor(ctx)
		return c, false, err
	}
	return c, true, nil
}

// full reports whether no connection may be made. The pool is locked.
func (p *pool) full() bool {
	limit := p.b.conf.Pool.MaxConnections
	return limit != 0 && p.total >= int(limit)
}

// evictIdle makes room for a connection that must be new. The pool is locked.
func (p *pool) evictIdle() {
	if len(p.idle1) > 0 {
		c := p.idle1[0]
		p.idle1 = slices.Delete(p.idle1, 0, 1)
		p.drop(c)
	}
}

// pick reserves a round trip on a connection that has room, and counts it as a use. The pool is locked.
func (p *pool) pick() *conn {
	now := time.Now()
	for i := 0; i < len(p.h2); {
		c := p.h2[i]
		if p.spent(c, now) || c.cc.Err() != nil {
			p.retire(c)
			continue
		}
		if c.cc.Reserve() == nil {
			c.uses++
			c.active++
			return c
		}
		if c.active == 0 && c.cc.Available() == 0 { // it takes no more requests: GOAWAY
			p.retire(c)
			continue
		}
		i++
	}
	for n := len(p.idle1); n > 0; n = len(p.idle1) {
		c := p.idle1[n-1]
		p.idle1[n-1] = nil
		p.idle1 = p.idle1[:n-1]
		if p.spent(c, now) || c.cc.Reserve() != nil {
			p.drop(c)
			continue
		}
		c.uses++
		c.active++
		return c
	}
	return nil
}

// spent reports whether a connection may take no further request.
func (p *pool) spent(c *conn, now time.Time) bool {
	l := &p.b.conf.Pool
	return l.MaxUse != 0 && c.uses >= l.MaxUse ||
		l.MaxLifetime != 0 && now.Sub(c.created) >= l.MaxLifetime ||
		c.active == 0 && !c.idle.IsZero() && now.Sub(c.idle) >= p.b.conf.KeepAlive.HTTPTime
}

// retire takes an HTTP/2 connection out of use; the requests on it go on. The pool is locked.
func (p *pool) retire(c *conn) {
	p.h2 = slices.DeleteFunc(p.h2, func(x *conn) bool { return x == c })
	if c.active == 0 {
		p.drop(c)
	}
}

// drop closes a connection that no request is on and that no list holds. The pool is locked.
func (p *pool) drop(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	p.total--
	// Closing can wait for the peer (TLS close_notify), and it runs the connection's hook.
	go func() { _ = c.cc.Close() }()
}

// makeFor makes a connection, counted already, and reserves a round trip.
func (p *pool) makeFor(ctx context.Context) (*conn, error) {
	c, err := p.make(ctx)
	if err == nil {
		if c.cc.Reserve() != nil {
			_ = c.cc.Close()
			err = errStale
		}
	}
	if err != nil {
		p.unmake()
		return nil, err
	}
	p.mu.Lock()
	p.making--
	c.uses, c.active = 1, 1
	p.sawH2 = c.h2
	if c.h2 && !p.closed {
		p.h2 = append(p.h2, c)
	}
	p.serve()
	p.mu.Unlock()
	if c.h2 {
		c.cc.(*http.ClientConn).SetStateHook(func(*http.ClientConn) {
			// A stream has ended, or the connection. The hook may run inside a call made with the pool locked.
			if p.waiting.Load() > 0 {
				go p.wake()
			}
		})
	}
	return c, nil
}

// unmake gives back the place of a connection that was not made.
func (p *pool) unmake() {
	p.mu.Lock()
	p.total--
	p.making--
	p.serve()
	p.mu.Unlock()
}

func (p *pool) wake() {
	p.mu.Lock()
	p.serve()
	p.mu.Unlock()
}

// serve lets those in line have what is free. The pool is locked.
func (p *pool) serve() {
	for len(p.line) > 0 {
		w := p.line[0]
		if !w.left {
			c := p.pick()
			if c == nil {
				if p.full() || p.sawH2 && p.making > 0 {
					return
				}
				p.total++
				p.making++
			}
			w.ch <- c
		}
		p.line[0] = nil
		p.line = p.line[1:]
	}
}

// give ends a request on a connection. It stays for others if it can, unless the exchange was broken off.
func (p *pool) give(c *conn, whole bool) {
	conf := &p.b.conf
	p.mu.Lock()
	defer p.mu.Unlock()
	c.active--
	c.idle = time.Now()
	if conf.DontPool || c.gone {
		c.gone = true
		go func() { _ = c.cc.Close() }()
		return
	}
	keep := !p.closed && conf.KeepAlive.HTTPTime > 0 && !p.spent(c, c.idle)
	switch {
	case c.h2:
		if c.active > 0 {
			break
		}
		if !keep || c.cc.Err() != nil || p.countIdle() > p.b.opts.maxIdle() {
			p.retire(c)
		}
	case keep && whole && c.cc.Available() > 0 && (len(p.idle1) < p.b.opts.maxIdle() || len(p.line) > 0):
		p.idle1 = append(p.idle1, c)
	default:
		p.drop(c)
	}
	p.serve()
	p.schedule(c.idle)
}

// countIdle is the number of unused connections. The pool is locked.
func (p *pool) countIdle() int {
	n := len(p.idle1)
	for _, c := range p.h2 {
		if c.active == 0 {
			n++
		}
	}
	return n
}

// schedule makes sure that unused connections are closed in time. The pool is locked.
func (p *pool) schedule(now time.Time) {
	if p.prune != nil || p.countIdle() == 0 {
		return
	}
	next := p.b.conf.KeepAlive.HTTPTime
	if life := p.b.conf.Pool.MaxLifetime; life > 0 {
		next = min(next, life)
	}
	next = max(next/2, 10*time.Millisecond)
	p.prune = time.AfterFunc(next, p.expire)
}

// expire closes connections that were unused for too long, are too old, or that the origin has closed.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune = nil
	now := time.Now()
	p.idle1 = slices.DeleteFunc(p.idle1, func(c *conn) bool {
		old := p.spent(c, now) || c.cc.Err() != nil
		if old {
			p.drop(c)
		}
		return old
	})
	for _, c := range slices.Clone(p.h2) {
		if c.active == 0 && (p.spent(c, now) || c.cc.Err() != nil) {
			p.retire(c)
		}
	}
	p.schedule(now)
}

// close closes unused connections. Those in use follow when their requests end.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.prune != nil {
		p.prune.Stop()
		p.prune = nil
	}
	for _, c := range p.idle1 {
		p.drop(c)
	}
	p.idle1 = nil
	for _, c := range slices.Clone(p.h2) {
		p.retire(c)
	}
}

// make makes a connection outside any list.
func (p *pool) make(ctx context.Context) (*conn, error) {
	b := p.b
	nc, raw, err := b.connect(ctx, b.protocols...)
	if err != nil {
		return nil, err
	}
	h2 := b.conf.GRPC
	if tc, ok := nc.(*tls.Conn); ok {
		h2 = tc.ConnectionState().NegotiatedProtocol == "h2"
		if !h2 && b.conf.GRPC {
			_ = nc.Close()
			return nil, errNoH2
		}
	}
	c := &conn{raw: raw, h2: h2, created: time.Now()}
	if !h2 {
		c.h1 = newH1Client(nc, raw, b.transport.MaxResponseHeaderBytes)
		c.cc = c.h1
		return c, nil
	}
	cc, err := b.transport.NewClientConn(context.WithValue(ctx, dialedKey{}, nc), b.scheme(), b.authority)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.cc = cc
	return c, nil
}

// dialedKey is of a connection that net/http is to speak HTTP/2 on.
type dialedKey struct{}

func dialTransport(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, ok := ctx.Value(dialedKey{}).(net.Conn)
	if !ok {
		return nil, errors.New("no connection in the context")
	}
	return nc, nil
}

var errNoH2 = errors.New("the origin does not speak HTTP/2, which gRPC needs")

func (c *conn) remote() netip.AddrPort { return c.raw.remote }
