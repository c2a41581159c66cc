package nats

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/kvstoretest"
)

// testServer is an embedded server that listens on a port of its own, and keeps it when it is started again.
type testServer struct {
	o *server.Options
	s *server.Server
}

func startServer(t testing.TB, syncAlways bool) *testServer {
	t.Helper()
	ts := &testServer{o: &server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, SyncAlways: syncAlways,
		JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 4 << 30,
	}}
	ts.start(t)
	t.Cleanup(func() { ts.stop() })
	return ts
}

func (ts *testServer) start(t testing.TB) {
	t.Helper()
	s, err := server.NewServer(ts.o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	ts.s = s
	ts.o.Port = s.Addr().(*net.TCPAddr).Port
}

func (ts *testServer) stop() {
	ts.s.Shutdown()
	ts.s.WaitForShutdown()
}

func (ts *testServer) url() string {
	return "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(ts.o.Port))
}

var buckets atomic.Int64

// connect gives empty Stores.
func connect(t testing.TB, ts *testServer, o Options) *Stores {
	t.Helper()
	o.URL = ts.url()
	if o.Bucket == "" {
		o.Bucket = fmt.Sprintf("test%d", buckets.Add(1))
	}
	s, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStores(t *testing.T) {
	ts := startServer(t, false)
	o := Options{MaxValue: 1<<20 + 1, Inline: 16 << 10}
	kvstoretest.Run(t, func(t testing.TB) kvstore.Stores { return connect(t, ts, o) }, kvstoretest.Traits{
		MaxValue: o.MaxValue,
		Writes:   600,
		Lag:      5 * time.Second,
		Reopen: func(t testing.TB, closed kvstore.Stores) kvstore.Stores {
			o := o
			o.Bucket = closed.(*Stores).o.Bucket
			return connect(t, ts, o)
		},
	})
}

func BenchmarkStores(b *testing.B) {
	ts := startServer(b, false)
	kvstoretest.Benchmark(b, func(t testing.TB) kvstore.Stores { return connect(t, ts, Options{}) })
}
