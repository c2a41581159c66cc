package wire

import "encoding/binary"

// Character classes of RFC 9110 and RFC 9112, as tables because every byte of every head goes through them.
var (
	tokenChar  = charset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 0)
	targetChar = charset("", '!') // request-target: no space, no control, no fragment
	valueChar  = charset("\t", ' ')
	hostChar   = charset("-._~%!$&'()*+,;=:[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 0)
)

func init() { targetChar['#'] = false }

// charset holds the characters of list, and, if from is not 0, every byte from it on but DEL.
func charset(list string, from int) *[256]bool {
	var t [256]bool
	for i := range len(list) {
		t[list[i]] = true
	}
	if from != 0 {
		for i := from; i < 256; i++ {
			t[i] = i != 0x7f
		}
	}
	return &t
}

func allIn(t *[256]bool, b []byte) bool {
	for _, c := range b {
		if !t[c] {
			return false
		}
	}
	return true
}

// validValue is allIn(valueChar, b), eight bytes at a time.
func validValue(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		control := (x - 0x20*ones) &^ x // high bit set in bytes below 0x20
		del := x ^ 0x7f*ones
		del = (del - ones) &^ del // and in bytes that are 0x7f; both may be set too often, never too seldom
		if (control|del)&high != 0 && !allIn(valueChar, b[:8]) {
			return false
		}
	}
	return allIn(valueChar, b)
}

// equalFold compares b with lower, which must be lower-case ASCII.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trimOWS cuts spaces and tabs off both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
