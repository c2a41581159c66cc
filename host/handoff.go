package host

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/httpfield"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wire"
)

// routeField tells a GRIP proxy which origin a request is for.
const routeField = "pushpin-route"

// HandOff implements abi.HandOffClient.
func (x *exchange) HandOff(h *abi.HandOff) {
	x.mu.Lock()
	x.handOff = h
	x.mu.Unlock()
	x.poke()
}

// errTooManyTunnels is why a client that was handed off is refused.
var errTooManyTunnels = errors.New("too many clients are handed off already (settings: Limits.Tunnels, Options.MaxTunnels, --max-tunnels)")

// serveHandOff lets client and origin talk, for a guest that may have ended or not.
func (x *exchange) serveHandOff(h *abi.HandOff) {
	s := x.service
	x.box.life.detach(x) // the client is no longer the guest's
	defer h.Release()
	if !s.tunnels.enter() {
		h.Body.Abandon(abi.ErrReaderGone)
		x.w.Header().Set("Retry-After", "5")
		x.failHandOff(h, http.StatusServiceUnavailable, errTooManyTunnels)
		return
	}
	defer s.tunnels.leave()

	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.tunnels.ctx, func() { cancel(context.Cause(s.tunnels.ctx)) })()
	var last time.Time
	if d := s.limits.TunnelTime; d > 0 {
		last = x.start.Add(d)
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, last, errTunnelTime)
		defer stop()
	}
	s.env.Chain.Mark(&h.Header, &x.client.Passed)
	to := h.Backend
	if h.GRIP {
		if s.grip == nil {
			x.failHandOff(h, http.StatusInternalServerError, errNoGRIPProxy)
			return
		}
		h.Header.Set(routeField, h.Name)
		to = s.grip
	}
	if x.upgrades(h) {
		x.upgrade(ctx, h, to, last)
	} else {
		x.forward(ctx, h, to)
	}
}

// errNoGRIPProxy is a hand-off that cannot be: sent to the backend itself, the client would get the proxy's instructions.
var errNoGRIPProxy = errors.New("there is no GRIP proxy: --local-pushpin-proxy-port names one, as does ServiceConfig.GRIPProxy")

// failHandOff answers a client that could not be handed off, and says why in the log.
func (x *exchange) failHandOff(h *abi.HandOff, status int, err error) {
	s := x.service
	s.tunnels.each(func(t *tunnels) { t.failed.Add(1) })
	x.fail(status, err)
	x.leaveUpload()
	s.log.Warn("hand-off to the backend "+h.Name+" failed: "+err.Error(), telemetry.Request(x.id), zap.String("service", s.cfg.Name))
}

// originFailed answers for an origin that did not.
func (x *exchange) originFailed(ctx context.Context, h *abi.HandOff, err error) {
	cause := context.Cause(ctx)
	switch {
	case x.r.Context().Err() != nil && cause != errTunnelTime:
		x.leaveUpload()
		panic(http.ErrAbortHandler) // nobody waits for an answer
	case cause == ErrShutdown:
		x.w.Header().Set("Retry-After", "1")
		x.failHandOff(h, http.StatusServiceUnavailable, cause)
		return
	case cause != nil:
		x.failHandOff(h, http.StatusGatewayTimeout, cause)
		return
	}
	status := http.StatusBadGateway
	var send *backend.SendError
	if errors.As(err, &send) && send.Detail.Timeout() {
		status = http.StatusGatewayTimeout
	}
	x.failHandOff(h, status, err)
}

// upgrades reports whether the request asks for a WebSocket in a way that this connection can carry (RFC 6455 section
// 4.1). No other protocol is passed on: one that the host does not know would let clients past all that it checks. What
// the handshake's own fields hold is the origin's to judge.
func (x *exchange) upgrades(h *abi.HandOff) bool {
	if h.Method != http.MethodGet || wire.StreamOf(x.r) == nil && !x.r.ProtoAtLeast(1, 1) || x.r.ProtoMajor == 2 && wire.StreamOf(x.r) == nil {
		return false
	}
	// Nor may anybody still read the client's body, for instance a backend that the guest has passed it on to.
	if n, known := h.Body.Length(); !known || n != 0 || !x.upload.readWhole() {
		return false
	}
	return listed(&h.Header, "connection", "upgrade") && listed(&h.Header, "upgrade", "websocket")
}

// listed reports whether the fields of a name hold a token.
func listed(l *httpfield.List, name, token string) bool {
	for _, f := range l.Fields() {
		if f.Name == name && httpguts.HeaderValuesContainsToken([]string{f.Value}, token) {
			return true
		}
	}
	return false
}

// forward sends a request on that asks for no other protocol. The answer may take as long as it likes, as one that a
// GRIP proxy holds does, as long as it is not silent for too long.
func (x *exchange) forward(ctx context.Context, h *abi.HandOff, to *backend.Backend) {
	h.Header.Del("upgrade")
	req := h.Request()
	if h.GRIP {
		req.Patience = -1
		if d := x.service.limits.TunnelIdle; d > 0 {
			req.Patience = d
		}
	}
	resp, err := to.Send(ctx, req)
	if err != nil {
		x.originFailed(ctx, h, err)
		return
	}
	x.relay(resp)
}

// relay gives the client an origin's plain answer.
func (x *exchange) relay(resp *backend.Response) {
	defer resp.Body.Close()
	defer x.leaveUpload()
	x.respond(abi.OriginResponse(resp, func() {}))
}

