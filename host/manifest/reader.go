package manifest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// reader turns a document into a Manifest and collects what is wrong. Its methods that read a value into a
// variable give a function, so that a table is read by a list of its keys: a new key is one line there.
type reader struct {
	name  string // of the manifest, as in messages
	doc   *document
	files fileReader
	env   func(name string) (string, bool)

	errs, warns         []*Problem
	moreErrs, moreWarns int   // beyond maxProblems
	filesRead           int64 // bytes, of all files
}

// unknown says what a table does with keys that it does not know: what the platform's local server does.
type unknown bool

const (
	warn   unknown = false // ignored there
	refuse unknown = true
)

// field is one key of a table.
type field struct {
	name string
	read func(*value)
	// aliases are other names of the key. Two names of one key in one table are an error, for otherwise
	// half of what is written would have no effect.
	aliases []string
	// want makes the key required; it says what to give.
	want string
}

func key(name string, read func(*value), aliases ...string) field {
	return field{name: name, read: read, aliases: aliases}
}

func required(name, want string, read func(*value)) field {
	return field{name: name, read: read, want: want}
}

// pos gives the place of an offset.
func (r *reader) pos(off int) Pos {
	line, col := r.doc.position(off)
	return Pos{File: r.name, Line: line, Col: col}
}

func (r *reader) report(off int, key, text, want string) {
	r.problem(&Problem{Pos: r.pos(off), Key: key, Text: text, Want: want})
}

func (r *reader) problem(p *Problem) { r.errs, r.moreErrs = collect(r.errs, r.moreErrs, p) }

func (r *reader) warning(p *Problem) { r.warns, r.moreWarns = collect(r.warns, r.moreWarns, p) }

func collect(list []*Problem, more int, p *Problem) ([]*Problem, int) {
	if len(list) >= maxProblems {
		return list, more + 1
	}
	return append(list, p), more
}

// fail reports that a value is wrong.
func (r *reader) fail(v *value, want, format string, args ...any) {
	r.report(v.off, v.path(), fmt.Sprintf(format, args...), want)
}

// advise warns about a value.
func (r *reader) advise(v *value, want, format string, args ...any) {
	r.warning(&Problem{Pos: r.pos(v.keyOff), Key: v.path(), Text: fmt.Sprintf(format, args...), Want: want})
}

// is tells whether a value is of a kind, and reports it when not.
func (r *reader) is(v *value, k kind) bool {
	if v.kind != k {
		r.fail(v, k.String(), "this is %s", v.kind)
		return false
	}
	return true
}

// table reads the keys of a table in the order given here.
func (r *reader) table(v *value, policy unknown, fields ...field) bool {
	if !r.is(v, kindTable) {
		return false
	}
	known := make(map[string]bool, len(fields))
	for _, f := range fields {
		var first *value
		for _, name := range append([]string{f.name}, f.aliases...) {
			known[name] = true
			item := v.field(name)
			switch {
			case item == nil:
			case first == nil:
				first = item
			default:
				if item.keyOff < first.keyOff {
					item, first = first, item
				}
				r.report(item.keyOff, item.path(), "another name of "+displayKey(first.name)+", which is in this file too", "all under one name")
			}
		}
		switch {
		case first != nil:
			f.read(first)
		case f.want != "":
			r.report(v.off, v.path(), "the key "+f.name+" is missing", f.want)
		}
	}
	for _, item := range v.items {
		if known[item.name] {
			continue
		}
		if policy == refuse {
			r.report(item.keyOff, item.path(), "unrecognized key "+displayKey(item.name)+meant(item.name, fields), accepted(fields))
		} else if len(r.warns) < maxProblems { // finding what was meant costs time
			r.warning(&Problem{
				Pos: r.pos(item.keyOff), Key: item.path(),
				Text: "unknown key, without effect" + meant(item.name, fields),
			})
		} else {
			r.moreWarns++
		}
	}
	return true
}

func accepted(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return oneOf(names...)
}

