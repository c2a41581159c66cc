package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadTable(t *testing.T) {
	const body = ` { "name": {"deep": [1, -0.5e+3, "x", null, true, {}, []]}, "entries" : [
		{ "op": "create", "prefix": "1.2.3.9/24", "action": "BLOCK" },
		{ "prefix": "23.23.23.23/32", "action": "Allow", "comment": "\u00fc\ud83d\ude00\n\t\"" },
		{ "op": 7, "prefix": "FACE::/32", "action": "M\u0061yb\u00e9" },
		{ "prefix": "9.9.9.9/32", "prefix": "1.2.3.0/24", "action": "ALLOW" }
	], "meta": 1 } `
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(body),
		"byte by byte": iotest.OneByteReader(strings.NewReader(body)),
		"in halves":    iotest.HalfReader(strings.NewReader(body)),
		"with the end": iotest.DataErrReader(strings.NewReader(body)),
	} {
		t.Run(name, func(t *testing.T) {
			tab, err := ReadTable(r)
			if err != nil {
				t.Fatal(err)
			}
			want := "[{1.2.3.0/24 ALLOW} {23.23.23.23/32 ALLOW} {face::/32 Maybé}]"
			if got := fmt.Sprint(slices.Collect(tab.All())); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

func TestWhatIsWrongWithABodyIsTold(t *testing.T) {
	entry := func(s string) string { return `{"entries":[{"prefix":"10.0.0.0/8","action":"A"},` + s + `]}` }
	for _, tt := range []struct {
		name, body, want string
	}{
		{"nothing", "", "at byte 0: the input ends too early"},
		{"a list", "[]", `at byte 0: '[' where '{' is wanted`},
		{"no entries", "{}", "at byte 2: the key entries is missing"},
		{"entries of another kind", `{"entries":{}}`, `'{' where '[' is wanted`},
		{"entries twice", `{"entries":[],"entries":[]}`, "stands twice"},
		{"an entry that is text", entry(`"x"`), `entry 1, at byte 49: '"' where '{' is wanted`},
		{"no prefix", entry(`{"action":"A"}`), "entry 1, at byte 63: not valid: the prefix is missing"},
		{"no action", entry(`{"prefix":"10.0.0.0/8"}`), "not valid: the action is missing"},
		{"an address without a mask", entry(`{"prefix":"10.0.0.0","action":"A"}`), `prefix "10.0.0.0" is not valid: want an address with a mask`},
		{"a mask of 0", entry(`{"prefix":"10.0.0.0/0","action":"A"}`), "the mask must be 1 to 32"},
		{"a mask of 33", entry(`{"prefix":"10.0.0.0/33","action":"A"}`), "not valid"},
		{"a zone", entry(`{"prefix":"fe80::1%eth0/64","action":"A"}`), "not valid"},
		{"a number as action", entry(`{"prefix":"10.0.0.0/8","action":1}`), `'1' where '"' is wanted`},
		{"null as prefix", entry(`{"prefix":null,"action":"A"}`), `'n' where '"' is wanted`},
		{"a long action", entry(`{"prefix":"10.0.0.0/8","action":"` + strings.Repeat("a", 256) + `"}`), "may have 255"},
		{"a string without end", `{"entries":[{"prefix":"10`, "entry 0, at byte 25: the input ends too early"},
		{"a string that is too long", `{"x":"` + strings.Repeat("a", 70<<10) + `"}`, "more than 65536 bytes"},
		{"a number that is too long", `{"x":` + strings.Repeat("1", 70<<10) + `}`, "more than 65536 bytes"},
		{"deep nesting", `{"x":` + strings.Repeat("[", 1000), "more than 64 deep"},
		{"half a surrogate pair", `{"x":"\ud800"}`, "half a surrogate pair"},
		{"two first halves", `{"x":"\ud800\ud800"}`, "half a surrogate pair"},
		{"a bad escape", `{"x":"\q"}`, `'q' after a backslash`},
		{"a bad hexadecimal digit", `{"x":"\u12g4"}`, `'g' among four`},
		{"a line break in a string", "{\"x\":\"\n\"}", "control character"},
		{"no UTF-8", "{\"x\":\"\xff\"}", "not UTF-8"},
		{"no UTF-8 beside an escape", "{\"x\":\"\\n\xff\"}", "not UTF-8"},
		{"a number with a leading zero", `{"x":01}`, `"01" is no value`},
		{"a number without digits", `{"x":-}`, `"-" is no value`},
		{"a fraction without digits", `{"x":1.}`, "is no value"},
		{"a word", `{"x":nul}`, `"nul" is no value`},
		{"a comma too many", `{"entries":[],}`, `'}' where '"' is wanted`},
		{"a missing comma", `{"entries":[] "x":1}`, `'"' where ',' or '}' is wanted`},
		{"a missing colon", `{"entries" []}`, `'[' where ':' is wanted`},
		{"something after the end", `{"entries":[]} x`, `'x' after the end`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab, err := ReadTable(strings.NewReader(tt.body))
			var de *DecodeError
			if tab != nil || !errors.As(err, &de) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if _, err := ReadTable(iotest.OneByteReader(strings.NewReader(tt.body))); err == nil {
				t.Error("byte by byte it is no error")
			}
		})
	}
	broken := errors.New("broken")
	for _, body := range []string{"", `{"entries":[`, `{"entries":[]}`, `{"x":1`} {
		if _, err := ReadTable(io.MultiReader(strings.NewReader(body), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the reader's own error", body, err)
		}
	}
}

func TestReadOps(t *testing.T) {
	const list = `{"prefix":"10.0.0.0/8","action":"BLOCK"}, {"op":"update","prefix":"10.0.0.0/9","action":"ALLOW"}, {"op":"delete","prefix":"10.0.0.0/10"}`
	want := "[{create {10.0.0.0/8 BLOCK}} {update {10.0.0.0/9 ALLOW}} {delete {10.0.0.0/10 }}]"
	ops, err := ReadOps(strings.NewReader(`{"entries":[` + list + `]}`))
	if got := fmt.Sprint(ops); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	lines := strings.ReplaceAll(list, "}, ", "}\n")
	for _, text := range []string{lines, lines + "\n", "\n" + strings.ReplaceAll(lines, "\n", "\r\n\r\n")} {
		if ops, err = ReadLines(strings.NewReader(text)); err != nil || fmt.Sprint(ops) != want {
			t.Errorf("%q: %v, %v", text, ops, err)
		}
	}
	if ops, err := ReadLines(strings.NewReader(" \n")); len(ops) != 0 || err != nil {
		t.Error(ops, err)
	}
	for _, tt := range []struct{ line, want string }{
		{lines + "\n{}", "entry 3, at byte"},
		{lines + "\n[]", "entry 3, at byte"},
		{`{"op":"replace","prefix":"10.0.0.0/8","action":"A"}`, `operation "replace" is not valid: want create, update or delete`},
		{`{"op":1,"prefix":"10.0.0.0/8","action":"A"}`, `'1' where '"' is wanted`},
		{`{"op":"update","prefix":"10.0.0.0/8"}`, "the action is missing"},
	} {
		if ops, err := ReadLines(strings.NewReader(tt.line)); ops != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v %v, want %q", tt.line, ops, err, tt.want)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadLines(io.MultiReader(strings.NewReader(lines), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	tab := table(t, "10.0.0.0/8", "BLOCK", "::ffff:10.0.0.0/104", "a \"quoted\" <tag> \u2028 \x00\x7f", "2001:db8::/32", "")
	for name, tt := range map[string]struct {
		write func(io.Writer) error
		read  func(io.Reader) ([]Op, error)
	}{
		"body":  {func(w io.Writer) error { return WriteBody(w, tab.All()) }, ReadOps},
		"lines": {func(w io.Writer) error { return WriteLines(w, tab.All()) }, ReadLines},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := tt.write(&b); err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(b.Bytes()) {
				if name == "lines" && !json.Valid(line) {
					t.Errorf("not JSON: %s", line)
				}
			}
			if name == "body" && !json.Valid(b.Bytes()) {
				t.Errorf("not JSON: %s", &b)
			}
			ops, err := tt.read(&b)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := (*Table)(nil).Update(ops)
			if err != nil || !slices.Equal(slices.Collect(got.All()), slices.Collect(tab.All())) {
				t.Errorf("%v, %v", ops, err)
			}
		})
	}
	for name, write := range map[string]func(io.Writer) error{
		"body": func(w io.Writer) error { return WriteBody(w, tab.All()) }, "lines": func(w io.Writer) error { return WriteLines(w, tab.All()) },
	} {
		if err := write(failingWriter{}); err == nil {
			t.Errorf("%s: a failed write is no error", name)
		}
	}
	text, err := json.Marshal(entry(t, "::ffff:10.0.0.0/104", "x\"y"))
	if want := `{"prefix":"::ffff:10.0.0.0/104","action":"x\"y"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// FuzzReadTable compares the reader with encoding/json: nothing that is not JSON is taken, and what is taken means the same.
func FuzzReadTable(f *testing.F) {
	for _, s := range []string{
		`{"entries":[{"op":"create","prefix":"10.0.0.0/8","action":"ALLOW"}]}`,
		`{"a":[1,{"b":"\u00e9\ud83d\ude00"}],"entries":[{"prefix":"::ffff:1.2.3.4/97","action":"","x":-1.5e3}]} `,
		`{"entries":[{"prefix":"1.2.3.4/32","prefix":"1.2.3.5/32","action":"\n"},{}]}`,
		`{"entries":[],"x":nul}`, "{\"entries\":[{\"prefix\":\"\xff\"", `{"entries":[{"prefix":"1.2.3.4/32","Action":"a","action":"b"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tab, err := ReadTable(bytes.NewReader(body))
		slow, slowErr := ReadTable(iotest.OneByteReader(bytes.NewReader(body)))
		if (err == nil) != (slowErr == nil) || err == nil && !slices.Equal(slices.Collect(tab.All()), slices.Collect(slow.All())) {
			t.Errorf("at once: %v; byte by byte: %v", err, slowErr)
		}
		if ops, err := ReadLines(bytes.NewReader(body)); err == nil {
			values := json.NewDecoder(bytes.NewReader(body))
			for range ops {
				var v map[string]any
				if err := values.Decode(&v); err != nil {
					t.Fatalf("%q is taken as lines, but %v", body, err)
				}
			}
			if err := values.Decode(new(any)); err != io.EOF {
				t.Fatalf("%q: something follows %d lines: %v", body, len(ops), err)
			}
		}
		if err != nil {
			return
		}
		// encoding/json folds the case of struct keys, so compare through maps.
		var want struct{ Entries []map[string]any }
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(body, &keys); err != nil {
			t.Fatalf("%q is taken, but %v", body, err)
		}
		if err := json.Unmarshal(keys["entries"], &want.Entries); err != nil {
			t.Fatalf("%q is taken, but %v", body, err)
		}
		m := model{}
		for _, e := range want.Entries {
			p, err := ParsePrefix(e["prefix"].(string))
			if err != nil {
				t.Fatal(err)
			}
			a, err := normalAction(e["action"].(string))
			if err != nil {
				t.Fatal(err)
			}
			m[p] = a
		}
		if tab.Len() != len(m) {
			t.Fatalf("%q: %d entries, want %d", body, tab.Len(), len(m))
		}
		for e := range tab.All() {
			if m[e.Prefix] != e.Action {
				t.Errorf("%q: %v, want %q", body, e, m[e.Prefix])
			}
		}
	})
}
