package host

import (
	"net/http"
	"strconv"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// connectionFields belong to one connection (RFC 9110 section 7.6.1); the server writes its own.
var connectionFields = []string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}

// inform writes an early hints response.
func (x *exchange) inform(fields *httpfield.List) {
	h := x.w.Header()
	fields.AppendHTTP(h)
	for _, name := range connectionFields {
		delete(h, httpfield.Canonical(name))
	}
	delete(h, "Content-Length")
	x.w.WriteHeader(http.StatusEarlyHints)
	clear(h)
}

// respond writes the final response. It returns when the client has it all and the guest is done with the
// client's body, and panics with http.ErrAbortHandler when the response could not be completed.
func (x *exchange) respond(r *abi.Response, b *abi.Body) {
	if u := x.upload; u != nil && u.kept.Load() {
		// Clients that have the answer stop sending.
		x.awaitKept()
	}
	x.status = r.Status
	bodyless := x.r.Method == http.MethodHead || r.Status == http.StatusNoContent || r.Status == http.StatusNotModified
	cut := x.head(r, b, bodyless)
	x.w.WriteHeader(r.Status)

	control := http.NewResponseController(x.w)
	var err error
	if bodyless {
		// The guest may write all the same; nothing of it goes to the client.
		err = control.Flush()
		if err == nil {
			err = b.CopyTo(x.r.Context(), discard{}, nop)
		}
	} else {
		err = b.CopyTo(x.r.Context(), &counter{x, cut}, control.Flush)
	}
	if err != nil {
		b.Abandon(abi.ErrReaderGone)
		if x.r.Context().Err() != nil {
			x.box.life.lose(x)
		} else {
			control.Flush() // the client gets what there is before the connection breaks
		}
		x.leaveUpload()
		panic(http.ErrAbortHandler)
	}
	trailers := b.Trailers()
	if trailers.Len() > 0 {
		// net/http would give a short body that it still holds a Content-Length, and HTTP/1.1 no trailers then.
		control.Flush()
	}
	for _, f := range trailers.Fields() {
		x.w.Header().Add(http.TrailerPrefix+httpfield.Canonical(f.Name), f.Value)
	}
	if x.ended != nil {
		x.waitUpload(control)
	} else if x.r.ProtoMajor == 1 && x.w.Header()["Content-Length"] != nil {
		// The response is complete: the client need not wait for the sandbox to be cleared away. With any other
		// framing its last bytes follow when the handler returns.
		control.Flush()
	}
}

// head sets the header section. Content-Length and Transfer-Encoding are computed unless the guest asked to
// have its own kept and they are sane (ABI notes, section 5); then cut is the length at which the body is cut off, else -1.
func (x *exchange) head(r *abi.Response, b *abi.Body, bodyless bool) (cut int64) {
	h := x.w.Header()
	fields := r.Header()
	closing := r.NoKeepAlive
	if v, ok := fields.Get("connection"); ok && v == "close" {
		closing = true
	}
	own, hasOwn := contentLength(fields)
	chunked := false
	if te, ok := fields.Get("transfer-encoding"); ok {
		chunked = te == "chunked"
	}
	for _, name := range connectionFields {
		fields.Del(name)
	}
	fields.Del("content-length")
	length, known := responseLength(r, b, bodyless, own, hasOwn, chunked)
	if known {
		delete(h, "Content-Length") // which a wrapper of the host may have set
		fields.AppendHTTP(h, httpfield.Field{Name: "content-length", Value: strconv.FormatInt(length, 10)})
	} else {
		fields.AppendHTTP(h)
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // the server must not guess one
	}
	if closing {
		h.Set("Connection", "close")
	}
	if r.ManualFraming && known {
		return length
	}
	return -1
}

// responseLength is the Content-Length that a response is sent with; own is the sane one that the guest has given.
func responseLength(r *abi.Response, b *abi.Body, bodyless bool, own int64, hasOwn, chunked bool) (length int64, known bool) {
	if r.Status == http.StatusNoContent {
		return 0, false
	}
	length, known = b.Length()
	switch {
	case r.ManualFraming && hasOwn && !chunked:
		length, known = own, true
	case r.ManualFraming && chunked && !hasOwn:
		known = false
	case bodyless && length == 0:
		// The length of the body that is not sent can only come from the guest.
		length, known = own, hasOwn
	case b.Trailers().Len() > 0:
		known = false // HTTP/1.1 has room for trailers in chunked framing only
	}
	return length, known
}

// contentLength reads a sane Content-Length: one line, digits only.
func contentLength(fields *httpfield.List) (int64, bool) {
	n := 0
	var value string
	for _, f := range fields.Fields() {
		if f.Name == "content-length" {
			n++
			value = f.Value
		}
	}
	if n != 1 || value == "" {
		return 0, false
	}
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return 0, false
		}
	}
	v, err := strconv.ParseInt(value, 10, 64)
	return v, err == nil
}

// waitUpload keeps the handler from returning while the guest still reads the client's body.
func (x *exchange) waitUpload(control *http.ResponseController) {
	u := x.upload
	if u == nil {
		return
	}
	select {
	case <-u.ended:
	case <-x.ended:
	default:
		control.Flush()
		select {
		case <-u.ended:
		case <-x.ended:
		case <-x.r.Context().Done():
		}
	}
	x.leaveUpload()
}

// leaveUpload ends the reading of the client's body, but for a write to a store: that is waited for.
func (x *exchange) leaveUpload() {
	if u := x.upload; u != nil {
		if u.kept.Load() {
			x.awaitKept()
		}
		u.detach()
		x.settleUpload()
	}
}

// awaitKept waits until a client's body that is being stored has been read, has failed, or was given up (see abi.KVUse).
func (x *exchange) awaitKept() {
	select {
	case <-x.upload.ended:
		return
	default:
	}
	if x.status != 0 {
		x.upload.control.Flush() // the client may send on only when it has seen the answer
	}
	select {
	case <-x.upload.ended:
	case <-x.r.Context().Done():
	}
}

// counter writes to the client. What lies beyond a length that was set by hand is dropped.
type counter struct {
	x   *exchange
	cut int64 // -1: nowhere
}

func (c *counter) Write(p []byte) (int, error) {
	part := p
	if c.cut >= 0 {
		part = p[:min(int64(len(p)), c.cut-c.x.sent)]
	}
	n, err := c.x.w.Write(part)
	c.x.sent += int64(n)
	if err == nil {
		n = len(p)
	}
	return n, err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func nop() error { return nil }
