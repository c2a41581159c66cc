package backend

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestBytesThatNobodyAskedForEndAConnection(t *testing.T) {
	noLeak(t)
	for name, extra := range map[string]string{
		"in one piece with the response": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
		"later":                          "",
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan bool, 100)
			b := open(t, rawOrigin(t, func(nc net.Conn) {
				r := bufio.NewReader(nc)
				for {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"+extra)
					if extra == "" {
						time.Sleep(20 * time.Millisecond)
						io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
					}
					sent <- true
				}
			}))
			for range 3 {
				_, body, err := get(b, &Request{Method: "POST"})
				if err != nil || body != "ok" {
					t.Fatalf("%q, %v", body, err)
				}
				<-sent
			}
			if s := b.Stats(); s.Connections != 3 || s.Reused != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestMessagesOfTLSItselfLeaveAConnectionInUse(t *testing.T) {
	noLeak(t)
	b := open(t, tlsOrigin(t, newAuthority(t, "ca"), false, &tls.Config{MinVersion: tls.VersionTLS13}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "ok")
	}))
	for range 5 {
		mustGet(t, b, &Request{Method: "POST"})
	}
	if s := b.Stats(); s.Connections != 1 || s.Reused != 4 {
		t.Errorf("%+v", s)
	}
}

func TestARequestWithABodyLeavesTheConnectionForMore(t *testing.T) {
	noLeak(t)
	b := open(t, httpOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	for _, length := range []int64{4, -1} {
		for range 3 {
			_, body, err := get(b, &Request{Method: "POST", Body: io.NopCloser(strings.NewReader("body")), Length: length})
			if err != nil || body != "body" {
				t.Fatalf("%q, %v", body, err)
			}
		}
	}
	if s := b.Stats(); s.Connections != 1 || s.Reused != 5 {
		t.Errorf("%+v", s)
	}
}

// A server that has asked for a certificate sends its session tickets late: they may come before the first request is sent.
func TestAConnectionWithSessionTicketsIsFresh(t *testing.T) {
	noLeak(t)
	b := open(t, tlsOrigin(t, newAuthority(t, "ca"), false, &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}, func(w http.ResponseWriter, r *http.Request) {}))
	c, err := b.pool.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.cc.Close()
	eventually(t, "tickets have come", func() bool {
		pending, err := peek(c.raw.Conn)
		return pending && err == nil
	})
	for range 3 {
		if err := c.cc.Reserve(); err != nil {
			t.Error(err)
		}
	}
}
