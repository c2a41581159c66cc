package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes files below a new folder and gives the folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRelativePathsAreLookedForInTheWorkingDirectoryFirst(t *testing.T) {
	const manifest = `local_server.kv_stores.k = [ { key = "k", file = "data/v" } ]`
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string // value, or part of the error
	}{
		{"the file is in the working directory only", map[string]string{"cwd/data/v": "cwd"}, "cwd"},
		{"the file is beside the manifest only", map[string]string{"cwd/x": "", "project/data/v": "project"}, "project"},
		{"the file is in both places", map[string]string{"cwd/data/v": "cwd", "project/data/v": "project"}, "cwd"},
		{"the file is in neither", map[string]string{"cwd/x": ""}, `"data/v" in the working directory or in `},
		{"a folder in the working directory hides the file", map[string]string{"cwd/data/v/x": "", "project/data/v": "project"}, "a folder, not a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.files["project/fastly.toml"] = manifest
			dir := write(t, test.files)
			t.Chdir(filepath.Join(dir, "cwd"))
			m, err := Load(filepath.Join(dir, "project", "fastly.toml"))
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %q, want one with %q", err, test.want)
				}
				return
			}
			if got := string(m.LocalServer.KVStores[0].Items[0].Value); got != test.want {
				t.Errorf("read the file of %s, want that of %s", got, test.want)
			}
		})
	}
}

func TestResolvedPathsCanBeReadAgain(t *testing.T) {
	dir := write(t, map[string]string{
		"project/fastly.toml": `local_server.config_stores.c = { format = "json", file = "c.json" }`,
		"project/c.json":      `{"a":"1"}`,
	})
	t.Chdir(dir)
	m, err := Load("project/fastly.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(m.LocalServer.ConfigStores[0].File); err != nil {
		t.Error(err)
	}
}

func TestLoadNamesAnUnreadableManifest(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "fastly.toml")
	_, err := Load(missing)
	if !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), missing) != 1 {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "a folder") {
		t.Errorf("folder: %v", err)
	}
}

func TestErrorsCanBeTakenApart(t *testing.T) {
	_, err := Parse("dir/fastly.toml", []byte("name = 1\n\n[local_server.acls]\na = 'missing.json'\n"))
	var list Errors
	if !errors.As(err, &list) || len(list) != 2 {
		t.Fatalf("got %v, want two problems", err)
	}
	if want := (Pos{File: "dir/fastly.toml", Line: 4, Col: 5}); list[1].Pos != want || list[1].Key != "local_server.acls.a" {
		t.Errorf("problem at %s (%s), want %s (local_server.acls.a)", list[1].Pos, list[1].Key, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the missing file is not found by errors.Is")
	}
}

// secretManifest has the word hunter2 wherever a secret may stand.
const secretManifest = `
[scripts]
[local_server]
fake_valid_fastly_keys = ["hunter2"]
secret_stores.s = [ { key = "a", data = "hunter2" }, { key = "b", env = "E" } ]
secret_stores.j = { file = "secrets.json", format = "json" }
`

func TestSecretsAreNotPrinted(t *testing.T) {
	dir := write(t, map[string]string{"fastly.toml": secretManifest, "secrets.json": `{"a":"hunter2"}`})
	t.Setenv("E", "hunter2")
	m, err := Load(filepath.Join(dir, "fastly.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.LocalServer.SecretStores) != 2 || string(m.LocalServer.SecretStores[0].Items[0].Value.Reveal()) != "hunter2" {
		t.Fatalf("secrets: %v", m.LocalServer.SecretStores)
	}
	item := m.LocalServer.SecretStores[0].Items[0]
	hidden := struct{ secret Secret }{item.Value} // fmt calls no methods on this field
	var b strings.Builder
	for _, v := range []any{m, *m, m.LocalServer, item, &item, item.Value, &item.Value, m.LocalServer.FakeValidFastlyKeys, hidden, &hidden} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb, v)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		src, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		b.Write(src)
	}
	for _, form := range []string{"hunter2", "68756e74657232", "104 117 110"} {
		if strings.Contains(b.String(), form) {
			t.Errorf("%q was printed", form)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		if got := fmt.Sprintf(verb, item.Value); got != redacted {
			t.Errorf("%s gives %q", verb, got)
		}
	}
}

func TestPrivateKeysAreNotPrinted(t *testing.T) {
	m, err := Load("testdata/certificates.toml")
	if err != nil {
		t.Fatal(err)
	}
	var key fmt.Stringer
	for _, b := range m.LocalServer.Backends {
		if b.Name != "files-win" {
			continue
		}
		pair := b.ClientCertificate.TLS()
		secret := fmt.Sprint(pair.PrivateKey)[3:40]                   // some digits of it
		hidden := struct{ c *ClientCertificate }{b.ClientCertificate} // fmt calls no methods on this field
		deeper := struct{ c ClientCertificate }{*b.ClientCertificate}
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q", "%d"} {
			for _, v := range []any{b, &b, m, b.ClientCertificate, *b.ClientCertificate, hidden, &hidden, deeper} {
				if strings.Contains(fmt.Sprintf(verb, v), secret) {
					t.Errorf("%s prints the private key in %T", verb, v)
				}
			}
		}
		key = b.ClientCertificate
	}
	if key == nil || key.String() != "[client certificate CN=test rsa client]" {
		t.Errorf("client certificate: %v", key)
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Setenv("HUNTER", "hunter2")
	for _, manifest := range []string{
		`local_server.secret_stores.s = [ { key = "a", data = "hunter2", env = "HUNTER" } ]`,
		`local_server.secret_stores.s = [ { key = "a", data = ["hunter2"] } ]`,
		`local_server.secret_stores.s = [ { key = "hunter2!", data = 1 } ]`,
		`local_server.secret_stores.s = [ { key = "a", data = "hunter2" "x" } ]`,
		`local_server.secret_stores.s = "hunter2"`,
		`local_server.fake_valid_fastly_keys = "hunter2"`,
		`local_server.fake_valid_fastly_keys = [["hunter2"]]`,
		`local_server.backends.b.url = "http://u:hunter2@h:99999/"`,
		`local_server.backends.b.url = "http://u:hunter2@h h/"`,
		`local_server.backends.b.url = "http://u%x:hunter2@h/"`,
		`local_server.backends.b.url = "u:hunter2@h"`,
		`local_server.backends.b = "http://u:hunter2@h"`,
		`local_server.backends.b.client_certificate = { certificate = "x", key = "hunter2" }`,
		`local_server.shielding_sites.s = { encrypted = "u:hunter2@h", unencrypted = "http://u:hunter2@h:x" }`,
		`scripts.env_vars = [["K=hunter2"]]`,
	} {
		_, err := Parse("fastly.toml", []byte(manifest))
		if err == nil {
			t.Errorf("%s: no error", manifest)
			continue
		}
		// A secret where a name should be is shown as part of the dotted key and of nothing else.
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\ngives %v", manifest, err)
		}
	}
}

