package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// member is one key of a JSON object, with the place of its value in the file.
type member struct {
	key string
	raw json.RawMessage
	off int
}

// jsonFile is a JSON file that is being read. Its errors begin with line:column.
type jsonFile struct{ text }

func newJSONFile(src []byte) jsonFile { return jsonFile{newText(src)} }

func (f jsonFile) errorf(off int, format string, args ...any) error {
	line, col := f.position(off)
	return fmt.Errorf("%d:%d: %w", line, col, fmt.Errorf(format, args...))
}

// object gives the members of the object that the file must be, in its order. A key may be there twice;
// the last one counts.
func (f jsonFile) object() ([]member, error) {
	if !utf8.Valid(f.src) {
		off := 0
		for r, n := utf8.DecodeRune(f.src); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(f.src[off:]) {
			off += n
		}
		return nil, f.errorf(off, "not UTF-8")
	}
	// The syntax is checked first and apart: the decoder used below does not tell places rightly.
	var all json.RawMessage
	if err := json.Unmarshal(f.src, &all); err != nil {
		off := 0
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			off = int(syntax.Offset) - 1 // it counts the bad byte
		}
		return nil, f.errorf(off, "%w", err)
	}
	return f.members(f.src, 0)
}

// members gives the members of the object raw, which lies at off in the file and is well-formed.
func (f jsonFile) members(raw []byte, off int) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	token, err := dec.Token()
	if err != nil {
		return nil, f.errorf(off, "%w", err)
	}
	if token != json.Delim('{') {
		return nil, f.errorf(off+tokenStart(raw, 0), "want an object, not %s", jsonKind(raw))
	}
	var list []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, f.errorf(off, "%w", err)
		}
		m := member{off: off + tokenStart(raw, int(dec.InputOffset()))}
		m.key, _ = token.(string) // a key is one, or the syntax would have been refused
		if err := dec.Decode(&m.raw); err != nil {
			return nil, f.errorf(m.off, "%w", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// elements gives the elements of the list raw, which lies at off in the file and is well-formed.
func (f jsonFile) elements(raw []byte, off int) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	token, err := dec.Token()
	if err != nil {
		return nil, f.errorf(off, "%w", err)
	}
	if token != json.Delim('[') {
		return nil, f.errorf(off+tokenStart(raw, 0), "want a list, not %s", jsonKind(raw))
	}
	var list []member
	for dec.More() {
		m := member{off: off + tokenStart(raw, int(dec.InputOffset()))}
		if err := dec.Decode(&m.raw); err != nil {
			return nil, f.errorf(m.off, "%w", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// string gives the text of a member that must be a string.
func (f jsonFile) string(m member) (string, error) {
	var s string
	if jsonKind(m.raw) != "a string" || json.Unmarshal(m.raw, &s) != nil {
		return "", f.errorf(m.off, "%s: want a string, not %s", displayKey(m.key), jsonKind(m.raw))
	}
	return s, nil
}

// canonical writes a JSON value with sorted keys and without spaces, numbers as they are.
func canonical(raw []byte) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return marshal(v)
}

// marshal is json.Marshal without the escaping of < > &, which no other program does.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// tokenStart gives the first place at or after off where a token may begin.
func tokenStart(src []byte, off int) int {
	for off < len(src) && bytes.IndexByte([]byte(" \t\r\n,:"), src[off]) >= 0 {
		off++
	}
	return off
}

// jsonKind names the kind of a well-formed JSON value by its first byte.
func jsonKind(raw []byte) string {
	off := tokenStart(raw, 0)
	if off == len(raw) {
		return "nothing"
	}
	switch raw[off] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
