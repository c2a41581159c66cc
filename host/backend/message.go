package backend

import (
	"io"
	"net/netip"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Request is what Send gives to an origin. It and its Header may be used again when Send has returned, its Body and
// Trailers not before Body was closed.
type Request struct {
	Method string // "": GET

	// URI is absolute ("http://host/path?query") or a path with query. Scheme and user-info are ignored, a fragment
	// is dropped; where to connect is the backend's business.
	URI string

	// Header may hold anything a guest can set. Host decides the Host header unless Config.OverrideHost does; without
	// both the URI's authority counts, then Config.Host. Connection-specific fields and Expect are left out, and so
	// are Content-Length and Transfer-Encoding unless ManualFraming is set. nil: empty.
	Header *httpfield.List

	// Body is read to its end while the request is sent; nil means none. The backend closes it exactly once, also if
	// Send fails, possibly while a Read is waiting, which must then return. An error of Read aborts the request, so
	// that the origin can tell.
	Body   io.ReadCloser
	Length int64 // of Body; -1: unknown

	// Trailers is called once Body has ended, to add the fields that follow it; nil: none. A request that has it is
	// sent with a body of unknown length, unless ManualFraming says one. Names in Header's Trailer fields are announced; others are sent all the
	// same, but some servers drop those.
	Trailers func(*httpfield.List)

	// ManualFraming keeps the Content-Length or Transfer-Encoding of Header if sane: one length in digits that is not
	// above Length, or one "chunked". Otherwise framing is automatic. Of a Body beyond that length nothing is sent; one
	// that ends before it breaks the request off. With a length there are no trailers over HTTP/1.1.
	ManualFraming bool

	// Gunzip decodes a response body with content-encoding gzip or x-gzip, and removes that field and content-length.
	Gunzip bool

	// Patience takes the place of Config.FirstByteTimeout and Config.BetweenBytesTimeout, for an answer that is meant
	// to take its time; negative: none. 0: those of the definition.
	Patience time.Duration

	// Interim is called for each 1xx response but 100 and 101, before Send returns, from another goroutine, which it
	// must not keep waiting; nil: they are ignored. More than 64 are an error.
	Interim func(status int, header *httpfield.List)
}

// timeouts are those that apply to a request.
func (r *Request) timeouts(c *Config) (firstByte, betweenBytes time.Duration) {
	if r.Patience != 0 {
		return r.Patience, r.Patience
	}
	return c.FirstByteTimeout, c.BetweenBytesTimeout
}

// Response is an origin's answer. Body must be closed; ending the context given to Send breaks it off.
type Response struct {
	Status int    // 200..999
	Proto  string // "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0"
	Header httpfield.List

	// Body is never nil. A Read that fails otherwise than by io.EOF gives a *SendError. Close may be called while a
	// Read waits, and ends it. A body that was read to its end leaves the connection for other requests, any other
	// one costs the connection (HTTP/1) or the stream (HTTP/2).
	Body          io.ReadCloser
	ContentLength int64 // -1: unknown

	// Trailers adds the fields that followed Body to the list. It is complete once Body has given io.EOF.
	Trailers func(*httpfield.List)

	Remote netip.AddrPort // the origin's address; invalid if it is not TCP
	Reused bool           // the connection had served a request before
}
