package acl

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

func entry(t testing.TB, prefix, action string) Entry {
	t.Helper()
	p, err := ParsePrefix(prefix)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEntry(p, action)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func table(t testing.TB, list ...string) *Table {
	t.Helper()
	var entries []Entry
	for i := 0; i < len(list); i += 2 {
		entries = append(entries, entry(t, list[i], list[i+1]))
	}
	tab, err := NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestLongestPrefixWins(t *testing.T) {
	tab := table(t,
		"10.0.0.0/8", "BLOCK",
		"10.1.0.0/16", "ALLOW",
		"10.1.2.3/32", "watch",
		"10.1.2.255/16", "block", // its host bits do not count, and it comes later
		"2001:db8::/32", "BLOCK",
		"2001:db8:1::/48", "allow",
		"::ffff:192.0.2.0/120", "mapped",
		"192.0.2.0/25", "plain",
	)
	for _, tt := range []struct{ ip, want string }{
		{"10.2.3.4", "10.0.0.0/8 BLOCK"},
		{"10.1.3.4", "10.1.0.0/16 BLOCK"},
		{"10.1.2.3", "10.1.2.3/32 watch"},
		{"11.0.0.1", ""},
		{"2001:db8:2::1", "2001:db8::/32 BLOCK"},
		{"2001:db8:1::1", "2001:db8:1::/48 ALLOW"},
		{"2001:db8:1::1%eth0", "2001:db8:1::/48 ALLOW"},
		{"::1", ""},
		{"192.0.2.1", "192.0.2.0/25 plain"},
		{"192.0.2.200", ""}, // the mapped prefix is no IPv4 prefix
		{"::ffff:192.0.2.200", "::ffff:192.0.2.0/120 mapped"},
		{"::ffff:10.1.2.3", ""}, // and no IPv4 prefix holds mapped addresses
	} {
		e, ok := tab.Lookup(netip.MustParseAddr(tt.ip))
		got := ""
		if ok {
			got = e.Prefix.String() + " " + e.Action
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.ip, got, tt.want)
		}
	}
	if tab.Len() != 7 {
		t.Errorf("Len() = %d, want 7", tab.Len())
	}
	for _, none := range []*Table{nil, new(ACL).Table(), New(nil).Table()} {
		if _, ok := none.Lookup(netip.MustParseAddr("10.1.2.3")); ok || none.Len() != 0 {
			t.Error("an empty table has an entry")
		}
	}
	if _, ok := tab.Lookup(netip.Addr{}); ok {
		t.Error("the zero address matches")
	}
}

// model does what a table promises in the most direct way.
type model map[netip.Prefix]string

func (m model) lookup(ip netip.Addr) (Entry, bool) {
	best, ok := Entry{}, false
	for p, a := range m {
		if p.Contains(ip) && (!ok || p.Bits() > best.Prefix.Bits()) {
			best, ok = Entry{p, a}, true
		}
	}
	return best, ok
}

// randomPrefix gives prefixes that overlap often.
func randomPrefix(r *rand.Rand) netip.Prefix {
	ip := randomAddr(r)
	return netip.PrefixFrom(ip, 1+r.IntN(ip.BitLen()))
}

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3)), byte(r.IntN(256))})
	}
	var b [16]byte
	if r.IntN(2) == 0 {
		b[10], b[11], b[12] = 0xff, 0xff, 10
	} else {
		b[0], b[1] = 0x20, 0x01
	}
	b[13], b[15] = byte(r.IntN(3)), byte(r.IntN(256))
	return netip.AddrFrom16(b)
}

func TestUpdatesAgreeWithAModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	want := model{}
	acl := New(nil)
	for round := range 300 {
		before := acl.Table()
		beforeAll := slices.Collect(before.All())
		var ops []Op
		for range r.IntN(1 + []int{3, 60}[round%2]) {
			op := Op{Kind: Kind(r.IntN(3)), Entry: Entry{randomPrefix(r), fmt.Sprint("a", r.IntN(5))}}
			ops = append(ops, op)
		}
		var changes Changes
		for _, op := range ops {
			p := op.Prefix.Masked()
			_, there := want[p]
			switch {
			case op.Kind == Delete && there:
				changes.Deleted++
				delete(want, p)
			case op.Kind == Delete:
				changes.Missing++
			case there:
				changes.Updated++
				want[p] = op.Action
			default:
				changes.Created++
				want[p] = op.Action
			}
		}
		got, err := acl.Update(ops)
		if err != nil || got != changes {
			t.Fatalf("round %d: %+v, %v, want %+v", round, got, err, changes)
		}
		if acl.Table().Len() != len(want) {
			t.Fatalf("round %d: %d entries, want %d", round, acl.Table().Len(), len(want))
		}
		if !slices.Equal(beforeAll, slices.Collect(before.All())) {
			t.Fatalf("round %d: the update changed the table before it", round)
		}
		for range 50 {
			ip := randomAddr(r)
			e, ok := acl.Lookup(ip)
			we, wok := want.lookup(ip)
			if e != we || ok != wok {
				t.Fatalf("round %d: %s: %v %v, want %v %v", round, ip, e, ok, we, wok)
			}
		}
		for p, a := range want {
			if e, ok := acl.Table().Get(p); !ok || e.Action != a {
				t.Fatalf("round %d: Get(%s) = %v %v, want %s", round, p, e, ok, a)
			}
		}
	}
}

