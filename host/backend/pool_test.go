package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestConnectionsAreReused(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}, func(t *testing.T, _ string, conf Config) {
		b := open(t, conf)
		for i := range 20 {
			if _, body := mustGet(t, b, &Request{Method: "POST", Body: newSource(strings.NewReader("x")), Length: int64(1 - 2*(i%2))}); body != "x" {
				t.Fatalf("got %q", body)
			}
		}
		if s := b.Stats(); s.Connections != 1 || s.Reused != 19 || s.Requests != 20 || s.Failures != 0 || s.Open != 1 || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
		b.Close()
		eventually(t, "closed", func() bool { return b.Stats().Open == 0 })
		_, _, err := get(b, &Request{})
		if e := detailOf(t, err); e.Detail != DetailDestinationUnavailable {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestPoolLimits(t *testing.T) {
	hello := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }
	tests := []struct {
		name  string
		set   func(*Config)
		pause time.Duration
		want  uint64 // connections for six requests one after the other
	}{
		{"none", func(*Config) {}, 0, 1},
		{"two uses", func(c *Config) { c.Pool.MaxUse = 2 }, 0, 3},
		{"a short life", func(c *Config) { c.Pool.MaxLifetime = time.Nanosecond }, 0, 6},
		{"no keep-alive", func(c *Config) { c.KeepAlive.HTTPTime = -1 }, 0, 6},
		{"no pooling", func(c *Config) { c.DontPool = true }, 0, 6},
		{"a short idle time", func(c *Config) { c.KeepAlive.HTTPTime = 20 * time.Millisecond }, 60 * time.Millisecond, 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachProtocol(t, hello, func(t *testing.T, _ string, conf Config) {
				tt.set(&conf)
				b := open(t, conf)
				for range 6 {
					mustGet(t, b, &Request{})
					time.Sleep(tt.pause)
				}
				if s := b.Stats(); s.Connections != tt.want {
					t.Errorf("%d connections, want %d", s.Connections, tt.want)
				}
				eventually(t, "no more than one open", func() bool { return b.Stats().Open <= 1 })
				b.Close()
				if _, _, err := get(b, &Request{}); detailOf(t, err).Detail != DetailDestinationUnavailable {
					t.Errorf("after Close: %v", err)
				}
			})
		})
	}
}

func TestMaxConnections(t *testing.T) {
	var now, most atomic.Int32
	hold := make(chan struct{})
	conf := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if r.URL.Path == "/hold" {
			<-hold
		}
		time.Sleep(time.Millisecond)
	})
	conf.Pool.MaxConnections = 2
	conf.ConnectTimeout = 5 * time.Second
	b := open(t, conf)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, _, err := get(b, &Request{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 2 || b.Stats().Connections != 2 {
		t.Errorf("%d requests at once, %+v", most.Load(), b.Stats())
	}

	conf.ConnectTimeout = 50 * time.Millisecond
	b = open(t, conf)
	for range 2 {
		wg.Go(func() { get(b, &Request{URI: "/hold"}) })
	}
	eventually(t, "both are held", func() bool { return now.Load() == 2 })
	_, _, err := get(b, &Request{})
	if e := detailOf(t, err); e.Detail != DetailConnectionLimitReached {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Send(ctx, &Request{}); err == nil {
		t.Error("an ended context waited its turn")
	}
	close(hold)
	wg.Wait()
	if _, _, err := get(b, &Request{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestHTTP2SharesOneConnectionFromTheStart(t *testing.T) {
	ca := newAuthority(t, "ca")
	conf := tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) { time.Sleep(10 * time.Millisecond) })
	b := open(t, conf)
	mustGet(t, b, &Request{})
	b.pool.mu.Lock()
	for _, c := range b.pool.h2 {
		b.pool.retire(c)
	}
	b.pool.mu.Unlock()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { mustGet(t, b, &Request{}) })
	}
	wg.Wait()
	if s := b.Stats(); s.Connections != 2 || s.Requests != 51 {
		t.Errorf("%+v", s)
	}
}

func TestHTTP2StreamLimitMakesAnotherConnection(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "ca")
	hold := make(chan struct{})
	conf := tlsOrigin(t, ca, true, &tls.Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-hold
	})
	b := open(t, conf)
	var open []*Response
	for range 300 {
		resp, err := b.Send(context.Background(), &Request{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	if s := b.Stats(); s.Connections < 2 || s.Connections > 4 || s.InFlight != 300 {
		t.Errorf("%+v", s)
	}
	close(hold)
	for _, r := range open {
		io.Copy(io.Discard, r.Body)
	}
	if s := b.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDeadConnectionsAreRetried(t *testing.T) {
	noLeak(t)
	// Each connection answers once and is closed when the next request has come.
	var requests atomic.Int32
	conf := rawOrigin(t, func(nc net.Conn) {
		if readHead(nc) == "" {
			return
		}
		requests.Add(1)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		readHead(nc)
		requests.Add(1)
	})
	b := open(t, conf)
	mustGet(t, b, &Request{})
	mustGet(t, b, &Request{})
	if s := b.Stats(); s.Retries != 1 || requests.Load() != 3 {
		t.Errorf("%+v after %d requests", s, requests.Load())
	}
	_, _, err := get(b, &Request{Method: "POST"})
	if e := detailOf(t, err); e.Detail != DetailConnectionTerminated || b.Stats().Retries != 1 {
		t.Errorf("POST: %v, %+v", err, b.Stats())
	}
}

func TestConnectionsClosedWhileIdleAreNotUsed(t *testing.T) {
	noLeak(t)
	closed := make(chan struct{}, 100)
	conf := rawOrigin(t, func(nc net.Conn) {
		readHead(nc)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		nc.Close()
		closed <- struct{}{}
	})
	b := open(t, conf)
	for range 5 {
		if _, _, err := get(b, &Request{Method: "POST"}); err != nil {
			t.Fatal(err)
		}
		<-closed
	}
	b.pool.expire()
	eventually(t, "noticed", func() bool { return b.Stats().Open == 0 })
}

func TestUnfinishedBodiesDoNotReachOthers(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.URL.Path)
		w.(http.Flusher).Flush()
		if r.URL.Path == "/long" {
			io.Copy(w, &endless{n: 1 << 30})
		}
	}, func(t *testing.T, _ string, conf Config) {
		b := open(t, conf)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 20 {
					path := fmt.Sprintf("/%d/%d", i, j)
					if j%3 == 0 {
						resp, err := b.Send(context.Background(), &Request{URI: "/long"})
						if err != nil {
							t.Error(err)
							return
						}
						resp.Body.Read(make([]byte, 10))
						resp.Body.Close()
					}
					if _, body, err := get(b, &Request{URI: path}); err != nil || body != path {
						t.Errorf("got %q, %v for %s", body, err, path)
					}
				}
			})
		}
		wg.Wait()
		if s := b.Stats(); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		b.Close()
		eventually(t, "no connection is left", func() bool { return b.Stats().Open == 0 })
	})
}

