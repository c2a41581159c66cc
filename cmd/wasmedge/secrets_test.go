//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/secretstore"
)

// secretWorld is a folder with a data directory that holds secret shop/key, its key, and a manifest with local/key.
type secretWorld struct {
	dir, data, key, manifest string
	stored, local            string // the plaintexts
}

func newSecretWorld(t *testing.T) *secretWorld {
	t.Helper()
	dir := t.TempDir()
	w := &secretWorld{dir: dir, data: filepath.Join(dir, "data"), key: filepath.Join(dir, "key"), manifest: filepath.Join(dir, "fastly.toml"),
		stored: "stored-plaintext-4f1c", local: "local-plaintext-9a70"}
	key := secretstore.NewKey()
	if err := secretstore.WriteKeyFile(w.key, key); err != nil {
		t.Fatal(err)
	}
	stores, err := secretstore.OpenDir(filepath.Join(w.data, secretsFolder), secretstore.NewKeyring(key))
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	store, err := stores.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put("key", []byte(w.stored), secretstore.Create); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("manifest_version = 3\n[local_server.secret_stores]\nlocal = [ { key = \"key\", data = %q } ]\n", w.local)
	if err := os.WriteFile(w.manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// shows tells which form of a secret text has in it, "" for none.
func shows(text []byte, secret string) string {
	for form, s := range map[string]string{
		"the plaintext": secret, "half of the plaintext": secret[:len(secret)/2], "hexadecimal": hex.EncodeToString([]byte(secret)),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "a list of bytes": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
	} {
		if bytes.Contains(text, []byte(s)) {
			return form
		}
	}
	return ""
}

// freeAddr gives an address that nobody listens on just now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestNoSecretIsWritten collects all that a process writes while guests read secrets, fail with them in hand, and are asked
// for such that are damaged: standard output and error at the most talkative level, the access log, log files, metrics, the
// module cache, the data directory, and the goroutine dump that SIGQUIT makes.
func TestNoSecretIsWritten(t *testing.T) {
	for _, engine := range host.Engines() {
		t.Run(engine, func(t *testing.T) {
			w := newSecretWorld(t)
			keyText, err := os.ReadFile(w.key)
			if err != nil {
				t.Fatal(err)
			}
			logs, cache := filepath.Join(w.dir, "logs"), filepath.Join(w.dir, "cache")
			metrics := freeAddr(t)
			s := startServer(t, "-vvv", "--engine", engine, "-C", w.manifest, "--data-dir", w.data, "--secret-key", "file:"+w.key, "--log-dir", logs,
				"--cache-dir", cache, "--metrics-addr", metrics, "--max-cpu", "100ms", guest(t, "rust/secrets"))
			for path, want := range map[string]string{"/shop/key": w.stored, "/local/key": w.local} {
				if resp, body := fetch(t, s.url+path); resp.StatusCode != 200 || body != want {
					t.Fatalf("%s: %d %q", path, resp.StatusCode, body)
				}
				for _, how := range []string{"panic", "trap", "spin"} {
					resp, body := fetch(t, s.url+path+"?"+how)
					if resp.StatusCode < 500 {
						t.Errorf("%s?%s: %d", path, how, resp.StatusCode)
					}
					if form := shows([]byte(body), want); form != "" {
						t.Errorf("the client of a guest that fails with %s is given %s: %q", how, form, body)
					}
				}
			}
			resp, err := http.Get("http://" + metrics + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(resp.Body)
			if err != nil || len(all) < 1000 {
				t.Fatalf("%d bytes of metrics, %v", len(all), err)
			}
			resp.Body.Close()
			files, err := filepath.Glob(filepath.Join(w.data, secretsFolder, "shop*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			file, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			file[len(file)-45] ^= 1
			if err := os.WriteFile(files[0], file, 0o600); err != nil {
				t.Fatal(err)
			}
			if resp, body := fetch(t, s.url+"/shop/key"); resp.StatusCode != 400 || shows([]byte(body), w.stored) != "" {
				t.Errorf("a damaged store: %d %q", resp.StatusCode, body)
			}
			_, rest := s.stop(t, syscall.SIGQUIT)
			all = append(append(all, rest...), s.stderr.String()...)
			all = append(all, strings.Join(s.before, "\n")...)
			for _, part := range []string{"goroutine 1", "with a secret of ", "guest trapped", "secret store cannot be opened", `secret \"key\"`} {
				if !bytes.Contains(all, []byte(part)) {
					t.Errorf("the process did not write %q: this test misses something\n%s", part, all)
				}
			}
			for _, tree := range []string{logs, cache, w.data} {
				err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
					if err != nil || !d.Type().IsRegular() {
						return err
					}
					b, err := os.ReadFile(path)
					all = append(all, b...)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, secret := range []string{w.stored, w.local, strings.TrimSpace(string(keyText))} {
				if form := shows(all, secret); form != "" {
					t.Errorf("%s of %q is in what the process wrote", form, secret)
				}
			}
		})
	}
}

func TestKeysOfSecretStores(t *testing.T) {
	w := newSecretWorld(t)
	other := filepath.Join(w.dir, "other")
	if err := secretstore.WriteKeyFile(other, secretstore.NewKey()); err != nil {
		t.Fatal(err)
	}
	program := guest(t, "wat/hello")
	run := func(args ...string) []string { return append(append([]string{"run"}, args...), program) }
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"the right key", run("--data-dir", w.data, "--secret-key", "file:"+w.key), 0, `^$`},
		{"the right one as the second", run("--data-dir", w.data, "--secret-key", "file:"+other, "--secret-key", "file:"+w.key), 0, `^$`},
		{"a wrong key", run("--data-dir", w.data, "--secret-key", "file:"+other), 1, `shop-\w+\.secrets: no fitting master key: store "shop" needs key \w{16}, and what is at hand is \w{16}\n$`},
		{"no key", run("--data-dir", w.data), 1, `secrets holds secret stores: say with --secret-key`},
		{"no key and no secrets", run("--data-dir", w.dir), 0, `^$`},
		{"a key and no directory", run("--secret-key", "file:"+w.key), 2, `--secret-key needs --data-dir`},
		{"a key that is not there", run("--data-dir", w.data, "--secret-key", "file:/nowhere"), 1, `--secret-key: stat /nowhere: no such file`},
		{"a source that is none", run("--data-dir", w.data, "--secret-key", w.key), 1, `--secret-key: want file:PATH, env:NAME or exec:PROGRAM\[,FILE\]\n$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := runToEnd(t, append([]string{tt.args[0], "-C", w.manifest}, tt.args[1:]...)...)
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			match(t, "stderr", stderr, tt.stderr)
		})
	}
	key, err := os.ReadFile(w.key)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, run("-C", w.manifest, "--data-dir", w.data, "--secret-key", "env:KEY_OF_THE_TEST")...)
	cmd.Env = append(cmd.Env, "KEY_OF_THE_TEST="+string(key))
	if code, _, stderr := finish(t, cmd); code != 0 {
		t.Errorf("a key from the environment: %d %s", code, stderr)
	}
}

func TestManifestSecretsHideStoredOnes(t *testing.T) {
	w := newSecretWorld(t)
	if err := os.WriteFile(w.manifest, []byte("manifest_version = 3\n[local_server.secret_stores]\nshop = [ { key = \"key\", data = \"of the manifest\" } ]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "-v", "-C", w.manifest, "--data-dir", w.data, "--secret-key", "file:"+w.key, guest(t, "rust/secrets"))
	if resp, body := fetch(t, s.url+"/shop/key"); resp.StatusCode != 200 || body != "of the manifest" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	s.stop(t, syscall.SIGTERM)
	if text := strings.Join(s.before, "\n") + s.stderr.String(); !strings.Contains(text, `the secret store "shop" of the manifest hides the one in `) {
		t.Errorf("it does not say so: %s", text)
	}
}
