package httpcache

import (
	"strconv"
	"strings"
	"time"
)

// Status is what a cache did with a request, as one member of a Cache-Status field (RFC 9211).
type Status struct {
	Cache string // a token that names it

	Hit       bool
	Forward   string // why the request went on: "uri-miss", "stale", "bypass", "method", "request", "miss"; "" if Hit
	Answered  int    // Forward's status; 0 is not told
	Stored    bool
	Collapsed bool

	TTL    time.Duration // that is left, below 0 when stale; if HasTTL
	HasTTL bool
	Detail string // a token
}

// String gives the member.
func (s *Status) String() string {
	var b strings.Builder
	b.WriteString(s.Cache)
	if s.Hit {
		b.WriteString("; hit")
	}
	if s.Forward != "" {
		b.WriteString("; fwd=" + s.Forward)
	}
	if s.Answered != 0 {
		b.WriteString("; fwd-status=" + strconv.Itoa(s.Answered))
	}
	if s.HasTTL {
		b.WriteString("; ttl=" + strconv.FormatInt(int64(s.TTL/time.Second), 10))
	}
	if s.Stored {
		b.WriteString("; stored")
	}
	if s.Collapsed {
		b.WriteString("; collapsed")
	}
	if s.Detail != "" {
		b.WriteString("; detail=" + s.Detail)
	}
	return b.String()
}
