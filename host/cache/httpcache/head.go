package httpcache

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Head is what is kept of a response beside its body.
type Head struct {
	Status int
	Header httpfield.List

	Lifetime     time.Duration // Verdict.MaxAge
	StaleIfError time.Duration
	Validate     bool // see Verdict
	NeverStale   bool
	Immutable    bool
}

// ofConnection are the fields that are not stored (RFC 9111 section 3.1): those that concern a connection or a proxy.
var ofConnection = []string{
	"connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

// NewHead makes what is kept of a response that a verdict lets be stored.
func NewHead(status int, header *httpfield.List, v *Verdict) Head {
	h := Head{Status: status, Lifetime: v.MaxAge, StaleIfError: v.StaleIfError,
		Validate: v.Validate, NeverStale: v.NeverStale, Immutable: v.Immutable}
	for _, f := range header.Fields() {
		if !slices.Contains(ofConnection, f.Name) && !slices.Contains(v.Omit, f.Name) {
			h.Header.Add(f.Name, f.Value)
		}
	}
	return h
}

const (
	headForm      = 1 // of Append; anything else is not read
	flagValidate  = 1
	flagNever     = 2
	flagImmutable = 4
)

// Append appends the head as bytes.
func (h *Head) Append(b []byte) []byte {
	flags := byte(0)
	if h.Validate {
		flags |= flagValidate
	}
	if h.NeverStale {
		flags |= flagNever
	}
	if h.Immutable {
		flags |= flagImmutable
	}
	b = append(b, headForm, flags)
	b = binary.AppendUvarint(b, uint64(h.Status))
	b = binary.AppendUvarint(b, uint64(h.Lifetime))
	b = binary.AppendUvarint(b, uint64(h.StaleIfError))
	b = binary.AppendUvarint(b, uint64(h.Header.Len()))
	for _, f := range h.Header.Fields() {
		b = binary.AppendUvarint(b, uint64(len(f.Name)))
		b = binary.AppendUvarint(b, uint64(len(f.Value)))
		b = append(append(b, f.Name...), f.Value...)
	}
	return b
}

// ParseHead reads what Append made; false if it is something else.
func ParseHead(b []byte) (h Head, ok bool) {
	if len(b) < 2 || b[0] != headForm {
		return h, false
	}
	flags := b[1]
	h.Validate, h.NeverStale, h.Immutable = flags&flagValidate != 0, flags&flagNever != 0, flags&flagImmutable != 0
	text := string(b[2:]) // all names and values are parts of it
	number := func() uint64 {
		n := uint64(0)
		for i := 0; i < len(text) && i < binary.MaxVarintLen64; i++ {
			n |= uint64(text[i]&0x7f) << (7 * i)
			if text[i] < 0x80 {
				text = text[i+1:]
				return n
			}
		}
		text, ok = "", false
		return 0
	}
	ok = true
	h.Status = int(number())
	h.Lifetime, h.StaleIfError = time.Duration(number()), time.Duration(number())
	lines := number()
	if !ok || h.Status < 200 || h.Status > 999 || h.Lifetime < 0 || h.StaleIfError < 0 || lines > uint64(len(text)) {
		return Head{}, false
	}
	h.Header.Use(make([]httpfield.Field, 0, lines+4))
	for range lines {
		name, value := number(), number()
		if !ok || name > uint64(len(text)) || value > uint64(len(text))-name {
			return Head{}, false
		}
		h.Header.Add(text[:name], text[name:name+value])
		text = text[name+value:]
	}
	return h, text == ""
}

// kept are fields of a stored response that a 304 does not change (RFC 9111 section 3.2): they describe the body that is stored.
var kept = []string{"content-length", "content-encoding", "content-range"}

// Merge gives the header of a stored response after a 304 about it (RFC 9111 section 3.2): fields of the 304 take the place
// of those stored.
func Merge(stored, update *httpfield.List) httpfield.List {
	var out httpfield.List
	replaced := func(name string) bool {
		return update.Has(name) && !slices.Contains(kept, name) && !slices.Contains(ofConnection, name)
	}
	for _, f := range stored.Fields() {
		if !replaced(f.Name) && f.Name != "age" {
			out.Add(f.Name, f.Value)
		}
	}
	for _, f := range update.Fields() {
		if replaced(f.Name) {
			out.Add(f.Name, f.Value)
		}
	}
	return out
}

// Changed reports whether a 304 speaks of another response than the stored one: both have strong tags, and these differ (RFC 9111
// section 4.3.4).
func Changed(stored, update *httpfield.List) bool {
	a, _ := stored.Get("etag")
	b, _ := update.Get("etag")
	strong := func(t string) bool { return t != "" && !strings.HasPrefix(t, "W/") }
	return strong(a) && strong(b) && a != b
}
