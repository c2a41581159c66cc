package backend

import (
	"fmt"
	"strings"
)

// DefaultMaxHops is the platform's limit on the length of a chain of services.
const DefaultMaxHops = 20

// LoopError is a request that has passed too many services.
type LoopError struct{ Hops, Max int }

// Error says what to look for.
func (e *LoopError) Error() string {
	return fmt.Sprintf("loop detected: the request has passed %d services, %d are allowed; see its cdn-loop header, and whether a backend's address is that of the service itself", e.Hops, e.Max)
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
