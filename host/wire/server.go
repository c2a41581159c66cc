package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server is the downstream server. Handler must be set; the other fields' zero values mean what each field
// says. A Server must not be changed once it serves; it may serve several times.
type Server struct {
	// Handler answers the requests. It may ask FromRequest for the facts of the client.
	Handler http.Handler

	// Addr is where ListenAndServe listens; empty means "127.0.0.1:7676". Port 0 picks a free port.
	Addr string
	// TLS turns encryption on; nil means clear text.
	TLS *TLSConfig
	// NoHTTP2 offers HTTP/1.1 alone.
	NoHTTP2 bool
	// NoH2C refuses HTTP/2 with prior knowledge on connections in clear text.
	NoH2C bool

	// ReadHeaderTimeout bounds the TLS handshake and the reading of a request head; 0 means 10 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout bounds how long a kept connection may be silent; 0 means 75 s.
	IdleTimeout time.Duration
	// BodyTimeout bounds how long one read of a request body may wait for the client; 0 means 30 s,
	// negative means for ever.
	BodyTimeout time.Duration
	// MinBodyRate is the least that a client must send of a body in bytes a second, averaged over the time
	// spent waiting for it and judged after 10 s; 0 means any rate.
	MinBodyRate int
	// WriteTimeout bounds how long one write may wait for the client; 0 means 60 s, negative means for
	// ever. For HTTP/1 the limit may come up to a quarter early.
	WriteTimeout time.Duration
	// DrainTimeout is how long requests under way may go on after shutdown has begun, before their
	// connections are closed; 0 means 30 s, negative means not at all.
	DrainTimeout time.Duration

	// MaxURL and MaxMethod bound the request target and the method in bytes; 0 means 8192, the platform's
	// limit. Longer targets are answered 414.
	MaxURL, MaxMethod int
	// MaxHead bounds the request head in bytes; 0 means 1 MiB. Larger heads are answered 431.
	MaxHead int
	// MaxHeaders bounds the header lines; 0 means 1000. More are answered 431.
	MaxHeaders int
	// MaxStreams bounds the concurrent requests of one HTTP/2 connection; 0 means 250.
	MaxStreams int
	// MaxConnections bounds the open connections; further ones wait in the listener's backlog. 0 means
	// 16384, negative means no bound.
	MaxConnections int

	// Ready, if set, is called once the listener is open, with its address.
	Ready func(net.Addr)
	// ErrorLog takes what net/http has to say about single connections; nil means nobody does.
	ErrorLog *log.Logger

	current atomic.Pointer[serving]
}

// Counts are the connections of a Server by what they are doing, and totals since it began to serve.
type Counts struct {
	Starting int // in the handshake or before the first request
	Active   int // a request is under way
	Idle     int // kept for the next request
	Hijacked int // taken over by a handler
	Accepted uint64
	Refused  uint64 // requests that the server itself answered with 4xx or 505 because of their form
}

// Counts gives the present counters; zeros when the server has not served. It looks at every connection.
func (s *Server) Counts() Counts {
	v := s.current.Load()
	if v == nil {
		return Counts{}
	}
	var n [numPhases]int
	v.mu.Lock()
	for c := range v.open {
		n[c.phase.Load()]++
	}
	v.mu.Unlock()
	return Counts{
		Starting: n[phaseStarting],
		Active:   n[phaseActive],
		Idle:     n[phaseIdle],
		Hijacked: n[phaseHijacked],
		Accepted: v.accepted.Load(),
		Refused:  v.refused.Load(),
	}
}

// serving is one run of a Server.
type serving struct {
	handler      http.Handler
	limits       limits
	tls          *tls.Config // nil in clear text
	recordCert   bool
	h2c          bool
	h1, h2       *http.Server // h2 is nil without HTTP/2
	headTimeout  time.Duration
	bodyTimeout  time.Duration
	writeTimeout time.Duration
	minBodyRate  int

	h1conns  chan net.Conn // for h1
	h2conns  chan net.Conn // for h2
	slots    chan struct{} // nil without a bound
	stop     chan struct{} // closed when shutdown begins
	accepted atomic.Uint64
	refused  atomic.Uint64

	mu   sync.Mutex
	open map[*serverConn]struct{}
	gone chan struct{} // closed when shutdown has begun and open is empty

	goneOnce sync.Once
}

// maxFrame is the HTTP/2 frame size that the server accepts: the protocol's initial value, which no browser
// exceeds.
const maxFrame = 16 << 10

// ListenAndServe listens on s.Addr and serves until ctx ends; see Serve.
func (s *Server) ListenAndServe(ctx context.Context) error {
	addr := s.Addr
	if addr == "" {
		addr = "127.0.0.1:7676"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("wire: listen: %w", err)
	}
	return s.Serve(ctx, l)
}

