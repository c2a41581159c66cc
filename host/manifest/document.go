package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds on a file from outside. They are far above what people write by hand; larger contents belong in
// data files. The number of values bounds memory, for a value of two bytes in the file takes a hundred
// here.
const (
	maxSize   = 4 << 20 // bytes of a manifest
	maxValues = 250_000
	maxDepth  = 64 // of tables and lists within each other
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// document is the tree of a TOML file, each value with its place. The TOML library's own decoder gives
// no places for what it has decoded, so the tree is put together here from the library's syntax nodes,
// under TOML's rules of which table may be defined where.
type document struct {
	text
	root   *value
	values int
	report func(off int, key, text, want string)
	// notice is for what is legal TOML today but was not always.
	notice func(off int, key, text string)
}

type kind uint8

const (
	kindString kind = iota
	kindInteger
	kindFloat
	kindBool
	kindDate
	kindList
	kindTable
)

// String gives the kind with its article, for use in a sentence.
func (k kind) String() string {
	return [...]string{"a string", "an integer", "a float", "a boolean", "a date or time", "a list", "a table"}[k]
}

// tableForm is how a table came to be, which decides who may add to it.
type tableForm uint8

const (
	formPath   tableForm = iota // on the way to a [header] below it; its own header may follow
	formHeader                  // by its own [header]
	formDotted                  // by a dotted key; only dotted keys of the same table may add to it
	formInline                  // { }; closed
)

// value is one TOML value, the root table included.
type value struct {
	parent *value // nil for the root
	name   string // key within a parent table
	index  int    // place in a parent list

	kind   kind
	off    int // of the value; for a table its header or its first key
	keyOff int // of the key that names it; off in a list

	text    string // strings: contents; numbers and dates: as written
	integer int64
	float   float64
	boolean bool
	items   []*value // of a list, or the values of a table in the order of the file
	byName  map[string]*value
	form    tableForm
	tables  bool // a list written as [[header]]s, which may grow
}

// field gives the value of a table's key, or nil.
func (v *value) field(name string) *value { return v.byName[name] }

// path gives the dotted key from the root.
func (v *value) path() string {
	var parts []string
	for ; v.parent != nil; v = v.parent {
		if v.parent.kind == kindList {
			parts = append(parts, "["+strconv.Itoa(v.index)+"]")
			continue
		}
		part := displayKey(v.name)
		if v.parent.parent != nil {
			part = "." + part
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "")
}

// displayKey writes one part of a dotted key as TOML would, but short and on one line.
func displayKey(name string) string {
	const most = 64
	bare := name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
	if utf8.RuneCountInString(name) > most {
		return strconv.Quote(string([]rune(name)[:most])) + "..."
	}
	if bare {
		return name
	}
	return strconv.Quote(name)
}

// newDocument reads src, which must be without byte order mark and no longer than maxSize.
func newDocument(src []byte, report func(off int, key, text, want string), notice func(off int, key, text string)) *document {
	return &document{
		text: newText(src), report: report, notice: notice,
		root: &value{kind: kindTable, form: formHeader},
	}
}

// text is a file whose offsets can be told as lines and columns.
type text struct {
	src   []byte
	lines []int // offset of each line's first byte
}

func newText(src []byte) text {
	t := text{src: src, lines: []int{0}}
	for i, c := range src {
		if c == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	return t
}

// position gives line and column of an offset.
func (t text) position(off int) (line, col int) {
	off = min(max(off, 0), len(t.src))
	line, found := slices.BinarySearch(t.lines, off)
	if !found {
		line--
	}
	// Counting characters costs time in proportion to the line, for each of very many values of a file
	// that is one long line. Nobody counts that far: from there on, bytes will do.
	const exact = 4096
	first := t.lines[line]
	near := min(off, first+exact)
	return line + 1, 1 + utf8.RuneCount(t.src[first:near]) + off - near
}

// errStop ends the reading of a document after its fault has been reported.
var errStop = errors.New("stop")

// read fills the tree and tells whether the file is well-formed. Everything that is not has been reported:
// all values defined twice, and the first syntax error.
func (d *document) read() bool {
	ok := true
	fail := func(off int, key, text, want string) {
		ok = false
		d.report(off, key, text, want)
	}
	b := builder{document: d, fail: fail, table: d.root}
	b.parser.Reset(d.src)
	for b.parser.NextExpression() {
		if err := b.expression(b.parser.Expression()); err != nil {
			return false
		}
	}
	if err := b.parser.Error(); err != nil {
		off := b.last
		var syntax *unstable.ParserError
		if errors.As(err, &syntax) {
			// As the library computes it, but without its panic.
			if at := cap(d.src) - cap(syntax.Highlight); at >= 0 && at <= len(d.src) {
				off = at
			}
		}
		fail(off, "", "TOML: "+err.Error(), "")
	}
	return ok
}

// builder adds expressions to the tree of a document.
type builder struct {
	*document
	parser unstable.Parser
	table  *value // that key = value lines belong to; nil after a header that was refused
	fail   func(off int, key, text, want string)
	last   int // offset of the last thing that had one
}

func (b *builder) expression(n *unstable.Node) error {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		return b.header(n)
	case unstable.KeyValue:
		if b.table == nil { // of a refused table: read on for syntax only
			return nil
		}
		return b.keyValue(b.table, n, 1)
	}
	return nil
}

// add puts a new value into a table or list and gives it back, or an error when the file has too many.
func (b *builder) add(parent *value, name string, v *value) (*value, error) {
	if b.values++; b.values > maxValues {
		b.fail(v.off, "", fmt.Sprintf("more than %d values", maxValues), "large contents in data files")
		return nil, errStop
	}
	v.parent, v.name = parent, name
	if parent.kind == kindList {
		v.index = len(parent.items)
	} else {
		if parent.byName == nil {
			parent.byName = map[string]*value{}
		}
		parent.byName[name] = v
	}
	parent.items = append(parent.items, v)
	return v, nil
}

// defined reports that a key cannot be defined where it stands, because of an older value.
func (b *builder) defined(off int, v *value, text string) {
	line, col := b.position(v.keyOff)
	b.fail(off, v.path(), fmt.Sprintf(text, fmt.Sprintf("%d:%d", line, col)), "")
}

// header makes [a.b] or [[a.b]] the current table.
func (b *builder) header(n *unstable.Node) error {
	at := b.root
	depth := 0
	b.table = nil
	for it := n.Key(); it.Next(); {
		key := it.Node()
		name, off := string(key.Data), int(key.Raw.Offset)
		b.last = off
		if depth++; depth > maxDepth {
			return b.tooDeep(off)
		}
		next := at.field(name)
		if !it.IsLast() {
			switch {
			case next == nil:
				var err error
				next, err = b.add(at, name, &value{kind: kindTable, form: formPath, off: off, keyOff: off})
				if err != nil {
					return err
				}
			case next.tables:
				next = next.items[len(next.items)-1]
			case next.kind != kindTable || next.form == formInline:
				b.defined(off, next, "already defined as a value at %s, so no table can be added to it")
				return nil
			}
			at = next
			continue
		}
		if n.Kind == unstable.ArrayTable {
			if next == nil {
				var err error
				next, err = b.add(at, name, &value{kind: kindList, tables: true, off: off, keyOff: off})
				if err != nil {
					return err
				}
			} else if !next.tables {
				b.defined(off, next, "already defined at %s, and not as a list of tables")
				return nil
			}
			item, err := b.add(next, "", &value{kind: kindTable, form: formHeader, off: off, keyOff: off})
			if err != nil {
				return err
			}
			b.table = item
			return nil
		}
		switch {
		case next == nil:
			var err error
			next, err = b.add(at, name, &value{kind: kindTable, form: formHeader, off: off, keyOff: off})
			if err != nil {
				return err
			}
		case next.kind == kindTable && next.form == formPath:
			next.form, next.off, next.keyOff = formHeader, off, off
		case next.kind == kindTable && next.form == formHeader:
			b.defined(off, next, "this table is already defined at %s")
			return nil
		case next.tables:
			b.defined(off, next, "already defined at %s as a list of tables")
			return nil
		default:
			b.defined(off, next, "already defined at %s")
			return nil
		}
		b.table = next
	}
	return nil
}

// keyValue adds a key = value line, or a pair of an inline table, to the table at.
func (b *builder) keyValue(at *value, n *unstable.Node, depth int) error {
	for it := n.Key(); it.Next(); {
		key := it.Node()
		name, off := string(key.Data), int(key.Raw.Offset)
		b.last = off
		next := at.field(name)
		if it.IsLast() {
			if next != nil {
				b.defined(off, next, "already defined at %s")
				return nil
			}
			return b.value(at, name, off, b.valueOffset(key), n.Value(), depth)
		}
		if depth++; depth > maxDepth {
			return b.tooDeep(off)
		}
		switch {
		case next == nil:
			var err error
			next, err = b.add(at, name, &value{kind: kindTable, form: formDotted, off: off, keyOff: off})
			if err != nil {
				return err
			}
		case next.kind != kindTable || next.form != formDotted:
			b.defined(off, next, "already defined at %s, so no dotted key can add to it")
			return nil
		}
		at = next
	}
	return nil
}

func (b *builder) tooDeep(off int) error {
	b.fail(off, "", fmt.Sprintf("tables and lists more than %d deep", maxDepth), "")
	return errStop
}

// valueOffset finds where the value begins that stands behind the last part of a key. Syntax nodes of
// lists have no place of their own.
func (b *builder) valueOffset(key *unstable.Node) int {
	off := int(key.Raw.Offset + key.Raw.Length)
	for off < len(b.src) && (b.src[off] == ' ' || b.src[off] == '\t' || b.src[off] == '=') {
		off++
	}
	return off
}

// value adds one value to a table or list.
func (b *builder) value(parent *value, name string, keyOff, off int, n *unstable.Node, depth int) error {
	if n.Raw.Length > 0 {
		off = int(n.Raw.Offset)
	}
	if keyOff < 0 {
		keyOff = off
	}
	b.last = off
	v := &value{off: off, keyOff: keyOff}
	switch n.Kind {
	case unstable.String:
		v.kind, v.text = kindString, string(n.Data)
	case unstable.Bool:
		v.kind, v.boolean = kindBool, len(n.Data) > 0 && n.Data[0] == 't'
	case unstable.Integer:
		v.kind, v.text = kindInteger, string(n.Data)
	case unstable.Float:
		v.kind, v.text = kindFloat, string(n.Data)
	case unstable.Array:
		v.kind = kindList
	case unstable.InlineTable:
		v.kind, v.form = kindTable, formInline
	default:
		v.kind, v.text = kindDate, string(n.Data)
	}
	if _, err := b.add(parent, name, v); err != nil {
		return err
	}
	if fault := v.number(); fault != "" {
		b.fail(off, v.path(), fault, "")
		return nil
	}
	if v.kind != kindList && v.kind != kindTable {
		return nil
	}
	if depth++; depth > maxDepth {
		return b.tooDeep(off)
	}
	end := off + 1 // of what has been read of an inline table
	for it := n.Children(); it.Next(); {
		child := it.Node()
		var err error
		if v.kind == kindList {
			err = b.value(v, "", -1, off, child, depth)
		} else {
			b.modern(v, end, int(child.Raw.Offset), false)
			end = int(child.Raw.Offset + child.Raw.Length)
			err = b.keyValue(v, child, depth)
		}
		if err != nil {
			return err
		}
	}
	if v.kind == kindTable {
		b.modern(v, end, len(b.src), true)
	}
	return nil
}

// modern notices line ends and a trailing comma between the pairs of an inline table: TOML 1.1 has them,
// but the platform's tools read an older TOML.
func (b *builder) modern(table *value, from, to int, last bool) {
	for off := from; off < to; off++ {
		switch b.src[off] {
		case ' ', '\t', '\r':
		case ',':
			if last {
				b.notice(off, table.path(), "the trailing comma in an inline table is TOML 1.1; the platform's own tools refuse it")
				return
			}
		case '\n', '#':
			b.notice(off, table.path(), "the line end inside an inline table is TOML 1.1; the platform's own tools refuse it")
			return
		default:
			return
		}
	}
}

// number computes the value of a number, and checks that a date exists. It gives what is wrong.
func (v *value) number() string {
	var err error
	switch v.kind {
	case kindInteger:
		// Base 0 knows TOML's prefixes and underscores; the syntax has been checked.
		if v.integer, err = strconv.ParseInt(v.text, 0, 64); err != nil {
			return "the integer does not fit into 64 bits"
		}
	case kindFloat:
		text := strings.ReplaceAll(v.text, "_", "")
		if strings.HasSuffix(text, "nan") {
			v.float = math.NaN()
		} else if v.float, err = strconv.ParseFloat(text, 64); err != nil {
			return "the float does not fit into 64 bits"
		}
	case kindDate:
		var any map[string]any
		if err := toml.Unmarshal([]byte("date = "+v.text), &any); err != nil {
			return "not a date or time that exists"
		}
	}
	return ""
}

// trimMark drops the byte order mark that some editors put first.
func trimMark(src []byte) []byte { return bytes.TrimPrefix(src, byteOrderMark) }
