package httpcache

import (
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

func show(l *httpfield.List) string {
	var parts []string
	for _, f := range l.Fields() {
		parts = append(parts, f.Name+"="+f.Value)
	}
	return strings.Join(parts, " ")
}

func TestAnswer(t *testing.T) {
	modified := "Thu, 18 Aug 2022 02:01:18 GMT"
	for _, tt := range []struct {
		name, method, request string
		status                int // stored; 0: 200
		stored                string
		length                int64 // 0: 10
		want                  int
		from, n               int64
		header                string
	}{
		{name: "the whole", stored: "a: 1", want: 200, n: -1, header: "a=1 age=7"},
		{name: "HEAD", method: "HEAD", stored: "a: 1", want: 200, header: "a=1 age=7 content-length=10"},
		{name: "HEAD of what is still coming", method: "HEAD", stored: "a: 1", length: -1, want: 200, header: "a=1 age=7"},
		{name: "a tag that matches (RFC 9110 section 13.1.2)", request: `if-none-match: "x", "a"`, stored: `etag: "a" | content-length: 10 | content-type: b | vary: c`,
			want: 304, header: `etag="a" vary=c age=7`},
		{name: "tags compare weakly", request: `if-none-match: W/"a"`, stored: `etag: "a"`, want: 304, header: `etag="a" age=7`},
		{name: "a comma inside a tag", request: `if-none-match: "x,y"`, stored: `etag: "y"`, want: 200, n: -1, header: `etag="y" age=7`},
		{name: "any tag", request: "if-none-match: *", want: 304, header: "age=7"},
		{name: "no tag matches, and the date does not count then", request: `if-none-match: "x" | if-modified-since: ` + modified, stored: "last-modified: " + modified, want: 200, n: -1, header: "last-modified=" + modified + " age=7"},
		{name: "not modified since (section 13.1.3)", request: "if-modified-since: " + modified, stored: "last-modified: " + modified, want: 304, header: "last-modified=" + modified + " age=7"},
		{name: "modified since", request: "if-modified-since: Thu, 18 Aug 2022 02:01:17 GMT", stored: "last-modified: " + modified, want: 200, n: -1, header: "last-modified=" + modified + " age=7"},
		{name: "its date stands in (RFC 9111 section 4.3.2)", request: "if-modified-since: " + modified, stored: "date: " + modified, want: 304, header: "date=" + modified + " age=7"},
		{name: "a date that is none", request: "if-modified-since: yesterday", stored: "last-modified: " + modified, want: 200, n: -1, header: "last-modified=" + modified + " age=7"},
		{name: "no conditions on a 404", status: 404, request: "if-none-match: *", want: 404, n: -1, header: "age=7"},
		{name: "a range (section 14.2)", request: "range: bytes=2-4", want: 206, from: 2, n: 3, header: "age=7 content-range=bytes 2-4/10 content-length=3"},
		{name: "a range to the end", request: "range: bytes=2-", want: 206, from: 2, n: 8, header: "age=7 content-range=bytes 2-9/10 content-length=8"},
		{name: "a range beyond the end", request: "range: bytes=8-100", want: 206, from: 8, n: 2, header: "age=7 content-range=bytes 8-9/10 content-length=2"},
		{name: "the last bytes", request: "range: bytes=-3", want: 206, from: 7, n: 3, header: "age=7 content-range=bytes 7-9/10 content-length=3"},
		{name: "more than there are", request: "range: bytes=-30", want: 206, from: 0, n: 10, header: "age=7 content-range=bytes 0-9/10 content-length=10"},
		{name: "a range that is not there", request: "range: bytes=10-", stored: "content-type: x", want: 416, header: "age=7 content-range=bytes */10 content-length=0"},
		{name: "the last 0 bytes", request: "range: bytes=-0", want: 416, header: "age=7 content-range=bytes */10 content-length=0"},
		{name: "several ranges", request: "range: bytes=1-2,4-5", want: 200, n: -1, header: "age=7"},
		{name: "a range backwards", request: "range: bytes=4-2", want: 200, n: -1, header: "age=7"},
		{name: "another unit", request: "range: lines=1-2", want: 200, n: -1, header: "age=7"},
		{name: "huge numbers", request: "range: bytes=99999999999999999999-", want: 416, header: "age=7 content-range=bytes */10 content-length=0"},
		{name: "a range of what is still coming", request: "range: bytes=2-4", length: -1, want: 200, n: -1, header: "age=7"},
		{name: "a range of a 404", status: 404, request: "range: bytes=2-4", want: 404, n: -1, header: "age=7"},
		{name: "If-Range with the tag (section 13.1.5)", request: `range: bytes=2-4 | if-range: "a"`, stored: `etag: "a"`, want: 206, from: 2, n: 3, header: `etag="a" age=7 content-range=bytes 2-4/10 content-length=3`},
		{name: "If-Range with another tag", request: `range: bytes=2-4 | if-range: "b"`, stored: `etag: "a"`, want: 200, n: -1, header: `etag="a" age=7`},
		{name: "If-Range with a weak tag", request: `range: bytes=2-4 | if-range: W/"a"`, stored: `etag: W/"a"`, want: 200, n: -1, header: `etag=W/"a" age=7`},
		{name: "If-Range with the date", request: "range: bytes=2-4 | if-range: " + modified, stored: "last-modified: " + modified, want: 206, from: 2, n: 3,
			header: "last-modified=" + modified + " age=7 content-range=bytes 2-4/10 content-length=3"},
		{name: "If-Range with a later date", request: "range: bytes=2-4 | if-range: Thu, 18 Aug 2022 02:01:19 GMT", stored: "last-modified: " + modified, want: 200, n: -1,
			header: "last-modified=" + modified + " age=7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "GET"
			}
			if tt.length == 0 {
				tt.length = 10
			}
			h := Head{Status: max(tt.status, 200), Header: *fields(lines(tt.stored)...)}
			a := h.Answer(tt.method, fields(lines(tt.request)...), 7*time.Second+1, tt.length)
			if a.Status != tt.want || a.From != tt.from || a.Length != tt.n {
				t.Errorf("got %d, %d bytes from %d", a.Status, a.Length, a.From)
			}
			if got := show(&a.Header); got != tt.header {
				t.Errorf("header %q, want %q", got, tt.header)
			}
		})
	}
}

