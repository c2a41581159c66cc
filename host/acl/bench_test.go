package acl

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// million is an ACL with 10^6 entries, 5 in 6 of them IPv4, and its body for the ACL API.
var million = sync.OnceValues(func() (*Table, []byte) {
	r := rand.New(rand.NewPCG(5, 6))
	entries := make([]Entry, 0, 1_000_000)
	seen := make(map[netip.Prefix]bool)
	for len(entries) < cap(entries) {
		var p netip.Prefix
		if len(entries)%6 != 0 {
			n := r.Uint32()
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 12+r.IntN(21)).Masked()
		} else {
			b := [16]byte{0x20, 0x01}
			for i := 2; i < 8; i++ {
				b[i] = byte(r.Uint32())
			}
			p = netip.PrefixFrom(netip.AddrFrom16(b), 24+r.IntN(41)).Masked()
		}
		if !seen[p] {
			seen[p] = true
			entries = append(entries, Entry{p, []string{Allow, Block}[r.IntN(2)]})
		}
	}
	t, err := NewTable(entries)
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if err := WriteBody(&b, slices.Values(entries)); err != nil {
		panic(err)
	}
	return t, b.Bytes()
})

func BenchmarkLookup1M(b *testing.B) {
	t, _ := million()
	acl := New(t)
	r := rand.New(rand.NewPCG(7, 8))
	ips := make([]netip.Addr, 1<<16)
	for i := range ips {
		n := r.Uint32()
		ips[i] = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		if i%6 == 0 {
			ips[i] = netip.AddrFrom16([16]byte{0x20, 0x01, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		acl.Lookup(ips[i&(1<<16-1)])
		i++
	}
}

func BenchmarkRead1M(b *testing.B) {
	_, body := million()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if t, err := ReadTable(bytes.NewReader(body)); err != nil || t.Len() != 1_000_000 {
			b.Fatal(t.Len(), err)
		}
	}
}

func BenchmarkUpdateOneOf1M(b *testing.B) {
	t, _ := million()
	p := netip.MustParsePrefix("203.0.113.0/24")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, err := t.Update([]Op{{Create, Entry{p, Allow}}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListPageOf1M(b *testing.B) {
	t, _ := million()
	for b.Loop() {
		if page, _, err := t.List("100.0.0.0/8", 1000); err != nil || len(page) != 1000 {
			b.Fatal(len(page), err)
		}
	}
}