// upgrade hands a WebSocket's handshake to the origin, and what it answers to the client.
func (x *exchange) upgrade(ctx context.Context, h *abi.HandOff, to *backend.Backend, last time.Time) {
	h.Body.Abandon(abi.ErrReaderGone)
	h.Header.Set("upgrade", "websocket")
	h.Header.Set("connection", "Upgrade")
	req := &backend.Request{Method: h.Method, URI: h.URI, Header: &h.Header}
	resp, conn, err := to.Upgrade(ctx, req)
	if err != nil {
		x.originFailed(ctx, h, err)
		return
	}
	if conn == nil {
		x.relay(resp)
		return
	}
	client, err := x.switchProtocols(h, resp)
	if err != nil {
		conn.Close()
		if errors.Is(err, errHandshake) {
			x.failHandOff(h, http.StatusBadGateway, err)
			return
		}
		panic(http.ErrAbortHandler)
	}
	s := x.service
	s.tunnels.each(func(t *tunnels) { t.switched.Add(1) })
	t := &tunnel{
		client:   client,
		origin:   originEnd{conn},
		all:      s.tunnels,
		idle:     max(s.limits.TunnelIdle, 0),
		last:     last,
		maxBytes: max(s.limits.TunnelBytes, 0),
	}
	err = t.run()
	x.sent = t.sent.Load()
	if err != nil {
		s.log.Info("a WebSocket was ended: "+err.Error(), telemetry.Request(x.id), zap.String("service", s.cfg.Name))
	}
}

// errHandshake is an origin that switched in a way that the client cannot be told.
var errHandshake = errors.New("the origin's handshake is wrong")

// switchProtocols tells the client that the origin has switched, and takes its connection over.
func (x *exchange) switchProtocols(h *abi.HandOff, resp *backend.Response) (farEnd, error) {
	removeConnectionFields(&resp.Header)
	if stream := wire.StreamOf(x.r); stream != nil {
		// Here the client has sent no key, and the host has.
		key, _ := h.Header.Get("sec-websocket-key")
		got, _ := resp.Header.Get("sec-websocket-accept")
		if got != accept(key) {
			return nil, fmt.Errorf("%w: its Sec-WebSocket-Accept does not fit", errHandshake)
		}
		resp.Header.Del("sec-websocket-accept")
		header := x.w.Header()
		resp.Header.AppendHTTP(header)
		if _, ok := header["Content-Type"]; !ok {
			header["Content-Type"] = nil
		}
		x.status = http.StatusOK
		if err := stream.Accept(); err != nil {
			return nil, err
		}
		return streamEnd{stream}, nil
	}
	nc, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("%w: the client's connection cannot be taken over: %w", errHandshake, err)
	}
	nc.SetDeadline(time.Time{})
	x.status = http.StatusSwitchingProtocols
	head := []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
	for _, f := range resp.Header.Fields() {
		if httpguts.ValidHeaderFieldName(f.Name) && httpguts.ValidHeaderFieldValue(f.Value) {
			head = fmt.Appendf(head, "%s: %s\r\n", httpfield.Canonical(f.Name), f.Value)
		}
	}
	if _, err := nc.Write(append(head, "\r\n"...)); err != nil {
		nc.Close()
		return nil, err
	}
	return &clientEnd{nc, rw.Reader, wire.TCPConn(nc)}, nil
}

// removeConnectionFields takes out of a 101 what concerns the connection to the origin.
func removeConnectionFields(l *httpfield.List) {
	var drop []string
	for _, f := range l.Fields() {
		if f.Name == "connection" {
			for item := range strings.SplitSeq(f.Value, ",") {
				drop = append(drop, strings.ToLower(strings.TrimSpace(item)))
			}
		}
	}
	for _, name := range append(append(drop, connectionFields...), "content-length", "trailer", "te") {
		l.Del(name)
	}
}

// accept is the answer to a handshake's key (RFC 6455 section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// clientEnd is a client's connection that was taken over.
type clientEnd struct {
	nc  net.Conn
	br  *bufio.Reader // holds what the client sent before
	raw *net.TCPConn  // nc itself where nothing stands between; else nil
}

func (c *clientEnd) Read(p []byte) (int, error) {
	if c.held() {
		return c.br.Read(p)
	}
	return c.nc.Read(p)
}

func (c *clientEnd) Write(p []byte) (int, error) { return c.nc.Write(p) }

func (c *clientEnd) closeWrite() error {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *clientEnd) abort() { c.nc.Close() }

func (c *clientEnd) tcp() *net.TCPConn { return c.raw }
func (c *clientEnd) held() bool        { return c.br.Buffered() > 0 }

// streamEnd is a client's stream over HTTP/2. Its handler's end is what ends it.
type streamEnd struct{ *wire.Stream }

func (s streamEnd) closeWrite() error { return errors.ErrUnsupported }
func (s streamEnd) abort()            { s.Abort() }
func (s streamEnd) tcp() *net.TCPConn { return nil }
func (s streamEnd) held() bool        { return false }

// originEnd is the connection to the origin.
type originEnd struct{ backend.Conn }

func (o originEnd) closeWrite() error { return o.CloseWrite() }
func (o originEnd) abort()            { o.Close() }
func (o originEnd) tcp() *net.TCPConn { return o.TCPConn() }
func (o originEnd) held() bool        { return o.Buffered() > 0 }
