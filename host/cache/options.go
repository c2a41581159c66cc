package cache

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits on what one object may carry. They are those of the platform where it documents one.
const (
	MaxKey           = 4096      // bytes of a cache key
	MaxSurrogateKey  = 1024      // bytes of one surrogate key
	MaxSurrogateKeys = 16 << 10  // bytes of an object's surrogate keys, with a separator between two
	MaxUserMetadata  = 64 << 10  // bytes
	MaxVaryRule      = 8 << 10   // bytes of the names of a vary rule, with a separator between two
	MaxVaryNames     = 64        // names in a vary rule
	maxDuration      = 1<<62 - 1 // nanoseconds, so that the sum of two never overflows
)

// What callers branch on. The errors that wrap them name the value and the limit.
var (
	ErrKey          = errors.New("cache: not a cache key")
	ErrOptions      = errors.New("cache: not usable write options")
	ErrNoObligation = errors.New("cache: the transaction has no obligation to insert or update")
	ErrNotFound     = errors.New("cache: the transaction found no object to update")
	ErrTooLarge     = errors.New("cache: the object is larger than the cache stores")
	ErrNoRoom       = errors.New("cache: no room: what fills the cache is being written")
	ErrLength       = errors.New("cache: the body has not the length that was declared")
	ErrAbandoned    = errors.New("cache: the object's writer gave up")
	ErrGone         = errors.New("cache: the beginning of the body is no longer held")
	ErrClosed       = errors.New("cache: closed")
)

// WriteOptions says what becomes of an object. The zero value is an object that is never fresh.
type WriteOptions struct {
	MaxAge               time.Duration // the object is fresh while it is younger
	InitialAge           time.Duration // its age when it is inserted
	StaleWhileRevalidate time.Duration // after MaxAge: usable while one transaction looks for a newer one
	StaleIfError         time.Duration // after MaxAge: usable if no newer one can be had
	EdgeMaxAge           time.Duration // kept for its reader, at most MaxAge; 0 means MaxAge
	Vary                 []string      // header names that select the variant; case, order and repeats do not matter
	SurrogateKeys        []string      // what PurgeKey finds it by; repeats do not matter
	Length               int64         // bytes of the body, if KnownLength
	KnownLength          bool          // a body of another length than Length is broken
	UserMetadata         []byte        // kept for its reader; the cache keeps the slice
	Sensitive            bool          // never written to a disk
}

func optionError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...))
}

// check normalises the options. Its result shares no slice of names with the caller.
func (o *WriteOptions) check() (rule []string, keys []string, err error) {
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"max age", o.MaxAge}, {"initial age", o.InitialAge}, {"stale-while-revalidate", o.StaleWhileRevalidate},
		{"stale-if-error", o.StaleIfError}, {"edge max age", o.EdgeMaxAge},
	} {
		if d.d < 0 {
			return nil, nil, optionError("%s of %s is negative", d.name, d.d)
		}
	}
	if o.EdgeMaxAge > o.MaxAge {
		return nil, nil, optionError("edge max age of %s is above the max age of %s", o.EdgeMaxAge, o.MaxAge)
	}
	if o.KnownLength && o.Length < 0 {
		return nil, nil, optionError("length of %d bytes is negative", o.Length)
	}
	if len(o.UserMetadata) > MaxUserMetadata {
		return nil, nil, optionError("%d bytes of user metadata are above %d", len(o.UserMetadata), MaxUserMetadata)
	}
	if rule, err = CheckVary(o.Vary); err != nil {
		return nil, nil, err
	}
	if keys, err = CheckSurrogateKeys(o.SurrogateKeys); err != nil {
		return nil, nil, err
	}
	return rule, keys, nil
}

// clampDuration bounds a duration so that sums of two do not overflow.
func clampDuration(d time.Duration) int64 { return min(int64(d), maxDuration) }

// CheckKey reports why a key cannot be one, wrapping ErrKey.
func CheckKey(key []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: %d bytes are above %d", ErrKey, len(key), MaxKey)
	}
	return nil
}

// CheckVary gives the names of a vary rule in the form that the cache compares: lower case, sorted, without repeats.
// The error wraps ErrOptions: a name is no header name, or there are too many.
func CheckVary(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	total := -1
	rule := make([]string, 0, min(len(names), MaxVaryNames))
	for _, n := range names {
		if total += len(n) + 1; total > MaxVaryRule {
			return nil, optionError("the vary rule is above %d bytes", MaxVaryRule)
		}
		if !isToken(n) {
			return nil, optionError("%q in the vary rule is no header name", clip(n))
		}
		rule = append(rule, strings.ToLower(n))
	}
	slices.Sort(rule)
	rule = slices.Compact(rule)
	if len(rule) > MaxVaryNames {
		return nil, optionError("%d names in the vary rule are above %d", len(rule), MaxVaryNames)
	}
	return slices.Clip(rule), nil
}

// CheckSurrogateKeys gives the keys without repeats, in the order given. The error wraps ErrOptions: a key is empty,
// too long, or holds something else than visible ASCII characters, or there are too many.
func CheckSurrogateKeys(keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	total := -1
	for _, k := range keys {
		if total += len(k) + 1; total > MaxSurrogateKeys {
			return nil, optionError("the surrogate keys are above %d bytes", MaxSurrogateKeys)
		}
		if err := checkSurrogateKey(k); err != nil {
			return nil, err
		}
	}
	if len(keys) == 1 {
		return []string{keys[0]}, nil
	}
	out := make([]string, 0, len(keys))
	seen := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		if _, ok := seen[k]; !ok {
			seen[k] = struct{}{}
			out = append(out, k)
		}
	}
	return out, nil
}

func checkSurrogateKey(k string) error {
	if k == "" {
		return optionError("a surrogate key is empty")
	}
	if len(k) > MaxSurrogateKey {
		return optionError("a surrogate key of %d bytes is above %d", len(k), MaxSurrogateKey)
	}
	for i := range len(k) {
		if k[i] <= ' ' || k[i] >= 0x7f {
			return optionError("the surrogate key %q holds something else than visible ASCII characters", clip(k))
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, as header names are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// clip shortens what an error message quotes.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

func tooLarge(limit int64) error { return fmt.Errorf("%w: above %d bytes", ErrTooLarge, limit) }
