package httpcache

import (
	"reflect"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// fields makes a header section of "name: value" lines.
func fields(lines ...string) *httpfield.List {
	var l httpfield.List
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		l.Add(strings.ToLower(name), strings.TrimSpace(value))
	}
	return &l
}

// with gives the directives that noDirectives becomes by f.
func with(f func(d *Directives)) Directives {
	d := noDirectives
	d.Present = true
	f(&d)
	return d
}

func TestParseDirectives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  Directives
	}{
		{"no field", nil, noDirectives},
		{"an empty field", []string{""}, with(func(d *Directives) {})},
		{"a number", []string{"max-age=60"}, with(func(d *Directives) { d.MaxAge = 60 })},
		{"names in any case (RFC 9111 section 5.2)", []string{"MaX-aGe=60, PUBLIC"}, with(func(d *Directives) { d.MaxAge, d.Public = 60, true })},
		{"a quoted number (section 5.2)", []string{`max-age="60"`}, with(func(d *Directives) { d.MaxAge = 60 })},
		{"a number in single quotes is none", []string{"max-age='60'"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"leading zeros", []string{"max-age=0060"}, with(func(d *Directives) { d.MaxAge = 60 })},
		{"a negative number is none (section 4.2.1)", []string{"max-age=-60"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"a fraction is none", []string{"max-age=60.5"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"no number at all", []string{"max-age"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"a space before the equals sign", []string{"max-age =60"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"a space after it", []string{"max-age= 60"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{"a huge number (section 1.2.2)", []string{"max-age=99999999999999999999999"}, with(func(d *Directives) { d.MaxAge = MaxSeconds })},
		{"the first of two (section 4.2.1)", []string{"max-age=1, max-age=2"}, with(func(d *Directives) { d.MaxAge = 1 })},
		{"the first of two lines", []string{"max-age=1", "max-age=2, s-maxage=3"}, with(func(d *Directives) { d.MaxAge, d.SMaxAge = 1, 3 })},
		{"a directive inside a quoted string", []string{`ext="max-age=60, no-store", max-age=1`}, with(func(d *Directives) { d.MaxAge = 1 })},
		{"an escaped quote inside", []string{`ext="a\", no-store", public`}, with(func(d *Directives) { d.Public = true })},
		{"a string without an end swallows the rest of its line", []string{`ext="a, no-store`, "public"}, with(func(d *Directives) { d.Public = true })},
		{"a quote inside an unquoted value", []string{`ext=a"b, no-store", public`}, with(func(d *Directives) { d.Public = true })},
		{"empty members", []string{",, ,public,"}, with(func(d *Directives) { d.Public = true })},
		{"no-cache of all", []string{"no-cache"}, with(func(d *Directives) { d.NoCache = true })},
		{"no-cache of fields (section 5.2.2.4)", []string{`no-cache="Set-Cookie, a"`}, with(func(d *Directives) { d.NoCacheFields = []string{"set-cookie", "a"} })},
		{"no-cache of no field is of all", []string{`no-cache=""`}, with(func(d *Directives) { d.NoCache = true })},
		{"no-cache of a token", []string{"no-cache=a"}, with(func(d *Directives) { d.NoCacheFields = []string{"a"} })},
		{"private of fields (section 5.2.2.7)", []string{`private="a", private`}, with(func(d *Directives) { d.Private, d.PrivateFields = true, []string{"a"} })},
		{"max-stale without a number (section 5.2.1.2)", []string{"max-stale"}, with(func(d *Directives) { d.MaxStale = MaxSeconds })},
		{"max-stale with one", []string{"max-stale=5"}, with(func(d *Directives) { d.MaxStale = 5 })},
		{"RFC 5861 and RFC 8246", []string{"stale-while-revalidate=1, stale-if-error=2, immutable"},
			with(func(d *Directives) { d.StaleWhileRevalidate, d.StaleIfError, d.Immutable = 1, 2, true })},
		{"the rest", []string{"no-store, must-revalidate, proxy-revalidate, must-understand, only-if-cached, min-fresh=3, no-transform"},
			with(func(d *Directives) {
				d.NoStore, d.MustRevalidate, d.ProxyRevalidate, d.MustUnderstand, d.OnlyIfCached = true, true, true, true, true
				d.MinFresh = 3
			})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l httpfield.List
			for _, line := range tt.lines {
				l.Add("cache-control", line)
			}
			l.Add("other", "no-store")
			if got := ParseDirectives(&l, "cache-control"); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseTargeted(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        Directives
	}{
		{"a number", "max-age=60", with(func(d *Directives) { d.MaxAge = 60 })},
		{"other members", `a;b=1, c=(x "y" 2), d=:YQ==:, e=1.5, f=@12, max-age=60;x, public`, with(func(d *Directives) { d.MaxAge, d.Public = 60, true })},
		{"a boolean that is false", "no-store=?0, max-age=1", with(func(d *Directives) { d.MaxAge = 1 })},
		{"the last of two (RFC 9651 section 4.2.2)", "max-age=1, max-age=2", with(func(d *Directives) { d.MaxAge = 2 })},
		{"a number of another type (RFC 9213 section 2.1)", `max-age="60"`, with(func(d *Directives) {})},
		{"a negative number", "max-age=-1", with(func(d *Directives) { d.MaxAge = 0 })},
		{"no-cache of fields is of all", `no-cache="a"`, with(func(d *Directives) { d.NoCache = true })},
		{"an upper-case key is no structured field", "Max-Age=60", noDirectives},
		{"junk", "max-age=60, &&&", noDirectives},
		{"a comma at the end", "max-age=60,", noDirectives},
		{"space around the equals sign", "max-age = 60", noDirectives},
		{"too many digits", "max-age=1234567890123456", noDirectives},
		{"an open list", "a=(1", noDirectives},
		{"an open string", `a="1`, noDirectives},
		{"nothing", "", noDirectives},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseTargeted(fields("cdn-cache-control: "+tt.value), "cdn-cache-control"); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestDirectivesDoNotAllocate(t *testing.T) {
	l := fields("cache-control: public, max-age=60, s-maxage=120, stale-while-revalidate=30", "a: b")
	if n := testing.AllocsPerRun(100, func() { ParseDirectives(l, "cache-control") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDirectives(f *testing.F) {
	f.Add(`max-age=60, no-cache="a, b", ext="\"", public`)
	f.Add(`a=(1 2);x, max-age=5, d=:YQ==:`)
	f.Fuzz(func(t *testing.T, line string) {
		l := fields()
		l.Add("cache-control", line)
		l.Add("cdn-cache-control", line)
		for _, d := range []Directives{ParseDirectives(l, "cache-control"), parseTargeted(l, "cdn-cache-control")} {
			for _, s := range []Seconds{d.MaxAge, d.SMaxAge, d.MinFresh, d.MaxStale, d.StaleIfError, d.StaleWhileRevalidate} {
				if s < None || s > MaxSeconds {
					t.Errorf("%q: %d seconds", line, s)
				}
			}
		}
		// Whatever else a line holds, a no-store before it counts.
		l = fields()
		l.Add("cache-control", "no-store,"+line)
		if !ParseDirectives(l, "cache-control").NoStore {
			t.Errorf("no-store before %q got lost", line)
		}
	})
}
