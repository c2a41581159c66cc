package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Cacheable reports whether stored responses answer requests of a method: GET, and HEAD by those to GET (RFC 9110 section
// 9.2.3).
func Cacheable(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// Safe reports whether a method is known not to change anything (RFC 9110 section 9.2.1), so that its answer invalidates
// nothing.
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "PROPFIND", "QUERY", "REPORT", "SEARCH":
		return true
	}
	return false
}

// Wants is what a request says about the use of stored responses.
type Wants struct {
	Directives
}

// ReadWants reads a request's Cache-Control. Pragma is not regarded (RFC 9111 section 5.4 deprecates it).
func ReadWants(h *httpfield.List) Wants { return Wants{ParseDirectives(h, "cache-control")} }

// Fresh reports whether a response that is fresh for a lifetime may be used at an age as far as the request is concerned (RFC
// 9111 section 5.2.1): max-age, min-fresh and no-cache. With an immutable response (RFC 8246) a max-age of 0, which is what
// reloading sends, counts as none.
func (w *Wants) Fresh(age, lifetime time.Duration, immutable bool) bool {
	if w.NoCache {
		return false
	}
	if w.MaxAge != None && !(immutable && w.MaxAge == 0) && age > w.MaxAge.Duration() {
		return false
	}
	return w.MinFresh == None || lifetime-age >= w.MinFresh.Duration()
}

// Stale reports whether the request takes a response that has been stale for a time (RFC 9111 section 5.2.1.2). The
// response may still forbid it: see Head.NeverStale.
func (w *Wants) Stale(since time.Duration) bool {
	return !w.NoCache && w.MaxAge != 0 && w.MaxStale != None && since <= w.MaxStale.Duration()
}

// Preconditions reports whether a request has a precondition that only an origin can judge: If-Match or If-Unmodified-Since (RFC
// 9111 section 4.3.2).
func Preconditions(h *httpfield.List) bool { return h.Has("if-match") || h.Has("if-unmodified-since") }

// ownFields are those of a client's request that concern its own copy, or a part: what goes to the origin for the cache asks for
// the whole.
var ownFields = []string{"if-none-match", "if-modified-since", "if-range", "range"}

// Narrow reports whether a request has fields that Unconditional removes.
func Narrow(h *httpfield.List) bool {
	for _, f := range h.Fields() {
		if slices.Contains(ownFields, f.Name) {
			return true
		}
	}
	return false
}

// Unconditional removes what asks for a part of a response or only for a changed one.
func Unconditional(h *httpfield.List) {
	for _, name := range ownFields {
		h.Del(name)
	}
}

// Conditional makes of a request for the whole one that asks whether a stored response still holds (RFC 9111 section
// 4.3.1). It reports whether there is anything to ask by: an ETag, a Last-Modified.
func Conditional(request, stored *httpfield.List) bool {
	Unconditional(request)
	tag, tagged := stored.Get("etag")
	if tagged = tagged && tag != ""; tagged {
		request.Set("if-none-match", tag)
	}
	modified, dated := stored.Get("last-modified")
	if _, ok := ParseDate(modified); dated && ok {
		request.Set("if-modified-since", modified)
		return true
	}
	return tagged
}

// HasValidator reports whether Conditional has something to ask by.
func HasValidator(stored *httpfield.List) bool {
	if tag, _ := stored.Get("etag"); tag != "" {
		return true
	}
	modified, _ := stored.Get("last-modified")
	_, ok := ParseDate(modified)
	return ok
}

// Selecting gives what a request header field contributes to the choice of a variant (RFC 9111 section 4.1): its lines joined, white
// space around commas removed. Languages and encodings are compared without regard to case and order.
func Selecting(h *httpfield.List, name string) (string, bool) {
	var only string
	n := 0
	for _, f := range h.Fields() {
		if f.Name == name {
			only = f.Value
			n++
		}
	}
	if n == 0 {
		return "", false
	}
	listed := name == "accept-language" || name == "accept-encoding"
	if n == 1 && !listed && strings.IndexByte(only, ',') < 0 {
		return only, true
	}
	var parts []string
	for _, f := range h.Fields() {
		if f.Name != name {
			continue
		}
		for rest := f.Value; rest != ""; {
			var part string
			part, rest = toComma(rest)
			if part = strings.Trim(part, " \t"); part != "" {
				if listed {
					part = strings.ToLower(part)
				}
				parts = append(parts, part)
			}
		}
	}
	if listed {
		slices.Sort(parts)
	}
	return strings.Join(parts, ","), true
}
