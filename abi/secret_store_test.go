package abi

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

type fakeSecrets map[string]fakeSecretStore

func (f fakeSecrets) OpenSecretStore(name string) (SecretStore, error) {
	if name == "broken" {
		return nil, errors.New("cannot be read")
	}
	s, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoStore, name)
	}
	return s, nil
}

type fakeSecretStore map[string]string

func (f fakeSecretStore) LookupSecret(name string) (Secret, error) {
	if name == "broken" {
		return nil, errors.New("cannot be read")
	}
	if s, ok := f[name]; ok {
		return fakeSecret(s), nil
	}
	return nil, nil
}

// fakeSecret does not authenticate if it begins with an exclamation mark.
type fakeSecret string

func (f fakeSecret) Len() int { return len(f) }

func (f fakeSecret) Reveal(dst []byte) error {
	if strings.HasPrefix(string(f), "!") {
		clear(dst)
		return errors.New("does not authenticate")
	}
	copy(dst, f)
	return nil
}

// someSecrets are the secret stores of the tests' guests.
func someSecrets() SecretStores {
	return fakeSecrets{"shop": {"key": "hunter2", "empty": "", "bad": "!hunter2"}}
}

func TestSecretStoreOpen(t *testing.T) {
	g := newGuest(t, nil)
	var warned []string
	g.sandbox.env.Warn = func(_, message string, err error) { warned = append(warned, message+": "+err.Error()) }
	for _, tt := range []struct {
		name string
		want Status
	}{
		{"shop", OK},
		{"shop", OK},
		{"none", None},
		{"", None},
		{strings.Repeat("x", 1000), None},
		{"\xff", Inval},
		{"broken", Error},
	} {
		p, n := g.put(textA, tt.name)
		g.want(tt.want, "secret_store.open", p, n, outA)
	}
	if len(warned) != 1 || warned[0] != "secret store cannot be opened: cannot be read" {
		t.Errorf("warned of %q", warned)
	}
	p, n := g.put(textA, "shop")
	g.want(Inval, "secret_store.open", p, n, guestMemory)
	g.want(BadAlign, "secret_store.open", p, n, outA+1)
	g.want(Inval, "secret_store.open", guestMemory-1, n, outA)
	g.sandbox.env.SecretStores = nil
	g.want(None, "secret_store.open", p, n, outA)
}

func TestSecretStoreGet(t *testing.T) {
	g := newGuest(t, nil)
	p, n := g.put(textA, "shop")
	g.ok("secret_store.open", p, n, outA)
	h := g.u32(outA)
	for _, tt := range []struct {
		name string
		want Status
	}{
		{"key", OK},
		{"none", None},
		{"", None},
		{strings.Repeat("x", 1000), None},
		{"\xff", Inval},
		{"broken", Error},
	} {
		p, n := g.put(textA, tt.name)
		g.want(tt.want, "secret_store.get", h, p, n, outA)
	}
	p, n = g.put(textA, "key")
	g.want(BadF, "secret_store.get", h+7, p, n, outA)
	g.want(Inval, "secret_store.get", h, guestMemory, n, outA)
	g.want(BadAlign, "secret_store.get", h, p, n, outA+2)
	g.want(Inval, "secret_store.get", h, p, n, guestMemory)
}

func TestSecretPlaintext(t *testing.T) {
	g := newGuest(t, nil)
	p, n := g.put(textA, "shop")
	g.ok("secret_store.open", p, n, outA)
	store := g.u32(outA)
	get := func(name string) uint32 {
		t.Helper()
		p, n := g.put(textA, name)
		g.ok("secret_store.get", store, p, n, outA)
		return g.u32(outA)
	}
	own := func(plaintext string) uint32 {
		t.Helper()
		p, n := g.put(textA, plaintext)
		g.ok("secret_store.from_bytes", p, n, outA)
		copy(g.mem[textA:], "???????")
		return g.u32(outA)
	}
	for _, tt := range []struct {
		name   string
		secret uint32
		room   uint32
		want   Status
		n      uint32
		memory string
	}{
		{"of a store", get("key"), 9, OK, 7, "hunter2???"},
		{"of the guest's own", own("hunter2"), 9, OK, 7, "hunter2???"},
		{"exactly room enough", get("key"), 7, OK, 7, "hunter2???"},
		{"a byte too little", get("key"), 6, BufLen, 7, "??????????"},
		{"a byte too little for the guest's own", own("hunter2"), 6, BufLen, 7, "??????????"},
		{"no room", get("key"), 0, BufLen, 7, "??????????"},
		{"empty, no room", get("empty"), 0, OK, 0, "??????????"},
		{"it does not authenticate", get("bad"), 9, Error, 0, "\x00\x00\x00\x00\x00\x00\x00\x00??"},
	} {
		copy(g.mem[room:], "??????????")
		g.want(tt.want, "secret_store.plaintext", tt.secret, room, tt.room, outB)
		if got := g.str(room, 10); got != tt.memory || g.u32(outB) != tt.n {
			t.Errorf("%s: memory holds %q, length %d; want %q, %d", tt.name, got, g.u32(outB), tt.memory, tt.n)
		}
	}
	h := get("key")
	g.want(BadF, "secret_store.plaintext", h+1, room, 9, outB)
	g.want(Inval, "secret_store.plaintext", h, guestMemory-3, 4, outB)
	g.want(BadAlign, "secret_store.plaintext", h, room, 9, outB+1)
}

func TestSecretsAreForgottenAtTheEnd(t *testing.T) {
	g := newGuest(t, nil)
	p, n := g.put(textA, "hunter2")
	g.ok("secret_store.from_bytes", p, n, outA)
	secret, _ := g.sandbox.secrets.get(g.u32(outA))
	plaintext := secret.plaintext
	var kept []byte
	if err := secret.use(func(b []byte) error { kept = b; return nil }); err != nil || !bytes.Equal(kept, make([]byte, 7)) {
		t.Errorf("after use the copy holds %q, %v", kept, err)
	}
	g.sandbox.Finish()
	if !bytes.Equal(plaintext, make([]byte, 7)) {
		t.Errorf("after the run the bytes are %q", plaintext)
	}
	if len(g.sandbox.secrets.items)+len(g.sandbox.secretStores.items) != 0 {
		t.Error("handles outlive the run")
	}
	g = newGuest(t, nil)
	p, _ = g.put(textA, "hunter2")
	g.want(LimitExceeded, "secret_store.from_bytes", p, maxSecret+1, outA)
	g.sandbox.buffered = 6
	g.want(LimitExceeded, "secret_store.from_bytes", p, 7, outA)
}
