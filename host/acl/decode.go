package acl

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// DecodeError is what is wrong with JSON input, and where.
type DecodeError struct {
	Entry  int   // index of the entry that was being read, -1 outside of them
	Offset int64 // bytes of the input that had been read
	Err    error
}

func (e *DecodeError) Error() string {
	if e.Entry >= 0 {
		return fmt.Sprintf("entry %d, at byte %d: %v", e.Entry, e.Offset, e.Err)
	}
	return fmt.Sprintf("at byte %d: %v", e.Offset, e.Err)
}

// Unwrap gives the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// The body of the ACL API is {"entries":[{"op":"create","prefix":"10.0.0.0/8","action":"ALLOW"}, ...]}. Unknown keys have no
// effect; of a key that stands twice in an entry the last counts. It is read as a stream, in memory for what is kept of it.

// ReadTable reads the ACL API's body as the whole contents of an ACL. The member op is ignored, as the platform's local server
// ignores it in a file of the manifest; prefix and action are required. Errors are *DecodeError.
func ReadTable(r io.Reader) (*Table, error) {
	b := new(builder)
	d := &decoder{scanner: newScanner(r), entry: -1, ignoreOp: true}
	if err := d.body(func(op Op) error { return b.insert(op.Entry) }, nil); err != nil {
		return nil, err
	}
	return b.table(), nil
}

// ReadOps reads the ACL API's body as operations on an ACL. An absent op is a create; an action is required for all but
// delete. Errors are *DecodeError.
func ReadOps(r io.Reader) ([]Op, error) {
	var ops opList
	d := &decoder{scanner: newScanner(r), entry: -1}
	if err := d.body(ops.add, nil); err != nil {
		return nil, err
	}
	return ops, nil
}

// ReadLines reads operations of which each is a JSON object like one of the ACL API's entries, one after the other with
// white space between them (NDJSON). Errors are *DecodeError.
func ReadLines(r io.Reader) ([]Op, error) {
	var ops opList
	d := &decoder{scanner: newScanner(r), entry: -1}
	for {
		if _, ok := d.peek(); !ok {
			if d.failure != nil {
				return nil, d.wrap(d.failure)
			}
			return ops, nil
		}
		d.entry++
		op, err := d.op()
		if err == nil {
			err = ops.add(op)
		}
		if err != nil {
			return nil, d.wrap(err)
		}
	}
}

type opList []Op

func (l *opList) add(op Op) error {
	if len(*l) == MaxEntries {
		return fmt.Errorf("%w: an update may have %d", ErrFull, MaxEntries)
	}
	*l = append(*l, op)
	return nil
}

type decoder struct {
	*scanner
	entry    int
	ignoreOp bool
	last     string // action, in its normal form: most entries have the same as the one before
}

// wrap says where an error happened; nil stays nil.
func (d *decoder) wrap(err error) error {
	if err == nil {
		return nil
	}
	return &DecodeError{Entry: d.entry, Offset: d.offset(), Err: err}
}

// body reads an object with the member entries, which are given to each. other, if set, is asked to read the members that
// are called otherwise; it reports whether it did.
func (d *decoder) body(each func(Op) error, other func(key string) (bool, error)) error {
	seen, err := d.members(each, other)
	if err == nil && !seen {
		err = errors.New("the key entries is missing")
	}
	if err == nil {
		if c, ok := d.peek(); ok {
			err = fmt.Errorf("%q after the end", c)
		} else {
			err = d.failure
		}
	}
	return d.wrap(err)
}

// errStop ends the reading of a body early, from within other.
var errStop = errors.New("enough")