// oneOf writes "a, b or c".
func oneOf(names ...string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// meant gives " (did you mean x?)" when a known key is near to what was written.
func meant(name string, fields []field) string {
	best, least := "", 3
	for _, f := range fields {
		for _, candidate := range append([]string{f.name}, f.aliases...) {
			// Two slips in a long word are a typing error, in a short one they make another word.
			if n := distance(strings.ToLower(name), candidate); n < least && n <= len(candidate)/3 {
				best, least = candidate, n
			}
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance counts the single-character changes, transpositions among them, between two short words; for
// long ones it gives a large number.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return math.MaxInt
	}
	x, y := []rune(a), []rune(b)
	row := func() []int { return make([]int, len(y)+1) }
	before, above, here := row(), row(), row()
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(x); i++ {
		here[0] = i
		for j := 1; j <= len(y); j++ {
			same := 1
			if x[i-1] == y[j-1] {
				same = 0
			}
			here[j] = min(above[j]+1, here[j-1]+1, above[j-1]+same)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				here[j] = min(here[j], before[j-2]+1)
			}
		}
		before, above, here = above, here, before
	}
	return above[len(y)]
}

// each reads a table whose keys are names that the user chose.
func (r *reader) each(v *value, read func(*value)) {
	if !r.is(v, kindTable) {
		return
	}
	for _, item := range v.items {
		read(item)
	}
}

func (r *reader) named(read func(*value)) func(*value) {
	return func(v *value) { r.each(v, read) }
}

func (r *reader) string(to *string) func(*value) {
	return func(v *value) {
		if r.is(v, kindString) {
			*to = v.text
		}
	}
}

// nonBlank reads a string that must say something.
func (r *reader) nonBlank(v *value) (string, bool) {
	if !r.is(v, kindString) {
		return "", false
	}
	if strings.TrimSpace(v.text) == "" {
		r.fail(v, "a string that is not blank, or no such key", "blank")
		return "", false
	}
	return v.text, true
}

func (r *reader) bool(to *bool) func(*value) {
	return func(v *value) {
		if v.kind != kindBool {
			r.fail(v, "true or false", "this is %s", v.kind)
			return
		}
		*to = v.boolean
	}
}

// integer reads a number within bounds, both included.
func (r *reader) integer(least, most int64, set func(int64)) func(*value) {
	return func(v *value) {
		want := fmt.Sprintf("an integer from %d to %d", least, most)
		switch {
		case v.kind != kindInteger:
			r.fail(v, want, "this is %s", v.kind)
		case v.integer < least || v.integer > most:
			r.fail(v, want, "%d is out of range", v.integer)
		default:
			set(v.integer)
		}
	}
}

func (r *reader) port(to *uint16) func(*value) {
	return r.integer(0, math.MaxUint16, func(n int64) { *to = uint16(n) })
}

// strings reads a list of strings.
func (r *reader) strings(add func(v *value)) func(*value) {
	return func(v *value) {
		if v.kind != kindList {
			r.fail(v, "a list of strings", "this is %s", v.kind)
			return
		}
		for _, item := range v.items {
			if r.is(item, kindString) {
				add(item)
			}
		}
	}
}

// enum reads one of several words; fold makes case not matter.
func (r *reader) enum(fold bool, set func(string), words ...string) func(*value) {
	return func(v *value) {
		if v.kind != kindString {
			r.fail(v, oneOf(words...), "this is %s", v.kind)
			return
		}
		word := v.text
		if fold {
			word = strings.ToLower(word)
		}
		if !slices.Contains(words, word) {
			r.fail(v, oneOf(words...), "%s is not known", displayText(v.text))
			return
		}
		set(word)
	}
}

// displayText quotes a text that is not confidential, cut when it is long.
func displayText(s string) string {
	const most = 80
	if utf8.RuneCountInString(s) > most {
		return fmt.Sprintf("%q...", string([]rune(s)[:most]))
	}
	return fmt.Sprintf("%q", s)
}
