package wire

import "bytes"

// head collects one HTTP/1 request head, line by line. It takes exactly the heads that RFC 9112 lets a
// server read in one way only.
type head struct {
	names   []byte // header names as written, each followed by NUL
	count   int    // header lines
	size    int    // bytes of the head, line ends included
	host    []byte // value of the Host header
	target  []byte // authority of an absolute-form or authority-form target
	hosts   int
	minor   byte // of HTTP/1.x
	post    bool
	connect bool
	tunnel  bool // CONNECT, or an Upgrade that a handler may take over
	chunked bool
	hasLen  bool
	length  uint64
}

func (h *head) reset() {
	*h = head{names: h.names[:0], host: h.host[:0], target: h.target[:0]}
}

// cutLineEnd takes the CRLF off a line that ends in LF.
func cutLineEnd(line []byte) ([]byte, bool) {
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return nil, false
	}
	return line[:n], true
}

// requestLine reads the first line, line end included.
func (h *head) requestLine(line []byte, lim *limits) *refusal {
	line, ok := cutLineEnd(line)
	if !ok {
		return refuseLineEnd
	}
	method, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(method) == 0 || !allIn(tokenChar, method) {
		return refuseRequestLine
	}
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(target) == 0 || !allIn(targetChar, target) {
		return refuseRequestLine
	}
	if len(version) != 8 || string(version[:5]) != "HTTP/" || version[6] != '.' {
		return refuseRequestLine
	}
	if version[5] != '1' || (version[7] != '0' && version[7] != '1') {
		if !isDigit(version[5]) || !isDigit(version[7]) {
			return refuseRequestLine
		}
		return refuseVersion
	}
	h.minor = version[7] - '0'
	if len(method) > lim.method {
		return refuseMethodLong
	}
	if len(target) > lim.url {
		return refuseURLTooLong
	}
	h.post = string(method) == "POST"
	h.connect = string(method) == "CONNECT"
	switch {
	case h.connect:
		// RFC 9112 section 3.2.3: host and port alone. net/http also takes a path here.
		if !validHost(target) {
			return refuseRequestLine
		}
		h.target = append(h.target, target...)
		h.tunnel = true
	case target[0] == '/':
	case len(target) == 1 && target[0] == '*' && string(method) == "OPTIONS":
	default:
		authority, ok := cutScheme(target)
		if !ok {
			return refuseRequestLine
		}
		if i := bytes.IndexAny(authority, "/?#"); i >= 0 {
			authority = authority[:i]
		}
		if !validHost(authority) {
			return refuseHostBad
		}
		h.target = append(h.target, authority...)
	}
	return nil
}

// cutScheme takes "http://" or "https://" off an absolute-form target. Other schemes are none that this
// server could answer for.
func cutScheme(target []byte) ([]byte, bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(target) > len(scheme) && equalFold(target[:len(scheme)], scheme) {
			return target[len(scheme):], true
		}
	}
	return nil, false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// validHost accepts a host with an optional port, without user information.
func validHost(b []byte) bool { return len(b) > 0 && allIn(hostChar, b) }

// headerLine splits a header or trailer line, line end included.
func headerLine(line []byte) (name, value []byte, why *refusal) {
	line, ok := cutLineEnd(line)
	if !ok {
		return nil, nil, refuseLineEnd
	}
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, refuseFold
	}
	for i, c := range line {
		if tokenChar[c] {
			continue
		}
		if c != ':' || i == 0 {
			return nil, nil, refuseHeaderName
		}
		value = line[i+1:]
		if !validValue(value) {
			return nil, nil, refuseHeaderValue
		}
		return line[:i], trimOWS(value), nil
	}
	return nil, nil, refuseHeaderName
}

// header takes one header line, which is not the empty one.
func (h *head) header(line []byte, lim *limits) *refusal {
	name, value, why := headerLine(line)
	if why != nil {
		return why
	}
	if h.count++; h.count > lim.headers {
		return refuseTooMany
	}
	h.names = append(append(h.names, name...), 0)
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			if h.hosts++; h.hosts > 1 {
				return refuseHostTwice
			}
			if !validHost(value) {
				return refuseHostBad
			}
			h.host = append(h.host, value...)
		}
	case len("upgrade"):
		if equalFold(name, "upgrade") && !equalFold(value, "h2c") {
			h.tunnel = true
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return h.contentLength(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			if h.chunked || !equalFold(value, "chunked") {
				return refuseTE
			}
			h.chunked = true
		}
	}
	return nil
}

func (h *head) contentLength(value []byte) *refusal {
	if len(value) == 0 || len(value) > 18 {
		return refuseLength
	}
	var n uint64
	for _, c := range value {
		if !isDigit(c) {
			return refuseLength
		}
		n = n*10 + uint64(c-'0')
	}
	if h.hasLen && n != h.length {
		return refuseLengths
	}
	h.hasLen, h.length = true, n
	return nil
}

// end is called at the empty line.
func (h *head) end() *refusal {
	switch {
	case h.hosts == 0 && h.minor == 1:
		return refuseHostMissing
	case h.chunked && h.minor == 0:
		return refuseTEVersion
	case h.chunked && h.hasLen:
		return refuseLengthAndTE
	case h.hosts == 1 && len(h.target) > 0 && !sameHost(h.target, h.host, h.connect):
		return refuseHostMismatch
	}
	return nil
}

// sameHost compares two authorities, letter case and a default port aside. The Host of a CONNECT may lack
// the port that its target has.
func sameHost(a, b []byte, connect bool) bool {
	ha, pa := splitPort(a)
	hb, pb := splitPort(b)
	if !bytes.EqualFold(ha, hb) {
		return false
	}
	return pa == pb || isDefaultPort(pa) && isDefaultPort(pb) || connect && pb == ""
}

func isDefaultPort(p string) bool { return p == "" || p == "80" || p == "443" }

func splitPort(hostport []byte) (host []byte, port string) {
	i := bytes.LastIndexByte(hostport, ':')
	if i < 0 || bytes.IndexByte(hostport[i:], ']') >= 0 {
		return hostport, ""
	}
	return hostport[:i], string(hostport[i+1:])
}
