package httpcache

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Key is a cache key.
type Key [32]byte

// Target gives the host and the path with query that a request is for: the host of its Host field, else that of its URI. The host is
// in lower case; a fragment is dropped.
func Target(uri string, h *httpfield.List) (host, path string) {
	path = uri
	if scheme := strings.Index(uri, "://"); scheme > 0 && !strings.ContainsAny(uri[:scheme], "/?#") {
		path = uri[scheme+3:]
		end := strings.IndexAny(path, "/?#")
		if end < 0 {
			end = len(path)
		}
		host, path = path[:end], path[end:]
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = host[at+1:]
		}
	}
	if named, ok := h.Get("host"); ok && named != "" {
		host = named
	}
	path, _, _ = strings.Cut(path, "#")
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	return strings.ToLower(host), path
}

// NewKey makes the key of what is at a host and path. Space tells apart what must not be shared; the platform has none.
func NewKey(space, host, path string) Key {
	d := sha256.New()
	for _, part := range []string{space, host, path} {
		d.Write([]byte(part))
		d.Write([]byte{0})
	}
	return Key(d.Sum(nil))
}

// AddressKey is a surrogate key that all responses from a host and path carry, in whatever space: it serves to purge them.
func AddressKey(host, path string) string {
	k := NewKey("", host, path)
	return "url:" + base64.RawURLEncoding.EncodeToString(k[:15])
}

// Invalidated gives the paths at the same host that a response to an unsafe request makes invalid besides its own (RFC 9111 section
// 4.4): those that Location and Content-Location name.
func Invalidated(host, path string, status int, response *httpfield.List) (paths []string) {
	if status < 200 || status > 399 {
		return nil
	}
	for _, name := range []string{"location", "content-location"} {
		ref, ok := response.Get(name)
		if !ok {
			continue
		}
		if p, ok := resolve(host, path, ref); ok && p != path {
			paths = append(paths, p)
		}
	}
	return paths
}

// resolve gives the path of a reference at the same host (RFC 3986 section 5.2); false if it leads elsewhere.
func resolve(host, path, ref string) (string, bool) {
	ref, _, _ = strings.Cut(ref, "#")
	var none httpfield.List
	switch colon := strings.IndexAny(ref, ":/?"); {
	case strings.HasPrefix(ref, "//"):
		h, p := Target("http:"+ref, &none)
		return clean(p), h == host
	case colon > 0 && ref[colon] == ':':
		if !strings.HasPrefix(ref[colon:], "://") {
			return "", false
		}
		h, p := Target(ref, &none)
		return clean(p), h == host
	case ref == "":
		return path, true
	case ref[0] == '/':
		return clean(ref), true
	case ref[0] == '?':
		base, _, _ := strings.Cut(path, "?")
		return base + ref, true
	}
	base, _, _ := strings.Cut(path, "?")
	return clean(base[:strings.LastIndexByte(base, '/')+1] + ref), true
}

// clean removes dot segments (RFC 3986 section 5.2.4) from a path that begins with a slash.
func clean(path string) string {
	p, query, asked := strings.Cut(path, "?")
	if strings.Contains(p, "/.") {
		var out []string
		parts := strings.Split(p[1:], "/")
		for i, s := range parts {
			last := i == len(parts)-1
			switch s {
			case ".", "..":
				if s == ".." && len(out) > 0 {
					out = out[:len(out)-1]
				}
				if last {
					out = append(out, "")
				}
			default:
				out = append(out, s)
			}
		}
		p = "/" + strings.Join(out, "/")
	}
	if asked {
		p += "?" + query
	}
	return p
}
