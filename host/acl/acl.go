// Package acl holds access control lists: named sets of IP prefixes, each with an action, that answer which of their
// prefixes is the longest that an address lies in.
//
// A Table never changes. A lookup in it takes no lock, allocates nothing, and costs a few memory accesses however many
// entries there are. An ACL is a name's present Table behind an atomic pointer: an update makes another table, which
// shares with the old one what has not changed, and swaps the pointer. Who looks something up meanwhile sees all of the
// update or nothing of it, and is not delayed.
//
// Prefixes are kept without their host bits. When an update names a prefix twice, the later entry holds. IPv4 addresses
// and their IPv6-mapped forms do not match each other: an entry for 10.0.0.0/8 says nothing of ::ffff:10.0.0.1.
//
// A Set holds ACLs in memory, a Dir in files that survive the process. Decode reads what the platform's ACL API takes; all
// input is taken to be hostile, so lengths, depths and counts are bounded and errors name the entry.
package acl

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
	"unique"
)

// Bounds on what an ACL may hold.
const (
	MaxEntries     = 5_000_000 // of one ACL
	MaxActionBytes = 255
	MaxNameBytes   = 255
)

// The actions that the platform defines. Others are kept as they are written.
const (
	Allow = "ALLOW"
	Block = "BLOCK"
)

var (
	// ErrNotFound is in the chain of the error for a name or ID that no ACL has.
	ErrNotFound = errors.New("no such ACL")
	// ErrExists is in the chain of the error for the creation of an ACL whose name is taken.
	ErrExists = errors.New("there is an ACL of that name")
	// ErrInvalid is in the chain of errors about a name, a prefix, an action or an operation that is not possible.
	ErrInvalid = errors.New("not valid")
	// ErrFull is in the chain of the error for an update beyond MaxEntries.
	ErrFull = errors.New("too many entries")
)

// Entry is one rule: what to do with the addresses of a prefix.
type Entry struct {
	Prefix netip.Prefix // without host bits
	Action string       // Allow, Block, or another text as written
}

// NewEntry checks an entry and gives it in the form in which it is kept: host bits cleared, Allow and Block in capitals.
// The errors wrap ErrInvalid.
func NewEntry(prefix netip.Prefix, action string) (Entry, error) {
	p, err := normal(prefix)
	if err != nil {
		return Entry{}, err
	}
	a, err := normalAction(action)
	if err != nil {
		return Entry{}, err
	}
	return Entry{p, a}, nil
}

// ParsePrefix reads an address with a mask such as 10.0.0.0/8 or 2001:db8::/32 and clears its host bits. The mask is
// required, from 1 to 32 or from 1 to 128, as the platform has it. The errors wrap ErrInvalid.
func ParsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix %s is %w: want an address with a mask, such as 10.0.0.0/8 or 2001:db8::/32", quote(text), ErrInvalid)
	}
	return normal(p)
}

func normal(p netip.Prefix) (netip.Prefix, error) {
	switch {
	case !p.IsValid():
		return p, fmt.Errorf("the zero prefix is %w", ErrInvalid)
	case p.Bits() == 0:
		return p, fmt.Errorf("prefix %s is %w: the mask must be 1 to 32 for IPv4, 1 to 128 for IPv6", p, ErrInvalid)
	}
	return p.Masked(), nil
}

// normalAction gives one copy of each text, however many entries have it.
func normalAction(action string) (string, error) {
	switch {
	case action == Allow || action == Block:
	case len(action) == len(Allow) && strings.EqualFold(action, Allow):
		return Allow, nil
	case len(action) == len(Block) && strings.EqualFold(action, Block):
		return Block, nil
	case len(action) > MaxActionBytes:
		return "", fmt.Errorf("action %s is %w: it has %d bytes and may have %d", quote(action), ErrInvalid, len(action), MaxActionBytes)
	case !utf8.ValidString(action):
		return "", fmt.Errorf("action %s is %w: it is not UTF-8", quote(action), ErrInvalid)
	default:
		return unique.Make(action).Value(), nil
	}
	return action, nil
}

// CheckName tells whether a text can be an ACL's name: 1 to MaxNameBytes bytes of UTF-8 without control characters. The
// error wraps ErrInvalid.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("an empty name is %w", ErrInvalid)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("name %s is %w: it has %d bytes and may have %d", quote(name), ErrInvalid, len(name), MaxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("name %s is %w: it must be text without control characters", quote(name), ErrInvalid)
	}
	return nil
}

// quote makes text from outside fit for an error: one line, printable, short.
func quote(text string) string {
	const most = 64
	if len(text) <= most {
		return strconv.Quote(text)
	}
	return strconv.Quote(text[:most]) + "..."
}

// ACL is one access control list. Its methods may be called from many goroutines at once. The zero ACL is empty.
type ACL struct {
	table  atomic.Pointer[Table]
	change sync.Mutex // held by who replaces the table because of what it was
}

// New makes an ACL that holds t; nil is an empty one.
func New(t *Table) *ACL {
	a := new(ACL)
	a.table.Store(t)
	return a
}

// Lookup gives the entry with the longest prefix that ip lies in. A zone of ip has no effect. It takes no lock and
// allocates nothing.
func (a *ACL) Lookup(ip netip.Addr) (Entry, bool) { return a.table.Load().Lookup(ip) }

// Table gives what the ACL holds now; never nil.
func (a *ACL) Table() *Table {
	if t := a.table.Load(); t != nil {
		return t
	}
	return empty
}

// Replace puts t in place of everything the ACL holds, at once.
func (a *ACL) Replace(t *Table) {
	a.change.Lock()
	defer a.change.Unlock()
	a.table.Store(t)
}

// Update applies operations in their order, all of them or, with an error, none. See Table.Update.
func (a *ACL) Update(ops []Op) (Changes, error) {
	a.change.Lock()
	defer a.change.Unlock()
	t, c, err := a.Table().Update(ops)
	if err == nil {
		a.table.Store(t)
	}
	return c, err
}

// Opener gives ACLs by name. An unknown name is an error that wraps ErrNotFound; any other error is an ACL that cannot be
// read now. *Set, *Dir and Chain are such.
type Opener interface {
	Open(name string) (*ACL, error)
}

// Chain asks several Openers in turn: the first that has an ACL of the name gives it.
type Chain []Opener

// Open implements Opener. An error other than ErrNotFound ends the search.
func (c Chain) Open(name string) (*ACL, error) {
	for _, o := range c {
		if a, err := o.Open(name); !errors.Is(err, ErrNotFound) {
			return a, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, quote(name))
}

// Set holds ACLs by name, in memory. The zero Set is empty. Its methods may be called from many goroutines at once.
type Set struct{ acls sync.Map }

// Open gives the ACL of that name, or an error that wraps ErrNotFound. It takes no lock.
func (s *Set) Open(name string) (*ACL, error) {
	if a, ok := s.acls.Load(name); ok {
		return a.(*ACL), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, quote(name))
}

// Put adds an ACL, in place of one that has the same name. Who has opened the old one keeps it.
func (s *Set) Put(name string, a *ACL) { s.acls.Store(name, a) }
