package wire

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// protocolHeader is where net/http puts the pseudo-header :protocol of an extended CONNECT (RFC 8441 section 4).
const protocolHeader = ":protocol"

// Stream is an HTTP/2 stream that a client opened with an extended CONNECT for a WebSocket (RFC 8441). The handler gets
// the request in the form that HTTP/1.1 has for it (RFC 6455 section 4.1): a GET without a body, with Upgrade,
// Connection, Sec-WebSocket-Version and a Sec-WebSocket-Key of the server's making. A handler that knows nothing of
// streams answers it as it would answer that request; since any 2xx would open the WebSocket, the client gets 502 in
// the place of one.
//
// Read and Write may be called by one goroutine each. The stream ends with the handler.
type Stream struct {
	w    *streamWriter
	body io.ReadCloser
}

// StreamOf gives the stream of a request, nil if it did not come as an extended CONNECT.
func StreamOf(r *http.Request) *Stream {
	s, _ := r.Context().Value(streamKey).(*Stream)
	return s
}

// errAnswered means that a stream was accepted after an answer had been written.
var errAnswered = errors.New("wire: the request has been answered already")

// Accept opens the WebSocket: the header set on the handler's ResponseWriter goes out with status 200.
func (s *Stream) Accept() error {
	if s.w.wrote {
		return errAnswered
	}
	s.w.accepted = true
	s.w.WriteHeader(http.StatusOK)
	return http.NewResponseController(s.w).Flush()
}

// Read gives what the client sends.
func (s *Stream) Read(p []byte) (int, error) { return s.body.Read(p) }

// Write sends to the client, at once.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	return n, err
}

// Abort ends all Reads and Writes, for good.
func (s *Stream) Abort() {
	control := http.NewResponseController(s.w)
	control.SetReadDeadline(time.Unix(1, 0))
	control.SetWriteDeadline(time.Unix(1, 0))
}

// streamWriter keeps answers to an extended CONNECT from opening a WebSocket by accident.
type streamWriter struct {
	http.ResponseWriter
	accepted bool
	wrote    bool
	discard  bool // the handler's body is not sent
}

func (w *streamWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = status >= 200
	if status/100 != 2 || w.accepted {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.discard = true
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.ResponseWriter.WriteHeader(http.StatusBadGateway)
	io.WriteString(w.ResponseWriter, "this is no WebSocket\n")
}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.discard {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController calls.
func (w *streamWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *streamWriter) Flush() { w.FlushError() }

// Unwrap lets http.ResponseController reach the rest.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serveStream hands an extended CONNECT to the handler. Its body has neither a time limit nor a least rate: the other
// side of a WebSocket may be silent for as long as the handler allows.
func (s *serving) serveStream(w http.ResponseWriter, r *http.Request, f *Facts) {
	protocols := r.Header[protocolHeader]
	why := refuseProtocol
	if r.Method != http.MethodConnect || len(protocols) != 1 {
		why = refuseRequestLine
	} else if protocols[0] == "websocket" {
		why = nil
	}
	if why != nil {
		s.refused.Add(1)
		refuse(w, why, false)
		return
	}
	sw := &streamWriter{ResponseWriter: w}
	stream := &Stream{w: sw, body: r.Body}
	ctx := context.WithValue(r.Context(), factsKey, f)
	outer := r.WithContext(context.WithValue(ctx, streamKey, stream))
	outer.Method = http.MethodGet
	outer.Body = http.NoBody
	outer.ContentLength = 0
	delete(r.Header, protocolHeader)
	delete(r.Header, "Content-Length")
	r.Header["Connection"] = []string{"Upgrade"}
	r.Header["Upgrade"] = []string{"websocket"}
	key := make([]byte, 16)
	rand.Read(key)
	r.Header["Sec-Websocket-Key"] = []string{base64.StdEncoding.EncodeToString(key)}
	if r.Header["Sec-Websocket-Version"] == nil {
		r.Header["Sec-Websocket-Version"] = []string{"13"}
	}
	s.handler.ServeHTTP(sw, outer)
	sw.WriteHeader(http.StatusOK) // what net/http does for a handler that has not answered
}

// TCPConn gives the TCP connection below one that a handler has taken over (http.Hijacker), if its bytes pass through
// unchanged: there is no TLS, and nothing is held back in between. It serves to copy within the kernel; the connection
// must be closed all the same as it was given.
func TCPConn(nc net.Conn) *net.TCPConn {
	if c := baseConn(nc); c != nil {
		if !c.hijacked.Load() || len(c.prefix) > 0 {
			return nil
		}
		nc = c.Conn
	}
	tcp, _ := nc.(*net.TCPConn)
	return tcp
}
