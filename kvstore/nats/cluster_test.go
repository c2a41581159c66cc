package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/edgewasm/wasmedge/kvstore"
)

// startCluster starts three servers that keep what is stored together.
func startCluster(t *testing.T) []*testServer {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that the ports differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: l.Addr().String()})
		_ = l.Close()
	}
	var all []*testServer
	for i := range 3 {
		ts := &testServer{o: &server.Options{
			ServerName: fmt.Sprint("server", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			JetStreamMaxMemory: 1 << 28, JetStreamMaxStore: 1 << 30,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}}
		s, err := server.NewServer(ts.o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		ts.s = s
		all = append(all, ts)
		t.Cleanup(ts.stop)
	}
	for _, ts := range all {
		if !ts.s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server does not start")
		}
		ts.o.Port = ts.s.Addr().(*net.TCPAddr).Port
	}
	eventually(t, "the cluster has a leader", func() bool {
		for _, ts := range all {
			if ts.s.JetStreamIsLeader() {
				return len(ts.s.JetStreamClusterPeers()) == 3
			}
		}
		return false
	})
	return all
}

// TestCluster lets clients of three servers change the same keys, while the leader of the store's stream is stopped.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take some seconds")
	}
	servers := startCluster(t)
	var urls []string
	for _, ts := range servers {
		urls = append(urls, ts.url())
	}
	var clients []*Stores
	var stores []kvstore.Store
	for i := range 3 {
		s, err := New(t.Context(), Options{URL: strings.Join(append(urls[i:], urls[:i]...), ","), Replicas: 3, Timeout: 20 * time.Second, ReadGrace: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		clients = append(clients, s)
	}
	for i, s := range clients {
		var st kvstore.Store
		var err error
		if i == 0 {
			st, err = s.Create(t.Context(), "store")
		} else {
			st, err = s.Open(t.Context(), "store")
		}
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, st)
	}
	const writers, each = 6, 20
	var wg sync.WaitGroup
	var unknown sync.Map
	for i := range writers {
		wg.Go(func() {
			st := stores[i%3]
			for n := range each {
				part := fmt.Sprintf("<%d:%d>", i, n)
				_, err := st.Insert(context.Background(), "log", strings.NewReader(part), kvstore.InsertOptions{Mode: kvstore.Append, TTL: time.Hour})
				if err != nil {
					unknown.Store(part, true)
					if !errors.Is(err, kvstore.ErrUnknown) {
						t.Errorf("%s: %v", part, err)
					}
				}
				key := fmt.Sprintf("%d/%d", i, n)
				if _, err := st.Insert(context.Background(), key, strings.NewReader(part), kvstore.InsertOptions{Mode: kvstore.Add}); err != nil {
					unknown.Store(key, true)
					if !errors.Is(err, kvstore.ErrUnknown) {
						t.Errorf("%s: %v", key, err)
					}
				}
				page, err := stores[(i+1)%3].List(context.Background(), kvstore.ListOptions{Prefix: key})
				if _, no := unknown.Load(key); !no && (err != nil || len(page.Keys) == 0) {
					t.Errorf("another lists %+v, %v after %s was written", page, err, key)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	stream := stores[0].(*store).stream
	for _, ts := range servers {
		if ts.s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			ts.stop()
			time.Sleep(500 * time.Millisecond)
			ts.start(t)
			break
		}
	}
	wg.Wait()
	log, err := lookup(stores[1], "log")
	if err != nil {
		t.Fatal(err)
	}
	for i := range writers {
		for n := range each {
			part, key := fmt.Sprintf("<%d:%d>", i, n), fmt.Sprintf("%d/%d", i, n)
			_, either := unknown.Load(part)
			if c := strings.Count(string(log), part); c != 1 && !(either && c == 0) {
				t.Errorf("%s is %d times in the log, unknown %v", part, c, either)
			}
			got, err := lookup(stores[2], key)
			if _, either := unknown.Load(key); !either && (err != nil || string(got) != part) {
				t.Errorf("%s is %q, %v", key, got, err)
			}
		}
	}
}

func TestAppendsOfTwoProcesses(t *testing.T) {
	ts := startServer(t, false)
	var stores []kvstore.Store
	one := connect(t, ts, Options{Bucket: "two"})
	stores = append(stores, newTestStore(t, one))
	two, err := connect(t, ts, Options{Bucket: "two"}).Open(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	stores = append(stores, two)
	const each = 30
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for n := range each {
				if _, err := stores[i%2].Insert(context.Background(), "k", strings.NewReader(fmt.Sprintf("<%d:%d>", i, n)), kvstore.InsertOptions{Mode: kvstore.Append}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := lookup(two, "k")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		for n := range each {
			if c := strings.Count(string(got), fmt.Sprintf("<%d:%d>", i, n)); c != 1 {
				t.Errorf("part %d of %d is there %d times", n, i, c)
			}
		}
	}
}
