package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
)

// failure makes a SendError of whatever went wrong. What net/http and crypto/tls do not give types to is known by its
// text; a test provokes each for real, so that a new Go version cannot change one unnoticed.
func (b *Backend) failure(err error) *SendError {
	var e *SendError
	if errors.As(err, &e) {
		named := *e
		named.Backend = b.conf.Name
		return &named
	}
	e = &SendError{Err: err}
	e.classify(err)
	e.Backend = b.conf.Name
	return e
}

// cutShort is failure for an error of net/http's in the middle of a body.
func (b *Backend) cutShort(err error) *SendError {
	e := b.failure(err)
	switch e.Detail {
	case DetailHTTPProtocolError, DetailH2Error, DetailTLSAlertReceived, DetailTLSProtocolError:
	default:
		e.Detail = DetailHTTPIncompleteResponse
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		e.Err = &incomplete{err}
	}
	return e
}

// incomplete is an error that also is io.ErrUnexpectedEOF.
type incomplete struct{ err error }

func (e *incomplete) Error() string   { return "the response ended early: " + e.err.Error() }
func (e *incomplete) Unwrap() []error { return []error{e.err, io.ErrUnexpectedEOF} }

func (e *SendError) classify(err error) {
	switch {
	case e.own(err), e.dns(err), e.tls(err), e.h2(err), e.http(err), e.system(err):
	default:
		e.Detail = DetailInternalError
	}
}

// own knows this package's errors.
func (e *SendError) own(err error) bool {
	var refused *refusedAddress
	var body *bodyError
	switch {
	case errors.As(err, &refused):
		e.Detail = DetailDestinationIPUnroutable
	case errors.As(err, &body):
		e.Detail = DetailInternalError
	case errors.Is(err, errConnectTimeout):
		var dns *dnsError
		if e.Detail = DetailConnectionTimeout; errors.As(err, &dns) {
			e.Detail = DetailDNSTimeout
		}
	case errors.Is(err, errLimit):
		e.Detail = DetailConnectionLimitReached
	case errors.Is(err, errClosed), errors.Is(err, errUnhealthy):
		e.Detail = DetailDestinationUnavailable
	case errors.Is(err, errFirstByte), errors.Is(err, errBetweenBytes):
		e.Detail = DetailHTTPResponseTimeout
	case errors.Is(err, errSwitch), errors.Is(err, errInterim), errors.Is(err, errNoH2):
		e.Detail = DetailHTTPProtocolError
	case errors.Is(err, errUploadStopped), errors.Is(err, errStale), errors.Is(err, errUnanswered):
		e.Detail = DetailConnectionTerminated
	case errors.Is(err, errBodyClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Detail = DetailInternalError
	default:
		return false
	}
	return true
}

func (e *SendError) dns(err error) bool {
	var ours *dnsError
	var theirs *net.DNSError
	if !errors.As(err, &ours) && !errors.As(err, &theirs) {
		return false
	}
	e.Detail, e.DNSRCode = DetailDNSError, 2
	if errors.As(err, &theirs) {
		switch {
		case theirs.IsTimeout:
			e.Detail, e.DNSRCode = DetailDNSTimeout, 0
		case theirs.IsNotFound:
			e.DNSRCode = 3
		}
	} else if errors.Is(err, errNoAddress) {
		e.DNSRCode = 0 // the answer was fine, and empty
	}
	return true
}

func (e *SendError) tls(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		invalid      x509.CertificateInvalidError
		hostname     x509.HostnameError
		roots        x509.SystemRootsError
		record       tls.RecordHeaderError
		op           *net.OpError
		text         = err.Error()
	)
	switch {
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &hostname), errors.As(err, &roots):
		e.Detail = DetailTLSCertificateError
	case errors.As(err, &record):
		e.Detail = DetailTLSProtocolError
	case errors.As(err, &op) && op.Op == "remote error":
		// The alert's type is not exported; it is a uint8.
		e.Detail = DetailTLSAlertReceived
		if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
			e.TLSAlert = uint8(v.Uint())
		}
	case errors.As(err, &op) && op.Op == "local error", strings.Contains(text, "tls: "):
		e.Detail = DetailTLSProtocolError
		if strings.Contains(text, "failed to parse certificate") || strings.Contains(text, "certificate contains") ||
			strings.Contains(text, "unsupported certificate") || strings.Contains(text, "sent no certificate") {
			e.Detail = DetailTLSCertificateError
		}
	default:
		return false
	}
	return true
}

