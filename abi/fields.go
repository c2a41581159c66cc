package abi

import (
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// section is a header section with what its size is counted in.
type section struct {
	list *httpfield.List
	size *int
}

// findSection gives the header section of a handle.
type findSection func(s *Sandbox, handle uint32) (section, Status)

// fieldName decodes a field name into lower case. Error: not a token. Inval: too long or outside memory.
func fieldName(m engine.Memory, ptr, n uint32) (string, Status) {
	if n > maxFieldName {
		return "", Inval
	}
	b, st := in(m, ptr, n)
	if st != OK {
		return "", st
	}
	name, ok := httpfield.ParseName(b)
	if !ok {
		return "", Error
	}
	return name, OK
}

// fieldValue decodes a field value. Error: it holds characters that a field cannot.
func fieldValue(m engine.Memory, ptr, n uint32) (string, Status) {
	b, st := in(m, ptr, n)
	if st != OK {
		return "", st
	}
	return parseValue(b)
}

func parseValue(b []byte) (string, Status) {
	if len(b) > maxFieldValue {
		return "", HTTPHeadTooLarge
	}
	v, ok := httpfield.ParseValue(b)
	if !ok {
		return "", Error
	}
	return v, OK
}

// putNames answers a names_get call.
func (s *Sandbox) putNames(l list, fields *httpfield.List) Status {
	s.names = fields.AppendNames(s.names[:0])
	st := l.put(len(s.names), func(i int) string { return s.names[i] })
	clear(s.names)
	return st
}

// putValues answers a values_get call.
func (s *Sandbox) putValues(l list, fields *httpfield.List, name string) Status {
	s.names = s.names[:0]
	for _, f := range fields.Fields() {
		if f.Name == name {
			s.names = append(s.names, f.Value)
		}
	}
	st := l.put(len(s.names), func(i int) string { return s.names[i] })
	clear(s.names)
	return st
}

func (h section) room(lines, bytes int) bool {
	return h.list.Len()+lines <= maxFieldLines && *h.size+bytes <= maxFieldsBytes
}

// remove deletes a name's lines and keeps count.
func (h section) remove(name string) bool {
	for _, f := range h.list.Fields() {
		if f.Name == name {
			*h.size -= len(f.Name) + len(f.Value)
		}
	}
	return h.list.Del(name)
}

// The six header calls of requests and responses, whose arguments differ in the kind of the handle only. a
// starts at the argument after the handle.

func (s *Sandbox) headerNamesGet(m engine.Memory, a args, handle uint32, find findSection) Status {
	l, st := listOut(m, a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	return s.putNames(l, h.list)
}

func (s *Sandbox) headerValueGet(m engine.Memory, a args, handle uint32, find findSection) Status {
	buf, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	name, st := fieldName(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	v, ok := h.list.Get(name)
	if !ok {
		buf.nwritten.put(0)
		return Inval
	}
	return buf.put(v)
}

func (s *Sandbox) headerValuesGet(m engine.Memory, a args, handle uint32, find findSection) Status {
	l, st := listOut(m, a.u32(2), a.u32(3), a.u32(4), a.u32(5), a.u32(6))
	if st != OK {
		return st
	}
	name, st := fieldName(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	return s.putValues(l, h.list, name)
}

// headerValuesSet replaces a name's lines by the NUL-ended values; bytes after the last NUL are dropped.
func (s *Sandbox) headerValuesSet(m engine.Memory, a args, handle uint32, find findSection) Status {
	name, st := fieldName(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	raw, st := in(m, a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	values := s.names[:0]
	defer func() { clear(values); s.names = values[:0] }()
	size := 0
	for i, start := 0, 0; i < len(raw); i++ {
		if raw[i] != 0 {
			continue
		}
		v, st := parseValue(raw[start:i])
		if st != OK {
			return st
		}
		values = append(values, v)
		if size += len(name) + len(v); len(values) > maxFieldLines || size > maxFieldsBytes {
			return HTTPHeadTooLarge
		}
		start = i + 1
	}
	h.remove(name)
	if !h.room(len(values), size) {
		return HTTPHeadTooLarge
	}
	for _, v := range values {
		h.list.Add(name, v)
	}
	*h.size += size
	return OK
}

func (s *Sandbox) headerPut(m engine.Memory, a args, handle uint32, find findSection, replace bool) Status {
	name, st := fieldName(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	value, st := fieldValue(m, a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	if !h.room(1, len(name)+len(value)) {
		return HTTPHeadTooLarge
	}
	if replace {
		for _, f := range h.list.Fields() {
			if f.Name == name {
				*h.size -= len(f.Name) + len(f.Value)
			}
		}
		h.list.Set(name, value)
	} else {
		h.list.Add(name, value)
	}
	*h.size += len(name) + len(value)
	return OK
}

func (s *Sandbox) headerRemove(m engine.Memory, a args, handle uint32, find findSection) Status {
	name, st := fieldName(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	h, st := find(s, handle)
	if st != OK {
		return st
	}
	if !h.remove(name) {
		return Inval
	}
	return OK
}
