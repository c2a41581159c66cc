package httpcache

import (
	"net/http"
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	day := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)
	for _, tt := range []struct {
		text string
		want time.Time // zero: it is none
	}{
		{"Thu, 18 Aug 2050 02:01:18 GMT", day},
		{"THU, 18 AUG 2050 02:01:18 gmt", day},
		{"Thursday, 18-Aug-50 02:01:18 GMT", day},
		{"Thursday, 18-Aug-94 02:01:18 GMT", day.AddDate(-56, 0, 0)},
		{"Thu Aug 18 02:01:18 2050", day},
		{"Thu Aug  8 02:01:18 2050", day.AddDate(0, 0, -10)},
		{"Sun, 21 Nov 2286 04:46:39 GMT", time.Date(2286, 11, 21, 4, 46, 39, 0, time.UTC)},
		{"Sat, 31 Dec 2016 23:59:60 GMT", time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"0", time.Time{}},
		{"", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 UTC", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 AEST", time.Time{}},
		{"Thu, 18 Aug 50 02:01:18 GMT", time.Time{}},
		{"Thu 18 Aug 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18  Aug  2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18-Aug-2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 02.01.18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 2:01:18 GMT", time.Time{}},
		{"Thu, 31 Feb 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 24:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", time.Time{}},
		{"Xyz, 18 Aug 2050 02:01:18 GMT", time.Time{}},
	} {
		got, ok := ParseDate(tt.text)
		if ok != !tt.want.IsZero() || !got.Equal(tt.want) {
			t.Errorf("%q: got %v, %v, want %v", tt.text, got, ok, tt.want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	f.Add("Thu, 18 Aug 2050 02:01:18 GMT")
	f.Add("Thursday, 18-Aug-50 02:01:18 GMT")
	f.Add("Thu Aug  8 02:01:18 2050")
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseDate(s)
		if !ok {
			return
		}
		again, ok := ParseDate(d.Format(http.TimeFormat))
		if !ok || !again.Equal(d) {
			t.Errorf("%q is %v, and that is %v, %v", s, d, again, ok)
		}
	})
}
