package abi

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strconv"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/engine"
)

// Shield is a site that a service may send its origin requests through.
type Shield struct {
	// Here says that the program runs on it.
	Here bool
	// Plain and TLS are its addresses as absolute URLs, http and https; empty where there is none.
	Plain, TLS string
}

// shieldingCalls is the guest module fastly_shielding.
var shieldingCalls = calls{
	"shield_info":        {fn: shieldInfo},
	"backend_for_shield": {fn: backendForShield},
}

// shieldInfo is shield_info(name, name_len, buf, buf_len, out nwritten): a byte that says whether the program runs on
// the shield, then its plain and its TLS address, a NUL after each (ABI notes, section 12). Inval: no such shield.
func shieldInfo(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	shield, ok := s.env.Shields[name]
	if !ok {
		return Inval
	}
	here := "\x00"
	if shield.Here {
		here = "\x01"
	}
	return buf.put(here + shield.Plain + "\x00" + shield.TLS + "\x00")
}

// Of shield_backend_options.
const (
	shieldReserved = 1 << iota
	shieldCacheKey
	shieldFirstByte
	shieldBetweenBytes
	shieldUnknown
)

// maxShieldBackend bounds the length of an address that a guest passes.
const maxShieldBackend = 1024

// backendForShield is backend_for_shield(address, address_len, mask, options, buf, buf_len, out nwritten): the name of
// a backend that leads to one of the shield's addresses, defined for this sandbox when it is first asked for.
// Inval: the address is no shield's.
func backendForShield(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(4), a.u32(5), a.u32(6))
	if st != OK {
		return st
	}
	if a.u32(1) == 0 || a.u32(1) > maxShieldBackend {
		return Inval
	}
	address, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	mask := a.u32(2)
	if mask&shieldReserved != 0 || mask >= shieldUnknown || !s.shields(address) {
		return Inval
	}
	c, ok := shieldBackend(address)
	if !ok {
		return Inval
	}
	r := &structReader{m: m, base: a.u32(3)}
	if mask&shieldCacheKey != 0 {
		// It is for a cache in front of the shield, and there is none yet; a bad pointer is wrong all the same.
		r.text(0, maxShieldBackend)
	}
	// 0 leaves the backend's default.
	if mask&shieldFirstByte != 0 {
		c.FirstByteTimeout = r.millis(8)
	}
	if mask&shieldBetweenBytes != 0 {
		c.BetweenBytesTimeout = r.millis(12)
	}
	if r.st != OK {
		return r.st
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", address, c.FirstByteTimeout, c.BetweenBytesTimeout))
	c.Name = fmt.Sprintf("shield-%s-%x", c.Host[:min(len(c.Host), 64)], sum[:8])
	if st := buf.put(c.Name); st != OK {
		return st
	}
	if _, ok := s.dynamic[c.Name]; ok {
		return OK
	}
	return s.define(c)
}

// shields reports whether an address is one of a shield's.
func (s *Sandbox) shields(address string) bool {
	for _, shield := range s.env.Shields {
		if address == shield.Plain || address == shield.TLS {
			return true
		}
	}
	return false
}

// shieldBackend makes a backend of a shield's address. The request's own Host goes there, so that the shield finds the
// service that it is for.
func shieldBackend(address string) (backend.Config, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return backend.Config{}, false
	}
	c := backend.Config{Host: u.Hostname()}
	if p := u.EscapedPath(); p != "/" {
		c.PathPrefix = p
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return backend.Config{}, false
		}
		c.Port = uint16(n)
	}
	switch u.Scheme {
	case "http":
	case "https":
		c.TLS = &backend.TLS{}
	default:
		return backend.Config{}, false
	}
	return c, true
}
