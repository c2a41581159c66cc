package configstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// ParseJSON reads contents written as one JSON object whose values are all strings. Of a key that is there
// twice the last value counts. Errors begin with the line and column (in characters, from 1) of the fault,
// and never hold a value.
func ParseJSON(src []byte, limits Limits) (map[string]string, error) {
	if !utf8.Valid(src) {
		return nil, at(src, invalidUTF8(src), errors.New("not UTF-8"))
	}
	dec := json.NewDecoder(bytes.NewReader(src))
	token, err := dec.Token()
	if err != nil {
		return nil, atToken(src, dec, err)
	}
	if token != json.Delim('{') {
		return nil, at(src, start(src, 0), fmt.Errorf("want a JSON object of strings, not %s", jsonKind(token)))
	}
	contents := map[string]string{}
	for dec.More() {
		keyStart := start(src, int(dec.InputOffset()))
		token, err := dec.Token()
		if err != nil {
			return nil, atToken(src, dec, err)
		}
		key := token.(string) // the decoder accepts nothing else here
		valueStart := start(src, int(dec.InputOffset()))
		token, err = dec.Token()
		if err != nil {
			return nil, atToken(src, dec, err)
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
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, atToken(src, dec, err)
	}
	end := int(dec.InputOffset())
	if _, err := dec.Token(); err != io.EOF {
		return nil, at(src, start(src, end), errors.New("text after the end of the JSON object"))
	}
	return contents, nil
}

// atToken places an error of the decoder, which counts a syntax error's offset past the bad byte.
func atToken(src []byte, dec *json.Decoder, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		// The Token method makes errors with an offset relative to its own buffer; the decoder's offset is
		// the one that always counts from the beginning.
		off := max(int(syntax.Offset)-1, int(dec.InputOffset()))
		return at(src, start(src, off), errors.New(syntax.Error()))
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return at(src, len(src), errors.New("unexpected end of JSON"))
	}
	return at(src, int(dec.InputOffset()), err)
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
	off = min(off, len(src))
	before := src[:off]
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
	case float64, json.Number:
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
