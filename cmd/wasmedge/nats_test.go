//go:build unix

package main

import (
	"net"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

func TestServersShareKVStoresThroughJetStream(t *testing.T) {
	js, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	js.Start()
	t.Cleanup(func() {
		js.Shutdown()
		js.WaitForShutdown()
	})
	if !js.ReadyForConnections(20 * time.Second) {
		t.Fatal("the JetStream server does not start")
	}
	s := storeTool{"nats://" + js.Addr().(*net.TCPAddr).String()}
	s.ok(t, "kv-store", "create", "shop")
	s.ok(t, "kv-store", "put", "shop", "price", "5")
	program := guest(t, "rust/kv")
	one, other := startServer(t, "--kv", s.dir, program), startServer(t, "--kv", s.dir, program)
	if _, got := fetch(t, one.url+"/item/price"); got != "5" {
		t.Errorf("what the command stored: %q", got)
	}
	put(t, one.url+"/item/price", "6")
	if _, got := fetch(t, other.url+"/item/price"); got != "6" {
		t.Errorf("what the other server stored: %q", got)
	}
	if got := s.ok(t, "kv-store", "get", "shop", "price"); got != "6" {
		t.Errorf("what a server stored: %q", got)
	}
	if got := s.ok(t, "kv-store", "list", "shop"); got != "price\n" {
		t.Errorf("listed: %q", got)
	}
	s.refuses(t, 2, "no directory", "kv-store", "compact")
	one.stop(t, syscall.SIGTERM)
	other.stop(t, syscall.SIGTERM)
	storeTool{"nats://127.0.0.1:1"}.refuses(t, 1, "connect", "kv-store", "list")
}
