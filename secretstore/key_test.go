//go:build unix

package secretstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseKey(t *testing.T) {
	raw := []byte("\x00\xfb\xff34567890123456789012345678901")
	raw = append(raw, 0xff)[:keySize]
	want := newKey(copyKey(bytes.Clone(raw))).ID()
	for _, test := range []struct{ name, text string }{
		{"as it is", string(raw)},
		{"hexadecimal", hex.EncodeToString(raw)},
		{"hexadecimal in capitals with a line end", strings.ToUpper(hex.EncodeToString(raw)) + "\r\n"},
		{"base64", base64.StdEncoding.EncodeToString(raw)},
		{"base64 without padding and with space around", " " + base64.RawStdEncoding.EncodeToString(raw) + "\n\n"},
		{"base64 for URLs", base64.URLEncoding.EncodeToString(raw)},
	} {
		text := []byte(test.text)
		k, err := ParseKey(text)
		if err != nil || k.ID() != want {
			t.Errorf("%s: %v, %v", test.name, k, err)
		}
		if !bytes.Equal(text, make([]byte, len(text))) {
			t.Errorf("%s: the text was not overwritten", test.name)
		}
	}
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "empty"},
		{"space", " \n", "empty"},
		{"a passphrase of 32 characters", "correct horse battery staple 123", "want a key of 32 bytes"},
		{"16 bytes in hexadecimal", hex.EncodeToString(raw[:16]), "want a key of 32 bytes"},
		{"16 bytes in base64", base64.StdEncoding.EncodeToString(raw[:16]), "want a key of 32 bytes"},
		{"31 bytes", string(raw[:31]), "want a key of 32 bytes"},
		{"64 characters that are no hexadecimal", strings.Repeat("hunter2!", 8), "no hexadecimal"},
		{"a page", strings.Repeat("hunter2 ", 100), "too many"},
	} {
		_, err := ParseKey([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		} else if strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %v shows the text", test.name, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(strings.Repeat("a", 64)))
	f.Add([]byte(base64.StdEncoding.EncodeToString(make([]byte, 32))))
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKey(b)
		if err != nil {
			return
		}
		if copyOf(t, k).ID() != k.ID() {
			t.Error("written and read again the key is another one")
		}
		k.Destroy()
	})
}

