package abi

import (
	"net/netip"

	"github.com/edgewasm/wasmedge/host/engine"
)

// Geolocator tells where addresses are. It is asked by many guests at once, and must not wait.
type Geolocator interface {
	// AppendGeo appends the record of an address to dst, a JSON object, and nothing when the address is not known.
	AppendGeo(dst []byte, addr netip.Addr) []byte
}

// geoCalls is the guest module fastly_geo.
var geoCalls = calls{
	"lookup": {fn: geoLookup},
}

// geoLookup is lookup(octets, octets_len, buf, buf_len, out nwritten): the record of an IP address as JSON, of no bytes when
// the address is not known. Inval: neither 4 nor 16 octets.
func geoLookup(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	if n := a.u32(1); n != 4 && n != 16 {
		return Inval
	}
	octets, st := in(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	addr, _ := netip.AddrFromSlice(octets)
	s.scratch = s.scratch[:0]
	if s.env.Geo != nil {
		s.scratch = s.env.Geo.AppendGeo(s.scratch, addr)
	}
	return buf.putBytes(s.scratch)
}