// Serve takes connections from l until ctx ends or l fails, and closes l. When ctx ends it stops to listen at
// once, lets the requests under way finish within DrainTimeout, closes what is left, and returns nil, or
// an error that wraps context.DeadlineExceeded if connections had to be closed under a request.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	v, err := s.prepare()
	if err != nil {
		return err
	}
	s.current.Store(v)
	var served sync.WaitGroup
	served.Go(func() { v.h1.Serve(connListener{v, v.h1conns, l.Addr()}) })
	if v.h2 != nil {
		served.Go(func() { v.h2.Serve(connListener{v, v.h2conns, l.Addr()}) })
	}
	accepted := make(chan error, 1)
	go func() { accepted <- v.accept(l) }()
	if s.Ready != nil {
		s.Ready(l.Addr())
	}

	select {
	case <-ctx.Done():
		err = nil
	case err = <-accepted:
		err = fmt.Errorf("wire: accept: %w", err)
	}
	l.Close()
	drain := s.DrainTimeout
	if drain == 0 {
		drain = 30 * time.Second
	}
	drainErr := v.shutdown(max(drain, 0))
	served.Wait()
	return errors.Join(err, drainErr)
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (s *Server) prepare() (*serving, error) {
	if s.Handler == nil {
		return nil, errors.New("wire: Server.Handler is not set")
	}
	v := &serving{
		handler: s.Handler,
		limits: limits{
			url:     orDefault(s.MaxURL, 8192),
			method:  orDefault(s.MaxMethod, 8192),
			head:    orDefault(s.MaxHead, 1<<20),
			headers: orDefault(s.MaxHeaders, 1000),
		},
		headTimeout:  orDefault(s.ReadHeaderTimeout, 10*time.Second),
		bodyTimeout:  orDefault(s.BodyTimeout, 30*time.Second),
		writeTimeout: orDefault(s.WriteTimeout, 60*time.Second),
		minBodyRate:  s.MinBodyRate,
		h1conns:      make(chan net.Conn),
		h2conns:      make(chan net.Conn),
		stop:         make(chan struct{}),
		open:         make(map[*serverConn]struct{}),
		gone:         make(chan struct{}),
	}
	if n := orDefault(s.MaxConnections, 16384); n > 0 {
		v.slots = make(chan struct{}, n)
	}
	v.h1 = v.httpServer(s)
	v.h1.Protocols = new(http.Protocols)
	v.h1.Protocols.SetHTTP1(true)
	if !s.NoHTTP2 {
		// TLS is done before net/http gets to see a connection, so that even there it finds HTTP/2 with
		// prior knowledge in clear text.
		v.h2 = v.httpServer(s)
		v.h2.Protocols = new(http.Protocols)
		v.h2.Protocols.SetUnencryptedHTTP2(true)
		v.h2.HTTP2 = &http.HTTP2Config{
			MaxConcurrentStreams:      orDefault(s.MaxStreams, 250),
			MaxReadFrameSize:          maxFrame,
			MaxDecoderHeaderTableSize: h2TableSize,
			WriteByteTimeout:          max(v.writeTimeout, 0),
		}
	}
	v.h2c = v.h2 != nil && !s.NoH2C
	if s.TLS != nil {
		var err error
		if v.tls, err = s.TLS.build(v.h2 != nil); err != nil {
			return nil, err
		}
		v.recordCert = s.TLS.ClientAuth != NoClientCert
	}
	return v, nil
}

// httpServer gives a net/http server with what both protocols share.
func (v *serving) httpServer(s *Server) *http.Server {
	errorLog := s.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	return &http.Server{
		Handler:                      v,
		ReadHeaderTimeout:            v.headTimeout,
		IdleTimeout:                  orDefault(s.IdleTimeout, 75*time.Second),
		MaxHeaderBytes:               v.limits.head,
		ErrorLog:                     errorLog,
		ConnState:                    stateChanged,
		DisableGeneralOptionsHandler: true, // the handler answers OPTIONS *
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey, baseConn(c))
		},
	}
}

// accept takes connections until the listener is closed.
func (v *serving) accept(l net.Listener) error {
	var pause time.Duration
	for {
		if v.slots != nil {
			select {
			case v.slots <- struct{}{}:
			case <-v.stop:
				return net.ErrClosed
			}
		}
		nc, err := l.Accept()
		if err != nil {
			v.release()
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() && !isExhausted(err) {
				return err
			}
			// Out of file descriptors or memory: it passes when connections end.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
				continue
			case <-v.stop:
				return net.ErrClosed
			}
		}
		pause = 0
		v.accepted.Add(1)
		c := &serverConn{Conn: nc, raw: nc, srv: v}
		c.facts = newConnFacts(nc.LocalAddr(), nc.RemoteAddr())
		c.follow.lim = &v.limits
		if !v.add(c) {
			c.Close()
			return net.ErrClosed
		}
		go v.start(c)
	}
}

