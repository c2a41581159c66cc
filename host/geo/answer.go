package geo

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText bounds a text of an answer, in bytes; the longest names of places have less than 100.
const maxText = 256

// appendAnswer writes the guest ABI's geolocation record: sorted keys, "?" for a text that is not known.
func (f *facts) append(b []byte, z *zones, now time.Time) []byte {
	kind, speed := connection(f.connection)
	offset := z.offset(f.zone, now)
	b = text(append(b, `{"area_code":0,"as_name":`...), strings.ToLower(f.asName))
	b = number(append(b, `,"as_number":`...), int64(f.asNumber))
	b = text(append(b, `,"city":`...), strings.ToLower(f.city))
	b = text(append(b, `,"conn_speed":`...), speed)
	b = text(append(b, `,"conn_type":`...), kind)
	b = text(append(b, `,"continent":`...), f.continent)
	b = text(append(b, `,"country_code":`...), f.country)
	b = text(append(b, `,"country_code3":`...), countryCode3(f.country))
	b = text(append(b, `,"country_name":`...), strings.ToLower(f.countryName))
	b = number(append(b, `,"gmt_offset":`...), int64(offset))
	b = strconv.AppendFloat(append(b, `,"latitude":`...), f.latitude, 'f', -1, 64)
	b = strconv.AppendFloat(append(b, `,"longitude":`...), f.longit, 'f', -1, 64)
	b = number(append(b, `,"metro_code":`...), int64(f.metro))
	b = text(append(b, `,"postal_code":`...), strings.ToLower(f.postal))
	b = text(append(b, `,"proxy_description":`...), f.proxyd)
	b = text(append(b, `,"proxy_type":`...), f.proxyType)
	b = append(b, `,"region":`...)
	if f.region == "" {
		b = append(b, "null"...)
	} else {
		b = text(b, f.region)
	}
	b = number(append(b, `,"utc_offset":`...), int64(offset))
	return append(b, '}')
}

func number(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// text writes a JSON string. Databases hold UTF-8; what is not becomes the replacement character.
func text(b []byte, s string) []byte {
	if s == "" {
		s = "?"
	}
	if len(s) > maxText {
		s = s[:maxText] // at worst in the middle of a character, which is replaced below
	}
	b = append(b, '"')
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ':
				const hex = "0123456789abcdef"
				b = append(b, `\u00`...)
				b = append(b, hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		b = utf8.AppendRune(b, r)
		i += n
	}
	return append(b, '"')
}