func TestConditional(t *testing.T) {
	for _, tt := range []struct{ name, stored, want string }{
		{"a tag", `etag: W/"a"`, `x=1 if-none-match=W/"a"`},
		{"a date", "last-modified: Thu, 18 Aug 2022 02:01:18 GMT", "x=1 if-modified-since=Thu, 18 Aug 2022 02:01:18 GMT"},
		{"both", `etag: "a" | last-modified: Thu, 18 Aug 2022 02:01:18 GMT`, `x=1 if-none-match="a" if-modified-since=Thu, 18 Aug 2022 02:01:18 GMT`},
		{"neither", "last-modified: never", "x=1"},
	} {
		r := fields("range: bytes=1-2", `if-none-match: "old"`, "x: 1", "if-range: a", "if-modified-since: b")
		stored := fields(lines(tt.stored)...)
		has := Conditional(r, stored)
		if got := show(r); got != tt.want || has != (tt.name != "neither") || has != HasValidator(stored) {
			t.Errorf("%s: %q, %v", tt.name, got, has)
		}
	}
}

func TestMerge(t *testing.T) {
	got := Merge(fields("a: 1", "b: 2", "content-length: 10", "content-encoding: gzip", "b: 3", "age: 5", "etag: x"),
		fields("b: 4", "content-length: 0", "c: 5", "connection: close", "content-encoding: br"))
	if show(&got) != "a=1 content-length=10 content-encoding=gzip etag=x b=4 c=5" {
		t.Errorf("got %q", show(&got))
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{{`"a"`, `"a"`, false}, {`"a"`, `"b"`, true}, {`W/"a"`, `"b"`, false}, {"", `"b"`, false}} {
		if got := Changed(fields("etag: "+tt.a), fields("etag: "+tt.b)); got != tt.want {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestHeadIsReadAsItWasWritten(t *testing.T) {
	h := Head{Status: 203, Lifetime: time.Hour, StaleIfError: time.Minute, Validate: true, Immutable: true, Header: *fields("a: 1", "a: ", "b: x y")}
	b := h.Append([]byte("before"))[6:]
	got, ok := ParseHead(b)
	if !ok || got.Status != 203 || got.Lifetime != time.Hour || got.StaleIfError != time.Minute || !got.Validate || got.NeverStale || !got.Immutable ||
		show(&got.Header) != "a=1 a= b=x y" {
		t.Errorf("got %+v, %v", got, ok)
	}
	for i := range b {
		if _, ok := ParseHead(b[:i]); ok {
			t.Errorf("the first %d bytes are read as a whole", i)
		}
	}
	if n := testing.AllocsPerRun(100, func() { ParseHead(b) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseHead(f *testing.F) {
	h := Head{Status: 200, Lifetime: 5, Header: *fields("a: b", "c: d")}
	f.Add(h.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := ParseHead(b)
		if !ok {
			return
		}
		again, ok := ParseHead(h.Append(nil))
		if !ok || show(&again.Header) != show(&h.Header) || again.Status != h.Status {
			t.Errorf("%x: %+v, then %+v", b, h, again)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add("bytes=1-2", `"a", W/"b"`, `"a"`, int64(10))
	f.Add("bytes=-5", "*", "", int64(0))
	f.Fuzz(func(t *testing.T, span, match, tag string, length int64) {
		if length < 0 {
			length = -1
		}
		r := fields()
		r.Add("range", span)
		if match != "" {
			r.Add("if-none-match", match)
		}
		h := Head{Status: 200}
		h.Header.Add("etag", tag)
		a := h.Answer("GET", r, 0, length)
		if a.From < 0 || a.Length < -1 || a.Length > 0 && a.From+a.Length > length || a.Status == 206 && a.Length <= 0 {
			t.Errorf("%d: %d bytes from %d, of %d", a.Status, a.Length, a.From, length)
		}
	})
}

func TestSelecting(t *testing.T) {
	for _, tt := range []struct {
		a, b string // lines of two requests, " | " between them
		same bool
	}{
		{"x: 1", "x: 1", true},
		{"x: 1", "x: 2", false},
		{"x:", "y: 1", false},
		{"x: 1, 2", "x: 1 | x: 2", true},
		{"x: 1,2", "x: 1 ,  2 ", true},
		{`x: "a,b"`, `x: "a, b"`, false},
		{"x: 1, 2", "x: 2, 1", false},
		{"accept-language: en, de", "accept-language: De,eN", true},
		{"accept-language: en, de", "accept-language: en", false},
		{"accept-encoding: gzip, br", "accept-encoding: br, gzip", true},
	} {
		name, _, _ := strings.Cut(tt.a, ":")
		a, aok := Selecting(fields(strings.Split(tt.a, " | ")...), name)
		b, bok := Selecting(fields(strings.Split(tt.b, " | ")...), name)
		if (a == b && aok == bok) != tt.same {
			t.Errorf("%q gives %q, %v; %q gives %q, %v", tt.a, a, aok, tt.b, b, bok)
		}
	}
}
