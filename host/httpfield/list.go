// Package httpfield holds the header and trailer fields of HTTP messages in the form that guests see:
// lower-case names, values as received, in order, repeats kept (RFC 9110 section 5).
//
// A List is small and is searched linearly; it is not safe for concurrent use. Names are compared without
// regard to case on the way in and are stored in lower case, so the fields of a List can be sent as HTTP/2
// fields as they are.
package httpfield

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Field is one line of a header section. Name is in lower case.
type Field struct{ Name, Value string }

// List is a header or trailer section. The zero value is empty and ready for use.
type List struct{ fields []Field }

// Len is the number of lines.
func (l *List) Len() int { return len(l.fields) }

// Fields gives the lines in order. The slice is valid until the list changes and must not be modified.
func (l *List) Fields() []Field { return l.fields }

// Reset empties the list and keeps its storage.
func (l *List) Reset() {
	clear(l.fields)
	l.fields = l.fields[:0]
}

// Use empties the list and has it keep its lines in room, which must be empty, as long as they fit.
func (l *List) Use(room []Field) { l.fields = room }

// Clone gives an independent copy.
func (l *List) Clone() List { return List{fields: slices.Clone(l.fields)} }

// Get gives the first value of name, which must be in lower case.
func (l *List) Get(name string) (string, bool) {
	for i := range l.fields {
		if l.fields[i].Name == name {
			return l.fields[i].Value, true
		}
	}
	return "", false
}

// Has reports whether a line with that lower-case name is there.
func (l *List) Has(name string) bool {
	_, ok := l.Get(name)
	return ok
}

// Add appends a line. The name must be in lower case.
func (l *List) Add(name, value string) {
	l.fields = append(l.fields, Field{name, value})
}

// Set replaces all lines of a lower-case name by one, in the place of the first of them.
func (l *List) Set(name, value string) {
	for i := range l.fields {
		if l.fields[i].Name == name {
			l.fields[i].Value = value
			rest := slices.DeleteFunc(l.fields[i+1:], func(f Field) bool { return f.Name == name })
			l.fields = l.fields[:i+1+len(rest)]
			return
		}
	}
	l.Add(name, value)
}

// Del removes all lines of a lower-case name and reports whether there were any.
func (l *List) Del(name string) bool {
	n := len(l.fields)
	l.fields = slices.DeleteFunc(l.fields, func(f Field) bool { return f.Name == name })
	return len(l.fields) < n
}

// AppendNames appends each distinct name once, in order of first appearance.
func (l *List) AppendNames(dst []string) []string {
next:
	for i := range l.fields {
		for j := range i {
			if l.fields[j].Name == l.fields[i].Name {
				continue next
			}
		}
		dst = append(dst, l.fields[i].Name)
	}
	return dst
}

// AppendHTTP adds all lines to a net/http header map, and then those of more, whose names must be in lower case.
func (l *List) AppendHTTP(h http.Header, more ...Field) {
	values := make([]string, 0, len(l.fields)+len(more)) // for all names
	add := func(f *Field) {
		key := Canonical(f.Name)
		if vs, ok := h[key]; ok {
			h[key] = append(vs, f.Value)
			return
		}
		n := len(values)
		values = append(values, f.Value)
		h[key] = values[n : n+1 : n+1] // a second value of the name moves to a slice of its own
	}
	for i := range l.fields {
		add(&l.fields[i])
	}
	for i := range more {
		add(&more[i])
	}
}

// FromHTTP replaces the list by the content of a net/http header map. A map has no order of names: order
// lists the names as they were received, in any case and with repeats; names missing from it follow
// in alphabetical order. Values of one name keep their order.
func (l *List) FromHTTP(h http.Header, order []string) {
	l.Reset()
	n := 0
	for _, vs := range h {
		n += len(vs)
	}
	l.fields = slices.Grow(l.fields, n)
	if len(order) == 0 {
		l.addSorted(h)
		return
	}
	for _, name := range order {
		key := http.CanonicalHeaderKey(name)
		lower := Lower(key)
		if l.Has(lower) {
			continue
		}
		for _, v := range h[key] {
			l.Add(lower, v)
		}
	}
	if len(l.fields) < n {
		rest := make(http.Header)
		for key, vs := range h {
			if !l.Has(Lower(key)) {
				rest[key] = vs
			}
		}
		l.addSorted(rest)
	}
}

func (l *List) addSorted(h http.Header) {
	start := len(l.fields)
	for key, vs := range h {
		lower := Lower(key)
		for _, v := range vs {
			l.Add(lower, v)
		}
	}
	slices.SortStableFunc(l.fields[start:], func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
}

// ParseName checks a field name (RFC 9110 section 5.1: a token) and gives it in lower case. It does not
// allocate for well-known names.
func ParseName(b []byte) (string, bool) {
	if s, ok := known[string(b)]; ok {
		return s.lower, true
	}
	s := string(b)
	if !httpguts.ValidHeaderFieldName(s) {
		return "", false
	}
	return strings.ToLower(s), true
}

// ParseValue checks a field value (RFC 9110 section 5.5: no control characters but tab) and copies it
// without surrounding white space.
func ParseValue(b []byte) (string, bool) {
	s := strings.Trim(string(b), " \t")
	return s, httpguts.ValidHeaderFieldValue(s)
}
