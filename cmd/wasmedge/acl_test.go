//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestACLsAreKeptByTheCommand(t *testing.T) {
	s := storeTool{filepath.Join(t.TempDir(), "data")}
	s.refuses(t, 1, "there are no ACLs", "acl", "list")
	s.ok(t, "acl", "create", "office")
	s.refuses(t, 1, "there is an ACL of that name", "acl", "create", "office")
	if got := s.ok(t, "acl", "list", "--json"); !strings.Contains(got, `"name": "office"`) || !strings.Contains(got, `"id"`) {
		t.Errorf("listed: %s", got)
	}

	s.ok(t, "acl", "update", "office", "--operation", "create", "--prefix", "10.1.2.3/8", "--action", "BLOCK")
	s.okWith(t, `{"entries":[{"op":"create","prefix":"10.9.0.0/16","action":"ALLOW"},{"op":"create","prefix":"2001:db8::/32","action":"BLOCK"}]}`,
		"acl", "update", "--name", "office", "--file", "-")
	for ip, want := range map[string]string{"10.9.1.1": "10.9.0.0/16 ALLOW\n", "10.1.1.1": "10.0.0.0/8 BLOCK\n", "2001:db8::1": "2001:db8::/32 BLOCK\n"} {
		if got := s.ok(t, "acl", "lookup", "office", ip); got != want {
			t.Errorf("%s meets %q, want %q", ip, got, want)
		}
	}
	s.refuses(t, 1, "no entry of office has 192.0.2.1", "acl", "lookup", "office", "--ip", "192.0.2.1")
	s.refuses(t, 2, "no IP address", "acl", "lookup", "office", "here")
	s.refuses(t, 2, "--prefix", "acl", "update", "office", "--operation", "create", "--prefix", "10/8", "--action", "BLOCK")
	s.refuses(t, 2, "--operation", "acl", "update", "office", "--operation", "nonsense", "--prefix", "10.0.0.0/8", "--action", "BLOCK")
	s.refuses(t, 1, "no such ACL", "acl", "lookup", "nowhere", "192.0.2.1")

	if got := s.ok(t, "acl", "list-entries", "office"); strings.Count(got, "\n") != 4 || !strings.Contains(got, "10.9.0.0/16    ALLOW") {
		t.Errorf("entries:\n%s", got)
	}
	out := filepath.Join(t.TempDir(), "office.ndjson")
	s.ok(t, "acl", "export", "office", out)
	s.ok(t, "acl", "create", "copy")
	s.ok(t, "acl", "import", "copy", out)
	if a, b := s.ok(t, "acl", "export", "office"), s.ok(t, "acl", "export", "copy"); a != b || strings.Count(a, "\n") != 3 {
		t.Errorf("exported:\n%s\nimported:\n%s", a, b)
	}
	s.refuses(t, 1, "--yes", "acl", "delete", "office")
	s.ok(t, "acl", "delete", "office", "--yes")
	s.refuses(t, 1, "no such ACL", "acl", "describe", "office")
	if got := s.ok(t, "acl", "describe", "copy"); !strings.Contains(got, "entries  3") {
		t.Errorf("described:\n%s", got)
	}
}

func TestAServerFollowsTheACLsOfItsDataDirectory(t *testing.T) {
	s := storeTool{filepath.Join(t.TempDir(), "data")}
	s.ok(t, "acl", "create", "clients")
	server := startServer(t, "--data-dir", s.dir, guest(t, "rust/limits"))
	url := server.url + "/acl/clients?ip=192.0.2.1"
	if _, got := fetch(t, url); got != "no match\n" {
		t.Errorf("an empty list: %q", got)
	}
	s.ok(t, "acl", "update", "clients", "--operation", "create", "--prefix", "192.0.2.0/24", "--action", "BLOCK")
	if _, got := fetch(t, url); got != "192.0.2.0/24 may not come\n" {
		t.Errorf("after the update: %q", got)
	}
	if resp, _ := fetch(t, server.url+"/acl/nowhere?ip=192.0.2.1"); resp.StatusCode != 404 {
		t.Errorf("a list that is not there: %d", resp.StatusCode)
	}
	server.stop(t, syscall.SIGTERM)
}
