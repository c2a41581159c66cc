package httpfield

import (
	"net/http"
	"strings"
)

// known maps the lower-case and the canonical form of names that are common on the web to both forms, so
// that converting between net/http's maps and guests costs no allocation for them.
var known = make(map[string]nameForms, 2*len(commonNames))

type nameForms struct{ lower, canonical string }

func init() {
	for _, lower := range commonNames {
		canonical := http.CanonicalHeaderKey(lower)
		forms := nameForms{lower, canonical}
		known[lower] = forms
		known[canonical] = forms
	}
}

// Lower gives a name in lower case.
func Lower(name string) string {
	if f, ok := known[name]; ok {
		return f.lower
	}
	return strings.ToLower(name)
}

// Canonical gives a name in the form that net/http uses as map key.
func Canonical(name string) string {
	if f, ok := known[name]; ok {
		return f.canonical
	}
	return http.CanonicalHeaderKey(name)
}

var commonNames = []string{
	"accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
	"access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
	"access-control-allow-origin", "access-control-expose-headers", "access-control-max-age",
	"access-control-request-headers", "access-control-request-method", "age", "allow", "alt-svc",
	"authorization", "cache-control", "cdn-loop", "connection", "content-disposition", "content-encoding",
	"content-language", "content-length", "content-location", "content-range", "content-security-policy",
	"content-type", "cookie", "date", "dnt", "early-data", "etag", "expect", "expires", "fastly-client-ip",
	"fastly-ff", "fastly-key", "forwarded", "from", "host", "if-match", "if-modified-since", "if-none-match",
	"if-range", "if-unmodified-since", "keep-alive", "last-modified", "link", "location", "max-forwards",
	"origin", "pragma", "priority", "proxy-authenticate", "proxy-authorization", "range", "referer",
	"referrer-policy", "retry-after", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest",
	"sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "sec-websocket-accept", "sec-websocket-extensions",
	"sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "server", "server-timing",
	"set-cookie", "strict-transport-security", "surrogate-capability", "surrogate-control", "surrogate-key",
	"te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade",
	"upgrade-insecure-requests", "user-agent", "vary", "via", "warning", "www-authenticate", "x-cache",
	"x-cache-hits", "x-content-type-options", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	"x-forwarded-server", "x-frame-options", "x-real-ip", "x-request-id", "x-requested-with", "x-served-by",
	"x-timer", "x-xss-protection",
}
