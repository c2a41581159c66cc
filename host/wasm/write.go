package wasm

// AppendU32 appends an unsigned LEB128 number.
func AppendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// AppendS64 appends a signed LEB128 number.
func AppendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// AppendName appends a length and the bytes.
func AppendName(b []byte, s string) []byte {
	return append(AppendU32(b, uint32(len(s))), s...)
}

// AppendHeader appends the eight bytes that a core module starts with.
func AppendHeader(b []byte) []byte {
	return append(append(b, magic...), coreVersion...)
}

// AppendSection appends a section: its id, size, name when it is a custom one, and body.
func AppendSection(b []byte, s Section) []byte {
	b = append(b, byte(s.ID))
	if s.ID != SectionCustom {
		b = AppendU32(b, uint32(len(s.Body)))
		return append(b, s.Body...)
	}
	name := AppendName(nil, s.Name)
	b = AppendU32(b, uint32(len(name)+len(s.Body)))
	return append(append(b, name...), s.Body...)
}

// Encode writes a module of these sections in the order given, which must be the prescribed one.
func Encode(sections []Section) []byte {
	n := 8
	for i := range sections {
		n += len(sections[i].Body) + len(sections[i].Name) + 16
	}
	b := AppendHeader(make([]byte, 0, n))
	for i := range sections {
		b = AppendSection(b, sections[i])
	}
	return b
}

// Skeleton writes the module with each function's code replaced by an unreachable instruction, and with those
// sections only that keep accepts. It declares what the module declares, at a fraction of the size.
func (m *Module) Skeleton(keep func(Section) bool) []byte {
	var list []Section
	for _, s := range m.Sections {
		if s.ID == SectionCode {
			stub := []byte{3, 0, opUnreachable, opEnd}
			s.Body = AppendU32(make([]byte, 0, 8+len(stub)*len(m.Funcs)), uint32(len(m.Funcs)))
			for range m.Funcs {
				s.Body = append(s.Body, stub...)
			}
		} else if !keep(s) {
			continue
		}
		list = append(list, s)
	}
	return Encode(list)
}
