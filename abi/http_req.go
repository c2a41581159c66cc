package abi

import (
	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/host/engine"
)

// httpReqCalls is the guest module fastly_http_req: requests as messages. Its older calls that ask for facts of
// the client share their code with fastly_http_downstream.
var httpReqCalls = calls{
	"body_downstream_get":          {fn: reqBodyDownstreamGet},
	"cache_override_set":           {fn: reqCacheOverrideSet},
	"cache_override_v2_set":        {fn: reqCacheOverrideV2Set},
	"cache_override_v3_set":        {fn: reqCacheOverrideV3Set},
	"new":                          {fn: reqNew},
	"header_names_get":             {fn: reqHeaderNamesGet},
	"header_value_get":             {fn: reqHeaderValueGet},
	"header_values_get":            {fn: reqHeaderValuesGet},
	"header_values_set":            {fn: reqHeaderValuesSet},
	"header_insert":                {fn: reqHeaderInsert},
	"header_append":                {fn: reqHeaderAppend},
	"header_remove":                {fn: reqHeaderRemove},
	"method_get":                   {fn: reqMethodGet},
	"method_set":                   {fn: reqMethodSet},
	"uri_get":                      {fn: reqURIGet},
	"uri_set":                      {fn: reqURISet},
	"version_get":                  {fn: reqVersionGet},
	"version_set":                  {fn: reqVersionSet},
	"close":                        {fn: reqClose},
	"auto_decompress_response_set": {fn: reqAutoDecompressSet},
	"framing_headers_mode_set":     {fn: reqFramingHeadersModeSet},

	"downstream_client_ip_addr":                {fn: current(clientIP)},
	"downstream_server_ip_addr":                {fn: current(serverIP)},
	"downstream_client_h2_fingerprint":         {fn: current(h2Fingerprint)},
	"downstream_client_request_id":             {fn: current(requestID)},
	"downstream_client_oh_fingerprint":         {fn: current(ohFingerprint)},
	"downstream_client_ddos_detected":          {fn: current(ddosDetected)},
	"downstream_tls_cipher_openssl_name":       {fn: current(tlsCipher)},
	"downstream_tls_protocol":                  {fn: current(tlsProtocol)},
	"downstream_tls_client_hello":              {fn: current(tlsClientHello)},
	"downstream_tls_raw_client_certificate":    {fn: current(tlsClientCertificate)},
	"downstream_tls_client_cert_verify_result": {fn: current(tlsClientVerify)},
	"downstream_tls_ja3_md5":                   {fn: current(tlsJA3)},
	"downstream_tls_ja4":                       {fn: current(tlsJA4)},
	"downstream_compliance_region":             {fn: current(complianceRegion)},
	"original_header_names_get":                {fn: current(originalHeaderNames)},
	"original_header_count":                    {fn: current(originalHeaderCount)},
	"fastly_key_is_valid":                      {fn: current(fastlyKeyIsValid)},
}

func (s *Sandbox) requestSection(h uint32) (section, Status) {
	r, st := s.requests.get(h)
	if st != OK {
		return section{}, st
	}
	r.Header()
	return section{&r.header, &r.size}, OK
}

// reqBodyDownstreamGet is body_downstream_get(out request, out body): the client's request. Asked again, it
// gives the same handles for as long as they live. Error: there is no client request.
func reqBodyDownstreamGet(s *Sandbox, m engine.Memory, a args) Status {
	reqOut, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	bodyOut, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	if s.client == nil {
		return Error
	}
	return s.clientHandles(reqOut, bodyOut)
}

// clientHandles gives the handles of the present client request.
func (s *Sandbox) clientHandles(reqOut, bodyOut outU32) Status {
	c := s.client
	if c.reqHandle == 0 {
		var st Status
		var r *Request
		if c.Body == nil { // as with most requests: both in one piece
			both := new(struct {
				Request
				body Body
			})
			both.body.begin()
			r, c.Body = &both.Request, &both.body
		} else {
			r = new(Request)
		}
		r.Method, r.URI, r.Version, r.client = c.Method, c.URI, c.Version, c
		if c.reqHandle, st = s.requests.add(r); st != OK {
			return st
		}
		if c.bodyHandle, st = s.addBody(c.Body); st != OK {
			return st
		}
		s.clients = append(s.clients, clientHandle{c.reqHandle, c})
	}
	reqOut.put(c.reqHandle)
	bodyOut.put(c.bodyHandle)
	return OK
}

