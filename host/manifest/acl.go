package manifest

import (
	"errors"
	"net/netip"
	"strings"
)

// acl reads the path of an ACL's file: a string, or a table with the key file.
func (r *reader) acl(l *LocalServer, v *value) {
	a := ACL{Pos: r.pos(v.keyOff), Name: v.name}
	read := func(v *value) {
		src, path, ok := r.file(v, maxJSONFile)
		if !ok {
			return
		}
		entries, err := parseACL(src)
		if err != nil {
			r.badJSON(v, path, err)
			return
		}
		a.File, a.Entries = path, entries
	}
	switch v.kind {
	case kindString:
		read(v)
	case kindTable:
		r.table(v, warn, required("file", "the path of a JSON file", read))
	default:
		r.fail(v, "the path of a JSON file, or { file = PATH }", "this is %s", v.kind)
	}
	l.ACLs = append(l.ACLs, a)
}

// parseACL reads what the ACL API takes: {"entries":[{"op","prefix","action"}]}. The op and unknown keys
// have no effect, as on the platform's local server.
func parseACL(src []byte) ([]ACLEntry, error) {
	f := newJSONFile(src)
	members, err := f.object()
	if err != nil {
		return nil, err
	}
	list := member{off: -1}
	for _, m := range members {
		if m.key == "entries" {
			list = m
		}
	}
	if list.off < 0 {
		return nil, f.errorf(tokenStart(src, 0), "the key entries is missing")
	}
	elements, err := f.elements(list.raw, list.off)
	if err != nil {
		return nil, err
	}
	entries := make([]ACLEntry, 0, len(elements))
	for _, element := range elements {
		entry, err := f.aclEntry(element)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func (f jsonFile) aclEntry(m member) (ACLEntry, error) {
	var entry ACLEntry
	fields, err := f.members(m.raw, m.off)
	if err != nil {
		return entry, err
	}
	hasAction := false
	for _, field := range fields {
		switch field.key {
		case "prefix":
			text, err := f.string(field)
			if err != nil {
				return entry, err
			}
			prefix, err := parsePrefix(text)
			if err != nil {
				return entry, f.errorf(field.off, "prefix %s: %w", displayText(text), err)
			}
			entry.Prefix = prefix
		case "action":
			text, err := f.string(field)
			if err != nil {
				return entry, err
			}
			entry.Action, hasAction = text, true
			if upper := strings.ToUpper(text); upper == "ALLOW" || upper == "BLOCK" {
				entry.Action = upper
			}
		}
	}
	if !entry.Prefix.IsValid() {
		return entry, f.errorf(m.off, "the entry's prefix is missing")
	}
	if !hasAction {
		return entry, f.errorf(m.off, "the entry's action is missing")
	}
	return entry, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, errors.New("not an address with a mask, such as 10.0.0.0/8 or 2001:db8::/32")
	}
	if prefix.Bits() == 0 {
		return prefix, errors.New("the mask must be 1 to 32 for IPv4, 1 to 128 for IPv6")
	}
	return prefix.Masked(), nil
}
