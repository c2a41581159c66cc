package acl

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on JSON input.
const (
	maxText  = 64 << 10 // bytes of one string or number, whatever it is
	maxDepth = 64       // of values that are skipped
)

// scanner reads JSON from a stream, a token at a time, in memory that does not grow with the input.
type scanner struct {
	r       io.Reader
	buf     []byte
	pos     int // in buf, of what comes next
	end     int // of what is in buf
	start   int64
	scratch []byte
	failure error // of r
}

func newScanner(r io.Reader) *scanner { return &scanner{r: r, buf: make([]byte, 64<<10)} }

// offset is how many bytes have been consumed.
func (s *scanner) offset() int64 { return s.start + int64(s.pos) }

// fill reads more; false at the end or after a failure.
func (s *scanner) fill() bool {
	s.start += int64(s.end)
	s.pos, s.end = 0, 0
	for range 100 {
		n, err := s.r.Read(s.buf)
		if n < 0 || n > len(s.buf) {
			n, err = 0, errors.New("the reader answers nonsense")
		}
		s.end = n
		if err != nil && err != io.EOF {
			s.failure = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.failure = io.ErrNoProgress
	return false
}

// ended is what to report when input is missing.
func (s *scanner) ended() error {
	if s.failure != nil {
		return s.failure
	}
	return errors.New("the input ends too early")
}

// peek gives the next byte that is not white space, without consuming it; false at the end.
func (s *scanner) peek() (byte, bool) {
	for {
		for ; s.pos < s.end; s.pos++ {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, true
			}
		}
		if !s.fill() {
			return 0, false
		}
	}
}

// byte consumes the very next byte.
func (s *scanner) byte() (byte, error) {
	if s.pos == s.end && !s.fill() {
		return 0, s.ended()
	}
	c := s.buf[s.pos]
	s.pos++
	return c, nil
}

// expect consumes a punctuation mark, after white space.
func (s *scanner) expect(want byte) error {
	c, ok := s.peek()
	if !ok {
		return s.ended()
	}
	if c != want {
		return fmt.Errorf("%q where %q is wanted", c, want)
	}
	s.pos++
	return nil
}

// more consumes what stands before the next element of a list or an object, n elements having been read; false when it
// was the closing mark.
func (s *scanner) more(n int, closing byte) (bool, error) {
	c, ok := s.peek()
	switch {
	case !ok:
		return false, s.ended()
	case c == closing:
		s.pos++
		return false, nil
	case n == 0:
		return true, nil
	case c != ',':
		return false, fmt.Errorf("%q where %q or %q is wanted", c, ',', closing)
	}
	s.pos++
	return true, nil
}

// key consumes a member's name and the colon. The bytes are good until the next call.
func (s *scanner) key() ([]byte, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	// What follows may refill the buffer.
	s.scratch = append(s.scratch[:0], text...)
	return s.scratch, s.expect(':')
}

// text consumes a string. The bytes are good until the next call.
func (s *scanner) text() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	for i := s.pos; i < s.end; i++ {
		c := s.buf[i]
		if c == '"' {
			text := s.buf[s.pos:i]
			s.pos = i + 1
			if !utf8.Valid(text) {
				return nil, errors.New("a string that is not UTF-8")
			}
			return text, nil
		}
		if c == '\\' || c < ' ' {
			break
		}
	}
	return s.longText()
}

// longText is text for strings with escapes, and for those that the buffer does not hold as a whole.
func (s *scanner) longText() ([]byte, error) {
	text := s.scratch[:0]
	for {
		c, err := s.byte()
		switch {
		case err != nil:
			return nil, err
		case c == '"':
			if !utf8.Valid(text) {
				return nil, errors.New("a string that is not UTF-8")
			}
			s.scratch = text
			return text, nil
		case c < ' ':
			return nil, errors.New("a control character in a string")
		case len(text) >= maxText:
			return nil, fmt.Errorf("a string of more than %d bytes", maxText)
		case c != '\\':
			text = append(text, c)
			continue
		}
		if text, err = s.escape(text); err != nil {
			return nil, err
		}
	}
}

// escape consumes what follows a backslash.
func (s *scanner) escape(text []byte) ([]byte, error) {
	c, err := s.byte()
	if err != nil {
		return nil, err
	}
	switch c {
	case '"', '\\', '/':
		return append(text, c), nil
	case 'b':
		return append(text, '\b'), nil
	case 'f':
		return append(text, '\f'), nil
	case 'n':
		return append(text, '\n'), nil
	case 'r':
		return append(text, '\r'), nil
	case 't':
		return append(text, '\t'), nil
	case 'u':
		r, err := s.hex4()
		if err != nil {
			return nil, err
		}
		if utf16.IsSurrogate(r) {
			for _, want := range []byte{'\\', 'u'} {
				if c, err := s.byte(); err != nil {
					return nil, err
				} else if c != want {
					return nil, errors.New("half a surrogate pair in a string")
				}
			}
			second, err := s.hex4()
			if err != nil {
				return nil, err
			}
			if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
				return nil, errors.New("half a surrogate pair in a string")
			}
		}
		return utf8.AppendRune(text, r), nil
	}
	return nil, fmt.Errorf("%q after a backslash", c)
}

func (s *scanner) hex4() (rune, error) {
	var r rune
	for range 4 {
		c, err := s.byte()
		if err != nil {
			return 0, err
		}
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf("%q among four hexadecimal digits", c)
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}

// skip consumes any value.
func (s *scanner) skip(depth int) error {
	c, ok := s.peek()
	switch {
	case !ok:
		return s.ended()
	case depth >= maxDepth:
		return fmt.Errorf("values nested more than %d deep", maxDepth)
	}
	switch c {
	case '"':
		_, err := s.text()
		return err
	case '[':
		s.pos++
		for n := 0; ; n++ {
			if more, err := s.more(n, ']'); err != nil || !more {
				return err
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	case '{':
		s.pos++
		for n := 0; ; n++ {
			if more, err := s.more(n, '}'); err != nil || !more {
				return err
			}
			if _, err := s.key(); err != nil {
				return err
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	}
	return s.word()
}

// word consumes a number, true, false or null.
func (s *scanner) word() error {
	word := s.scratch[:0]
	for {
		if s.pos == s.end && !s.fill() {
			if s.failure != nil {
				return s.failure
			}
			break
		}
		c := s.buf[s.pos]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E') {
			break
		}
		if len(word) >= maxText {
			return fmt.Errorf("a number of more than %d bytes", maxText)
		}
		word = append(word, c)
		s.pos++
	}
	s.scratch = word
	switch string(word) {
	case "true", "false", "null":
		return nil
	case "":
		c, err := s.byte()
		if err != nil {
			return err
		}
		return fmt.Errorf("%q where a value is wanted", c)
	}
	if !number(word) {
		return fmt.Errorf("%s is no value", quote(string(word)))
	}
	return nil
}

// number reports whether text is a number of JSON's grammar.
func number(text []byte) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(text) && text[i] == '-' {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(text) && text[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '-' || text[i] == '+') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(text)
}
