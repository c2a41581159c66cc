package acl

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"

	"github.com/gaissmai/bart"
)

// Table is an immutable set of entries, one for each prefix. The nil Table is empty.
type Table struct {
	routes *bart.Table[string]

	// What List needs, made when it is first called: a lookup has no use for it.
	once   sync.Once
	sorted []Entry
}

var empty = newTable(new(bart.Table[string]))

func newTable(routes *bart.Table[string]) *Table { return &Table{routes: routes} }

// NewTable makes a table. Of entries with the same prefix the last holds. An error names the entry by its index; it wraps
// ErrInvalid or ErrFull.
func NewTable(entries []Entry) (*Table, error) {
	b := new(builder)
	for i, e := range entries {
		if err := b.add(e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return b.table(), nil
}

// builder gathers the entries of a new table.
type builder struct{ routes bart.Table[string] }

func (b *builder) add(e Entry) error {
	e, err := NewEntry(e.Prefix, e.Action)
	if err != nil {
		return err
	}
	return b.insert(e)
}

// insert adds an entry in its normal form.
func (b *builder) insert(e Entry) error {
	b.routes.Insert(e.Prefix, e.Action)
	return checkSize(b.routes.Size())
}

func (b *builder) table() *Table { return newTable(&b.routes) }

func checkSize(n int) error {
	if n > MaxEntries {
		return fmt.Errorf("%w: an ACL may have %d", ErrFull, MaxEntries)
	}
	return nil
}

// Lookup gives the entry with the longest prefix that ip lies in. A zone of ip has no effect. It takes no lock and
// allocates nothing.
func (t *Table) Lookup(ip netip.Addr) (Entry, bool) {
	if t == nil || !ip.IsValid() {
		return Entry{}, false
	}
	ip = ip.WithZone("")
	prefix, action, ok := t.routes.LookupPrefixLPM(netip.PrefixFrom(ip, ip.BitLen()))
	if !ok {
		return Entry{}, false
	}
	return Entry{prefix, action}, true
}

// Get gives the entry of exactly that prefix.
func (t *Table) Get(p netip.Prefix) (Entry, bool) {
	if t == nil || !p.IsValid() {
		return Entry{}, false
	}
	p = p.Masked()
	action, ok := t.routes.Get(p)
	if !ok {
		return Entry{}, false
	}
	return Entry{p, action}, true
}

// Len gives the number of entries.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.routes.Size()
}

// All gives the entries in order: IPv4 before IPv6, then by address, then the shorter prefix first.
func (t *Table) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if t == nil {
			return
		}
		for prefix, action := range t.routes.AllSorted() {
			if !yield(Entry{prefix, action}) {
				return
			}
		}
	}
}

// List gives up to limit entries in the order of All that come after cursor, and the cursor for those that follow; "" is
// the beginning, and after the last entry. A cursor stays good when entries come and go: it is a place in the order. A cursor
// that List did not give, or a limit below 1, is an error that wraps ErrInvalid.
func (t *Table) List(cursor string, limit int) (entries []Entry, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("limit %d is %w: want 1 or more", limit, ErrInvalid)
	}
	if t == nil {
		t = empty
	}
	// Kept, because whoever asks for one page asks for the next.
	t.once.Do(func() {
		t.sorted = slices.AppendSeq(make([]Entry, 0, t.Len()), t.All())
	})
	from := 0
	if cursor != "" {
		after, err := netip.ParsePrefix(cursor)
		if err != nil {
			return nil, "", fmt.Errorf("cursor %s is %w", quote(cursor), ErrInvalid)
		}
		var found bool
		from, found = slices.BinarySearchFunc(t.sorted, after, func(e Entry, p netip.Prefix) int { return compare(e.Prefix, p) })
		if found {
			from++
		}
	}
	entries = slices.Clone(t.sorted[from:min(from+min(limit, MaxEntries), len(t.sorted))])
	if end := from + len(entries); end < len(t.sorted) {
		next = t.sorted[end-1].Prefix.String()
	}
	return entries, next, nil
}

func compare(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// Kind is what an operation does.
type Kind uint8

// The operations of the ACL API. Create and Update do the same: whichever is asked for, the entry holds afterwards.
const (
	Create Kind = iota
	Update
	Delete
)

var kindNames = [...]string{"create", "update", "delete"}

// String gives the API's word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind reads the API's word for an operation: create, update or delete. The error wraps ErrInvalid.
func ParseKind(text string) (Kind, error) {
	for k, name := range kindNames {
		if text == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("operation %s is %w: want create, update or delete", quote(text), ErrInvalid)
}

// Op is one change of an ACL.
type Op struct {
	Kind Kind
	Entry
}

// Changes says what an update did.
type Changes struct {
	Created, Updated, Deleted int
	Missing                   int // prefixes to be deleted that were not there
}

// Update gives a table with the operations applied in their order, and says what has changed. Deleting what is not there
// changes nothing, so that an update which is sent again does no harm. t stays as it is; a few operations on a large table
// cost little. An error names the operation by its index; it wraps ErrInvalid or ErrFull.
func (t *Table) Update(ops []Op) (*Table, Changes, error) {
	if t == nil {
		t = empty
	}
	var c Changes
	// Changing a copy beats copying the path to each change once there are many of them.
	routes, shared := t.routes, true
	if len(ops) > t.Len()/16 {
		routes, shared = routes.Clone(), false
	}
	for i, op := range ops {
		var err error
		if routes, err = c.apply(routes, shared, op); err != nil {
			return nil, Changes{}, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	if c.Created+c.Updated+c.Deleted == 0 {
		return t, c, nil
	}
	return newTable(routes), c, nil
}

func (c *Changes) apply(routes *bart.Table[string], shared bool, op Op) (*bart.Table[string], error) {
	switch op.Kind {
	case Delete:
		p, err := normal(op.Prefix)
		if err != nil {
			return nil, err
		}
		if _, ok := routes.Get(p); !ok {
			c.Missing++
			return routes, nil
		}
		c.Deleted++
		if shared {
			return routes.DeletePersist(p), nil
		}
		routes.Delete(p)
	case Create, Update:
		e, err := NewEntry(op.Prefix, op.Action)
		if err != nil {
			return nil, err
		}
		if _, ok := routes.Get(e.Prefix); ok {
			c.Updated++
		} else {
			c.Created++
			if err := checkSize(routes.Size() + 1); err != nil {
				return nil, err
			}
		}
		if shared {
			return routes.InsertPersist(e.Prefix, e.Action), nil
		}
		routes.Insert(e.Prefix, e.Action)
	default:
		return nil, fmt.Errorf("operation %d is %w", op.Kind, ErrInvalid)
	}
	return routes, nil
}
