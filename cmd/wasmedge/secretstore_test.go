//go:build unix

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsAreKeptByTheCommandAndNeverShown(t *testing.T) {
	s := storeTool{filepath.Join(t.TempDir(), "data")}
	keys := t.TempDir()
	first, second := filepath.Join(keys, "first"), filepath.Join(keys, "second")
	const plaintext = "hunter2-hunter2"
	var said strings.Builder
	do := func(want int, stdin string, args ...string) string {
		t.Helper()
		code, stdout, stderr := s.run(t, stdin, args...)
		if code != want {
			t.Fatalf("%q: code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		said.WriteString(stdout + stderr)
		return stdout + stderr
	}
	do(0, "", "secret-store", "new-key", first)
	do(1, "", "secret-store", "new-key", first) // never written over
	do(0, "", "secret-store", "new-key", second)
	key := "--secret-key=file:" + first
	do(2, "", "secret-store", "create", "vault")
	do(0, "", "secret-store", "create", "vault", key)
	do(1, "", "secret-store", "create", "vault", key)
	do(0, plaintext, "secret-store", "put", "vault", "password", "--stdin", key)
	if got := do(1, plaintext, "secret-store", "put", "vault", "password", "--stdin", key); !strings.Contains(got, "exists already") {
		t.Errorf("a second time: %s", got)
	}
	if got := do(2, "", "secret-store", "put", "vault", "other", key); !strings.Contains(got, "no terminal") {
		t.Errorf("without a terminal: %s", got)
	}
	do(0, plaintext+"!", "secret-store-entry", "create", "-s", "vault", "-n", "password", "--stdin", "--recreate", key)
	do(1, plaintext, "secret-store", "put", "vault", "absent", "--stdin", "--recreate", key)
	if got := do(1, strings.Repeat("x", 64<<10+1), "secret-store", "put", "vault", "big", "--stdin", key); !strings.Contains(got, "too large") {
		t.Errorf("too large: %s", got)
	}
	if got := do(0, "", "secret-store", "list", "vault", "--json", key); !strings.Contains(got, `"name": "password"`) || !strings.Contains(got, `"version": 2`) {
		t.Errorf("listed: %s", got)
	}
	do(0, "", "secret-store", "describe", "vault", "password", key)
	do(0, "", "secret-store", "list", key)

	if got := do(1, "", "secret-store", "describe", "vault", "password", "--secret-key=file:"+second); !strings.Contains(got, "no fitting master key") {
		t.Errorf("with another key: %s", got)
	}
	do(0, "", "secret-store", "rotate", "--data-keys", "--secret-key=file:"+second, key)
	do(1, "", "secret-store", "describe", "vault", "password", key)
	key = "--secret-key=file:" + second
	do(0, "", "secret-store", "prune", "vault", "password", key)
	if got := do(0, "", "secret-store", "describe", "vault", "password", key); strings.Count(got, "\n") != 2 {
		t.Errorf("versions:\n%s", got)
	}
	do(0, "", "secret-store", "delete", "vault", "password", key)
	do(1, "", "secret-store", "delete", "vault", key)
	do(0, "", "secret-store", "delete", "vault", "--yes", key)

	if strings.Contains(said.String(), "hunter2") {
		t.Error("the command told a secret")
	}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
