package httpcache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Answer is the answer to a client from a whole response.
type Answer struct {
	Status int
	Header httpfield.List
	// Of the body: the first byte, and how many, -1 for all the rest; 0 is none.
	From, Length int64
}

// Answer makes the answer to a GET or HEAD request from a whole response of the length given, -1 if that is not known yet. It is a 304
// if the request has the response already (RFC 9110 sections 13.1.2 and 13.1.3), a part of it (206) or 416 if it asks
// for one range of bytes (section 14; several ranges are answered with the whole), and the whole otherwise. With age, which is
// below 0 for a response that comes from the origin just now, the answer has that Age (RFC 9111 section 5.1). Answer takes
// h.Header over.
func (h *Head) Answer(method string, request *httpfield.List, age time.Duration, length int64) Answer {
	a := Answer{Status: h.Status, Header: h.Header, Length: -1}
	if age >= 0 {
		a.Header.Set("age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	if h.Status >= 200 && h.Status < 300 && unchanged(request, &h.Header) {
		a.Status, a.Length = http.StatusNotModified, 0
		for _, name := range []string{"content-length", "content-type", "content-encoding", "content-language", "content-range"} {
			a.Header.Del(name)
		}
		return a
	}
	if method == http.MethodHead {
		a.Length = 0
		if length >= 0 {
			a.Header.Set("content-length", strconv.FormatInt(length, 10))
		}
		return a
	}
	if h.Status != http.StatusOK || length < 0 {
		return a
	}
	text, ok := request.Get("range")
	if !ok || !ifRange(request, &h.Header) {
		return a
	}
	first, last, form := parseRange(text, length)
	total := strconv.FormatInt(length, 10)
	switch form {
	case rangeOf:
		a.Status, a.From, a.Length = http.StatusPartialContent, first, last-first+1
		a.Header.Set("content-range", "bytes "+strconv.FormatInt(first, 10)+"-"+strconv.FormatInt(last, 10)+"/"+total)
		a.Header.Set("content-length", strconv.FormatInt(a.Length, 10))
	case rangeBeyond:
		a.Status, a.Length = http.StatusRequestedRangeNotSatisfiable, 0
		a.Header.Set("content-range", "bytes */"+total)
		a.Header.Set("content-length", "0")
		a.Header.Del("content-type")
		a.Header.Del("content-encoding")
	}
	return a
}

// unchanged judges If-None-Match, or without it If-Modified-Since (RFC 9110 section 13.2.2).
func unchanged(request, stored *httpfield.List) bool {
	if request.Has("if-none-match") {
		tag, _ := stored.Get("etag")
		for _, f := range request.Fields() {
			if f.Name == "if-none-match" && anyTag(f.Value, tag) {
				return true
			}
		}
		return false
	}
	text, ok := request.Get("if-modified-since")
	if !ok {
		return false
	}
	since, ok := ParseDate(text)
	if !ok {
		return false
	}
	// Without Last-Modified the response's date serves (RFC 9111 section 4.3.2).
	for _, name := range []string{"last-modified", "date"} {
		if text, ok := stored.Get(name); ok {
			if modified, ok := ParseDate(text); ok {
				return !modified.After(since)
			}
		}
	}
	return false
}

// anyTag compares weakly (RFC 9110 section 8.8.3.2).
func anyTag(list, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for list != "" {
		var one string
		one, list = toComma(list)
		one = strings.Trim(one, " \t")
		if one == "*" || tag != "" && strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

// ifRange reports whether a range may be given as far as If-Range is concerned (RFC 9110 section 13.1.5).
func ifRange(request, stored *httpfield.List) bool {
	text, ok := request.Get("if-range")
	if !ok {
		return true
	}
	if strings.HasPrefix(text, `"`) {
		tag, _ := stored.Get("etag")
		return tag == text // strong comparison
	}
	if strings.HasPrefix(text, "W/") {
		return false
	}
	a, ok := ParseDate(text)
	modified, _ := stored.Get("last-modified")
	b, same := ParseDate(modified)
	return ok && same && a.Equal(b)
}

type rangeForm uint8

const (
	rangeWhole  rangeForm = iota // none, or one that is not understood
	rangeOf                      // of bytes first to last
	rangeBeyond                  // that the response does not have
)

// parseRange reads a Range field (RFC 9110 section 14.1.2) for a response of a length.
func parseRange(text string, length int64) (first, last int64, form rangeForm) {
	unit, set, ok := strings.Cut(text, "=")
	if !ok || !strings.EqualFold(strings.Trim(unit, " \t"), "bytes") {
		return 0, 0, rangeWhole
	}
	from, to, ok := strings.Cut(strings.Trim(set, " \t"), "-")
	if !ok || from == "" && to == "" {
		return 0, 0, rangeWhole
	}
	a, aok := position(from)
	b, bok := position(to)
	switch {
	case from == "":
		if !bok {
			return 0, 0, rangeWhole
		}
		if b == 0 || length == 0 {
			return 0, 0, rangeBeyond
		}
		return max(length-b, 0), length - 1, rangeOf
	case !aok || to != "" && (!bok || b < a):
		return 0, 0, rangeWhole
	case a >= length:
		return 0, 0, rangeBeyond
	case to == "":
		return a, length - 1, rangeOf
	}
	return a, min(b, length-1), rangeOf
}

// position reads a number of bytes; a huge one is a large one.
func position(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		if !digit(s[i]) {
			return 0, false
		}
		if n < 1<<58 {
			n = n*10 + int64(s[i]-'0')
		}
	}
	return n, true
}
