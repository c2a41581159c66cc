//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore/bolt"
)

// storeTool runs commands on the stores of one directory.
type storeTool struct{ dir string }

func (s storeTool) run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Environ(), "WASMEDGE_DATA_DIR="+s.dir)
	cmd.Stdin = strings.NewReader(stdin)
	return finish(t, cmd)
}

// ok wants success, and gives what was written to standard output.
func (s storeTool) ok(t *testing.T, args ...string) string {
	t.Helper()
	return s.okWith(t, "", args...)
}

func (s storeTool) okWith(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, stdout, stderr := s.run(t, stdin, args...)
	if code != 0 {
		t.Fatalf("%q: code %d, %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// refuses wants a code and a text on standard error.
func (s storeTool) refuses(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	got, stdout, stderr := s.run(t, "", args...)
	if got != code || !strings.Contains(stderr, text) {
		t.Errorf("%q: code %d, want %d; %q in %s%s", args, got, code, text, stdout, stderr)
	}
}

func TestKVStoresAreKeptByTheCommand(t *testing.T) {
	s := storeTool{filepath.Join(t.TempDir(), "data")}
	s.refuses(t, 1, "there are no KV stores", "kv-store", "list")
	s.ok(t, "kv-store", "create", "pages")
	s.ok(t, "kv-store", "create", "--name", "other", "--json")
	s.refuses(t, 1, "exists already", "kv-store", "create", "pages")

	s.ok(t, "kv-store", "put", "pages", "home", "hello")
	s.ok(t, "kv-store-entry", "create", "-s", "pages", "-k", "about", "--value", "us", "--metadata", "m")
	s.okWith(t, "from stdin", "kv-store", "put", "pages", "piped", "--stdin")
	s.ok(t, "kv-store", "put", "pages", "home", " world", "--append")
	s.refuses(t, 1, "precondition failed", "kv-store", "put", "pages", "home", "x", "--add")
	s.refuses(t, 1, "precondition failed", "kv-store", "put", "pages", "home", "x", "--if-generation-match", "99999")
	s.refuses(t, 2, "exclude each other", "kv-store", "put", "pages", "home", "x", "--add", "--append")
	s.refuses(t, 2, "KEY is missing", "kv-store", "get", "pages")
	s.refuses(t, 1, "no such store", "kv-store", "get", "nowhere", "home")
	s.refuses(t, 1, "no such key", "kv-store", "get", "pages", "nothing")
	s.refuses(t, 1, "bad key", "kv-store", "put", "pages", "a#b", "x")

	if got := s.ok(t, "kv-store", "get", "pages", "home"); got != "hello world" {
		t.Errorf("home is %q", got)
	}
	if got := s.ok(t, "kv-store", "get", "pages", "piped", "--json"); !strings.Contains(got, `"piped": "ZnJvbSBzdGRpbg=="`) {
		t.Errorf("as JSON: %s", got)
	}
	if got := s.ok(t, "kv-store", "list", "pages"); got != "about\nhome\npiped\n" {
		t.Errorf("keys: %q", got)
	}
	if got := s.ok(t, "kv-store-entry", "list", "-s", "pages", "--prefix", "h", "--json"); strings.Join(strings.Fields(got), "") != `["home"]` {
		t.Errorf("keys as JSON: %s", got)
	}
	var d kvDescription
	if err := json.Unmarshal([]byte(s.ok(t, "kv-store", "describe", "pages", "about", "-j")), &d); err != nil || d.Size != 2 || d.Metadata == nil || *d.Metadata != "m" {
		t.Errorf("%+v, %v", d, err)
	}
	if got := s.ok(t, "kv-store", "list"); !strings.Contains(got, "pages  3") || !strings.Contains(got, "other  0") {
		t.Errorf("stores:\n%s", got)
	}

	s.ok(t, "kv-store", "delete", "pages", "piped")
	s.refuses(t, 1, "no such key", "kv-store", "delete", "pages", "piped")
	s.ok(t, "kv-store", "delete", "pages", "piped", "--force")
	s.refuses(t, 1, "not empty", "kv-store", "delete", "pages")
	s.refuses(t, 1, "--yes", "kv-store", "delete", "pages", "--all")
	s.ok(t, "kv-store", "delete", "pages", "--all", "--yes")
	s.ok(t, "kv-store", "delete", "other")
	if got := s.ok(t, "kv-store", "list", "--json"); !strings.Contains(got, `"Data": []`) {
		t.Errorf("stores are left: %s", got)
	}
}

func TestKVStoresAreFilledAndCopiedInBulk(t *testing.T) {
	s := storeTool{t.TempDir()}
	site := t.TempDir()
	for name, content := range map[string]string{"index.html": "<p>", "css/a.css": "a{}", ".git/config": "secret", "css/.x": "hidden"} {
		path := filepath.Join(site, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.ok(t, "kv-store", "create", "site")
	s.ok(t, "kv-store", "put", "site", "www/", "--dir", site)
	if got := s.ok(t, "kv-store", "list", "site"); got != "www/css/a.css\nwww/index.html\n" {
		t.Errorf("keys: %q", got)
	}
	s.ok(t, "kv-store", "put", "site", "bin", "--file", guestFile(t, "bin", []byte{0, 1, 0xff, '\n'}), "--metadata", "é", "--ttl", "1h")

	out := filepath.Join(t.TempDir(), "site.ndjson")
	s.ok(t, "kv-store", "export", "site", out)
	if streamed := s.ok(t, "kv-store", "export", "site"); streamed != string(read(t, out)) {
		t.Errorf("to a file: %s\nto standard output: %s", read(t, out), streamed)
	}
	s.ok(t, "kv-store", "create", "copy")
	s.ok(t, "kv-store", "import", "copy", out)
	if a, b := s.ok(t, "kv-store", "export", "site"), s.ok(t, "kv-store", "export", "copy"); len(a) != len(b) || strings.Count(a, "\n") != 3 {
		t.Errorf("exported:\n%s\nimported:\n%s", a, b)
	}
	if got := s.ok(t, "kv-store", "get", "copy", "bin"); got != "\x00\x01\xff\n" {
		t.Errorf("bin is %q", got)
	}
	if got := s.ok(t, "kv-store", "describe", "copy", "bin", "--json"); !strings.Contains(got, `"expires"`) || !strings.Contains(got, "é") {
		t.Errorf("bin: %s", got)
	}
	for line, want := range map[string]string{
		`{"key":"a","value":"!"}`: "not base64", `{"key":"","value":""}`: "it is empty", `{"key":"a"}`: "value", `nonsense`: "line 1",
	} {
		code, _, stderr := s.run(t, line, "kv-store", "import", "copy")
		if code != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "line 1") {
			t.Errorf("%s: code %d, %s", line, code, stderr)
		}
	}

	backup := filepath.Join(t.TempDir(), "backup")
	s.ok(t, "kv-store", "backup", backup)
	s.ok(t, "kv-store", "delete", "copy", "--all", "-y")
	s.ok(t, "kv-store", "check")
	s.ok(t, "kv-store", "compact")
	s.refuses(t, 1, "--yes", "kv-store", "restore", backup)
	s.ok(t, "kv-store", "restore", backup, "--yes")
	if got := s.ok(t, "kv-store", "get", "copy", "www/index.html"); got != "<p>" {
		t.Errorf("after the restoration: %q", got)
	}
	s.refuses(t, 1, "site.ndjson", "kv-store", "restore", out+"x", "--yes")
	if err := os.WriteFile(backup, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuses(t, 1, "damaged", "kv-store", "restore", backup, "--yes")
	if got := s.ok(t, "kv-store", "get", "copy", "www/index.html"); got != "<p>" {
		t.Errorf("after a restoration that failed: %q", got)
	}
}

func TestKVStoresThatAServerHasOpenAreLeftAlone(t *testing.T) {
	s := storeTool{t.TempDir()}
	stores, err := bolt.Open(filepath.Join(s.dir, kvFile), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	s.refuses(t, 1, "must be stopped first", "kv-store", "list")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
