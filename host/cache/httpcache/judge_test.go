package httpcache

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

func at(d time.Duration) string {
	return now.Add(d).Format("Mon, 02 Jan 2006 15:04:05 GMT")
}

const (
	second = time.Second
	hour   = time.Hour
)

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		request  string // lines, separated by " | "
		status   int    // 0: 200
		response string
		override Override
		want     string // the reason to refuse, or
		maxAge   time.Duration
		age      time.Duration
		swr, sie time.Duration
		validate bool
	}{
		{name: "nothing said, no validator: not stored", want: "no-freshness"},
		{name: "nothing said, a tag: stored, and validated", response: `etag: "a"`, validate: true},
		{name: "max-age (RFC 9111 section 4.2.1)", response: "cache-control: max-age=60", maxAge: 60 * second},
		{name: "max-age=0 without a validator", response: "cache-control: max-age=0", want: "stale"},
		{name: "s-maxage before max-age", response: "cache-control: max-age=60, s-maxage=5", maxAge: 5 * second},
		{name: "max-age before Expires", response: "cache-control: max-age=60 | expires: 0", maxAge: 60 * second},
		{name: "Expires less Date", response: "expires: " + at(hour) + " | date: " + at(-second), maxAge: hour + second, age: second},
		{name: "Expires without Date", response: "expires: " + at(hour), maxAge: hour - 600*time.Millisecond},
		{name: "an invalid Expires is in the past (section 5.3)", response: "expires: 0", want: "stale"},
		{name: "Age (section 4.2.3)", response: "cache-control: max-age=60 | age: 50", maxAge: 60 * second, age: 50 * second},
		{name: "Age above the lifetime", response: "cache-control: max-age=60 | age: 70", want: "stale"},
		{name: "the first of two Ages (section 5.1)", response: "cache-control: max-age=60 | age: 5, 70", maxAge: 60 * second, age: 5 * second},
		{name: "an Age that is none", response: "cache-control: max-age=60 | age: 7.5", maxAge: 60 * second},
		{name: "apparent age", response: "cache-control: max-age=60 | date: " + at(-40*second), maxAge: 60 * second, age: 40 * second},
		{name: "a Date in the future", response: "cache-control: max-age=60 | date: " + at(hour), maxAge: 60 * second},
		{name: "heuristic freshness (section 4.2.2)", response: "last-modified: " + at(-100*second) + " | date: " + at(0), maxAge: 10 * second},
		{name: "heuristic freshness is a day at most", response: "last-modified: " + at(-9000*hour) + " | date: " + at(0), maxAge: 24 * hour},
		{name: "no heuristic for this status (RFC 9110 section 15.1)", status: 403, response: "last-modified: " + at(-hour), want: "status"},
		{name: "except with public (RFC 9111 section 4.2.2)", status: 403, response: "cache-control: public | date: " + at(0) + " | last-modified: " + at(-100*second), maxAge: 10 * second},
		{name: "any final status with max-age (section 3)", status: 599, response: "cache-control: max-age=60", maxAge: 60 * second},
		{name: "a part is not stored", status: 206, response: "cache-control: max-age=60", want: "status"},
		{name: "no-store (section 5.2.2.5)", response: "cache-control: max-age=60, no-store", want: "no-store"},
		{name: "no-store, must-understand and understood (section 5.2.2.3)", response: "cache-control: max-age=60, no-store, must-understand", maxAge: 60 * second},
		{name: "must-understand and not understood", status: 299, response: "cache-control: max-age=60, must-understand", want: "must-understand"},
		{name: "private (section 5.2.2.7)", response: "cache-control: max-age=60, private", want: "private"},
		{name: "no-cache with a tag (section 5.2.2.4)", response: `cache-control: max-age=60, no-cache | etag: "a"`, validate: true},
		{name: "no-cache without", response: "cache-control: max-age=60, no-cache", want: "stale"},
		{name: "Authorization (section 3.5)", request: "authorization: x", response: "cache-control: max-age=60", want: "authorization"},
		{name: "Authorization and public", request: "authorization: x", response: "cache-control: max-age=60, public", maxAge: 60 * second},
		{name: "Authorization and s-maxage", request: "authorization: x", response: "cache-control: s-maxage=60", maxAge: 60 * second},
		{name: "Authorization and must-revalidate", request: "authorization: x", response: "cache-control: max-age=60, must-revalidate", maxAge: 60 * second},
		{name: "the request's no-store (section 5.2.1.5)", request: "cache-control: no-store", response: "cache-control: max-age=60", want: "request-no-store"},
		{name: "Vary: * (section 4.1)", response: "cache-control: max-age=60 | vary: a, *", want: "vary-star"},
		{name: "a Vary that names no header", response: "cache-control: max-age=60 | vary: a b", want: "vary-star"},
		{name: "RFC 5861", response: "cache-control: max-age=60, stale-while-revalidate=5, stale-if-error=6", maxAge: 60 * second, swr: 5 * second, sie: 6 * second},
		{name: "RFC 5861 against must-revalidate (RFC 9111 section 5.2.2.2)", response: "cache-control: max-age=60, stale-while-revalidate=5, stale-if-error=6, must-revalidate", maxAge: 60 * second},
		{name: "stale already, but within stale-while-revalidate", response: "cache-control: max-age=60, stale-while-revalidate=50 | age: 70", maxAge: 60 * second, age: 70 * second, swr: 50 * second},
		{name: "CDN-Cache-Control before Cache-Control (RFC 9213)", response: "cache-control: no-store | cdn-cache-control: max-age=60", maxAge: 60 * second},
		{name: "CDN-Cache-Control before Expires", response: "expires: " + at(hour) + " | cdn-cache-control: max-age=0", want: "stale"},
		{name: "CDN-Cache-Control that is none", response: `cache-control: no-store | cdn-cache-control: max-age=60,,`, want: "no-store"},
		{name: "Surrogate-Control before both", response: "surrogate-control: max-age=7, stale-if-error=3 | cache-control: no-store, max-age=0 | cdn-cache-control: max-age=60", maxAge: 7 * second, sie: 3 * second},
		{name: "Surrogate-Control does not open what is private", response: "surrogate-control: max-age=7 | cache-control: private", want: "private"},
		{name: "Surrogate-Control: no-store", response: "surrogate-control: no-store | cache-control: max-age=60", want: "no-store"},
		{name: "an override of the lifetime", response: "cache-control: max-age=1 | age: 50", override: Override{TTL: 9 * second, HasTTL: true}, maxAge: 59 * second, age: 50 * second},
		{name: "an override of a response that says nothing", status: 201, override: Override{TTL: 9 * second, HasTTL: true}, maxAge: 9 * second},
		{name: "an override does not open what is private", response: "cache-control: private", override: Override{TTL: 9 * second, HasTTL: true}, want: "private"},
		{name: "an override of stale-while-revalidate", response: "cache-control: max-age=60", override: Override{StaleWhileRevalidate: 8 * second, HasStale: true}, maxAge: 60 * second, swr: 8 * second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := &Exchange{Method: "GET", Request: fields(lines(tt.request)...), Status: max(tt.status, 200),
				Response: fields(lines(tt.response)...), Sent: now, Received: now}
			v := Policy{}.Judge(x, tt.override)
			if v.Reason != tt.want || (v.Action == Insert) != (tt.want == "") {
				t.Fatalf("action %d, %q, want %q", v.Action, v.Reason, tt.want)
			}
			if tt.want != "" {
				return
			}
			got := []any{v.MaxAge, v.InitialAge, v.StaleWhileRevalidate, v.StaleIfError, v.Validate}
			if want := []any{tt.maxAge, tt.age, tt.swr, tt.sie, tt.validate}; !reflect.DeepEqual(got, want) {
				t.Errorf("max age, age, swr, sie, validate: got %v, want %v", got, want)
			}
		})
	}
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " | ")
}

