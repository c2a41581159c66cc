//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/configstore"
	configbolt "github.com/edgewasm/wasmedge/configstore/bolt"
)

func TestServeFollowsConfigStores(t *testing.T) {
	dir := t.TempDir()
	manifest := filepath.Join(dir, "fastly.toml")
	if err := os.WriteFile(manifest, []byte("manifest_version = 3\n[local_server.config_stores.local]\nformat = \"inline-toml\"\ncontents = { key = \"of the manifest\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := configbolt.New(filepath.Join(dir, configFile), configstore.Limits{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.Create(t.Context(), "shop"))
	must(admin.Put(t.Context(), "shop", "key", "1"))
	must(admin.Create(t.Context(), "local"))
	must(admin.Put(t.Context(), "local", "key", "hidden"))
	s := startServer(t, "-C", manifest, "--data-dir", dir, guest(t, "rust/config"))
	eventually := func(path, want string) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			_, body := fetch(t, s.url+path)
			if body == want+"\n" {
				return
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%s: %q, want %q", path, body, want)
			}
		}
	}
	eventually("/local/key", "of the manifest")
	eventually("/shop/key", "1")
	eventually("/dictionary/shop/key", "1")
	must(admin.Put(t.Context(), "shop", "key", "2"))
	eventually("/shop/key", "2")
	must(admin.Create(t.Context(), "new"))
	must(admin.Put(t.Context(), "new", "key", "3"))
	eventually("/new/key", "3")
	must(admin.Drop(t.Context(), "new"))
	eventually("/new/key", "no such store")
	eventually("/local/key", "of the manifest")
}
