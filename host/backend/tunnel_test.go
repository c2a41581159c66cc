package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// switching answers an upgrade with 101 and echoes what comes, until the end.
func switching(nc net.Conn) {
	br := bufio.NewReader(nc)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if req.URL.Path != "/ws" {
		io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nX: y\r\n\r\nno!")
		return
	}
	io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+
		"\r\nSec-Key: "+req.Header.Get("Sec-Key")+"\r\n\r\nfirst ")
	io.Copy(nc, br)
	io.WriteString(nc, " last")
}

func TestUpgrade(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "ca")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, false, "127.0.0.1")}, NextProtos: []string{"h2", "http/1.1"}}
	plain := rawOrigin(t, switching)
	secure := rawOrigin(t, func(nc net.Conn) {
		tc := tls.Server(nc, conf)
		switching(tc)
		tc.Close()
	})
	secure.TLS = &TLS{CACerts: tlsRoots(ca)}
	for name, c := range map[string]Config{"plain": plain, "TLS": secure} {
		t.Run(name, func(t *testing.T) {
			b := open(t, c)
			ctx, cancel := context.WithCancel(context.Background())
			resp, conn, err := b.Upgrade(ctx, &Request{URI: "/ws", Header: fields("upgrade", "websocket", "sec-key", "k", "keep-alive", "9")})
			if err != nil {
				t.Fatal(err)
			}
			cancel() // concerns the head alone
			if key, _ := resp.Header.Get("sec-key"); resp.Status != 101 || key != "k" {
				t.Errorf("got %d\n%s", resp.Status, text(&resp.Header))
			}
			io.WriteString(conn, "hello")
			if err := conn.CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != "first hello last" {
				t.Errorf("got %q, %v", got, err)
			}
			conn.Close()

			resp, conn, err = b.Upgrade(context.Background(), &Request{URI: "/other", Header: fields("upgrade", "websocket")})
			if err != nil || conn != nil {
				t.Fatalf("got %v, %v", conn, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.Status != 403 || string(body) != "no!" || err != nil {
				t.Errorf("got %d %q, %v", resp.Status, body, err)
			}
			eventually(t, "no connection is left", func() bool { s := b.Stats(); return s.Open == 0 && s.InFlight == 0 })
		})
	}
}

func TestFailedUpgrades(t *testing.T) {
	noLeak(t)
	tests := []struct {
		name, answer string
		header       []string
		want         Detail
	}{
		{"nothing is asked for", "", nil, DetailHTTPUpgradeFailed},
		{"another protocol is chosen", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", []string{"upgrade", "websocket"}, DetailHTTPUpgradeFailed},
		{"no answer", "", []string{"upgrade", "websocket"}, DetailConnectionTerminated},
		{"the head is too large", "HTTP/1.1 101 S\r\nA: " + strings.Repeat("x", 9000), []string{"upgrade", "websocket"}, DetailHTTPResponseHeaderTooLarge},
		{"silence", "HTTP/1.1 101", []string{"upgrade", "websocket"}, DetailHTTPResponseTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := rawOrigin(t, func(nc net.Conn) {
				readHead(nc)
				io.WriteString(nc, tt.answer)
				if tt.want == DetailHTTPResponseTimeout {
					io.Copy(io.Discard, nc)
				}
			})
			c.FirstByteTimeout = 100 * time.Millisecond
			b := open(t, c, Options{MaxResponseHead: 4096})
			_, conn, err := b.Upgrade(context.Background(), &Request{Header: fields(tt.header...)})
			if e := detailOf(t, err); e.Detail != tt.want || conn != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			eventually(t, "no connection is left", func() bool { return b.Stats().Open == 0 })
		})
	}
}

func TestDial(t *testing.T) {
	noLeak(t)
	b := open(t, rawOrigin(t, func(nc net.Conn) { io.Copy(nc, nc) }))
	nc, err := b.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(nc, "abc")
	nc.(Conn).CloseWrite()
	if got, err := io.ReadAll(nc); string(got) != "abc" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	nc.Close()
	b.Close()
	if _, err := b.Dial(context.Background()); detailOf(t, err).Detail != DetailDestinationUnavailable {
		t.Errorf("after Close: %v", err)
	}
}

func TestPatienceReplacesTheTimeouts(t *testing.T) {
	noLeak(t)
	c := rawOrigin(t, func(nc net.Conn) {
		readHead(nc)
		time.Sleep(150 * time.Millisecond)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(150 * time.Millisecond)
		io.WriteString(nc, "cd")
	})
	c.FirstByteTimeout, c.BetweenBytesTimeout = 50*time.Millisecond, 50*time.Millisecond
	b := open(t, c)
	for _, patience := range []time.Duration{-1, 5 * time.Second} {
		header := fields("upgrade", "websocket")
		send := map[string]func() (*Response, error){
			"Send": func() (*Response, error) {
				return b.Send(t.Context(), &Request{Header: header, Patience: patience})
			},
			"Upgrade": func() (*Response, error) {
				resp, _, err := b.Upgrade(t.Context(), &Request{Header: header, Patience: patience})
				return resp, err
			},
		}
		for name, send := range send {
			resp, err := send()
			if err != nil {
				t.Fatalf("%s with %s: %v", name, patience, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "abcd" || err != nil {
				t.Errorf("%s with %s: %q, %v", name, patience, body, err)
			}
		}
	}
	if _, err := b.Send(t.Context(), &Request{Patience: 20 * time.Millisecond}); detailOf(t, err).Detail != DetailHTTPResponseTimeout {
		t.Errorf("without patience: %v", err)
	}
}
