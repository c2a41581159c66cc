package wire_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/edgewasm/wasmedge/host/wire"
)

// BenchmarkKeepAlive compares net/http alone with the same handler behind a Server: one connection, one
// request after the other.
func BenchmarkKeepAlive(b *testing.B) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello\n")
	})
	b.Run("net-http", func(b *testing.B) {
		srv := httptest.NewServer(hello)
		defer srv.Close()
		benchKeepAlive(b, srv.Listener.Addr().String())
	})
	b.Run("wire", func(b *testing.B) { benchKeepAlive(b, start(b, &wire.Server{Handler: hello})) })
	b.Run("wire-facts", func(b *testing.B) {
		benchKeepAlive(b, start(b, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f := wire.FromRequest(r)
			f.RemoteAddr()
			f.OriginalHeaderNames()
			hello(w, r)
		})}))
	})
}

func benchKeepAlive(b *testing.B, addr string) {
	const request = "GET /some/path?with=query HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(c, request); err != nil {
			b.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("hello\n")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}