func TestJudgeAsThePlatform(t *testing.T) {
	for _, tt := range []struct {
		name, request, response string
		status                  int
		want                    string
		maxAge                  time.Duration
	}{
		{name: "two minutes for what says nothing", maxAge: 2 * time.Minute},
		{name: "no heuristic", response: "last-modified: " + at(-9000*hour), maxAge: 2 * time.Minute},
		{name: "seven status codes alone", status: 500, response: "cache-control: max-age=60", want: "status"},
		{name: "one of the seven", status: 302, response: "cache-control: max-age=60", maxAge: time.Minute},
		{name: "a cookie", response: "cache-control: max-age=60 | set-cookie: a=b", want: "set-cookie"},
		{name: "no-store is not regarded", response: "cache-control: max-age=60, no-store, no-cache", maxAge: time.Minute},
		{name: "private is", response: "cache-control: private", want: "private"},
		{name: "Authorization is not regarded", request: "authorization: x", response: "cache-control: max-age=60", maxAge: time.Minute},
		{name: "nor is Vary: *", response: "cache-control: max-age=60 | vary: *", maxAge: time.Minute},
		{name: "nor CDN-Cache-Control", response: "cache-control: max-age=60 | cdn-cache-control: no-store", maxAge: time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := &Exchange{Method: "GET", Request: fields(lines(tt.request)...), Status: max(tt.status, 200),
				Response: fields(lines(tt.response)...), Sent: now, Received: now}
			v := Policy{Fastly: true}.Judge(x, Override{})
			if v.Reason != tt.want || tt.want == "" && v.MaxAge != tt.maxAge {
				t.Errorf("%q, %s, want %q, %s", v.Reason, v.MaxAge, tt.want, tt.maxAge)
			}
		})
	}
}