// reqNew is new(out handle): GET, "/", HTTP/1.1, no headers.
func reqNew(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	h, st := s.requests.add(&Request{Method: "GET", URI: "/", Version: HTTP11})
	if st == OK {
		out.put(h)
	}
	return st
}

// reqHeaderNamesGet is header_names_get(handle, buf, buf_len, cursor, out next, out nwritten): distinct names in lower case.
func reqHeaderNamesGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerNamesGet(m, a[1:], a.u32(0), (*Sandbox).requestSection)
}

// reqHeaderValueGet is header_value_get(handle, name, name_len, buf, buf_len, out nwritten): the first value. Inval: absent.
func reqHeaderValueGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValueGet(m, a[1:], a.u32(0), (*Sandbox).requestSection)
}

// reqHeaderValuesGet is header_values_get(handle, name, name_len, buf, buf_len, cursor, out next, out nwritten).
func reqHeaderValuesGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValuesGet(m, a[1:], a.u32(0), (*Sandbox).requestSection)
}

// reqHeaderValuesSet is header_values_set(handle, name, name_len, values, values_len): replaces all lines of the name.
func reqHeaderValuesSet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValuesSet(m, a[1:], a.u32(0), (*Sandbox).requestSection)
}

// reqHeaderInsert is header_insert(handle, name, name_len, value, value_len): replaces all lines of the name by one.
func reqHeaderInsert(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerPut(m, a[1:], a.u32(0), (*Sandbox).requestSection, true)
}

// reqHeaderAppend is header_append(handle, name, name_len, value, value_len).
func reqHeaderAppend(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerPut(m, a[1:], a.u32(0), (*Sandbox).requestSection, false)
}

// reqHeaderRemove is header_remove(handle, name, name_len). Inval: absent.
func reqHeaderRemove(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerRemove(m, a[1:], a.u32(0), (*Sandbox).requestSection)
}

// reqMethodGet is method_get(handle, buf, buf_len, out nwritten).
func reqMethodGet(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(1), a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	return buf.put(r.Method)
}

