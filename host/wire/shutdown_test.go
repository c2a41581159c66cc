package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/edgewasm/wasmedge/host/wire"
)

// serve runs a server that the test stops itself.
func serve(t *testing.T, s *wire.Server) (addr string, stop context.CancelFunc, done chan error) {
	t.Helper()
	ready := make(chan net.Addr, 1)
	s.Addr = "127.0.0.1:0"
	s.Ready = func(a net.Addr) { ready <- a }
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done = make(chan error, 1)
	go func() { done <- s.ListenAndServe(ctx) }()
	select {
	case a := <-ready:
		return a.String(), cancel, done
	case err := <-done:
		t.Fatal(err)
	}
	return "", nil, nil
}

func TestShutdownClosesThePortAndLetsRequestsFinish(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			started, finish := make(chan bool, 1), make(chan bool)
			s := &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				started <- true
				<-finish
				fmt.Fprint(w, "finished ", r.Context().Err())
			})}
			url := "http://"
			if tr.tls {
				s.TLS = &wire.TLSConfig{}
				url = "https://"
			}
			addr, stop, done := serve(t, s)
			answer := make(chan string, 1)
			go func() {
				res, err := tr.client(t).Get(url + addr)
				if err != nil {
					answer <- err.Error()
					return
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				answer <- fmt.Sprint(string(body), " ", err, " ", res.ProtoMajor == 2)
			}()
			<-started
			stop()
			refused := func() bool {
				c, err := net.Dial("tcp", addr)
				if err == nil {
					c.Close()
				}
				return err != nil
			}
			for deadline := time.Now().Add(5 * time.Second); !refused(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the port stays open")
				}
			}
			select {
			case err := <-done:
				t.Fatalf("the server ended under a request: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(finish)
			if got, want := <-answer, fmt.Sprint("finished <nil> <nil> ", tr.h2); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if c := s.Counts(); c.Active != 0 || c.Idle != 0 || c.Starting != 0 || c.Accepted == 0 {
				t.Errorf("counts afterwards: %+v", c)
			}
		})
	}
}

func TestShutdownAbortsWhatOutlastsTheDrain(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		started, ended := make(chan bool, 1), make(chan bool, 1)
		s := &wire.Server{DrainTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			started <- true
			<-r.Context().Done()
			ended <- true
		})}
		addr, stop, done := serve(t, s)
		go transport{h2: h2}.client(t).Get("http://" + addr)
		<-started
		stop()
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		<-ended
	}
}

func TestShutdownDoesNotWaitForSilentConnections(t *testing.T) {
	for _, tls := range []bool{false, true} {
		s := &wire.Server{Handler: http.NotFoundHandler()}
		if tls {
			s.TLS = &wire.TLSConfig{}
		}
		addr, stop, done := serve(t, s)
		silent, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		if !tls {
			idle, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			idle.Read(make([]byte, 1))
		}
		for s.Counts().Accepted == 0 {
			time.Sleep(time.Millisecond)
		}
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server waits")
		}
	}
}

func TestConnectionsAboveTheBoundWait(t *testing.T) {
	s := &wire.Server{MaxConnections: 2, Handler: http.HandlerFunc(namesHandler)}
	addr := start(t, s)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		return c
	}
	answered := func(c net.Conn, within time.Duration) bool {
		c.SetReadDeadline(time.Now().Add(within))
		n, _ := c.Read(make([]byte, 1000))
		return n > 0
	}
	first, second := dial(), dial()
	if !answered(first, 10*time.Second) || !answered(second, 10*time.Second) {
		t.Fatal("no answer within the bound")
	}
	third := dial()
	if answered(third, 100*time.Millisecond) {
		t.Error("a third connection was served")
	}
	if c := s.Counts(); c.Accepted != 2 {
		t.Errorf("counts %+v", c)
	}
	first.Close()
	if !answered(third, 10*time.Second) {
		t.Error("the third connection was not served after the first had ended")
	}
}

func TestCountsFollowConnections(t *testing.T) {
	hold := make(chan bool)
	s := &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
	})}
	addr := start(t, s)
	wait := func(what string, want func(c wire.Counts) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			c := s.Counts()
			if want(c) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, c)
			}
		}
	}
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	wait("silent", func(c wire.Counts) bool { return c.Starting == 1 && c.Accepted == 1 })
	io.WriteString(silent, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
	wait("busy", func(c wire.Counts) bool { return c.Active == 1 && c.Starting == 0 })
	close(hold)
	wait("idle", func(c wire.Counts) bool { return c.Idle == 1 && c.Active == 0 })
	io.WriteString(silent, "GET /bad HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n")
	wait("refused", func(c wire.Counts) bool { return c.Refused == 1 && c.Idle == 0 && c.Active == 0 })
	silent.Close()
}

func TestHTTP2MayBeTurnedOff(t *testing.T) {
	addr := start(t, &wire.Server{NoHTTP2: true, Handler: http.HandlerFunc(namesHandler)})
	if res, _ := raw(t, addr, http2.ClientPreface); res.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("the preface was answered %d", res.StatusCode)
	}
	addr = start(t, &wire.Server{NoH2C: true, TLS: &wire.TLSConfig{}, Handler: http.HandlerFunc(namesHandler)})
	res, err := transport{tls: true, h2: true}.client(t).Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.HasPrefix(string(body), "true") {
		t.Errorf("over TLS: %q", body)
	}
}