func TestVerdictHoldsWhatGoesWithTheObject(t *testing.T) {
	x := &Exchange{Method: "GET", Request: fields(), Status: 200, Sent: now.Add(-2 * second), Received: now, Response: fields(
		`Cache-Control: max-age=60, no-cache="a", private="B", immutable, proxy-revalidate`, "Vary: Accept, , X-Two", "vary: accept",
		"Surrogate-Key: one two  three", "Surrogate-Key: "+strings.Repeat("k", 1025)+" four f\u00fcnf")}
	v := Policy{}.Judge(x, Override{})
	if v.Action != Insert || !v.Immutable || !v.NeverStale || v.InitialAge != 2*second {
		t.Errorf("got %+v", v)
	}
	if got := strings.Join(v.Vary, " "); got != "accept x-two accept" {
		t.Errorf("vary: %q", got)
	}
	if got := strings.Join(v.SurrogateKeys, " "); got != "one two three four" {
		t.Errorf("surrogate keys: %q", got)
	}
	h := NewHead(200, fields("a: 1", "b: 2", "c: 3", "connection: c", "keep-alive: 5", "c: 4"), &v)
	if got := show(&h.Header); got != "c=3 c=4" {
		t.Errorf("stored: %q", got)
	}
}

func TestRefusalsTellWhatToRemember(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   Action
	}{{200, RecordUncacheable}, {404, RecordUncacheable}, {503, DoNotStore}, {206, DoNotStore}} {
		x := &Exchange{Method: "GET", Request: fields(), Status: tt.status, Response: fields("cache-control: no-store", "vary: a"), Sent: now, Received: now}
		v := Policy{}.Judge(x, Override{})
		if v.Action != tt.want || tt.want == RecordUncacheable && (v.MaxAge != HitForPass || len(v.Vary) != 1) {
			t.Errorf("%d: %+v", tt.status, v)
		}
	}
}

func TestWants(t *testing.T) {
	for _, tt := range []struct {
		line      string
		age       time.Duration // of 60 s
		immutable bool
		want      bool
	}{
		{"", 59 * second, false, true},
		{"no-cache", 0, false, false},
		{"max-age=10", 10 * second, false, true},
		{"max-age=10", 11 * second, false, false},
		{"max-age=0", 1 * second, false, false},
		{"max-age=0", 1 * second, true, true},
		{"no-cache", 1 * second, true, false},
		{"min-fresh=30", 30 * second, false, true},
		{"min-fresh=30", 31 * second, false, false},
	} {
		w := ReadWants(fields("cache-control: " + tt.line))
		if got := w.Fresh(tt.age, 60*second, tt.immutable); got != tt.want {
			t.Errorf("%q at %s (immutable %v): %v", tt.line, tt.age, tt.immutable, got)
		}
	}
	for line, want := range map[string]bool{"": false, "max-stale": true, "max-stale=10": true, "max-stale=9": false, "max-stale, no-cache": false, "max-stale, max-age=0": false} {
		w := ReadWants(fields("cache-control: " + line))
		if got := w.Stale(10 * second); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
