package wire

// blockEndsWhole reports whether an HPACK header block ends where a field representation ends. It follows
// lengths only (RFC 7541 sections 5 and 6) and needs no table.
func blockEndsWhole(b []byte) bool {
	for len(b) > 0 {
		var ok bool
		switch c := b[0]; {
		case c&0x80 != 0: // indexed field
			_, b, ok = hpackInt(b, 7)
		case c&0xe0 == 0x20: // table size update
			_, b, ok = hpackInt(b, 5)
		default: // literal: incremental indexing has a 6-bit prefix, the others a 4-bit one
			prefix := uint(4)
			if c&0x40 != 0 {
				prefix = 6
			}
			var index uint64
			if index, b, ok = hpackInt(b, prefix); ok && index == 0 {
				b, ok = hpackSkipString(b)
			}
			if ok {
				b, ok = hpackSkipString(b)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// hpackInt reads an integer with the given prefix length.
func hpackInt(b []byte, prefix uint) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	limit := uint64(1)<<prefix - 1
	if v = uint64(b[0]) & limit; v < limit {
		return v, b[1:], true
	}
	for i, shift := 1, 0; i < len(b) && shift <= 28; i, shift = i+1, shift+7 {
		v += uint64(b[i]&0x7f) << shift
		if b[i]&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

func hpackSkipString(b []byte) (rest []byte, ok bool) {
	n, b, ok := hpackInt(b, 7)
	if !ok || n > uint64(len(b)) {
		return nil, false
	}
	return b[n:], true
}

// appendLiteral adds a field that is never indexed, so that it leaves no trace in the dynamic table. Both
// strings must be shorter than 127 bytes.
func appendLiteral(b []byte, name, value string) []byte {
	b = append(b, 0x10, byte(len(name)))
	b = append(b, name...)
	b = append(b, byte(len(value)))
	return append(b, value...)
}