// start finds out the protocol of a connection and hands it on.
func (v *serving) start(c *serverConn) {
	if v.headTimeout > 0 {
		c.Conn.SetDeadline(time.Now().Add(v.headTimeout))
	}
	if v.stopping() { // shutdown's own deadline may have been the earlier one
		c.Close()
		return
	}
	var handOn net.Conn = c
	isH2 := false
	if v.tls != nil {
		if err := v.handshake(c); err != nil {
			c.Close()
			return
		}
		isH2 = c.facts.tls.NegotiatedProtocol == "h2"
		if !isH2 {
			handOn = tlsServerConn{c}
		}
	} else if v.h2c {
		var err error
		if isH2, err = c.sniff(); err != nil {
			c.Close()
			return
		}
	}
	c.Conn.SetDeadline(time.Time{})
	if v.stopping() {
		c.Close()
		return
	}
	conns := v.h1conns
	if isH2 {
		c.tap = newH2Tap(rawReader{c}, maxFrame, 2*v.limits.head)
		conns = v.h2conns
	}
	select {
	case conns <- handOn:
	case <-v.stop:
		c.Close()
	}
}

func (v *serving) stopping() bool {
	select {
	case <-v.stop:
		return true
	default:
		return false
	}
}

func (v *serving) handshake(c *serverConn) error {
	raw := c.Conn
	recorder := &helloConn{Conn: raw}
	tc := tls.Server(recorder, v.tls)
	err := tc.Handshake()
	if err != nil {
		var notTLS tls.RecordHeaderError
		if errors.As(err, &notTLS) && notTLS.Conn != nil && looksLikeHTTP(notTLS.RecordHeader) {
			io.WriteString(raw, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n"+
				"Content-Type: text/plain; charset=utf-8\r\n\r\nthis port speaks HTTPS\n")
		}
		return err
	}
	state := tc.ConnectionState()
	if state.NegotiatedProtocol == "h2" && state.Version < tls.VersionTLS12 {
		return errors.New("wire: HTTP/2 over a TLS version before 1.2") // RFC 9113 section 9.2
	}
	c.Conn = tc
	c.facts.tls = &state
	c.facts.hello = recorder.rec.message()
	c.facts.clientCAs = v.tls.ClientCAs
	c.facts.askedCert = v.recordCert
	return nil
}

// looksLikeHTTP tells a request in clear text by its first five bytes.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET", "CONNE", "PRI *":
		return true
	}
	return false
}

// sniff reads until it is clear whether the client speaks HTTP/2. What it read is served again.
func (c *serverConn) sniff() (isH2 bool, err error) {
	buf := make([]byte, 0, 512)
	for {
		n, err := c.Conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		c.prefix = buf
		m := min(len(buf), len(h2Preface))
		if !bytes.Equal(buf[:m], []byte(h2Preface[:m])) {
			return false, nil
		}
		if m == len(h2Preface) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// connListener gives net/http the connections that speak its protocol.
type connListener struct {
	v     *serving
	conns chan net.Conn
	addr  net.Addr
}

func (l connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.v.stop:
		return nil, net.ErrClosed
	}
}

func (l connListener) Close() error   { return nil }
func (l connListener) Addr() net.Addr { return l.addr }

func (v *serving) release() {
	if v.slots != nil {
		<-v.slots
	}
}

// add files an open connection; false after shutdown has begun.
func (v *serving) add(c *serverConn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopping() {
		return false
	}
	v.open[c] = struct{}{}
	return true
}

// drop is called once for each connection, when it is closed.
func (v *serving) drop(c *serverConn) {
	v.release()
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.open[c]; !ok {
		return
	}
	delete(v.open, c)
	v.checkGone()
}

// checkGone is called with v.mu held.
func (v *serving) checkGone() {
	if len(v.open) == 0 && v.stopping() {
		v.goneOnce.Do(func() { close(v.gone) })
	}
}

// shutdown lets requests end within drain and closes what is left.
func (v *serving) shutdown(drain time.Duration) error {
	v.mu.Lock()
	close(v.stop)
	v.checkGone()
	var unstarted []*serverConn
	for c := range v.open {
		if c.phase.Load() == phaseStarting {
			unstarted = append(unstarted, c)
		}
	}
	v.mu.Unlock()
	for _, c := range unstarted {
		c.raw.SetReadDeadline(time.Now()) // there is no request yet; a first byte that is just coming loses
	}

	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var both sync.WaitGroup // their errors are that of ctx, which is looked at below
	both.Go(func() { v.h1.Shutdown(ctx) })
	if v.h2 != nil {
		both.Go(func() { v.h2.Shutdown(ctx) })
	}
	both.Wait()
	var err error
	select {
	case <-v.gone:
	case <-ctx.Done():
		v.mu.Lock()
		left := make([]*serverConn, 0, len(v.open))
		for c := range v.open {
			left = append(left, c)
		}
		v.mu.Unlock()
		if len(left) > 0 {
			err = fmt.Errorf("wire: %d connections were still in use after %s: %w", len(left), drain, context.DeadlineExceeded)
		}
		for _, c := range left {
			c.raw.Close() // whoever serves the connection notices and calls Close
		}
		v.h1.Close()
		if v.h2 != nil {
			v.h2.Close()
		}
	}
	return err
}
