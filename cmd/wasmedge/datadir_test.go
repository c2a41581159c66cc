//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// put stores a value through the guest rust/kv.
func put(t *testing.T, url, value string) {
	t.Helper()
	req, err := http.NewRequest("PUT", url, strings.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", url, resp.StatusCode, b)
	}
}

func TestWhatProgramsStoreSurvivesRestarts(t *testing.T) {
	manifest := guestFile(t, "fastly.toml", []byte("[local_server.kv_stores]\nshop = [{ key = \"seeded\", data = \"by the manifest\" }, { key = \"kept\", data = \"old\" }]\n"))
	program := guest(t, "rust/kv")
	dir := filepath.Join(t.TempDir(), "made", "here")

	s := startServer(t, "-C", manifest, "--data-dir", dir, program)
	put(t, s.url+"/item/kept", "new")
	put(t, s.url+"/item/added", "value")
	code, _, stderr := runToEnd(t, "run", "--data-dir", dir, program)
	if code != 1 {
		t.Errorf("a second process on the directory: exit code %d", code)
	}
	match(t, "stderr", stderr, `in use by another process`)
	s.stop(t, syscall.SIGTERM)

	s = startServer(t, "-C", manifest, "--data-dir", dir, program)
	for key, want := range map[string]string{"seeded": "by the manifest", "kept": "new", "added": "value"} {
		if _, got := fetch(t, s.url+"/item/"+key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	s.stop(t, syscall.SIGTERM)

	// A command may leave a write behind.
	if code, _, stderr := runToEnd(t, "run", "--data-dir", dir, program, "/leave/left"); code != 0 {
		t.Errorf("run: exit code %d, %s", code, stderr)
	}
	s = startServer(t, "--data-dir", dir, program)
	if resp, _ := fetch(t, s.url+"/item/left"); resp.StatusCode != 200 {
		t.Errorf("what the command left behind: %s", resp.Status)
	}
	s.stop(t, syscall.SIGTERM)

	// Without it, each start is a new beginning.
	s = startServer(t, "-C", manifest, program)
	if _, got := fetch(t, s.url+"/item/kept"); got != "old" {
		t.Errorf("kept is %q in memory", got)
	}
	s.stop(t, syscall.SIGTERM)
}

func TestADataDirectoryThatCannotBeUsedIsRefused(t *testing.T) {
	file := guestFile(t, "file", []byte("x"))
	program := guest(t, "rust/kv")
	code, _, stderr := runToEnd(t, "serve", "--data-dir", file, program)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	match(t, "stderr", stderr, `--data-dir: .*not a directory`)

	dir := t.TempDir()
	damaged := filepath.Join(dir, kvFile)
	if err := os.WriteFile(damaged, []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = runToEnd(t, "serve", "--data-dir", dir, program)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	match(t, "stderr", stderr, `kv\.db`)
}
