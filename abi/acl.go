package abi

import (
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/edgewasm/wasmedge/host/acl"
	"github.com/edgewasm/wasmedge/host/engine"
)

// ACL is one opened access control list.
type ACL interface {
	Lookup(ip netip.Addr) (acl.Entry, bool)
}

// ACLs opens access control lists by name. ErrNoStore is wrapped when there is none of that name; any other error is
// an ACL that cannot be read now.
type ACLs interface {
	OpenACL(name string) (ACL, error)
}

// acl_error, besides the status.
const (
	aclOK        = 1
	aclNoContent = 2
)

// aclCalls is the guest module fastly_acl. A lookup waits for nothing here.
var aclCalls = calls{
	"open":   {fn: aclOpen},
	"lookup": {fn: aclLookup, ready: func(*Sandbox, args) bool { return true }},
}

type openACL struct{ acl ACL }

// aclOpen is open(name, name_len, out handle). None: no such ACL. Error: its source is broken.
func aclOpen(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > maxStoreName {
		return None // there is none of so long a name
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if s.env.ACLs == nil {
		return None
	}
	opened, err := s.env.ACLs.OpenACL(name)
	if err != nil {
		if errors.Is(err, ErrNoStore) {
			return None
		}
		s.warn("ACL cannot be opened", err)
		return Error
	}
	h, st := s.acls.add(&openACL{opened})
	if st == OK {
		out.put(h)
	}
	return st
}

// aclLookup is lookup(acl, octets, octets_len, out body, out acl_error). A match gives a body with the entry as indented
// JSON; without one the status is OK, too, acl_error tells, and the body is invalid. Inval: the address does not have 4
// or 16 bytes.
func aclLookup(s *Sandbox, m engine.Memory, a args) Status {
	body, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	aclError, st := u32Out(m, a.u32(4))
	if st != OK {
		return st
	}
	opened, st := s.acls.get(a.u32(0))
	if st != OK {
		return st
	}
	if n := a.u32(2); n != 4 && n != 16 {
		return Inval
	}
	octets, st := in(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	ip, _ := netip.AddrFromSlice(octets)
	entry, ok := opened.acl.Lookup(ip)
	if !ok {
		body.put(InvalidHandle)
		aclError.put(aclNoContent)
		return OK
	}
	answer, err := json.MarshalIndent(entry, "", "  ")
	if err != nil {
		s.warn("ACL entry cannot be told to the guest", err)
		return Error
	}
	b := s.newBody()
	if b.write(answer, false) != nil {
		return LimitExceeded
	}
	h, st := s.addBody(b)
	if st != OK {
		b.drop()
		return st
	}
	body.put(h)
	aclError.put(aclOK)
	return OK
}
