package abi

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/host/acl"
)

type fakeACLs map[string]*acl.ACL

func (f fakeACLs) OpenACL(name string) (ACL, error) {
	if name == "broken" {
		return nil, errors.New("cannot be read")
	}
	a, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoStore, name)
	}
	return a, nil
}

// someACLs are the access control lists of the tests' guests.
func someACLs(t testing.TB) ACLs {
	t.Helper()
	table, err := acl.NewTable([]acl.Entry{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Action: "BLOCK"},
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Action: "allow"},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Action: "a <\"b\">"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return fakeACLs{"shop": acl.New(table)}
}

func TestACLOpen(t *testing.T) {
	g := newGuest(t, nil)
	for _, tt := range []struct {
		name string
		want Status
	}{
		{"shop", OK},
		{"shop", OK},
		{"none", None},
		{"", None},
		{strings.Repeat("x", 1000), None},
		{"\xff", Inval},
		{"broken", Error},
	} {
		p, n := g.put(textA, tt.name)
		g.want(tt.want, "acl.open", p, n, outA)
	}
	p, n := g.put(textA, "shop")
	g.want(Inval, "acl.open", p, n, guestMemory)
	g.want(BadAlign, "acl.open", p, n, outA+1)
	g.want(Inval, "acl.open", guestMemory-1, n, outA)
	g.sandbox.env.ACLs = nil
	g.want(None, "acl.open", p, n, outA)
}

func TestACLLookup(t *testing.T) {
	g := newGuest(t, nil)
	p, n := g.put(textA, "shop")
	g.ok("acl.open", p, n, outA)
	h := g.u32(outA)
	for _, tt := range []struct{ ip, want string }{
		{"10.2.3.4", "{\n  \"prefix\": \"10.0.0.0/8\",\n  \"action\": \"BLOCK\"\n}"},
		{"10.1.3.4", "{\n  \"prefix\": \"10.1.0.0/16\",\n  \"action\": \"ALLOW\"\n}"},
		{"2001:db8::7", "{\n  \"prefix\": \"2001:db8::/32\",\n  \"action\": \"a \\u003c\\\"b\\\"\\u003e\"\n}"},
		{"192.0.2.1", ""},
		{"::ffff:10.1.3.4", ""},
	} {
		t.Run(tt.ip, func(t *testing.T) {
			ip := netip.MustParseAddr(tt.ip).AsSlice()
			copy(g.mem[textB:], ip)
			g.ok("acl.lookup", h, textB, uint32(len(ip)), outA, outB)
			body := g.u32(outA)
			if tt.want == "" {
				if body != InvalidHandle || g.u32(outB) != 2 {
					t.Errorf("body %#x, acl_error %d, want none and no_content", body, g.u32(outB))
				}
				return
			}
			if g.u32(outB) != 1 {
				t.Errorf("acl_error %d, want ok", g.u32(outB))
			}
			if got := g.read(body, 500); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if got := g.read(body, 500); got != "" {
				t.Errorf("it goes on: %q", got)
			}
			g.ok("http_body.close", body)
		})
	}
	for _, n := range []uint32{0, 3, 5, 15, 17, 1 << 31} {
		g.want(Inval, "acl.lookup", h, textB, n, outA, outB)
	}
	g.want(BadF, "acl.lookup", h+9, textB, 4, outA, outB)
	g.want(Inval, "acl.lookup", h, guestMemory-3, 4, outA, outB)
	g.want(Inval, "acl.lookup", h, textB, 4, guestMemory, outB)
	g.want(BadAlign, "acl.lookup", h, textB, 4, outA, outB+2)

	// Answers count as buffered bytes, and room comes back when they are closed.
	copy(g.mem[textB:], []byte{10, 1, 1, 1})
	g.sandbox.buffered = 60
	g.ok("acl.lookup", h, textB, 4, outA, outB)
	first := g.u32(outA)
	g.want(LimitExceeded, "acl.lookup", h, textB, 4, outA, outB)
	g.ok("http_body.close", first)
	g.ok("acl.lookup", h, textB, 4, outA, outB)
	g.sandbox.Finish()
	if len(g.sandbox.acls.items) != 0 {
		t.Error("handles outlive the run")
	}
}
