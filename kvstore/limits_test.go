package kvstore

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckKey(t *testing.T) {
	for _, key := range []string{"a", "a b", "é", "a/b", "a..b", ".a", "..a", ".well-known/x", strings.Repeat("k", MaxKey)} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	bad := []string{"", ".", "..", "./a", "a/../b", "a./b", "a/.", "a/..", "a\rb", "a\n", "#", "a;", "a?", "^a", "a|b", " ", "\x01", "\x7f",
		"\uffff", "\ufffe", "\xff", ".well-known/acme-challenge/x", strings.Repeat("k", MaxKey+1)}
	for _, key := range bad {
		if err := CheckKey(key); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "my store", "é", strings.Repeat("n", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a\nb", "\x00", "\xff", strings.Repeat("n", MaxName+1)} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