func TestAFailedUpdateChangesNothing(t *testing.T) {
	acl := New(table(t, "10.0.0.0/8", "BLOCK"))
	before := acl.Table()
	for _, tt := range []struct {
		name string
		bad  Op
		want string
	}{
		{"the zero prefix", Op{}, "entry 1: the zero prefix is not valid"},
		{"a mask of 0", Op{Entry: Entry{netip.MustParsePrefix("::/0"), Allow}}, "entry 1: prefix ::/0 is not valid"},
		{"a long action", Op{Entry: Entry{netip.MustParsePrefix("::/1"), strings.Repeat("x", 256)}}, "it has 256 bytes and may have 255"},
		{"an action that is not text", Op{Entry: Entry{netip.MustParsePrefix("::/1"), "\xff"}}, "not UTF-8"},
		{"an unknown operation", Op{Kind: 9, Entry: entry(t, "::/1", Allow)}, "entry 1: operation 9 is not valid"},
		{"the deletion of the zero prefix", Op{Kind: Delete}, "entry 1: the zero prefix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := acl.Update([]Op{{Kind: Delete, Entry: Entry{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}, tt.bad})
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if acl.Table() != before {
				t.Error("the table has changed")
			}
		})
	}
}

func TestListGoesThroughAllEntriesInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var entries []Entry
	for range 500 {
		entries = append(entries, Entry{randomPrefix(r), Allow})
	}
	tab, err := NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(tab.All())
	if !slices.IsSortedFunc(all, func(a, b Entry) int { return compare(a.Prefix, b.Prefix) }) {
		t.Error("All is not in order")
	}
	if !all[0].Prefix.Addr().Is4() || all[len(all)-1].Prefix.Addr().Is4() {
		t.Error("IPv4 does not come before IPv6")
	}
	for _, limit := range []int{1, 7, 50, len(all) - 1, len(all), len(all) + 1, 1 << 62} {
		var got []Entry
		cursor := ""
		for {
			page, next, err := tab.List(cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 && tab.Len() > 0 {
				t.Fatalf("limit %d: an empty page after %q", limit, cursor)
			}
			got = append(got, page...)
			if cursor = next; cursor == "" {
				break
			}
			// The entry that the cursor names goes away meanwhile.
			if limit == 7 {
				last := page[len(page)-1]
				if tab, _, err = tab.Update([]Op{{Kind: Delete, Entry: last}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("limit %d: %d entries, want %d", limit, len(got), len(all))
		}
		if tab, err = NewTable(entries); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []struct {
		cursor string
		limit  int
	}{{"x", 1}, {"10.0.0.0", 1}, {"", 0}, {"", -1}} {
		if _, _, err := tab.List(bad.cursor, bad.limit); !errors.Is(err, ErrInvalid) {
			t.Errorf("List(%q, %d): %v", bad.cursor, bad.limit, err)
		}
	}
	if page, next, err := (*Table)(nil).List("", 5); len(page) != 0 || next != "" || err != nil {
		t.Error(page, next, err)
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	acl := New(table(t, "10.0.0.0/8", "BLOCK", "2001:db8::/32", "other"))
	for _, text := range []string{"10.1.1.1", "2001:db8::1", "192.0.2.1"} {
		ip := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(100, func() { acl.Lookup(ip) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// An update is seen as a whole: two prefixes always have the same action.
func TestLookupsDuringUpdates(t *testing.T) {
	acl := New(table(t, "10.0.0.0/8", "0", "192.168.0.0/16", "0"))
	a, b := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("192.168.1.1")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				tab := acl.Table()
				x, ok1 := tab.Lookup(a)
				y, ok2 := tab.Lookup(b)
				if !ok1 || !ok2 || x.Action != y.Action {
					t.Errorf("half an update: %v %v", x, y)
					return
				}
				acl.Lookup(a)
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range 500 {
				action := fmt.Sprint(w, "-", i)
				_, err := acl.Update([]Op{{Update, Entry{a1, action}}, {Update, Entry{b1, action}},
					{Create, Entry{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(w), byte(i >> 8), byte(i)}), 32), action}}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	wg.Wait()
	if got := acl.Table().Len(); got != 1002 {
		t.Errorf("%d entries, want 1002: an update was lost", got)
	}
}

var (
	a1 = netip.MustParsePrefix("10.0.0.0/8")
	b1 = netip.MustParsePrefix("192.168.0.0/16")
)

func TestNamesAndActions(t *testing.T) {
	for name, ok := range map[string]bool{"office": true, "Büro / 3": true, "": false, "a\nb": false, "\xff": false,
		strings.Repeat("n", 255): true, strings.Repeat("n", 256): false} {
		if err := CheckName(name); (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("CheckName(%.20q): %v", name, err)
		}
	}
	for in, want := range map[string]string{"allow": "ALLOW", "Block": "BLOCK", "Maybe": "Maybe", "": "", "blockk": "blockk"} {
		e, err := NewEntry(netip.MustParsePrefix("10.1.1.1/8"), in)
		if err != nil || e.Action != want || e.Prefix.String() != "10.0.0.0/8" {
			t.Errorf("NewEntry(%q) = %v, %v", in, e, err)
		}
	}
	for _, k := range []Kind{Create, Update, Delete} {
		if got, err := ParseKind(k.String()); got != k || err != nil {
			t.Error(k, got, err)
		}
	}
	if _, err := ParseKind("Create"); !errors.Is(err, ErrInvalid) || Kind(7).String() != "unknown" {
		t.Error(err)
	}
}
