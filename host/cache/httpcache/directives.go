package httpcache

import (
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Seconds is a number of seconds in a header field; None when it is not there.
type Seconds int64

// None is the absence of a number, and MaxSeconds the largest (RFC 9111 section 1.2.2).
const (
	None       Seconds = -1
	MaxSeconds Seconds = 1 << 31
)

// Duration is s as a duration, 0 for None.
func (s Seconds) Duration() time.Duration { return time.Duration(max(s, 0)) * time.Second }

// Directives are those of a Cache-Control field (RFC 9111 section 5.2), a request's or a response's. Of a directive that occurs
// more than once the first counts (section 4.2.1); a number that is none counts as 0.
type Directives struct {
	Present bool // there is such a field, if only an empty one

	Public, Private, NoStore, NoCache bool
	MustRevalidate, ProxyRevalidate   bool
	MustUnderstand, Immutable         bool
	OnlyIfCached                      bool

	// Private and NoCache are not set by the forms that name fields; these are the fields.
	PrivateFields, NoCacheFields []string

	MaxAge, SMaxAge                    Seconds
	StaleWhileRevalidate, StaleIfError Seconds
	MinFresh, MaxStale                 Seconds // max-stale without a number is MaxSeconds
}

var noDirectives = Directives{
	MaxAge: None, SMaxAge: None, StaleWhileRevalidate: None, StaleIfError: None, MinFresh: None, MaxStale: None,
}

// ParseDirectives reads all lines of a field, whose name is in lower case.
func ParseDirectives(h *httpfield.List, field string) Directives {
	d := noDirectives
	for _, f := range h.Fields() {
		if f.Name == field {
			d.Present = true
			d.read(f.Value)
		}
	}
	return d
}

// read adds the directives of one line.
func (d *Directives) read(line string) {
	for line != "" {
		var name, value string
		var form valueForm
		name, value, form, line = nextDirective(line)
		if name != "" {
			d.set(name, value, form)
		}
	}
}

// valueForm is how a directive's value was written.
type valueForm uint8

const (
	noValue     valueForm = iota
	tokenValue            // also what is no token
	quotedValue           // without its quotes, escapes as they are
	brokenValue           // the directive is not well-formed
)

// nextDirective cuts one directive off a line.
func nextDirective(line string) (name, value string, form valueForm, rest string) {
	line = strings.TrimLeft(line, " \t,")
	end := strings.IndexAny(line, "=,\"; \t")
	if end < 0 {
		return line, "", noValue, ""
	}
	name, rest = line[:end], line[end:]
	if rest[0] != '=' {
		tail, rest := toComma(rest)
		if strings.Trim(tail, " \t") != "" {
			form = brokenValue
		}
		return name, "", form, rest
	}
	rest = rest[1:]
	if rest == "" || rest[0] != '"' {
		value, rest = toComma(rest)
		value = strings.TrimRight(value, " \t")
		return name, value, tokenValue, rest
	}
	end = closingQuote(rest)
	if end < 0 {
		return name, "", brokenValue, "" // the rest of the line is inside the quotes
	}
	value, rest = rest[1:end], rest[end+1:]
	tail, rest := toComma(rest)
	if strings.Trim(tail, " \t") != "" {
		return name, "", brokenValue, rest
	}
	return name, value, quotedValue, rest
}

// closingQuote gives where the quoted string ends that s begins with, -1 if it does not.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// toComma cuts s at the first comma outside of quotes.
func toComma(s string) (before, after string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ',':
			return s[:i], s[i+1:]
		case '"':
			end := closingQuote(s[i:])
			if end < 0 {
				return s, ""
			}
			i += end
		}
	}
	return s, ""
}

func (d *Directives) set(name, value string, form valueForm) {
	number := func(to *Seconds) {
		if *to == None {
			*to = 0
			if form == tokenValue || form == quotedValue {
				*to = max(parseSeconds(value), 0)
			}
		}
	}
	fields := func(all *bool, named *[]string) {
		if form == noValue || form == brokenValue {
			*all = true
			return
		}
		n := len(*named)
		for f := range strings.SplitSeq(value, ",") {
			if f = strings.Trim(f, " \t"); f != "" {
				*named = append(*named, httpfield.Lower(f))
			}
		}
		*all = *all || len(*named) == n // names nothing: it is meant to be about everything
	}
	switch {
	case strings.EqualFold(name, "max-age"):
		number(&d.MaxAge)
	case strings.EqualFold(name, "s-maxage"):
		number(&d.SMaxAge)
	case strings.EqualFold(name, "no-cache"):
		fields(&d.NoCache, &d.NoCacheFields)
	case strings.EqualFold(name, "private"):
		fields(&d.Private, &d.PrivateFields)
	case strings.EqualFold(name, "no-store"):
		d.NoStore = true
	case strings.EqualFold(name, "public"):
		d.Public = true
	case strings.EqualFold(name, "must-revalidate"):
		d.MustRevalidate = true
	case strings.EqualFold(name, "proxy-revalidate"):
		d.ProxyRevalidate = true
	case strings.EqualFold(name, "must-understand"):
		d.MustUnderstand = true
	case strings.EqualFold(name, "immutable"):
		d.Immutable = true
	case strings.EqualFold(name, "only-if-cached"):
		d.OnlyIfCached = true
	case strings.EqualFold(name, "stale-while-revalidate"):
		number(&d.StaleWhileRevalidate)
	case strings.EqualFold(name, "stale-if-error"):
		number(&d.StaleIfError)
	case strings.EqualFold(name, "min-fresh"):
		number(&d.MinFresh)
	case strings.EqualFold(name, "max-stale"):
		if form == noValue && d.MaxStale == None {
			d.MaxStale = MaxSeconds
			return
		}
		number(&d.MaxStale)
	}
}

// parseSeconds reads delta-seconds (RFC 9111 section 1.2.2): digits, of which any number above MaxSeconds is that. None if it is
// something else.
func parseSeconds(s string) Seconds {
	if s == "" {
		return None
	}
	n := Seconds(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return None
		}
		if n < MaxSeconds {
			n = n*10 + Seconds(s[i]-'0')
		}
	}
	return min(n, MaxSeconds)
}
