package nats_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/configstore/bolt"
	"github.com/edgewasm/wasmedge/configstore/configstoretest"
	"github.com/edgewasm/wasmedge/configstore/nats"
)

// runServer starts a server on that port, -1 for any.
func runServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func connect(t *testing.T, url string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(url, natsgo.MaxReconnects(-1), natsgo.RetryOnFailedConnect(true), natsgo.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestConformance(t *testing.T) {
	s := runServer(t, t.TempDir(), -1)
	options := func(t *testing.T) nats.Options {
		return nats.Options{Bucket: strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return '-'
		}, strings.ToLower(t.Name()))}
	}
	configstoretest.Run(t, configstoretest.Driver{
		Open: func(t *testing.T) configstore.Admin {
			a, err := nats.Open(t.Context(), connect(t, s.ClientURL()), options(t))
			if err != nil {
				t.Fatal(err)
			}
			return a
		},
		Follow: func(t *testing.T, m *configstore.Mirror) {
			w, err := nats.Follow(connect(t, s.ClientURL()), m, nats.FollowOptions{Options: options(t), Warn: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Stop)
		},
	})
}

func value(set *configstore.Set, store, key string) string {
	s, err := set.Open(store)
	if err != nil {
		return err.Error()
	}
	v, _ := s.Lookup(key)
	return v
}

func eventually(t *testing.T, set *configstore.Set, store, key, want string) {
	t.Helper()
	for began := time.Now(); value(set, store, key) != want; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s/%s is %q, want %q", store, key, value(set, store, key), want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNodesGoOnWithoutTheServer(t *testing.T) {
	dir, snapshot := t.TempDir(), filepath.Join(t.TempDir(), "snapshot.db")
	s := runServer(t, dir, -1)
	url := s.ClientURL()
	ctx := t.Context()
	admin, err := nats.Open(ctx, connect(t, url), nats.Options{})
	must(t, err)
	must(t, admin.Create(ctx, "s"))
	must(t, admin.Replace(ctx, "s", map[string]string{"k": "1"}))
	must(t, admin.Create(ctx, "gone"))
	var mu sync.Mutex
	var warned []string
	warn := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		warned = append(warned, err.Error())
	}
	set := new(configstore.Set)
	node, err := nats.Follow(connect(t, url), configstore.NewMirror(set, configstore.Limits{}, nil),
		nats.FollowOptions{Snapshot: bolt.New(snapshot, configstore.Limits{}), Warn: warn})
	must(t, err)
	must(t, admin.Put(ctx, "s", "k", "2"))
	eventually(t, set, "s", "k", "2")

	s.Shutdown()
	s.WaitForShutdown()
	if got := value(set, "s", "k"); got != "2" {
		t.Errorf("without the server the node has %q", got)
	}
	node.Stop() // and writes its snapshot
	if got := value(set, "s", "k"); got != "2" {
		t.Errorf("after Stop it has %q", got)
	}

	// A node that starts without the server, with a snapshot and without.
	again := new(configstore.Set)
	options := nats.FollowOptions{Wait: 100 * time.Millisecond, Snapshot: bolt.New(snapshot, configstore.Limits{}), Warn: warn}
	node, err = nats.Follow(connect(t, url), configstore.NewMirror(again, configstore.Limits{}, nil), options)
	must(t, err)
	t.Cleanup(node.Stop)
	if got := value(again, "s", "k"); got != "2" {
		t.Errorf("a node that starts with a snapshot has %q", got)
	}
	mu.Lock()
	if !strings.Contains(fmt.Sprint(warned), "goes on with what was there before") {
		t.Errorf("warnings %q", warned)
	}
	mu.Unlock()
	options.Snapshot = nil
	if _, err := nats.Follow(connect(t, url), configstore.NewMirror(new(configstore.Set), configstore.Limits{}, nil), options); err == nil {
		t.Error("a node without server and snapshot starts")
	}

	// The server comes back with what it had, and goes on.
	runServer(t, dir, portOf(t, url))
	admin, err = nats.Open(ctx, connect(t, url), nats.Options{})
	must(t, err)
	must(t, admin.Drop(ctx, "gone"))
	must(t, admin.Put(ctx, "s", "k", "3"))
	eventually(t, again, "s", "k", "3")
	eventually(t, again, "gone", "", `no such config store: "gone"`)
}

func portOf(t *testing.T, url string) (port int) {
	t.Helper()
	_, err := fmt.Sscanf(url[strings.LastIndex(url, ":")+1:], "%d", &port)
	must(t, err)
	return port
}
