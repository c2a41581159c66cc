package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// EditServiceID gives src, the contents of a manifest, with its service_id set to id and every other byte
// as it was. A manifest without the key gets a line for it, behind its other top-level keys. The id may be
// empty. It fails when src is not TOML, or when service_id is a table.
func EditServiceID(src []byte, id string) ([]byte, error) {
	if !utf8.ValidString(id) {
		return nil, errors.New("manifest: the service ID is not UTF-8")
	}
	body := trimMark(src)
	mark := src[:len(src)-len(body)]
	if _, err := readTOML(body); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	place, err := findServiceID(body)
	if err != nil {
		return nil, err
	}
	text := quoteTOML(id)
	if !place.found {
		text = place.before + "service_id = " + text + place.after
	}
	edited := bytes.Join([][]byte{mark, body[:place.from], []byte(text), body[place.to:]}, nil)
	// What goes back to the user's file is read once more, for a manifest must not be lost to a mistake.
	root, err := readTOML(trimMark(edited))
	if err != nil {
		return nil, fmt.Errorf("manifest: service_id cannot be edited in this file, set it by hand: %w", err)
	}
	if v := root.field("service_id"); v == nil || v.kind != kindString || v.text != id {
		return nil, errors.New("manifest: service_id cannot be edited in this file, set it by hand")
	}
	return edited, nil
}

// readTOML gives the root table of a file, or the first fault when it is not well-formed.
func readTOML(src []byte) (*value, error) {
	if len(src) > maxSize {
		return nil, fmt.Errorf("larger than %d bytes", maxSize)
	}
	var first error
	var d *document
	d = newDocument(src, func(off int, key, text, _ string) {
		if first == nil {
			line, col := d.position(off)
			if key != "" {
				text = key + ": " + text
			}
			first = fmt.Errorf("%d:%d: %s", line, col, text)
		}
	}, func(int, string, string) {})
	d.read()
	return d.root, first
}

// place is where in a manifest the service ID goes: instead of the bytes from..to.
type place struct {
	found         bool // the bytes are the present value; else there is none and they are empty
	from, to      int
	before, after string // what a new line needs around it
}

// findServiceID looks through a well-formed file.
func findServiceID(src []byte) (place, error) {
	var parser unstable.Parser
	parser.Reset(src)
	last := -1 // end of the last top-level key with its value
	for parser.NextExpression() {
		n := parser.Expression()
		keys := n.Key()
		keys.Next()
		if string(keys.Node().Data) == "service_id" {
			if n.Kind != unstable.KeyValue || !keys.IsLast() {
				return place{}, errors.New("manifest: service_id is a table; want a string")
			}
			// The value's own node has no place when it is a list, so count from the line's.
			key := keys.Node().Raw
			from := int(key.Offset + key.Length)
			for src[from] == ' ' || src[from] == '\t' || src[from] == '=' {
				from++
			}
			return place{found: true, from: from, to: int(n.Raw.Offset + n.Raw.Length)}, nil
		}
		if n.Kind != unstable.KeyValue {
			break // only tables follow, and [service_id] is refused by the check of the result
		}
		last = int(n.Raw.Offset + n.Raw.Length)
	}
	end := "\n"
	if i := bytes.IndexByte(src, '\n'); i > 0 && src[i-1] == '\r' {
		end = "\r\n"
	}
	if last >= 0 {
		if i := bytes.IndexByte(src[last:], '\n'); i >= 0 {
			at := last + i + 1
			return place{from: at, to: at, after: end}, nil
		}
		return place{from: len(src), to: len(src), before: end, after: end}, nil
	}
	at := headerComment(src)
	after := end
	if at < len(src) && src[at] != '\n' && src[at] != '\r' {
		after += end
	}
	return place{from: at, to: at, after: after}, nil
}

// headerComment gives the offset behind the comment that a file begins with, if an empty line sets it off
// from what follows; a comment without one belongs to what follows.
func headerComment(src []byte) int {
	off := 0
	for off < len(src) {
		line := src[off:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		text := bytes.TrimSpace(line)
		switch {
		case len(text) == 0 && off > 0:
			return off + len(line)
		case len(text) == 0 || text[0] != '#':
			return 0
		}
		off += len(line)
	}
	return 0
}

// quoteTOML writes a string as TOML does.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