func (d *decoder) members(each func(Op) error, other func(key string) (bool, error)) (seen bool, err error) {
	if err := d.expect('{'); err != nil {
		return false, err
	}
	for n := 0; ; n++ {
		if more, err := d.more(n, '}'); err != nil || !more {
			return seen, err
		}
		key, err := d.key()
		if err != nil {
			return false, err
		}
		if string(key) == "entries" {
			if seen {
				return false, errors.New("the key entries stands twice")
			}
			seen = true
			if each == nil {
				return true, errStop
			}
			if err := d.entries(each); err != nil {
				return false, err
			}
			continue
		}
		taken := false
		if other != nil {
			if taken, err = other(string(key)); err != nil {
				return false, err
			}
		}
		if !taken {
			if err := d.skip(0); err != nil {
				return false, err
			}
		}
	}
}

func (d *decoder) entries(each func(Op) error) error {
	if err := d.expect('['); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if more, err := d.more(n, ']'); err != nil || !more {
			d.entry = -1
			return err
		}
		d.entry = n
		op, err := d.op()
		if err != nil {
			return err
		}
		if err := each(op); err != nil {
			return err
		}
	}
}

func (d *decoder) op() (op Op, err error) {
	if err := d.expect('{'); err != nil {
		return op, err
	}
	hasAction := false
	for n := 0; ; n++ {
		more, err := d.more(n, '}')
		if err != nil {
			return op, err
		}
		if !more {
			break
		}
		key, err := d.key()
		if err != nil {
			return op, err
		}
		switch string(key) {
		case "prefix":
			text, err := d.text()
			if err != nil {
				return op, err
			}
			if op.Prefix, err = ParsePrefix(string(text)); err != nil {
				return op, err
			}
		case "action":
			text, err := d.text()
			if err != nil {
				return op, err
			}
			if string(text) != d.last || d.last == "" {
				if d.last, err = normalAction(string(text)); err != nil {
					return op, err
				}
			}
			op.Action, hasAction = d.last, true
		case "op":
			if d.ignoreOp {
				if err := d.skip(0); err != nil {
					return op, err
				}
				continue
			}
			text, err := d.text()
			if err != nil {
				return op, err
			}
			if op.Kind, err = ParseKind(string(text)); err != nil {
				return op, err
			}
		default:
			if err := d.skip(0); err != nil {
				return op, err
			}
		}
	}
	if !op.Prefix.IsValid() {
		return op, fmt.Errorf("%w: the prefix is missing", ErrInvalid)
	}
	if !hasAction && op.Kind != Delete {
		return op, fmt.Errorf("%w: the action is missing", ErrInvalid)
	}
	return op, nil
}

// WriteBody writes entries as the ACL API's body, which ReadTable and ReadOps read, one entry a line.
func WriteBody(w io.Writer, entries iter.Seq[Entry]) error {
	b := bufio.NewWriterSize(w, 64<<10)
	b.WriteString("{\"entries\":[")
	writeEntries(b, entries, "\n", ",\n", "")
	b.WriteString("\n]}\n")
	return b.Flush()
}

// WriteLines writes entries as NDJSON, one a line, which ReadLines reads.
func WriteLines(w io.Writer, entries iter.Seq[Entry]) error {
	b := bufio.NewWriterSize(w, 64<<10)
	writeEntries(b, entries, "", "", "\n")
	return b.Flush()
}

// writeEntries writes them with what stands before the first, between two, and after each. b keeps the first error.
func writeEntries(b *bufio.Writer, entries iter.Seq[Entry], first, between, after string) {
	var line []byte
	separator := first
	for e := range entries {
		line = append(append(line[:0], separator...), `{"op":"create","prefix":"`...)
		separator = between
		line = append(e.Prefix.AppendTo(line), `","action":`...)
		line = append(append(appendString(line, e.Action), '}'), after...)
		if _, err := b.Write(line); err != nil {
			return
		}
	}
}

// appendString appends text as a JSON string.
func appendString(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(text)
			if err != nil { // a string never fails
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// MarshalJSON gives the answer that a guest gets of an entry: prefix and action.
func (e Entry) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 96), `{"prefix":"`...)
	b = e.Prefix.AppendTo(b)
	b = append(b, `","action":`...)
	return append(appendString(b, e.Action), '}'), nil
}
