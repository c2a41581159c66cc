package host

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto/tls"

	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/secretstore"
)

// secretDir opens a directory of secret stores that holds shop/key = value.
func secretDir(t testing.TB, path string, value string) (*secretstore.Stores, *secretstore.Store) {
	t.Helper()
	stores, err := secretstore.OpenDir(path, secretstore.NewKeyring(secretstore.NewKey()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stores.Close() })
	store, err := stores.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put("key", []byte(value), secretstore.Create); err != nil {
		t.Fatal(err)
	}
	return stores, store
}

func TestGuestsReadSecrets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fastly.toml")
	if err := os.WriteFile(filepath.Join(dir, "binary"), []byte("a\x00\xff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "j.json"), []byte(`{"key":"from json"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET_OF_THE_TEST", "from the environment")
	if err := os.WriteFile(file, []byte(`
manifest_version = 3
[local_server.secret_stores]
local = [ { key = "text", data = "hunter2" }, { key = "file", file = "binary" }, { key = "env", env = "SECRET_OF_THE_TEST" }, { key = "none", data = "" } ]
json = { file = "j.json", format = "json" }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789abcdef", secretstore.MaxSecret/16)
	stores, store := secretDir(t, filepath.Join(dir, "secrets"), long)
	eachEngine(t, func(t *testing.T, h *testHost) {
		var cfg ServiceConfig
		if err := cfg.UseManifest(m); err != nil {
			t.Fatal(err)
		}
		cfg.SecretStores = secretstore.Chain{cfg.SecretStores, stores}
		front := "http://" + listen(t, load(t, h, "rust/secrets", cfg), nil)
		for _, test := range []struct {
			path   string
			status int
			want   string
		}{
			{"/local/text", 200, "hunter2"},
			{"/local/file", 200, "a\x00\xff\n"},
			{"/local/env", 200, "from the environment"},
			{"/local/none", 200, ""},
			{"/json/key", 200, "from json"},
			{"/shop/key", 200, long},
			{"/shop/key?contains", 200, "true"},
			{"/shop/text?contains", 200, "false"},
			{"/local/key", 404, "no such secret"},
			{"/local/" + strings.Repeat("k", 256), 404, "no such secret"},
			{"/other/key", 404, "no such store"},
			{"/" + strings.Repeat("s", 256) + "/key", 404, "no such store"},
		} {
			if a := get(t, front+test.path); a.StatusCode != test.status || a.body != test.want {
				t.Errorf("%.50s: %d %.100q, want %d %.100q", test.path, a.StatusCode, a.body, test.status, test.want)
			}
		}
		req, _ := http.NewRequestWithContext(t.Context(), "POST", front+"/own", strings.NewReader("mine"))
		if a := fetch(t, plainClient, req); a.body != "mine" {
			t.Errorf("a secret of the guest's own: %d %q", a.StatusCode, a.body)
		}
		// What is put while the service runs is there with the next request.
		if _, err := store.Put("new", []byte("put later"), secretstore.CreateOrRecreate); err != nil {
			t.Fatal(err)
		}
		if a := get(t, front+"/shop/new"); a.body != "put later" {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
	})
}

func TestADamagedSecretStoreFailsTheOpenAndIsLogged(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		dir := t.TempDir()
		stores, _ := secretDir(t, dir, "hunter2")
		files, err := filepath.Glob(filepath.Join(dir, "shop*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-45] ^= 1 // in the box of the secret
		if err := os.WriteFile(files[0], append(b, 0)[:len(b)], 0o600); err != nil {
			t.Fatal(err)
		}
		front := "http://" + listen(t, load(t, h, "rust/secrets", ServiceConfig{SecretStores: stores}), nil)
		if a := get(t, front+"/shop/key"); a.StatusCode != 400 || strings.Contains(a.body, "hunter") {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		h.logged(t, "secret store cannot be opened")
		found := false
		for _, e := range h.logs.All() {
			found = found || strings.Contains(fmt.Sprint(e.ContextMap()["error"]), `store "shop", secret "key"`)
		}
		if !found {
			t.Error("the log does not name store and secret")
		}
	})
}

func TestClientCertificatesWithKeysFromStores(t *testing.T) {
	ca, pool, server, cert, key := testCA(t)
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	origin.Config.ErrorLog = nullLog
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	origin.StartTLS()
	defer origin.Close()
	stores, store := secretDir(t, t.TempDir(), string(key))
	if _, err := store.Put("wrong", bytes.ToLower(key), secretstore.Create); err != nil {
		t.Fatal(err)
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		front := listen(t, load(t, h, "rust/origins", ServiceConfig{SecretStores: stores}), nil)
		for secret, want := range map[string]string{"shop/key": "client", "shop/wrong": "Host failed with status FastlyStatus::INVAL"} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+front+"/mtls?target="+origin.Listener.Addr().String(),
				strings.NewReader(fmt.Sprintf("%s|%s|%s", ca, cert, secret)))
			if a := fetch(t, plainClient, req); a.body != want {
				t.Errorf("%s: %d %q, want %q", secret, a.StatusCode, a.body, want)
			}
		}
	})
}

func TestManifestSecretsThatAreTooLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fastly.toml")
	text := "manifest_version = 3\n[local_server]\nsecret_stores.s = [ { key = \"k\", data = \"" + strings.Repeat("hunter2", 10_000) + "\" } ]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	err = new(ServiceConfig).UseManifest(m)
	if err == nil || !strings.Contains(err.Error(), file+`:3: secret store "s": secret "k": too large`) || strings.Contains(err.Error(), "hunter") {
		t.Errorf("%v", err)
	}
}
