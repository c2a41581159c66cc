package cursor

import (
	"errors"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

func TestDecodeGivesWhatWasEncoded(t *testing.T) {
	for _, tt := range []struct{ prefix, last string }{
		{"", "a"}, {"a", "a"}, {"a", "ab"}, {"é", "é/x"}, {"", strings.Repeat("k", kvstore.MaxKey)}, {"", "\x00\xff"},
	} {
		c := Encode(tt.prefix, tt.last)
		if last, err := Decode(tt.prefix, c); err != nil || last != tt.last {
			t.Errorf("%q under %q: got %q, %v", tt.last, tt.prefix, last, err)
		}
		if strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("the cursor %q needs escaping in a URL", c)
		}
	}
	if last, err := Decode("x", ""); last != "" || err != nil {
		t.Errorf("the empty cursor: got %q, %v", last, err)
	}
}

func TestDecodeRefusesWhatIsNotOfTheListing(t *testing.T) {
	good := Encode("ab", "abc")
	for name, tt := range map[string]struct{ prefix, cursor string }{
		"another prefix":          {"abx", good},
		"a shorter prefix":        {"a", good},
		"no prefix":               {"", good},
		"a key outside of prefix": {"ab", Encode("x", "abc")},
		"forged with its sum":     {"x", Encode("x", "abc")},
		"a key":                   {"", "abc"},
		"cut short":               {"ab", good[:len(good)-1]},
		"with more behind":        {"ab", good + "AA"},
		"padded":                  {"ab", good + "="},
		"another form":            {"ab", "AA" + good[2:]},
		"not base64":              {"", "!!"},
		"a line break inside":     {"ab", good[:4] + "\n" + good[4:]},
		"without a key":           {"", Encode("", "")},
		"far too long":            {"", strings.Repeat("A", 1<<20)},
	} {
		if last, err := Decode(tt.prefix, tt.cursor); !errors.Is(err, kvstore.ErrCursor) || last != "" {
			t.Errorf("%s: got %q, %v", name, last, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("", "")
	f.Add("ab", Encode("ab", "abc"))
	f.Add("", Encode("", "k"))
	f.Add("x", "AQ")
	f.Fuzz(func(t *testing.T, prefix, cursor string) {
		last, err := Decode(prefix, cursor)
		switch {
		case err != nil:
			if !errors.Is(err, kvstore.ErrCursor) {
				t.Errorf("got %v", err)
			}
		case cursor == "":
		case !strings.HasPrefix(last, prefix):
			t.Errorf("%q is not below %q", last, prefix)
		case Encode(prefix, last) != cursor:
			t.Errorf("%q has two cursors, %q and %q", last, cursor, Encode(prefix, last))
		}
	})
}
