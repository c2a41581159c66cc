package configstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ParseJSON reads contents written as one JSON object whose values are all strings. Of a key that is there
// twice the last value counts. Errors begin with the line and column (in characters, from 1) of the fault,
// and never hold a value.
func ParseJSON(src []byte, limits Limits) (map[string]string, error) {
	if !utf8.Valid(src) {
		return nil, at(src, invalidUTF8(src), errors.New("not UTF-8"))
	}
	// The syntax is checked first and apart, because only this way errors tell their place rightly: the
	// decoder used below counts some of the bytes it has read.
	var all json.RawMessage
	if err := json.Unmarshal(src, &all); err != nil {
		off := 0
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			off = max(int(syntax.Offset)-1, 0) // it counts the bad byte
		}
		return nil, at(src, off, err)
	}
	dec := json.NewDecoder(bytes.NewReader(src))
	token, err := dec.Token()
	if err != nil {
		return nil, at(src, 0, err)
	}
	if token != json.Delim('{') {
		return nil, at(src, start(src, 0), fmt.Errorf("want a JSON object of strings, not %s", jsonKind(token)))
	}
	contents := map[string]string{}
	for dec.More() {
		keyStart := start(src, int(dec.InputOffset()))
		token, err := dec.Token()
		if err != nil {
			return nil, at(src, keyStart, err)
		}
		key, _ := token.(string) // a key is one, or the syntax would have been refused
		valueStart := start(src, int(dec.InputOffset()))
		token, err = dec.Token()
		if err != nil {
			return nil, at(src, valueStart, err)
		}
		value, ok := token.(string)
		if !ok {
			return nil, at(src, valueStart, fmt.Errorf("value of key %s: want a string, not %s", quoteKey(key), jsonKind(token)))
		}
		if err := limits.Check(key, value); err != nil {
			return nil, at(src, keyStart, err)
		}
		contents[key] = value
	}
	return contents, nil
}

// start gives the first place at or after off where a token may begin.
func start(src []byte, off int) int {
	for off < len(src) && bytes.IndexByte([]byte(" \t\r\n,:"), src[off]) >= 0 {
		off++
	}
	return off
}

func invalidUTF8(src []byte) int {
	off := 0
	for off < len(src) {
		r, n := utf8.DecodeRune(src[off:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		off += n
	}
	return off
}

// at puts line:column before an error's text.
func at(src []byte, off int, err error) error {
	before := src[:min(off, len(src))]
	line := 1 + bytes.Count(before, []byte("\n"))
	col := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Errorf("%d:%d: %w", line, col, err)
}

func jsonKind(token json.Token) string {
	switch t := token.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case json.Delim:
		if t == '[' {
			return "an array"
		}
		return "an object"
	}
	return "something else"
}
