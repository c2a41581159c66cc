package wire

import "net/http"

// refusal is why a request is answered by the server itself. The reasons are constants, so that nothing the
// client sent is echoed.
type refusal struct {
	status int
	reason string
}

var (
	refuseRequestLine  = &refusal{http.StatusBadRequest, "malformed request line"}
	refuseURLTooLong   = &refusal{http.StatusRequestURITooLong, "request target too long"}
	refuseMethodLong   = &refusal{http.StatusBadRequest, "method too long"}
	refuseVersion      = &refusal{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
	refuseLineEnd      = &refusal{http.StatusBadRequest, "line does not end in CRLF"}
	refuseFold         = &refusal{http.StatusBadRequest, "folded header line"}
	refuseHeaderName   = &refusal{http.StatusBadRequest, "malformed header name"}
	refuseHeaderValue  = &refusal{http.StatusBadRequest, "control character in a header value"}
	refuseHeadTooLarge = &refusal{http.StatusRequestHeaderFieldsTooLarge, "request head too large"}
	refuseTooMany      = &refusal{http.StatusRequestHeaderFieldsTooLarge, "too many header lines"}
	refuseHostMissing  = &refusal{http.StatusBadRequest, "missing Host header"}
	refuseHostTwice    = &refusal{http.StatusBadRequest, "more than one Host header"}
	refuseHostBad      = &refusal{http.StatusBadRequest, "malformed host"}
	refuseHostMismatch = &refusal{http.StatusBadRequest, "Host header differs from the request target"}
	refuseLength       = &refusal{http.StatusBadRequest, "malformed Content-Length"}
	refuseLengths      = &refusal{http.StatusBadRequest, "differing Content-Length headers"}
	refuseLengthAndTE  = &refusal{http.StatusBadRequest, "both Content-Length and Transfer-Encoding"}
	refuseTE           = &refusal{http.StatusBadRequest, "Transfer-Encoding other than one chunked"}
	refuseTEVersion    = &refusal{http.StatusBadRequest, "Transfer-Encoding in HTTP/1.0"}
	refuseProtocol     = &refusal{http.StatusNotImplemented, "extended CONNECT serves WebSockets alone"}
	refuseDesync       = &refusal{http.StatusBadRequest, "message framing is ambiguous"}
)

// BodyError is what reading a request body returns when the client broke the rules of its framing or was
// too slow. The connection cannot be used again. A handler that has not answered yet may answer Status; if it
// writes nothing at all, the server does.
type BodyError struct {
	Status int    // 400 or 408
	Reason string // constant text, fit for a client to see
}

func (e *BodyError) Error() string { return "wire: request body: " + e.Reason }

// Timeout reports whether the client was too slow.
func (e *BodyError) Timeout() bool { return e.Status == http.StatusRequestTimeout }

var (
	errChunkLine    = &BodyError{http.StatusBadRequest, "malformed chunk size line"}
	errChunkLong    = &BodyError{http.StatusBadRequest, "chunk size line too long"}
	errChunkSize    = &BodyError{http.StatusBadRequest, "malformed chunk size"}
	errChunkExt     = &BodyError{http.StatusBadRequest, "malformed chunk extension"}
	errChunkEnd     = &BodyError{http.StatusBadRequest, "chunk does not end in CRLF"}
	errTrailer      = &BodyError{http.StatusBadRequest, "malformed trailer"}
	errTrailerLarge = &BodyError{http.StatusBadRequest, "trailers too large"}
	errBodyStalled  = &BodyError{http.StatusRequestTimeout, "the client stopped sending"}
	errBodySlow     = &BodyError{http.StatusRequestTimeout, "the client sends too slowly"}
)