func TestParsePackageLeavesTheMachineAlone(t *testing.T) {
	m, err := ParsePackage("fastly.toml", []byte(`
manifest_version = "0.1.0"
name = "p"
local_server.secret_stores.s = [ { key = "a", env = "HOME" }, { key = "b", file = "/etc/passwd" } ]
local_server.backends.b.nonsense = 1
`))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "p" || m.Version != 3 || len(m.LocalServer.SecretStores) != 0 || len(m.Warnings) != 0 {
		t.Errorf("got %+v", m)
	}
}

func TestParsePackageTakesTheCommandLinesVersions(t *testing.T) {
	for text, want := range map[string]int{
		`"2.0.0"`: 2, `1.5`: 1, `"0.1.0"`: 3, `"3"`: 3, `0`: 3, `2`: 2, `""`: 0, `"x"`: 0, `"4.0"`: 0, `4`: 0, `-1.0`: 0, `nan`: 0, `[]`: 0, `true`: 0,
	} {
		m, err := ParsePackage("fastly.toml", []byte("manifest_version = "+text))
		switch {
		case want == 0 && err == nil:
			t.Errorf("%s gives version %d, want an error", text, m.Version)
		case want != 0 && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != 0 && m.Version != want:
			t.Errorf("%s gives version %d, want %d", text, m.Version, want)
		}
	}
}

func TestHostileSizesAreBounded(t *testing.T) {
	for _, test := range []struct{ name, src, want string }{
		{"a file over the size limit", strings.Repeat("#", maxSize+1), "1:1: larger than"},
		{"too many values in a list", "a = [" + strings.Repeat("1,", maxValues+1) + "]", "more than 250000 values"},
		{"too many keys", manyKeys(maxValues + 1), "more than 250000 values"},
		{"deep lists", "a = " + strings.Repeat("[", 1<<20), "nested more than"},
		{"deep inline tables", "a = " + strings.Repeat("{a=", 1<<20), "nested more than"},
		{"deep headers", "[" + strings.Repeat("a.", 1<<20) + "a]", "more than 64 deep"},
		{"many problems", "[local_server.backends]\n" + manyKeys(1000), "900 more problems are not listed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("fastly.toml", []byte(test.src))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.300v, want an error with %q", err, test.want)
			}
			if list := (Errors)(nil); errors.As(err, &list) && len(list) > maxProblems+1 {
				t.Errorf("%d problems", len(list))
			}
		})
	}
	m, err := Parse("fastly.toml", []byte(manyKeys(1000)))
	if err != nil || len(m.Warnings) != maxProblems+1 {
		t.Errorf("got %d warnings and error %v, want %d and none", len(m.Warnings), err, maxProblems+1)
	}
	if last := m.Warnings[maxProblems].Text; last != "900 more warnings are not listed" {
		t.Errorf("last warning %q", last)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	return b.String()
}

