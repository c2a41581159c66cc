package backend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

const (
	// cdnName is what this platform calls itself in CDN-Loop.
	cdnName = "wasmedge"

	// markPeriod is for how long a mark reads the same; markPeriods is how many of them it counts, so that whoever
	// gets to see one cannot use it for ever.
	markPeriod  = time.Minute
	markPeriods = 15

	macBytes = 16
	tagBytes = 6
)

// Chain marks the requests that one service sends to origins, and reads the marks of those that come in. There are two
// fields:
//   - CDN-Loop (RFC 8586) has one entry for each service passed, of whatever platform. It is not signed and need not
//     be: more entries only make a request be refused sooner. What a request came with is passed on whatever the
//     program does, so a program cannot hide a loop.
//   - Fastly-FF has one entry for each service of this platform, PERIOD.MAC!POP!SERVICE. Programs take its presence for
//     a request from one of their own, so entries whose MAC is wrong or old do not count and are removed.
//
// A Chain is safe for concurrent use.
type Chain struct {
	max     int
	pop     string
	service string // tag of the service
	key     []byte
	now     func() time.Time
	own     atomic.Pointer[ownMark]
}

// ownMark is the mark of the current period.
type ownMark struct {
	period int64
	text   string
}

// NewChain makes the Chain of one service. All services and nodes that have the same key believe each other's marks. pop
// is what programs see in FASTLY_POP. maxHops is how many services a request may have passed; 0 means DefaultMaxHops.
func NewChain(key []byte, pop, service string, maxHops int) *Chain {
	if maxHops <= 0 {
		maxHops = DefaultMaxHops
	}
	sum := sha256.Sum256([]byte(service))
	return &Chain{max: maxHops, pop: pop, service: hex.EncodeToString(sum[:tagBytes]), key: key, now: time.Now}
}

// Passed is what a request's marks say.
type Passed struct {
	Hops    int    // services passed, of all platforms
	Service int    // of these, times that it was this service's
	Pop     int    // of these, times that it was at this POP
	loop    string // the CDN-Loop field
	ff      string // the Fastly-FF field, without entries that do not count
}

// Read reads the marks of a request. The error is a *LoopError when there are too many.
func (c *Chain) Read(h http.Header) (Passed, error) {
	var p Passed
	loop, ff := h["Cdn-Loop"], h["Fastly-Ff"]
	if loop == nil && ff == nil {
		return p, nil
	}
	for _, v := range loop {
		eachListItem(v, func(string) { p.Hops++ })
	}
	now := c.now()
	marks := 0
	var genuine []string
	for _, v := range ff {
		eachListItem(v, func(mark string) {
			// More of them are refused below, whatever they are worth.
			if marks++; marks > c.max+1 || !c.genuine(mark, now) {
				return
			}
			genuine = append(genuine, mark)
			_, rest, _ := strings.Cut(mark, "!")
			pop, service, _ := strings.Cut(rest, "!")
			if pop == c.pop {
				p.Pop++
			}
			if service == c.service {
				p.Service++
			}
		})
	}
	p.Hops = max(p.Hops, len(genuine)) // a proxy on the way may drop one of the fields
	if p.Hops > c.max {
		return p, &LoopError{Hops: p.Hops, Max: c.max}
	}
	p.loop, p.ff = strings.Join(loop, ", "), strings.Join(genuine, ", ")
	return p, nil
}

// FastlyFF is the field Fastly-FF as programs may see it; "" when there is none.
func (p *Passed) FastlyFF() string { return p.ff }

// Mark sets the marks of a request to an origin; p is what Read gave for the request that it is sent on behalf of. What
// the program has set itself is replaced.
func (c *Chain) Mark(h *httpfield.List, p *Passed) {
	h.Set("cdn-loop", join(p.loop, cdnName))
	h.Set("fastly-ff", join(p.ff, c.mark()))
}

func join(list, item string) string {
	if list == "" {
		return item
	}
	return list + ", " + item
}

// mark gives this service's entry. It only changes once a period.
func (c *Chain) mark() string {
	period := c.period(c.now())
	m := c.own.Load()
	if m == nil || m.period != period {
		m = &ownMark{period, c.sign(strconv.FormatInt(period, 16), c.pop+"!"+c.service)}
		c.own.Store(m)
	}
	return m.text
}

func (c *Chain) period(t time.Time) int64 { return t.Unix() / int64(markPeriod/time.Second) }

func (c *Chain) sign(period, where string) string {
	mac := hmac.New(sha256.New, c.key)
	mac.Write([]byte(period + "!" + where))
	return period + "." + hex.EncodeToString(mac.Sum(nil)[:macBytes]) + "!" + where
}

// genuine reports whether a mark was made by someone with the key, and not long ago.
func (c *Chain) genuine(mark string, now time.Time) bool {
	signed, where, _ := strings.Cut(mark, "!")
	period, _, ok := strings.Cut(signed, ".")
	if !ok {
		return false
	}
	made, err := strconv.ParseInt(period, 16, 64)
	if err != nil {
		return false
	}
	// A node's clock may be a little ahead.
	if age := c.period(now) - made; age < -1 || age >= markPeriods {
		return false
	}
	return hmac.Equal([]byte(mark), []byte(c.sign(period, where)))
}
