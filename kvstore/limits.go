package kvstore

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The platform's published limits.
const (
	MaxKey           = 1024     // bytes
	MaxName          = 255      // bytes of a store's name
	MaxMetadata      = 2000     // bytes
	DefaultMaxValue  = 25 << 20 // bytes
	DefaultListLimit = 1000     // keys
	MaxListLimit     = 1000     // keys
)

// CheckKey tells whether a key is one that every driver takes. The error wraps ErrKey and says what is wrong.
func CheckKey(key string) error {
	bad := ""
	switch {
	case key == "":
		bad = "it is empty"
	case len(key) > MaxKey:
		return fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrKey, len(key), MaxKey)
	case !utf8.ValidString(key):
		bad = "it is not UTF-8"
	case strings.ContainsAny(key, "\r\n#;?^|"):
		bad = "it holds one of CR LF # ; ? ^ |"
	case strings.HasPrefix(key, ".well-known/acme-challenge"):
		bad = "it begins with .well-known/acme-challenge"
	case key == "." || key == "..", strings.Contains(key, "./"), strings.HasSuffix(key, "/."), strings.HasSuffix(key, "/.."):
		bad = "it holds the path element . or .."
	case len(key) == 1 && key[0] <= ' ', key == "\x7f", key == "\ufffe", key == "\uffff":
		bad = "it is a single control character or space"
	}
	if bad != "" {
		return fmt.Errorf("%w %s: %s", ErrKey, quote(key), bad)
	}
	return nil
}

// CheckName tells whether a store's name is one that every driver takes: 1 to 255 bytes of printable UTF-8. The error
// wraps ErrName.
func CheckName(name string) error {
	bad := ""
	switch {
	case name == "":
		bad = "it is empty"
	case len(name) > MaxName:
		return fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrName, len(name), MaxName)
	case !utf8.ValidString(name):
		bad = "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		bad = "it holds a control character"
	}
	if bad != "" {
		return fmt.Errorf("%w %s: %s", ErrName, quote(name), bad)
	}
	return nil
}

// CheckMetadata tells whether metadata is within the limit. The error wraps ErrTooLarge.
func CheckMetadata(b []byte) error {
	if len(b) > MaxMetadata {
		return fmt.Errorf("metadata of %d bytes is %w: the limit is %d", len(b), ErrTooLarge, MaxMetadata)
	}
	return nil
}

// quote makes a text from outside fit for an error: one line, printable, short.
func quote(s string) string {
	const most = 64
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:most])
}
