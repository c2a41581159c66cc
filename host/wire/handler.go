package wire

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

const (
	// discardTimeout bounds the time in which the rest of a body that the handler did not want must arrive
	// for the connection to be kept.
	discardTimeout = 5 * time.Second
	// unaskedTimeout is the same for a client that waits for 100 Continue and did not get it. The connection
	// is closed in any case; if the body comes nevertheless, reading it lets the response arrive.
	unaskedTimeout = 250 * time.Millisecond
)

var markerKey = http.CanonicalHeaderKey(markerName)

// ServeHTTP stands between net/http and the handler.
func (s *serving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey).(*serverConn)
	switch {
	case c == nil:
		refuse(w, refuseDesync, true) // never
	case c.tap == nil:
		s.serveH1(c, w, r)
	case r.ProtoMajor == 2:
		s.serveH2(c, w, r)
	default:
		refuse(w, refuseDesync, true)
	}
}

func (s *serving) serveH1(c *serverConn, w http.ResponseWriter, r *http.Request) {
	req := c.follow.next()
	if req.refused != nil {
		s.refused.Add(1)
		refuse(w, req.refused, true)
		return
	}
	req.facts = Facts{conn: c.facts, req: req}
	c.facts.current.Store(&req.facts)
	if req.tunnel {
		w.Header().Set("Connection", "close") // unless the handler takes the connection over
	}
	if r.ContentLength == 0 {
		s.handler.ServeHTTP(w, r)
		return
	}
	// Without this, net/http reads the body to its end before the first byte of the response goes out.
	w.(interface{ EnableFullDuplex() error }).EnableFullDuplex()
	outer := r.WithContext(r.Context())
	body := s.wrapBody(w, r, outer)
	body.broken = func() *BodyError { return c.follow.failed }
	sent := c.sent.Load()
	defer func() {
		if bad := body.failed.Load(); bad != nil && c.sent.Load() == sent && !c.hijacked.Load() {
			s.refused.Add(1)
			c.lastWords("HTTP/1.1 " + strconv.Itoa(bad.Status) + " " + http.StatusText(bad.Status) +
				"\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
				strconv.Itoa(len(bad.Reason)+1) + "\r\n\r\n" + bad.Reason + "\n")
		} else if !body.eof.Load() && !c.hijacked.Load() {
			patience := discardTimeout
			if !body.started.Load() && r.Header.Get("Expect") != "" {
				patience = unaskedTimeout
			}
			c.Conn.SetReadDeadline(time.Now().Add(patience))
		}
	}()
	s.handler.ServeHTTP(w, outer)
}

func (s *serving) serveH2(c *serverConn, w http.ResponseWriter, r *http.Request) {
	f := &Facts{conn: c.facts, tap: c.tap}
	if v := r.Header[markerKey]; len(v) == 1 {
		f.h2 = c.tap.claim(v[0])
		delete(r.Header, markerKey)
	}
	if why := s.checkH2(r); why != nil {
		s.refused.Add(1)
		refuse(w, why, false)
		return
	}
	r.TLS = c.facts.tls
	outer := r.WithContext(context.WithValue(r.Context(), factsKey, f))
	if s.writeTimeout > 0 {
		w = newH2Writer(w, s.writeTimeout)
	}
	if r.Header[protocolHeader] != nil {
		s.serveStream(w, r, f)
		return
	}
	if r.ContentLength == 0 {
		s.handler.ServeHTTP(w, outer)
		return
	}
	body := s.wrapBody(w, r, outer)
	s.handler.ServeHTTP(w, outer)
	if bad := body.failed.Load(); bad != nil {
		w.WriteHeader(bad.Status) // does nothing when the handler has answered
	}
}

// checkH2 holds a request of HTTP/2 to the rules that the follower has for HTTP/1, where net/http does not.
func (s *serving) checkH2(r *http.Request) *refusal {
	lim := &s.limits
	switch {
	case len(r.Method) > lim.method:
		return refuseMethodLong
	case len(r.RequestURI) > lim.url:
		return refuseURLTooLong
	case !allIn(tokenChar, []byte(r.Method)), !allIn(targetChar, []byte(r.RequestURI)):
		return refuseRequestLine
	case !validHost([]byte(r.Host)):
		return refuseHostBad
	}
	if lengths := r.Header["Content-Length"]; len(lengths) > 0 {
		if len(lengths) > 1 {
			return refuseLengths
		}
		// net/http holds a body to its length, but not the lack of one.
		if n, err := strconv.ParseUint(lengths[0], 10, 63); err != nil || r.ContentLength == 0 && n != 0 {
			return refuseLength
		}
	}
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	if n > lim.headers {
		return refuseTooMany
	}
	for i, host := range r.Header["Host"] {
		if i > 0 {
			return refuseHostTwice
		}
		if !sameHost([]byte(r.Host), []byte(host), false) {
			return refuseHostMismatch
		}
	}
	return nil
}

// refuse answers in place of the handler. It ends the connection if it is not clear what follows on it.
func refuse(w http.ResponseWriter, why *refusal, end bool) {
	h := w.Header()
	if end {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(why.status)
	w.Write([]byte(why.reason + "\n"))
}