// reqMethodSet is method_set(handle, method, method_len). Error: not a token.
func reqMethodSet(s *Sandbox, m engine.Memory, a args) Status {
	b, st := in(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	method, ok := parseMethod(b)
	if !ok {
		return Error
	}
	r.Method = method
	return OK
}

func parseMethod(b []byte) (string, bool) {
	switch string(b) { // the compiler compares without copying
	case "GET":
		return "GET", true
	case "HEAD":
		return "HEAD", true
	case "POST":
		return "POST", true
	case "PUT":
		return "PUT", true
	}
	if len(b) > maxURI {
		return "", false
	}
	method := string(b)
	return method, httpguts.ValidHeaderFieldName(method)
}

// reqURIGet is uri_get(handle, buf, buf_len, out nwritten); absolute for a client request.
func reqURIGet(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(1), a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	return buf.put(r.URI)
}

// reqURISet is uri_set(handle, uri, uri_len). Error: it holds characters that a URI cannot, or is too long.
func reqURISet(s *Sandbox, m engine.Memory, a args) Status {
	b, st := in(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	if !validURI(b) {
		return Error
	}
	r.URI = string(b)
	return OK
}

// validURI rules out what would break a request line; a URI is taken apart when it is used.
func validURI(b []byte) bool {
	if len(b) == 0 || len(b) > maxURI {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// reqVersionGet is version_get(handle, out http_version).
func reqVersionGet(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	r, st := s.requests.get(a.u32(0))
	if st == OK {
		out.put(uint32(r.Version))
	}
	return st
}

// reqVersionSet is version_set(handle, http_version).
func reqVersionSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	return setVersion(&r.Version, a.u32(1))
}

// reqClose is close(handle).
func reqClose(s *Sandbox, m engine.Memory, a args) Status {
	_, st := s.requests.take(a.u32(0))
	return st
}

// reqAutoDecompressSet is auto_decompress_response_set(handle, encodings): bit 0 is gzip.
func reqAutoDecompressSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	return setFlag(&r.Gunzip, a.u32(1))
}

// reqFramingHeadersModeSet is framing_headers_mode_set(handle, mode).
func reqFramingHeadersModeSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.requests.get(a.u32(0))
	if st != OK {
		return st
	}
	return setFlag(&r.ManualFraming, a.u32(1))
}

// Bits of cache_override_tag.
const (
	overridePass = 1 << iota
	overrideTTL
	overrideStale
	overridePCI
	overrideLookupTimeout // version 3 only
)

// reqCacheOverrideSet is cache_override_set(handle, tag, ttl, stale_while_revalidate).
func reqCacheOverrideSet(s *Sandbox, m engine.Memory, a args) Status {
	if a.u32(1) >= overrideLookupTimeout {
		return Inval
	}
	return s.cacheOverride(a.u32(0), a.u32(1), CacheOverride{TTL: a.u32(2), StaleWhile: a.u32(3)})
}

// reqCacheOverrideV2Set is cache_override_v2_set(handle, tag, ttl, stale_while_revalidate, key, key_len).
func reqCacheOverrideV2Set(s *Sandbox, m engine.Memory, a args) Status {
	if a.u32(1) >= overrideLookupTimeout {
		return Inval
	}
	key, st := surrogateKeys(m, a.u32(4), a.u32(5))
	if st != OK {
		return st
	}
	return s.cacheOverride(a.u32(0), a.u32(1), CacheOverride{TTL: a.u32(2), StaleWhile: a.u32(3), SurrogateKey: key})
}

// reqCacheOverrideV3Set is cache_override_v3_set(handle, tag, cache_override): the struct holds ttl,
// stale_while_revalidate, surrogate keys with their length and lookup_timeout_ms, each 4 bytes.
func reqCacheOverrideV3Set(s *Sandbox, m engine.Memory, a args) Status {
	tag := a.u32(1)
	if tag >= overrideLookupTimeout<<1 {
		return Inval
	}
	if a.u32(2)%4 != 0 {
		return BadAlign
	}
	r := &structReader{m: m, base: a.u32(2)}
	o := CacheOverride{TTL: r.u32(0), StaleWhile: r.u32(4)}
	keys, length, timeout := r.u32(8), r.u32(12), r.u32(16)
	if r.st != OK {
		return r.st
	}
	var st Status
	if o.SurrogateKey, st = surrogateKeys(m, keys, length); st != OK {
		return st
	}
	if tag&overrideLookupTimeout != 0 {
		o.LookupTimeout, o.HasLookupTimeout = timeout, true
	}
	return s.cacheOverride(a.u32(0), tag, o)
}

// maxSurrogateKeys bounds a list of surrogate keys, in bytes.
const maxSurrogateKeys = 16384

// surrogateKeys decodes a list of keys, separated by spaces.
func surrogateKeys(m engine.Memory, ptr, n uint32) (string, Status) {
	if n > maxSurrogateKeys {
		return "", Inval
	}
	keys, st := in(m, ptr, n)
	if st != OK {
		return "", st
	}
	for _, c := range keys {
		if c != ' ' && (c < 0x21 || c > 0x7e) {
			return "", Inval
		}
	}
	return string(keys), OK
}

// cacheOverride sets what o holds as far as the tag selects it. Pass beats the rest; no tag and no key is no override.
func (s *Sandbox) cacheOverride(request, tag uint32, o CacheOverride) Status {
	r, st := s.requests.get(request)
	if st != OK {
		return st
	}
	switch {
	case tag == 0 && o.SurrogateKey == "":
		r.Cache = CacheOverride{}
	case tag&overridePass != 0:
		r.Cache = CacheOverride{Set: true, Pass: true}
	default:
		o.Set = true
		o.PCI = tag&overridePCI != 0
		o.HasTTL = tag&overrideTTL != 0
		o.HasStale = tag&overrideStale != 0
		r.Cache = o
	}
	return OK
}