func TestFilesOfOneManifestAreBoundedTogether(t *testing.T) {
	big := make([]byte, maxDataFile)
	files := func(string, int64) ([]byte, error) { return big, nil }
	var b strings.Builder
	b.WriteString("local_server.kv_stores.k = [\n")
	for i := range maxFilesRead/maxDataFile + 1 {
		fmt.Fprintf(&b, "{ key = 'k%d', file = 'big' },\n", i)
	}
	b.WriteString("]")
	_, err := parse("fastly.toml", []byte(b.String()), files, os.LookupEnv, true)
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "k[8].file: cannot read") {
		t.Errorf("got %.300v, want an error for the last file only", err)
	}
}

func TestReadFileRefusesWhatItCannotBound(t *testing.T) {
	dir := write(t, map[string]string{"five": "12345"})
	five := filepath.Join(dir, "five")
	if src, err := readFile(five, 5); err != nil || string(src) != "12345" {
		t.Errorf("at the limit: %q, %v", src, err)
	}
	if _, err := readFile(five, 4); err == nil || err.Error() != "larger than 4 bytes" {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := readFile(os.DevNull, 4); err == nil {
		t.Error("a device was read")
	}
}

func TestColumnsCountCharacters(t *testing.T) {
	text := newText([]byte("aé = 1\n\n\tb\r\n"))
	for _, test := range []struct{ off, line, col int }{
		{-1, 1, 1}, {0, 1, 1}, {1, 1, 2}, {3, 1, 3}, {7, 1, 7}, {8, 2, 1}, {9, 3, 1}, {10, 3, 2}, {12, 3, 4}, {13, 4, 1}, {99, 4, 1},
	} {
		if line, col := text.position(test.off); line != test.line || col != test.col {
			t.Errorf("offset %d is %d:%d, want %d:%d", test.off, line, col, test.line, test.col)
		}
	}
	// 4096 bytes, then bytes are counted: 2048 characters and 904 bytes stand before offset 5000.
	text = newText([]byte(strings.Repeat("é", 3000)))
	if _, col := text.position(5000); col != 2048+904+1 {
		t.Errorf("far in a line, column %d", col)
	}
}

func TestSlipsAreRecognised(t *testing.T) {
	fields := []field{key("backends", nil), key("kv_stores", nil, "object_stores"), key("url", nil)}
	for written, want := range map[string]string{
		"backend":      "backends",
		"bakcends":     "backends",
		"Backends":     "backends",
		"kv_store":     "kv_stores",
		"objects_tore": "object_stores",
		"urll":         "url",
		"rul":          "url",
		"host":         "",
		"ul":           "url",
		"u":            "",
		"":             "",
	} {
		got := meant(written, fields)
		if want != "" {
			want = " (did you mean " + want + "?)"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", written, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		env   string
		want  string // file name, or "" for an error
	}{
		{"fastly.toml alone", map[string]string{"fastly.toml": ""}, "", "fastly.toml"},
		{"wasmedge.toml alone", map[string]string{"wasmedge.toml": ""}, "", "wasmedge.toml"},
		{"both", map[string]string{"fastly.toml": "", "wasmedge.toml": ""}, "", "wasmedge.toml"},
		{"neither", map[string]string{"fastly.stage.toml": ""}, "", ""},
		{"an environment", map[string]string{"fastly.toml": "", "fastly.stage.toml": ""}, "stage", "fastly.stage.toml"},
		{"an environment without a file", map[string]string{"fastly.toml": ""}, "stage", ""},
		{"an environment that is a path", map[string]string{"fastly.x/y.toml": ""}, "x/y", ""},
		{"a folder of that name", map[string]string{"wasmedge.toml/x": "", "fastly.toml": ""}, "", "fastly.toml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, test.files)
			path, err := Find(dir, test.env)
			if test.want == "" {
				if err == nil {
					t.Errorf("found %s, want an error", path)
				}
				if !strings.Contains(test.env, "/") && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("error %v is not fs.ErrNotExist", err)
				}
				return
			}
			if err != nil || path != filepath.Join(dir, test.want) {
				t.Errorf("found %q, %v, want %q", path, err, test.want)
			}
		})
	}
	t.Chdir(write(t, map[string]string{"fastly.toml": ""}))
	if path, err := Find("", ""); path != "fastly.toml" || err != nil {
		t.Errorf("in the working directory: %q, %v", path, err)
	}
}
