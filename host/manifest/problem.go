package manifest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1; Col counts characters, not bytes.
type Pos struct {
	File string
	Line int
	Col  int
}

// String gives file:line:column, the form that editors and terminals make clickable.
func (p Pos) String() string {
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col)
}

// Problem is one thing wrong, or worth a warning, at one place of the manifest.
type Problem struct {
	Pos  Pos
	Key  string // dotted, e.g. local_server.backends.api.url; "" for a syntax error
	Text string // what is wrong
	Want string // what is accepted; may be empty
	Err  error  // the cause, where there is one (a file that cannot be read); its text is part of Text
}

// Error gives "file:line:column: key: text; want ...".
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	if p.Want != "" {
		b.WriteString("; want ")
		b.WriteString(p.Want)
	}
	return b.String()
}

// Unwrap gives the cause, so that errors.Is finds fs.ErrNotExist and the like.
func (p *Problem) Unwrap() error { return p.Err }

// Errors is everything wrong with one manifest, sorted by line. It is never empty when returned as an
// error, and holds at most maxProblems entries.
type Errors []*Problem

// Error gives one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each problem.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}
	return errs
}

// maxProblems bounds the errors, and the warnings, kept of one file: a person reads the first few, and a
// hostile file must not buy a report much larger than itself.
const maxProblems = 100

func sortProblems(list []*Problem) {
	slices.SortStableFunc(list, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
}
