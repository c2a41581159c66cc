package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/wire"
)

// start serves until the test ends and gives the address.
func start(t testing.TB, s *wire.Server) string {
	t.Helper()
	addr := make(chan net.Addr, 1)
	s.Addr = "127.0.0.1:0"
	s.Ready = func(a net.Addr) { addr <- a }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("ListenAndServe: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server did not end")
		}
	})
	select {
	case a := <-addr:
		return a.String()
	case err := <-done:
		t.Fatalf("ListenAndServe: %v", err)
	}
	return ""
}

// insecure trusts any server and speaks the protocols given.
func insecure(protos ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protos}
}

// raw sends bytes on a fresh connection and gives the response to the one request in them.
func raw(t testing.TB, addr, send string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no response to %.60q: %v", send, err)
	}
	body, _ := io.ReadAll(res.Body)
	return res, string(body)
}

// namesHandler answers with the original header names.
func namesHandler(w http.ResponseWriter, r *http.Request) {
	names, ok := wire.FromRequest(r).OriginalHeaderNames()
	fmt.Fprintf(w, "%v %s", ok, strings.Join(names, ","))
}

func TestOriginalHeaderNamesKeepCaseOrderAndDuplicates(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(namesHandler)})
	_, body := raw(t, addr, "GET / HTTP/1.1\r\nhOST: a\r\nX-b: 1\r\nx-A: 2\r\nX-B: 3\r\nConnection: close\r\n\r\n")
	if want := "true hOST,X-b,x-A,X-B,Connection"; body != want {
		t.Errorf("got %q, want %q", body, want)
	}
}
