package httpcache

import (
	"strings"
	"time"
)

// ParseDate reads an HTTP-date in any of its three forms (RFC 9110 section 5.6.7). Names of days, months and zone may be in any
// case; everything else has to be exactly as there. The day of the week is not compared with the date.
func ParseDate(s string) (time.Time, bool) {
	switch comma := strings.IndexByte(s, ','); {
	case comma == 3 && len(s) == 29: // Sun, 06 Nov 1994 08:49:37 GMT
		if !isDay(s[:3]) || !spaced(s, 4, 7, 11, 16, 25) || !strings.EqualFold(s[26:], "GMT") {
			return time.Time{}, false
		}
		return date(s[12:16], s[8:11], s[5:7], s[17:25])
	case comma > 3 && len(s) == comma+24: // Sunday, 06-Nov-94 08:49:37 GMT
		r := s[comma+1:]
		if !isLongDay(s[:comma]) || !spaced(r, 0, 10, 19) || r[3] != '-' || r[7] != '-' || !strings.EqualFold(r[20:], "GMT") {
			return time.Time{}, false
		}
		century := "20"
		if r[8] >= '7' {
			century = "19"
		}
		return date(century+r[8:10], r[4:7], r[1:3], r[11:19])
	case comma < 0 && len(s) == 24: // Sun Nov  6 08:49:37 1994
		if !isDay(s[:3]) || !spaced(s, 3, 7, 10, 19) {
			return time.Time{}, false
		}
		day := s[8:10]
		if day[0] == ' ' {
			day = "0" + day[1:]
		}
		return date(s[20:], s[4:7], day, s[11:19])
	}
	return time.Time{}, false
}

func spaced(s string, at ...int) bool {
	for _, i := range at {
		if s[i] != ' ' {
			return false
		}
	}
	return true
}

func isDay(s string) bool {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(s, d.String()[:3]) {
			return true
		}
	}
	return false
}

func isLongDay(s string) bool {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(s, d.String()) {
			return true
		}
	}
	return false
}

// date makes a time of digits, a month's name, and hh:mm:ss.
func date(year, month, day, clock string) (time.Time, bool) {
	y, m, d := number(year), 0, number(day)
	for i := time.January; i <= time.December; i++ {
		if strings.EqualFold(month, i.String()[:3]) {
			m = int(i)
		}
	}
	if clock[2] != ':' || clock[5] != ':' {
		return time.Time{}, false
	}
	hour, minute, second := number(clock[:2]), number(clock[3:5]), number(clock[6:])
	if y < 0 || m == 0 || d < 1 || d > 31 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, false
	}
	t := time.Date(y, time.Month(m), d, hour, minute, min(second, 59), 0, time.UTC)
	if t.Day() != d { // there is no such day in that month
		return time.Time{}, false
	}
	return t, true
}

// number reads digits; -1 if there is something else.
func number(s string) int {
	n := 0
	for i := range len(s) {
		if !digit(s[i]) {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}