// h2Stream takes the content of net/http's own stream error, which offers itself to any structure of its shape.
type h2Stream struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (h2Stream) Error() string { return "stream error" }

// Frame types of RFC 9113 section 6.
const (
	frameRST    = 3
	frameGoAway = 7
)

func (e *SendError) h2(err error) bool {
	text := err.Error()
	if strings.Contains(text, "response header list larger than advertised limit") ||
		strings.Contains(text, "non-numeric status pseudo header") {
		return false // a stream error by form
	}
	var stream h2Stream
	if errors.As(err, &stream) {
		e.Detail, e.H2Frame, e.H2Code = DetailH2Error, frameRST, stream.Code
		return true
	}
	for err := err; err != nil; err = errors.Unwrap(err) {
		v := reflect.ValueOf(err)
		switch name := v.Type().Name(); {
		case strings.HasSuffix(name, "GoAwayError") && v.Kind() == reflect.Struct:
			if code := v.FieldByName("ErrCode"); code.IsValid() && code.CanUint() {
				e.Detail, e.H2Frame, e.H2Code = DetailH2Error, frameGoAway, uint32(code.Uint())
				return true
			}
		case strings.HasSuffix(name, "ttp2ConnectionError") && v.CanUint():
			e.Detail, e.H2Frame, e.H2Code = DetailH2Error, frameGoAway, uint32(v.Uint())
			return true
		}
	}
	return false
}

func (e *SendError) http(err error) bool {
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("server response headers exceeded", "response header list larger than advertised limit"):
		e.Detail = DetailHTTPResponseHeaderTooLarge
	case has("malformed HTTP status code", "status pseudo header"):
		e.Detail = DetailHTTPResponseStatusInvalid
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Detail = DetailHTTPIncompleteResponse
	case has("server closed idle connection", "client connection lost", "client connection force closed",
		"http2: client conn", "ClientConn closed", "graceful shutdown GOAWAY"),
		errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		e.Detail = DetailConnectionTerminated
	case has("ContentLength=", "request body larger than specified"):
		e.Detail = DetailInternalError // the request's body is not as long as was said
	case has("malformed HTTP", "malformed MIME", "malformed chunked", "invalid byte in chunk", "chunked line", "chunk length",
		"chunked encoding", "header line too long", "line too long", "Transfer-Encoding", "transfer encoding", "Content-Length",
		"too many 1xx", "too many transfer", "malformed response", "malformed trailer", "http2: ", "trailer header"):
		e.Detail = DetailHTTPProtocolError
	default:
		return false
	}
	return true
}

// system knows the operating system's errors.
func (e *SendError) system(err error) bool {
	var op *net.OpError
	dialing := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Detail = DetailConnectionRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EAFNOSUPPORT),
		dialing && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EINVAL) ||
			errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)):
		e.Detail = DetailDestinationIPUnroutable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		e.Detail = DetailConnectionTerminated
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded):
		if e.Detail = DetailConnectionTerminated; dialing {
			e.Detail = DetailConnectionTimeout
		}
	case strings.Contains(err.Error(), "transport connection broken"):
		e.Detail = DetailHTTPProtocolError
	default:
		return false
	}
	return true
}

// unanswered reports whether a request on a reused connection failed because the origin had given the connection up,
// without any byte of a response.
func unanswered(err error) bool {
	if errors.Is(err, errUnanswered) {
		return true
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "write" && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return true
	}
	var stream h2Stream
	if errors.As(err, &stream) {
		return stream.Code == 7 // REFUSED_STREAM (RFC 9113 section 8.7)
	}
	text := err.Error()
	for _, part := range []string{
		"server closed idle connection", "Transport failed to read from server", "http2: client conn is closed",
		"http2: client conn not usable", "graceful shutdown GOAWAY", "http2: client connection lost",
	} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
