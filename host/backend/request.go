package backend

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// request makes the part of a request that is the same on every connection.
func (b *Backend) request(r *Request, upgrade bool) (*http.Request, error) {
	method := r.Method
	if method == "" {
		method = "GET"
	}
	if !httpguts.ValidHeaderFieldName(method) || method == "CONNECT" {
		return nil, &SendError{Detail: DetailHTTPProtocolError, Err: fmt.Errorf("the method %q cannot be sent to an origin", clip(method))}
	}
	authority, target, err := splitURI(r.URI, method)
	if err != nil {
		return nil, &SendError{Detail: DetailHTTPRequestURIInvalid, Err: err}
	}
	if target != "*" {
		target = joinPath(b.conf.PathPrefix, target)
	}
	var empty httpfield.List
	in := r.Header
	if in == nil {
		in = &empty
	}
	header := make(http.Header, in.Len()+1)
	host := b.conf.OverrideHost
	if host == "" {
		host, _ = in.Get("host")
	}
	if host == "" {
		host = authority
	}
	if host == "" {
		host = b.defaultHost()
	}
	if !validHostHeader(host) {
		return nil, &SendError{Detail: DetailHTTPRequestURIInvalid, Err: fmt.Errorf("%q is no host", clip(host))}
	}
	listed := connectionOptions(in)
	for _, f := range in.Fields() {
		if f.Name == "host" || !passes(f.Name, listed, upgrade) || f.Name == "expect" || f.Name == "content-length" {
			continue
		}
		if !httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) {
			return nil, &SendError{Detail: DetailHTTPProtocolError, Err: fmt.Errorf("the header field %q is malformed", clip(f.Name))}
		}
		name := httpfield.Canonical(f.Name)
		header[name] = append(header[name], f.Value)
	}
	if te, ok := in.Get("te"); ok && !upgrade && httpguts.HeaderValuesContainsToken([]string{te}, "trailers") {
		header["Te"] = []string{"trailers"} // roundTrip keeps it where it has a meaning of its own
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = nil // or net/http names itself
	}
	req := &http.Request{
		Method:     method,
		URL:        targetURL(b.scheme(), b.authority, target),
		Host:       host,
		Header:     header,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}
	if r.Body != nil {
		req.ContentLength = r.Length
		if r.Trailers != nil || r.Length < 0 {
			req.ContentLength = -1
		}
		if r.ManualFraming {
			manualFraming(req, in, r)
		}
		if req.ContentLength < 0 {
			// Said outright, for net/http would wait for the body's first byte to find out.
			req.ContentLength = -1
			req.TransferEncoding = []string{"chunked"}
		}
	}
	return req, nil
}

func (b *Backend) scheme() string {
	if b.conf.TLS != nil {
		return "https"
	}
	return "http"
}

// defaultHost is the Host header when neither the definition nor the request says one: the port is left out where the
// scheme implies it.
func (b *Backend) defaultHost() string {
	if b.conf.TLS != nil && b.conf.Port == 443 || b.conf.TLS == nil && b.conf.Port == 80 {
		if strings.Contains(b.conf.Host, ":") {
			return "[" + b.conf.Host + "]"
		}
		return b.conf.Host
	}
	return b.authority
}

// manualFraming takes the framing that the header fields ask for, if it makes sense and the body can keep to it.
func manualFraming(req *http.Request, h *httpfield.List, r *Request) {
	var lengths, encodings []string
	for _, f := range h.Fields() {
		switch f.Name {
		case "content-length":
			lengths = append(lengths, f.Value)
		case "transfer-encoding":
			encodings = append(encodings, f.Value)
		}
	}
	switch {
	case len(lengths) == 1 && len(encodings) == 0:
		if n, ok := parseLength(lengths[0]); ok && (r.Length < 0 || n <= r.Length) {
			req.ContentLength = n
		}
	case len(encodings) == 1 && len(lengths) == 0 && strings.EqualFold(encodings[0], "chunked"):
		req.ContentLength = -1
	}
}

func parseLength(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// splitURI takes an absolute URI or a path apart. The target is the path with the query, and never empty.
func splitURI(uri, method string) (authority, target string, err error) {
	uri, _, _ = strings.Cut(uri, "#")
	target = uri
	if uri == "*" && method == "OPTIONS" {
		return "", "*", nil
	}
	if uri != "" && uri[0] != '/' && uri[0] != '?' {
		scheme, rest, ok := strings.Cut(uri, "://")
		if !ok || scheme == "" || strings.ContainsAny(scheme, "/?@:") {
			return "", "", fmt.Errorf("%q is neither an absolute URI nor a path", clip(uri))
		}
		authority, target = rest, ""
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			authority, target = rest[:i], rest[i:]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
	}
	if target == "" || target[0] == '?' {
		target = "/" + target
	}
	if !validTarget(target) {
		return "", "", fmt.Errorf("%q has a space or a control character", clip(uri))
	}
	return authority, target, nil
}

// validTarget reports whether text can stand in a request line without ending it.
func validTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// joinPath puts a prefix before a target that starts with a slash.
func joinPath(prefix, target string) string {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return target
	}
	if prefix[0] != '/' {
		prefix = "/" + prefix
	}
	return prefix + target
}

// targetURL makes a URL of which net/http writes exactly the target into the request.
func targetURL(scheme, host, target string) *url.URL {
	u := &url.URL{Scheme: scheme, Host: host}
	if !strings.HasPrefix(target, "//") {
		u.Opaque = target
		return u
	}
	// Opaque with two slashes would be taken for an authority. A path goes out as it is if net/url finds nothing in it
	// to escape; the few characters that it would escape are escaped first, so that the rest stays as given.
	path, query, hasQuery := strings.Cut(target, "?")
	u.RawPath = escapeOdd(path)
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery, u.ForceQuery = query, hasQuery
	return u
}

// escapeOdd escapes the bytes that RFC 3986 does not allow in a path, stray percent signs among them.
func escapeOdd(path string) string {
	odd := func(i int) bool {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return false
		case c == '%':
			return i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])
		}
		return strings.IndexByte("-._~!$&'()*+,;=:@/", c) < 0
	}
	var b strings.Builder
	for i := range len(path) {
		if odd(i) {
			fmt.Fprintf(&b, "%%%02X", path[i])
		} else {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// clip keeps messages short whatever a guest put into them.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

// connectionOptions gives the field names that Connection fields list, in lower case.
func connectionOptions(h *httpfield.List) (listed []string) {
	for _, f := range h.Fields() {
		if f.Name == "connection" {
			eachListItem(f.Value, func(item string) { listed = append(listed, strings.ToLower(item)) })
		}
	}
	return listed
}

// passes reports whether a field goes beyond one connection. With upgrade, Connection and Upgrade do as well.
func passes(name string, listed []string, upgrade bool) bool {
	switch name {
	case "connection", "upgrade":
		return upgrade
	case "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding":
		return false
	}
	for _, l := range listed {
		if l == name && name != "host" {
			return false
		}
	}
	return true
}

// removeHopByHop takes out of a response what concerned the connection to the origin.
func removeHopByHop(l *httpfield.List) {
	listed := connectionOptions(l)
	var drop []string
	for _, f := range l.Fields() {
		if !passes(f.Name, listed, false) {
			drop = append(drop, f.Name)
		}
	}
	for _, name := range drop {
		l.Del(name)
	}
}