func TestADestroyedKeyIsGone(t *testing.T) {
	k := NewKey()
	slot := k.key.slot
	if *slot == ([keySize]byte{}) {
		t.Fatal("a new key is zero")
	}
	k.Destroy()
	k.Destroy()
	if *slot != ([keySize]byte{}) {
		t.Error("its bytes are still there")
	}
	if _, err := k.AppendText(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k := NewKey()
	if err := WriteKeyFile(path, k); err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyFile(path, k); !errors.Is(err, os.ErrExist) {
		t.Errorf("written over: %v", err)
	}
	for _, test := range []struct {
		mode os.FileMode
		warn bool // somebody is there to be warned
		want string
	}{
		{0o600, false, ""},
		{0o400, true, ""},
		{0o640, true, "warned"},
		{0o440, false, "refused"},
		{0o660, true, "refused"},
		{0o644, true, "refused"},
		{0o604, true, "refused"},
		{0o602, true, "refused"},
	} {
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		var warned error
		var warn func(error)
		if test.warn {
			warn = func(err error) { warned = err }
		}
		got, err := KeyFromFile(path, warn)
		outcome := ""
		switch {
		case err != nil:
			outcome = "refused"
		case warned != nil:
			outcome = "warned"
		}
		if outcome != test.want {
			t.Errorf("%#o: %q, want %q (%v, %v)", test.mode, outcome, test.want, err, warned)
		}
		if told := errors.Join(err, warned); told != nil && !strings.Contains(told.Error(), path) {
			t.Errorf("%v does not name the file", told)
		}
		if err == nil && got.ID() != k.ID() {
			t.Error("it is another key")
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := KeyFromFile(path, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestKeysFromTheEnvironment(t *testing.T) {
	const name = "SECRETSTORE_TEST_KEY"
	t.Setenv(name, "")
	k := NewKey()
	text, err := k.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	os.Setenv(name, string(text))
	got, err := KeyFromEnv(name)
	if err != nil || got.ID() != k.ID() {
		t.Fatalf("%v, %v", got, err)
	}
	if _, set := os.LookupEnv(name); set {
		t.Error("the variable is still set")
	}
	if _, err := KeyFromEnv(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v", err)
	}
	os.Setenv(name, "hunter2")
	if _, err := KeyFromEnv(name); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// script writes an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kms")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyCommands(t *testing.T) {
	k := NewKey()
	text, err := k.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := KeyFromCommand(t.Context(), Command{Path: script(t, `[ "$1" = "a b" ] && cat`), Args: []string{"a b"}, Wrapped: text})
	if err != nil || got.ID() != k.ID() {
		t.Fatalf("%v, %v", got, err)
	}
	got, err = KeyFromCommand(t.Context(), Command{Path: script(t, `printf "$KEY" | base64 -d`), Env: []string{"KEY=" + string(text), "PATH=" + os.Getenv("PATH")}})
	if err != nil || got.ID() != k.ID() {
		t.Fatalf("a key as it is: %v, %v", got, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		c    Command
		want []string
	}{
		{"a relative path", t.Context(), Command{Path: "kms"}, []string{"not an absolute path", `"kms"`}},
		{"no such program", t.Context(), Command{Path: "/nowhere/kms"}, []string{"/nowhere/kms", "no such file"}},
		{"it fails and says why", t.Context(), Command{Path: script(t, "echo hunter2; echo access denied >&2; exit 3")}, []string{"exit status 3", "access denied"}},
		{"it says much", t.Context(), Command{Path: script(t, "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1")}, []string{"...", "line 2999"}},
		{"it writes no key", t.Context(), Command{Path: script(t, "echo hunter2")}, []string{"want a key of 32 bytes"}},
		{"it writes nothing", t.Context(), Command{Path: script(t, "echo >&2 try later")}, []string{"empty", "try later"}},
		{"it writes without end", t.Context(), Command{Path: script(t, "while :; do echo hunter2hunter2hunter2hunter2hunter2; done")}, []string{"more than 4096 bytes"}},
		{"it takes too long, with children", t.Context(), Command{Path: script(t, "sleep 60 & sleep 60"), Timeout: 50 * time.Millisecond}, []string{"longer than 50ms"}},
		{"nobody waits for it", cancelled, Command{Path: script(t, "sleep 60")}, []string{"context canceled"}},
	} {
		began := time.Now()
		_, err := KeyFromCommand(test.ctx, test.c)
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", test.name, err, want)
			}
		}
		if strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 2500 {
			t.Errorf("%s: %v", test.name, err)
		}
		if time.Since(began) > 30*time.Second {
			t.Errorf("%s: it took %s", test.name, time.Since(began))
		}
	}
}

func TestManyKeysUseManyPages(t *testing.T) {
	keys := make([]*Key, 1000)
	seen := map[string]bool{}
	for i := range keys {
		keys[i] = NewKey()
		seen[fmt.Sprint(keys[i].ID())] = true
	}
	if len(seen) != len(keys) {
		t.Errorf("%d of %d keys differ", len(seen), len(keys))
	}
	for _, k := range keys {
		k.Destroy()
	}
}

func TestKeySources(t *testing.T) {
	k := NewKey()
	dir := t.TempDir()
	if err := WriteKeyFile(filepath.Join(dir, "key"), k); err != nil {
		t.Fatal(err)
	}
	text, err := k.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRETSTORE_TEST_KEY", string(text))
	cat := script(t, "cat")
	sources := []string{"file:" + dir + "/key", "env:SECRETSTORE_TEST_KEY", "exec:" + cat + "," + dir + "/key", "exec:" + script(t, "echo "+string(text))}
	ring, err := KeyringFrom(t.Context(), sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range ring.keys {
		if got.ID() != k.ID() {
			t.Errorf("%s gives %s, want %s", sources[i], got, k)
		}
	}
	for source, want := range map[string]string{
		"":                              "want file:PATH",
		string(text):                    "want file:PATH",
		"file:":                         "want file:PATH",
		"file:" + dir + "/none":         "no such file",
		"env:SECRETSTORE_TEST_KEY":      "not set", // it has been taken
		"exec:cat":                      "not an absolute path",
		"exec:" + cat + ",/nowhere/key": "no such file",
	} {
		ring, err := KeyringFrom(t.Context(), []string{sources[0], source}, nil)
		if err == nil || ring != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), string(text)) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
	}
	if _, err := KeyringFrom(t.Context(), nil, nil); !errors.Is(err, ErrKey) {
		t.Errorf("%v", err)
	}
}
