package backend

import (
	"fmt"
	"strings"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// DefaultMaxHops is the platform's limit on the length of a chain of services.
const DefaultMaxHops = 20

// LoopError is a request that has passed this node, or too many nodes, before.
type LoopError struct {
	ID   string // the node that it passed before; "" if there were too many
	Hops int    // nodes that it passed
	Max  int
}

// Error says what to look for.
func (e *LoopError) Error() string {
	if e.ID != "" {
		return fmt.Sprintf("backend: loop detected: the request passed %s before, see its cdn-loop header; is a backend's address that of this node?", quote(e.ID))
	}
	return fmt.Sprintf("backend: loop detected: the request passed %d nodes, %d are allowed; see its cdn-loop header", e.Hops, e.Max)
}

// CountHops gives how many nodes a request has passed by its CDN-Loop fields (RFC 8586), and how many of these entries
// name id. Names compare without regard to case.
func CountHops(h *httpfield.List, id string) (hops, own int) {
	for _, f := range h.Fields() {
		if f.Name != "cdn-loop" {
			continue
		}
		eachListItem(f.Value, func(item string) {
			hops++
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), id) {
				own++
			}
		})
	}
	return hops, own
}

// CheckLoop refuses a request that has passed the nodes called id more than maxOwn times, or more than maxHops nodes
// (0: DefaultMaxHops). The error is a *LoopError.
func CheckLoop(h *httpfield.List, id string, maxOwn, maxHops int) error {
	if maxHops == 0 {
		maxHops = DefaultMaxHops
	}
	hops, own := CountHops(h, id)
	if own > maxOwn {
		return &LoopError{ID: id, Hops: hops, Max: maxHops}
	}
	if hops > maxHops {
		return &LoopError{Hops: hops, Max: maxHops}
	}
	return nil
}

// MarkHop adds this node to a request's CDN-Loop field. The id is a host name or another token.
func MarkHop(h *httpfield.List, id string) {
	h.Add("cdn-loop", id)
}

// eachListItem calls f for each element of a comma-separated field value that is not empty; commas inside quoted
// strings separate nothing (RFC 9110 section 5.6).
func eachListItem(v string, f func(string)) {
	start, quoted := 0, false
	for i := 0; i <= len(v); i++ {
		switch {
		case i == len(v) || v[i] == ',' && !quoted:
			if item := strings.Trim(v[start:i], " \t"); item != "" {
				f(item)
			}
			start = i + 1
		case v[i] == '"':
			quoted = !quoted
		case v[i] == '\\' && quoted:
			i++
		}
	}
}
