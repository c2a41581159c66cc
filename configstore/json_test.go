package configstore_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/configstore"
)

func TestParseJSON(t *testing.T) {
	for _, test := range []struct {
		name, src string
		want      map[string]string
		err       string // the whole error
	}{
		{"an object of strings", ` { "a" : "1" , "b":"\u00e9\n" } `, map[string]string{"a": "1", "b": "é\n"}, ""},
		{"an empty object", `{}`, map[string]string{}, ""},
		{"an empty key", `{"":""}`, map[string]string{"": ""}, ""},
		{"a key twice", `{"a":"1","a":"2"}`, map[string]string{"a": "2"}, ""},
		{"nothing", ``, nil, "1:1: unexpected end of JSON input"},
		{"a list", "\n [\"a\"]", nil, "2:2: want a JSON object of strings, not an array"},
		{"null", `null`, nil, "1:1: want a JSON object of strings, not null"},
		{"a string", `"a"`, nil, "1:1: want a JSON object of strings, not a string"},
		{"a number inside", "{\"é\": 1}", nil, `1:7: value of key "é": want a string, not a number`},
		{"a boolean inside", "{\"a\": false}", nil, `1:7: value of key "a": want a string, not a boolean`},
		{"null inside", "{\"a\":null}", nil, `1:6: value of key "a": want a string, not null`},
		{"an object inside", "{\"a\":\n\t{\"b\":\"c\"}}", nil, `2:2: value of key "a": want a string, not an object`},
		{"a list inside", "{\"a\":[1]}", nil, `1:6: value of key "a": want a string, not an array`},
		{"no colon", "{\n\"a\" \"b\"}", nil, "2:5: invalid character '\"' after object key"},
		{"a trailing comma", `{"a":"b",}`, nil, "1:10: invalid character '}' looking for beginning of object key string"},
		{"torn in a string", `{"a":"b`, nil, "1:7: unexpected end of JSON input"},
		{"text behind", "{}\n x", nil, "2:2: invalid character 'x' after top-level value"},
		{"not UTF-8", "{\"\ufffd\":\n\"\xff\"}", nil, "2:2: not UTF-8"},
		{"a long key", `{"a":"b",` + "\n" + `"` + strings.Repeat("k", 257) + `":""}`, nil,
			`2:1: key "` + strings.Repeat("k", 64) + `"... has 257 characters, over the limit of 256`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := configstore.ParseJSON([]byte(test.src), configstore.Limits{})
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got  %v\nwant %s", err, test.err)
				}
				return
			}
			if err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// FuzzParseJSON compares with the standard library's decoding of the same text.
func FuzzParseJSON(f *testing.F) {
	for _, src := range []string{`{}`, `{"a":"b"}`, `{"a":1}`, `[]`, `{"a":"\ud800"}`, `{"a":{"b":["c"]}}`, "{\"\xff\":\"\"}", `{"a":null}`, ` {"a" : "b" , "a":"c"} `} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := configstore.ParseJSON(src, configstore.Limits{})
		if err != nil {
			var line, col int
			if text := err.Error(); strings.ContainsAny(text, "\n\x00\x1b") {
				t.Errorf("the error is not one line: %q", text)
			} else if n, _ := fmt.Sscanf(text, "%d:%d:", &line, &col); n != 2 || line < 1 || col < 1 || line > strings.Count(string(src), "\n")+1 {
				t.Errorf("the error has no place in the file: %q", text)
			}
			return
		}
		var want map[string]string
		if err := json.Unmarshal(src, &want); err != nil {
			t.Fatalf("accepted here only: %v", err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