func TestRandomCancellationLeavesNothing(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.Copy(w, &endless{n: 100 << 10})
	}, func(t *testing.T, _ string, conf Config) {
		conf.Pool.MaxConnections = 3
		b := open(t, conf)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 25 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration((i*25+j)%40)*250*time.Microsecond)
					resp, err := b.Send(ctx, &Request{Method: "POST", Body: newSource(&endless{n: 64 << 10}), Length: -1})
					if err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if _, _, err := get(b, &Request{}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		eventually(t, "nothing is under way", func() bool {
			b.pool.mu.Lock()
			defer b.pool.mu.Unlock()
			return b.stats.inFlight.Load() == 0 && b.pool.making == 0 && len(b.pool.line) == 0
		})
	})
}

func TestAddressesAreTriedInOrder(t *testing.T) {
	a := func(s ...string) (l []netip.Addr) {
		for _, x := range s {
			l = append(l, netip.MustParseAddr(x))
		}
		return l
	}
	tests := []struct {
		name   string
		ips    []netip.Addr
		prefer bool
		want   string
	}{
		{"families take turns", a("::1", "::2", "1.1.1.1", "2.2.2.2"), false, "[::1 1.1.1.1 ::2 2.2.2.2]"},
		{"the resolver's first comes first", a("1.1.1.1", "::1", "2.2.2.2"), false, "[1.1.1.1 ::1 2.2.2.2]"},
		{"IPv4 is preferred", a("::1", "1.1.1.1", "::2", "2.2.2.2"), true, "[1.1.1.1 2.2.2.2 ::1 ::2]"},
		{"a mapped address is IPv4", a("::ffff:1.1.1.1"), false, "[1.1.1.1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(order(tt.ips, tt.prefer)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNextAddressIsTriedWhenOneFailsOrHangs(t *testing.T) {
	noLeak(t)
	var tried []string
	var mu sync.Mutex
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		mu.Lock()
		tried = append(tried, addr)
		mu.Unlock()
		switch addr {
		case "1.1.1.1:1":
			return nil, io.ErrClosedPipe
		case "2.2.2.2:2":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c, _ := net.Pipe()
		return c, nil
	}
	addrs := []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("2.2.2.2:2"), netip.MustParseAddrPort("3.3.3.3:3")}
	nc, err := race(context.Background(), addrs, dial)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(tried) != 3 {
		t.Errorf("tried %v", tried)
	}
}

func TestNamesAreResolvedForEachConnection(t *testing.T) {
	noLeak(t)
	var lookups atomic.Int32
	res := dnsServer(t, func(m *dnsmessage.Message) bool {
		if m.Questions[0].Type == dnsmessage.TypeA {
			lookups.Add(1)
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		return true
	})
	conf := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })
	conf.Host, conf.Pool.MaxUse = "origin.test", 2
	b := open(t, conf, Options{Resolver: res})
	for range 6 {
		if _, body := mustGet(t, b, &Request{}); body != conf.Addr() {
			t.Errorf("host %q", body)
		}
	}
	if lookups.Load() != 3 {
		t.Errorf("%d lookups for three connections", lookups.Load())
	}
}
