package httpcache

import (
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// HitForPass is for how long a response that may not be stored lets later requests for the same go to the origin at once, without
// waiting for each other. It is the platform's.
const HitForPass = 2 * time.Minute

const (
	platformTTL  = 2 * time.Minute // of a response that says nothing, on the platform
	maxHeuristic = 24 * time.Hour  // lifetime that is guessed at most
)

// Policy is which rules hold. The zero value is RFC 9111.
type Policy struct {
	// Fastly has the platform's ways where they differ (docs/CACHE.md lists them).
	Fastly bool
}

// Exchange is a request and its response, as they were between the cache and the origin.
type Exchange struct {
	Method   string
	Request  *httpfield.List
	Status   int
	Response *httpfield.List
	Sent     time.Time // the request
	Received time.Time // the response's head
}

// Override takes the place of what a response says.
type Override struct {
	TTL    time.Duration // from the response's arrival, if HasTTL
	HasTTL bool

	StaleWhileRevalidate time.Duration // if HasStale
	HasStale             bool
}

// Action is what to do with a response. The values are those of the guest ABI (http_storage_action).
type Action uint32

// Actions.
const (
	Insert            Action = iota // store it
	Update                          // renew what is stored; given for a 304 alone
	DoNotStore                      // it tells nothing about the next response to such a request
	RecordUncacheable               // the next response to such a request is unlikely to be cacheable either
)

// Verdict is what becomes of a response.
type Verdict struct {
	Action Action
	Reason string // in a word or two, why Action is neither Insert nor Update

	MaxAge               time.Duration // the lifetime; with RecordUncacheable, HitForPass
	InitialAge           time.Duration
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration

	// Validate says that a stored response may be used only when the origin has said that it still holds.
	Validate bool
	// NeverStale says that it may not be used when it is stale, whatever a request takes (RFC 9111 section 4.2.4).
	NeverStale bool
	Immutable  bool // RFC 8246

	Vary          []string // header names that select the variant, in lower case
	SurrogateKeys []string
	Omit          []string // fields that must not be stored, besides those of a connection
}

// understood are the status codes whose caching requirements are implemented (RFC 9111 sections 3 and 5.2.2.3).
func understood(status int) bool {
	switch status {
	case 200, 201, 202, 203, 204, 205, 207, 208, 226,
		300, 301, 302, 303, 305, 307, 308,
		400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426,
		428, 429, 431, 451,
		500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511:
		return true
	}
	return false
}

// byDefault reports whether a status is heuristically cacheable (RFC 9110 section 15.1; 206 is not stored).
func byDefault(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// platformStatus are the codes that the platform stores.
func platformStatus(status int) bool {
	switch status {
	case 200, 203, 300, 301, 302, 404, 410:
		return true
	}
	return false
}

// Judge says what becomes of a response to a request for the whole. Of a 304, judge what Merge makes of it, with the status that
// is stored.
func (p Policy) Judge(x *Exchange, o Override) Verdict {
	var v Verdict
	age := p.age(x)
	v.InitialAge = age
	refuse := func(a Action, reason string) Verdict {
		w := Verdict{Action: a, Reason: reason}
		if a == RecordUncacheable {
			w.MaxAge, w.Vary = HitForPass, v.Vary
		}
		return w
	}
	if x.Method != "GET" {
		return refuse(DoNotStore, "method")
	}
	var star bool
	if v.Vary, star = varyOf(x.Response); star && !p.Fastly {
		v.Vary = nil
		return refuse(RecordUncacheable, "vary-star")
	}
	ctl := p.control(x.Response)
	if why := p.forbidden(x, &ctl, o); why != "" {
		if x.Status >= 500 || x.Status == 206 || x.Status == 304 {
			return refuse(DoNotStore, why)
		}
		return refuse(RecordUncacheable, why)
	}
	lifetime, explicit := p.lifetime(x, &ctl, o)
	v.MaxAge = lifetime
	if o.HasTTL {
		v.MaxAge += age
	}
	v.NeverStale = ctl.MustRevalidate || ctl.ProxyRevalidate || ctl.SMaxAge != None || ctl.NoCache
	v.Immutable = ctl.Immutable
	if ctl.NoCache && !o.HasTTL {
		v.MaxAge, v.Validate = 0, true
	} else {
		if !ctl.MustRevalidate && !ctl.ProxyRevalidate {
			v.StaleWhileRevalidate = ctl.StaleWhileRevalidate.Duration()
			v.StaleIfError = ctl.StaleIfError.Duration()
		}
		if o.HasStale {
			v.StaleWhileRevalidate = o.StaleWhileRevalidate
		}
		if age >= v.MaxAge+v.StaleWhileRevalidate {
			v.Validate, v.StaleWhileRevalidate = true, 0
		}
	}
	if v.Validate && v.StaleIfError == 0 && !HasValidator(x.Response) {
		why := "stale"
		if !explicit {
			why = "no-freshness"
		}
		if x.Status >= 500 {
			return refuse(DoNotStore, why)
		}
		return refuse(RecordUncacheable, why)
	}
	v.Omit = append(ctl.NoCacheFields, ctl.PrivateFields...)
	v.SurrogateKeys = surrogateKeys(x.Response)
	return v
}

// control gives the directives that count for this cache: those of CDN-Cache-Control, if there are any (RFC 9213), else those
// of Cache-Control. The platform's Surrogate-Control goes before either, for what it says.
func (p Policy) control(h *httpfield.List) Directives {
	ctl := noDirectives
	if !p.Fastly {
		ctl = parseTargeted(h, "cdn-cache-control")
	}
	targeted := ctl.Present
	if !targeted {
		ctl = ParseDirectives(h, "cache-control")
	}
	if p.Fastly { // only a private response is not stored there
		ctl.NoStore, ctl.NoCache, ctl.MustUnderstand = false, false, false
	}
	if sur := ParseDirectives(h, "surrogate-control"); sur.Present {
		if sur.MaxAge != None {
			ctl.SMaxAge, ctl.MaxAge = None, sur.MaxAge
			ctl.NoStore, ctl.NoCache = false, false
			targeted = true
		}
		if sur.StaleWhileRevalidate != None {
			ctl.StaleWhileRevalidate = sur.StaleWhileRevalidate
		}
		if sur.StaleIfError != None {
			ctl.StaleIfError = sur.StaleIfError
		}
		ctl.NoStore = ctl.NoStore || sur.NoStore
		ctl.Private = ctl.Private || sur.Private
	}
	ctl.Present = targeted // from here on: Expires does not count
	return ctl
}

// forbidden says why a response may not be stored (RFC 9111 section 3); "" if it may.
func (p Policy) forbidden(x *Exchange, ctl *Directives, o Override) string {
	noStore := ctl.NoStore
	if ctl.MustUnderstand { // section 5.2.2.3
		if !understood(x.Status) {
			return "must-understand"
		}
		noStore = false
	}
	switch {
	case x.Status < 200 || x.Status == 206 || x.Status == 304 || x.Status > 999:
		return "status"
	case noStore:
		return "no-store"
	case ctl.Private:
		return "private"
	}
	if p.Fastly {
		switch {
		case !platformStatus(x.Status):
			return "status"
		case x.Response.Has("set-cookie"):
			return "set-cookie"
		}
		return ""
	}
	if ParseDirectives(x.Request, "cache-control").NoStore {
		return "request-no-store"
	}
	if x.Request.Has("authorization") && !ctl.Public && !ctl.MustRevalidate && ctl.SMaxAge == None { // section 3.5
		return "authorization"
	}
	explicit := o.HasTTL || ctl.Public || ctl.MaxAge != None || ctl.SMaxAge != None || !ctl.Present && x.Response.Has("expires")
	if !explicit && !byDefault(x.Status) {
		return "status"
	}
	return ""
}

// age is a response's age when it came (RFC 9111 section 4.2.3). The part that its Date tells counts in whole seconds, as a Date
// does.
func (p Policy) age(x *Exchange) time.Duration {
	value, _ := x.Response.Get("age")
	if comma := strings.IndexByte(value, ','); comma >= 0 { // of several the first counts (section 5.1)
		value = value[:comma]
	}
	age := parseSeconds(strings.Trim(value, " \t")).Duration()
	if p.Fastly {
		return age
	}
	age += max(x.Received.Sub(x.Sent), 0)
	if text, ok := x.Response.Get("date"); ok {
		if d, ok := ParseDate(text); ok {
			age = max(age, x.Received.Sub(d).Truncate(time.Second))
		}
	}
	return age
}

// lifetime is for how long a response is fresh (RFC 9111 section 4.2.1), and whether anybody said so.
func (p Policy) lifetime(x *Exchange, ctl *Directives, o Override) (d time.Duration, explicit bool) {
	switch {
	case o.HasTTL:
		return o.TTL, true
	case ctl.SMaxAge != None:
		return ctl.SMaxAge.Duration(), true
	case ctl.MaxAge != None:
		return ctl.MaxAge.Duration(), true
	}
	made := x.Received
	if text, ok := x.Response.Get("date"); ok {
		if d, ok := ParseDate(text); ok {
			made = d
		}
	}
	if text, ok := x.Response.Get("expires"); ok && !ctl.Present {
		expires, ok := ParseDate(text)
		if !ok {
			return 0, true // section 5.3: in the past
		}
		return max(expires.Sub(made), 0), true
	}
	if p.Fastly {
		return platformTTL, false
	}
	if !byDefault(x.Status) && !ctl.Public {
		return 0, false
	}
	if text, ok := x.Response.Get("last-modified"); ok { // section 4.2.2
		if modified, ok := ParseDate(text); ok {
			return min(max(made.Sub(modified)/10, 0), maxHeuristic), false
		}
	}
	return 0, false
}

// varyOf gives the names in Vary (RFC 9110 section 12.5.5), and whether one of them is "*" or cannot be a name.
func varyOf(h *httpfield.List) (names []string, star bool) {
	for _, f := range h.Fields() {
		if f.Name != "vary" {
			continue
		}
		for name := range strings.SplitSeq(f.Value, ",") {
			name = strings.Trim(name, " \t")
			if name == "" {
				continue
			}
			lower, ok := httpfield.ParseName([]byte(name))
			if name == "*" || !ok {
				star = true
				continue
			}
			names = append(names, lower)
		}
	}
	return names, star
}

// maxSurrogateKey is how long a key may be, in bytes; longer ones are left out, as on the platform.
const maxSurrogateKey = 1024

// maxSurrogateKeys is how long all keys may be, with a space between two; the platform leaves out what lies beyond. There is room for an AddressKey.
const maxSurrogateKeys = 16<<10 - 64

// surrogateKeys gives the keys of a response.
func surrogateKeys(h *httpfield.List) (keys []string) {
	total := 0
	for _, f := range h.Fields() {
		if f.Name == "surrogate-key" {
			keys, total = appendKeys(keys, f.Value, total)
		}
	}
	return keys
}

// SplitSurrogateKeys gives the keys of a list that is separated by spaces. Those that cannot be keys are left out, and so is what lies
// beyond the platform's limits.
func SplitSurrogateKeys(list string) []string {
	keys, _ := appendKeys(nil, list, 0)
	return keys
}

func appendKeys(keys []string, list string, total int) ([]string, int) {
	for key := range strings.FieldsSeq(list) {
		if len(key) > maxSurrogateKey || strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0 {
			continue
		}
		if total += len(key) + 1; total > maxSurrogateKeys {
			break
		}
		keys = append(keys, key)
	}
	return keys, total
}
