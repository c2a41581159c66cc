//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigStoresAreKeptByTheCommand(t *testing.T) {
	s := storeTool{filepath.Join(t.TempDir(), "data")}
	s.refuses(t, 1, "there are no config stores", "config-store", "list")
	s.ok(t, "config-store", "create", "features")
	s.refuses(t, 1, "exists already", "config-store", "create", "features")
	s.ok(t, "config-store", "put", "features", "dark", "on")
	s.ok(t, "config-store", "put", "features", "dark", "off")
	s.okWith(t, "piped", "config-store", "put", "features", "piped", "--stdin")
	s.refuses(t, 1, "the key exists already", "config-store-entry", "create", "-s", "features", "-k", "dark", "--value", "x")
	s.refuses(t, 1, "no such key", "config-store-entry", "update", "-s", "features", "-k", "new", "--value", "x")
	s.ok(t, "dictionary-entry", "update", "-s", "features", "-k", "new", "--value", "x", "--upsert")
	s.refuses(t, 2, "give one of VALUE", "config-store", "put", "features", "dark")
	s.refuses(t, 1, "over the limit", "config-store", "put", "features", "dark", strings.Repeat("x", 8001))
	s.refuses(t, 1, "no such config store", "config-store", "put", "nowhere", "dark", "x")

	if got := s.ok(t, "config-store", "get", "features", "dark"); got != "off" {
		t.Errorf("dark is %q", got)
	}
	if got := s.ok(t, "dictionary", "list", "features"); got != "KEY    VALUE\ndark   off\nnew    x\npiped  piped\n" {
		t.Errorf("entries:\n%s", got)
	}
	if got := s.ok(t, "config-store", "list", "--json"); !strings.HasPrefix(got, "[") || !strings.Contains(got, `"item_count": 3`) {
		t.Errorf("stores: %s", got)
	}
	out := filepath.Join(t.TempDir(), "features.ndjson")
	s.ok(t, "config-store", "export", "features", out)
	s.ok(t, "config-store", "create", "copy")
	s.ok(t, "config-store", "import", "copy", out)
	if a, b := s.ok(t, "config-store", "export", "features"), s.ok(t, "config-store", "export", "copy"); a != b || strings.Count(a, "\n") != 3 {
		t.Errorf("exported:\n%s\nimported:\n%s", a, b)
	}
	s.okWith(t, "{\n\"a\": \"1\"}", "config-store", "import", "copy")
	if got := s.ok(t, "config-store", "export", "copy"); got != "{\"item_key\":\"a\",\"item_value\":\"1\"}\n" {
		t.Errorf("of an object: %s", got)
	}
	for text, want := range map[string]string{
		"{\"item_key\":\"a\",\"item_value\":\"1\"}\nnonsense": "line 2", `{"a": 1}`: "1:", `[]`: "1:",
	} {
		if code, _, stderr := s.run(t, text, "config-store", "import", "copy"); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", text, code, stderr)
		}
	}
	s.ok(t, "config-store", "delete", "features", "new")
	s.refuses(t, 1, "--yes", "config-store", "delete", "features")
	s.ok(t, "config-store", "delete", "features", "--all", "--yes")
	s.ok(t, "config-store", "delete", "features")
	s.refuses(t, 1, "no such config store", "config-store", "describe", "features")
}
