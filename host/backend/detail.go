package backend

// Detail classifies a failure. The values are those of the guest ABI (send_error_detail_tag).
type Detail uint8

// Details as guests know them.
const (
	DetailUninitialized Detail = iota
	DetailOK
	DetailDNSTimeout
	DetailDNSError // SendError.DNSRCode
	DetailDestinationNotFound
	DetailDestinationUnavailable // unhealthy by its health check, or closed
	DetailDestinationIPUnroutable
	DetailConnectionRefused
	DetailConnectionTerminated
	DetailConnectionTimeout
	DetailConnectionLimitReached
	DetailTLSCertificateError
	DetailTLSConfigurationError
	DetailHTTPIncompleteResponse
	DetailHTTPResponseHeaderTooLarge
	DetailHTTPResponseBodyTooLarge
	DetailHTTPResponseTimeout
	DetailHTTPResponseStatusInvalid
	DetailHTTPUpgradeFailed
	DetailHTTPProtocolError
	DetailHTTPRequestCacheKeyInvalid
	DetailHTTPRequestURIInvalid
	DetailInternalError
	DetailTLSAlertReceived // SendError.TLSAlert
	DetailTLSProtocolError
	DetailH2Error // SendError.H2Frame, H2Code
)

var detailNames = [...]string{
	"uninitialized", "ok", "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable",
	"destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout",
	"connection_limit_reached", "tls_certificate_error", "tls_configuration_error", "http_incomplete_response",
	"http_response_header_section_too_large", "http_response_body_too_large", "http_response_timeout",
	"http_response_status_invalid", "http_upgrade_failed", "http_protocol_error", "http_request_cache_key_invalid",
	"http_request_uri_invalid", "internal_error", "tls_alert_received", "tls_protocol_error", "h2_error",
}

// String gives the ABI's name of the detail.
func (d Detail) String() string {
	if int(d) < len(detailNames) {
		return detailNames[d]
	}
	return "unknown"
}

// Timeout reports whether the failure is that of an origin which took too long, rather than one which is broken.
func (d Detail) Timeout() bool {
	return d == DetailDNSTimeout || d == DetailConnectionTimeout || d == DetailHTTPResponseTimeout
}

// SendError is why an exchange with an origin failed. Only the fields that its Detail names are meaningful.
type SendError struct {
	Backend string // its name
	Detail  Detail

	DNSRCode uint16 // RFC 1035 section 4.1.1: 2 server failure, 3 no such name
	DNSInfo  uint16 // RFC 8914 extended error; always 0, for resolvers do not pass it on
	TLSAlert uint8  // RFC 8446 section 6
	H2Frame  uint8  // RFC 9113 section 6: 3 RST_STREAM, 7 GOAWAY
	H2Code   uint32 // RFC 9113 section 7

	Err error // the cause
}

// Error says which backend failed and why.
func (e *SendError) Error() string {
	s := "backend " + quote(e.Backend) + ": " + e.Detail.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *SendError) Unwrap() error { return e.Err }
