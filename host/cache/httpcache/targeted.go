package httpcache

import (
	"strings"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// parseTargeted reads a targeted field such as CDN-Cache-Control (RFC 9213): a dictionary of structured fields (RFC 9651). One
// that is not well-formed counts as absent (section 2.1), and so does a directive whose value has another type than it should.
func parseTargeted(h *httpfield.List, field string) Directives {
	d := noDirectives
	var whole string
	for _, f := range h.Fields() {
		if f.Name != field {
			continue
		}
		if d.Present {
			whole += ","
		}
		whole, d.Present = whole+f.Value, true
	}
	if !d.Present {
		return d
	}
	p := dictionary{strings.Trim(whole, " \t")}
	if p.rest == "" {
		return noDirectives // an empty dictionary is no field
	}
	for {
		key, v, ok := p.member()
		if !ok {
			return noDirectives
		}
		d.setTargeted(key, v)
		p.spaces()
		if p.rest == "" {
			return d
		}
		if !p.take(',') {
			return noDirectives
		}
		p.spaces()
		if p.rest == "" {
			return noDirectives // nothing after a comma
		}
	}
}

func (d *Directives) setTargeted(key string, v item) {
	flag := func(to *bool) {
		if v.kind == kindBoolean {
			*to = v.n == 1
		}
	}
	number := func(to *Seconds) {
		if v.kind == kindInteger {
			*to = Seconds(min(max(v.n, 0), int64(MaxSeconds)))
		}
	}
	switch key { // of several the last counts (RFC 9651 section 4.2.2)
	case "max-age":
		number(&d.MaxAge)
	case "s-maxage":
		number(&d.SMaxAge)
	case "stale-while-revalidate":
		number(&d.StaleWhileRevalidate)
	case "stale-if-error":
		number(&d.StaleIfError)
	case "no-store":
		flag(&d.NoStore)
	case "no-cache":
		flag(&d.NoCache)
		d.NoCache = d.NoCache || v.kind != kindBoolean // names fields: be careful about all of them
	case "private":
		flag(&d.Private)
		d.Private = d.Private || v.kind != kindBoolean
	case "public":
		flag(&d.Public)
	case "must-revalidate":
		flag(&d.MustRevalidate)
	case "proxy-revalidate":
		flag(&d.ProxyRevalidate)
	case "must-understand":
		flag(&d.MustUnderstand)
	case "immutable":
		flag(&d.Immutable)
	}
}

// item is the value of a dictionary's member, as far as directives need it.
type item struct {
	kind itemKind
	n    int64 // of an integer or a boolean
}

type itemKind uint8

const (
	kindOther itemKind = iota
	kindInteger
	kindBoolean
)

// dictionary parses what is left of one.
type dictionary struct{ rest string }

func (p *dictionary) spaces() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *dictionary) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// while cuts off the longest run of characters that f accepts.
func (p *dictionary) while(f func(c byte) bool) string {
	n := 0
	for n < len(p.rest) && f(p.rest[n]) {
		n++
	}
	run := p.rest[:n]
	p.rest = p.rest[n:]
	return run
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }

func (p *dictionary) key() (string, bool) {
	if p.rest == "" || !lower(p.rest[0]) && p.rest[0] != '*' {
		return "", false
	}
	return p.while(func(c byte) bool { return lower(c) || digit(c) || strings.IndexByte("_-.*", c) >= 0 }), true
}

func (p *dictionary) member() (key string, v item, ok bool) {
	if key, ok = p.key(); !ok {
		return "", v, false
	}
	v = item{kindBoolean, 1}
	if p.take('=') {
		if p.rest != "" && p.rest[0] == '(' {
			v, ok = item{}, p.innerList()
		} else {
			v, ok = p.bare()
		}
	}
	return key, v, ok && p.parameters()
}

func (p *dictionary) parameters() bool {
	for p.take(';') {
		p.rest = strings.TrimLeft(p.rest, " ")
		if _, ok := p.key(); !ok {
			return false
		}
		if p.take('=') {
			if _, ok := p.bare(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *dictionary) innerList() bool {
	p.take('(')
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.take(')') {
			return true
		}
		if _, ok := p.bare(); !ok || !p.parameters() {
			return false
		}
		if p.rest == "" || p.rest[0] != ' ' && p.rest[0] != ')' {
			return false
		}
	}
}

func (p *dictionary) bare() (item, bool) {
	if p.rest == "" {
		return item{}, false
	}
	switch c := p.rest[0]; {
	case c == '-' || digit(c):
		return p.number()
	case c == '"':
		end := closingQuote(p.rest)
		if end < 0 {
			return item{}, false
		}
		p.rest = p.rest[end+1:]
		return item{}, true
	case c == '?':
		p.rest = p.rest[1:]
		switch {
		case p.take('1'):
			return item{kindBoolean, 1}, true
		case p.take('0'):
			return item{kindBoolean, 0}, true
		}
		return item{}, false
	case c == ':':
		end := strings.IndexByte(p.rest[1:], ':')
		if end < 0 {
			return item{}, false
		}
		p.rest = p.rest[end+2:]
		return item{}, true
	case c == '@':
		p.rest = p.rest[1:]
		v, ok := p.number()
		return item{}, ok && v.kind == kindInteger
	case c == '*' || lower(c) || c >= 'A' && c <= 'Z':
		p.while(func(c byte) bool {
			return lower(c) || digit(c) || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0
		})
		return item{}, true
	}
	return item{}, false
}

func (p *dictionary) number() (item, bool) {
	sign := int64(1)
	if p.take('-') {
		sign = -1
	}
	digits := p.while(digit)
	if digits == "" || len(digits) > 15 {
		return item{}, false
	}
	if p.take('.') {
		fraction := p.while(digit)
		return item{}, len(digits) <= 12 && fraction != "" && len(fraction) <= 3
	}
	n := int64(0)
	for i := range len(digits) {
		n = n*10 + int64(digits[i]-'0')
	}
	return item{kindInteger, sign * n}, true
}
