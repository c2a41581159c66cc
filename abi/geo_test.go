package abi

import (
	"net/netip"
	"strings"
	"testing"
)

// fakeGeo knows every address, but for those of 192.0.2.0/24.
type fakeGeo struct{}

func (fakeGeo) AppendGeo(dst []byte, addr netip.Addr) []byte {
	if netip.MustParsePrefix("192.0.2.0/24").Contains(addr) {
		return dst
	}
	return append(dst, `{"city":"`+addr.String()+`"}`...)
}

func TestGeoLookup(t *testing.T) {
	v4 := func(a, b, c, d byte) string { return string([]byte{a, b, c, d}) }
	v6 := string([]byte{0x20, 1, 0xd, 0xb8, 15: 1})
	for _, test := range []struct {
		name   string
		octets string
		room   uint32
		geo    Geolocator
		want   Status
		answer string // or what the buffer protocol asks for
		needs  uint32
	}{
		{"an IPv4 address", v4(198, 51, 100, 1), 100, fakeGeo{}, OK, `{"city":"198.51.100.1"}`, 23},
		{"an IPv6 address", v6, 100, fakeGeo{}, OK, `{"city":"2001:db8::1"}`, 22},
		{"room for exactly the record", v4(198, 51, 100, 1), 23, fakeGeo{}, OK, `{"city":"198.51.100.1"}`, 23},
		{"too little room", v4(198, 51, 100, 1), 22, fakeGeo{}, BufLen, "", 23},
		{"no room", v4(198, 51, 100, 1), 0, fakeGeo{}, BufLen, "", 23},
		{"an address that is not known", v4(192, 0, 2, 1), 100, fakeGeo{}, OK, "", 0},
		{"no geolocation", v4(198, 51, 100, 1), 100, nil, OK, "", 0},
		{"no octets", "", 100, fakeGeo{}, Inval, "", 0x3f3f3f3f},
		{"five octets", "12345", 100, fakeGeo{}, Inval, "", 0x3f3f3f3f},
		{"an address in text", "127.0.0.1", 100, fakeGeo{}, Inval, "", 0x3f3f3f3f},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, nil)
			g.sandbox.env.Geo = test.geo
			p, n := g.put(textA, test.octets)
			g.want(test.want, "geo.lookup", p, n, room, test.room, outA)
			if got := g.u32(outA); got != test.needs {
				t.Errorf("nwritten is %d, want %d", got, test.needs)
			}
			if got, want := g.str(room, 100), test.answer+strings.Repeat("?", 100-len(test.answer)); got != want {
				t.Errorf("the buffer holds %q, want %q", got, want)
			}
		})
	}
	t.Run("octets outside memory", func(t *testing.T) {
		g := newGuest(t, nil)
		g.want(Inval, "geo.lookup", guestMemory-3, 4, room, 100, outA)
		g.want(BadAlign, "geo.lookup", textA, 4, room, 100, outA+1)
	})
}
