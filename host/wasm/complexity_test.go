package wasm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/testdata/guests"
)

// oneFunction makes a module with one function of that body, which must include its local declarations and end.
func oneFunction(types, body []byte) []byte {
	code := append(AppendU32(nil, 1), AppendU32(nil, uint32(len(body)))...)
	return Encode([]Section{
		{ID: SectionType, Body: types},
		{ID: SectionFunction, Body: []byte{1, 0}},
		{ID: SectionCode, Body: append(code, body...)},
	})
}

func TestComplexFunctionsAreRefused(t *testing.T) {
	noType := []byte{1, 0x60, 0, 0}
	manyLocals := append(AppendU32([]byte{1}, 40_000), 0x7f) // one declaration of 40,000 i32
	wide := append([]byte{2, 0x60, 0, 0, 0x60, 0}, AppendU32(nil, 1000)...)
	wide = append(wide, bytes.Repeat([]byte{0x7f}, 1000)...)
	get := append([]byte{opLocalGet}, AppendU32(nil, 39_999)...)
	get = append(get, 0x1a)
	tests := []struct {
		name    string
		types   []byte
		body    []byte
		refused bool
	}{
		{"a long function", noType, append([]byte{0}, append(bytes.Repeat([]byte{0x01}, 1<<20), 0x0b)...), false},
		{"a function of millions of instructions", noType,
			append(append([]byte{0, 0x41, 0}, bytes.Repeat([]byte{0x45}, 7_000_000)...), 0x1a, 0x0b), true},
		{"many locals and no joins", noType, append(append(bytes.Clone(manyLocals), bytes.Repeat(get, 10_000)...), 0x0b), false},
		{"many locals live across many joins", noType,
			append(append(append(bytes.Clone(manyLocals), bytes.Repeat([]byte{opBlock, 0x40, 0x0b}, 5_000)...), bytes.Repeat(get, 5_000)...), 0x0b), true},
		{"many calls that give many values", wide,
			append(append([]byte{0}, bytes.Repeat([]byte{opBlock, 1, 0x00, 0x0b}, 20_000)...), 0x0b), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Parse(oneFunction(tt.types, tt.body))
			if err != nil {
				t.Fatal(err)
			}
			err = m.CheckComplexity()
			if errors.Is(err, ErrTooComplex) != tt.refused {
				t.Errorf("CheckComplexity() = %v", err)
			}
			if tt.refused && !strings.Contains(err.Error(), "function 0") {
				t.Errorf("the error does not name the function: %v", err)
			}
		})
	}
}

func TestRealProgramsAreFarFromTooComplex(t *testing.T) {
	for _, name := range guests.Names() {
		m, err := Parse(guests.Wasm(t, name))
		if err != nil {
			t.Fatal(name, err)
		}
		if v, err := m.complexity(); err != nil || v > maxValues/20 {
			t.Errorf("%s: %d, %v", name, v, err)
		}
	}
}
