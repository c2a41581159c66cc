package backend

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// source is a body that tells whether and how often it was closed.
type source struct {
	io.Reader
	closed atomic.Int32
	wake   chan struct{} // closed by Close
}

func newSource(r io.Reader) *source { return &source{Reader: r, wake: make(chan struct{})} }

func (s *source) Close() error {
	if s.closed.Add(1) == 1 {
		close(s.wake)
	}
	return nil
}

// stuck is a body whose next piece does not come.
type stuck struct{ *source }

func newStuck() stuck { return stuck{newSource(nil)} }

func (s stuck) Read([]byte) (int, error) {
	<-s.wake
	return 0, errors.New("closed")
}

func TestRequestOnTheWire(t *testing.T) {
	noLeak(t)
	tests := []struct {
		name string
		conf Config
		req  Request
		body string // with Length as it is, "": none
		want string // {addr} stands for the origin's
	}{
		{name: "nothing is invented", req: Request{}, want: "GET / HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "the request's host counts more than the URI's", req: Request{URI: "http://uri.test/x", Header: fields("host", "header.test")},
			want: "GET /x HTTP/1.1\r\nHost: header.test\r\n\r\n"},
		{name: "the URI's authority counts without a host", req: Request{URI: "https://u:p@uri.test:8443/x"}, want: "GET /x HTTP/1.1\r\nHost: uri.test:8443\r\n\r\n"},
		{name: "the override counts most", conf: Config{OverrideHost: "over.test"}, req: Request{URI: "http://uri.test/x", Header: fields("host", "header.test")},
			want: "GET /x HTTP/1.1\r\nHost: over.test\r\n\r\n"},
		{name: "the prefix is joined by one slash", conf: Config{PathPrefix: "/pre/"}, req: Request{URI: "/x?y=/"}, want: "GET /pre/x?y=/ HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "the prefix needs no slash", conf: Config{PathPrefix: "pre"}, req: Request{URI: "http://h"}, want: "GET /pre/ HTTP/1.1\r\nHost: h\r\n\r\n"},
		{name: "path and query are kept as given", req: Request{URI: "/a%2f%zz\xff\"<>|{}?b=%2F&c=é^"}, want: "GET /a%2f%zz\xff\"<>|{}?b=%2F&c=é^ HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "a path may start with two slashes", req: Request{URI: "//a%2f%20b/..?q=%zz"}, want: "GET //a%2f%20b/..?q=%zz HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "odd bytes after two slashes are escaped", req: Request{URI: "//a|%zz"}, want: "GET //a%7C%25zz HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "an empty query stays", req: Request{URI: "/x?"}, want: "GET /x? HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "a fragment goes", req: Request{URI: "/x#y"}, want: "GET /x HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "OPTIONS for the server itself", conf: Config{PathPrefix: "/p"}, req: Request{Method: "OPTIONS", URI: "*"}, want: "OPTIONS * HTTP/1.1\r\nHost: {addr}\r\n\r\n"},
		{name: "hop-by-hop fields stay here", req: Request{Header: fields("connection", "x-one, Close", "x-one", "1", "x-two", "2", "keep-alive", "5",
			"proxy-connection", "a", "te", "trailers", "upgrade", "h2c", "trailer", "x", "transfer-encoding", "chunked", "expect", "100-continue", "content-length", "5")},
			want: "GET / HTTP/1.1\r\nHost: {addr}\r\nX-Two: 2\r\n\r\n"},
		{name: "repeats and user-agent are kept", req: Request{Header: fields("accept", "a", "user-agent", "me", "accept", "b", "accept-encoding", "br")},
			want: "GET / HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: me\r\nAccept: a\r\nAccept: b\r\nAccept-Encoding: br\r\n\r\n"},
		{name: "a known length", req: Request{Method: "POST", Length: 3}, body: "abc", want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "an unknown length", req: Request{Method: "POST", Length: -1}, body: "abc", want: "POST / HTTP/1.1\r\nHost: {addr}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "an unknown length with GET", req: Request{Length: -1}, body: "abc", want: "GET / HTTP/1.1\r\nHost: {addr}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "POST with nothing", req: Request{Method: "POST"}, want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\n\r\n"},
		{name: "the guest's framing is not trusted", req: Request{Method: "POST", Length: 3, Header: fields("content-length", "7", "transfer-encoding", "chunked")}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "manual length", req: Request{Method: "POST", Length: -1, ManualFraming: true, Header: fields("content-length", "3")}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "manual length of a body that may have trailers", req: Request{Method: "POST", Length: -1, ManualFraming: true, Header: fields("content-length", "3"),
			Trailers: func(l *httpfield.List) { l.Add("x-sum", "6") }}, body: "abc", want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "a body is cut off at its manual length", req: Request{Method: "POST", Length: 4, ManualFraming: true, Header: fields("content-length", "3")}, body: "abcd",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "a body of unknown length as well", req: Request{Method: "POST", Length: -1, ManualFraming: true, Header: fields("content-length", "3")}, body: "abcd",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "manual chunks", req: Request{Method: "POST", Length: 3, ManualFraming: true, Header: fields("transfer-encoding", "Chunked")}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "insane manual length", req: Request{Method: "POST", Length: 3, ManualFraming: true, Header: fields("content-length", "4")}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "two manual lengths", req: Request{Method: "POST", Length: -1, ManualFraming: true, Header: fields("content-length", "3", "content-length", "3")}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "trailers", req: Request{Method: "POST", Length: 3, Trailers: func(l *httpfield.List) { l.Add("x-sum", "6"); l.Add("content-length", "9") }}, body: "abc",
			want: "POST / HTTP/1.1\r\nHost: {addr}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			conf := rawOrigin(t, func(nc net.Conn) {
				head := readHead(nc)
				var rest []byte
				switch low := strings.ToLower(head); {
				case strings.Contains(low, "content-length: 3"):
					rest = make([]byte, 3)
					io.ReadFull(nc, rest)
				case strings.Contains(low, "chunked"):
					one := make([]byte, 1)
					for !bytes.Contains(rest, []byte("\r\n0\r\n")) || !bytes.HasSuffix(rest, []byte("\r\n\r\n")) {
						if _, err := nc.Read(one); err != nil {
							break
						}
						rest = append(rest, one...)
					}
				}
				got <- head + string(rest)
				io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			addr := conf.Addr()
			conf.OverrideHost, conf.PathPrefix = tt.conf.OverrideHost, tt.conf.PathPrefix
			req := tt.req
			var src *source
			if tt.body != "" {
				src = newSource(strings.NewReader(tt.body))
				req.Body = src
			}
			mustGet(t, open(t, conf), &req)
			if g, want := <-got, strings.ReplaceAll(tt.want, "{addr}", addr); g != want {
				t.Errorf("got\n%q, want\n%q", g, want)
			}
			if src != nil && src.closed.Load() != 1 {
				t.Errorf("the body was closed %d times", src.closed.Load())
			}
		})
	}
}

func TestResponse(t *testing.T) {
	noLeak(t)
	conf := rawOrigin(t, func(nc net.Conn) {
		for readHead(nc) != "" {
			io.WriteString(nc, "HTTP/1.1 418 Teapot\r\nX-B: 1\r\nX-b: 2\r\nAccept: a\r\nConnection: x-gone\r\nX-Gone: 1\r\nKeep-Alive: 3\r\n"+
				"Location: /elsewhere\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: t1\r\nX-Late: t2\r\n\r\n")
		}
	})
	b := open(t, conf)
	for i := range 2 {
		resp, body := mustGet(t, b, &Request{})
		if resp.Status != 418 || resp.Proto != "HTTP/1.1" || body != "abc" || resp.ContentLength != -1 {
			t.Errorf("got %+v with %q", resp, body)
		}
		if got, want := text(&resp.Header), "accept: a\nlocation: /elsewhere\nx-b: 1\nx-b: 2\n"; got != want {
			t.Errorf("header\n%swant\n%s", got, want)
		}
		var trailers httpfield.List
		resp.Trailers(&trailers)
		if got, want := text(&trailers), "x-late: t2\nx-t: t1\n"; got != want {
			t.Errorf("trailers\n%swant\n%s", got, want)
		}
		if resp.Remote.String() != conf.Addr() || resp.Reused != (i > 0) {
			t.Errorf("remote %v, reused %v", resp.Remote, resp.Reused)
		}
	}
}

func TestNoRedirectCookieOrDecompressionUnasked(t *testing.T) {
	var seen []string
	b := open(t, httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Cookie")+r.Header.Get("Accept-Encoding"))
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Location", "/again")
		w.WriteHeader(302)
		w.Write([]byte("not gzip"))
	}))
	for range 2 {
		resp, body := mustGet(t, b, &Request{})
		if resp.Status != 302 || body != "not gzip" || !resp.Header.Has("content-encoding") {
			t.Errorf("got %d %q", resp.Status, body)
		}
	}
	if !slices.Equal(seen, []string{"", ""}) {
		t.Errorf("the origin saw %q", seen)
	}
}

func TestGunzip(t *testing.T) {
	noLeak(t)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	want := strings.Repeat("hello ", 10000)
	io.WriteString(zw, want)
	zw.Close()
	tests := []struct {
		name, coding, method string
		body                 []byte
		want                 string
		stays                bool
	}{
		{"gzip is decoded", "gzip", "GET", zipped.Bytes(), want, false},
		{"x-gzip is decoded", "X-GZIP", "GET", zipped.Bytes(), want, false},
		{"two members are one body", "gzip", "GET", slices.Concat(zipped.Bytes(), zipped.Bytes()), want + want, false},
		{"another coding is not", "br", "GET", zipped.Bytes(), zipped.String(), true},
		{"two codings are not", "gzip, gzip", "GET", zipped.Bytes(), zipped.String(), true},
		{"an empty body is fine", "gzip", "GET", nil, "", false},
		{"HEAD has no body", "gzip", "HEAD", nil, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", tt.coding)
				w.Header().Set("Content-Length", fmt.Sprint(len(tt.body)))
				w.Write(tt.body)
			}))
			for range 2 {
				resp, body := mustGet(t, b, &Request{Gunzip: true, Method: tt.method})
				if body != tt.want || resp.Header.Has("content-encoding") != tt.stays || resp.Header.Has("content-length") != tt.stays {
					t.Errorf("got %d bytes, header\n%s", len(body), text(&resp.Header))
				}
			}
			if s := b.Stats(); s.Connections != 1 {
				t.Errorf("%d connections", s.Connections)
			}
		})
	}
}

func TestInterimResponses(t *testing.T) {
	ca := newAuthority(t, "ca")
	hints := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.Header().Set("Link", "</b>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	}
	for _, tt := range []struct {
		name string
		conf Config
	}{
		{"HTTP/1.1", httpOrigin(t, hints)},
		{"HTTP/2", tlsOrigin(t, ca, true, &tls.Config{}, hints)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, tt.conf)
			var mu sync.Mutex
			var got []string
			_, body := mustGet(t, b, &Request{Interim: func(status int, h *httpfield.List) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(status, " ", strings.TrimSpace(text(h))))
			}})
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, []string{"103 link: </a>", "103 link: </b>"}) || body != "done" {
				t.Errorf("got %q, then %q", got, body)
			}
			if _, body := mustGet(t, b, &Request{}); body != "done" {
				t.Errorf("ignored: got %q", body)
			}
		})
	}
	t.Run("endless", func(t *testing.T) {
		b := open(t, rawOrigin(t, func(nc net.Conn) {
			readHead(nc)
			for {
				if _, err := io.WriteString(nc, "HTTP/1.1 103 Hints\r\n\r\n"); err != nil {
					return
				}
			}
		}))
		n := 0
		_, _, err := get(b, &Request{Interim: func(int, *httpfield.List) { n++ }})
		if e := detailOf(t, err); e.Detail != DetailHTTPProtocolError || n != maxInterim {
			t.Errorf("%d passed on, then %v", n, err)
		}
	})
}

// eachProtocol runs a test over what a backend can speak.
func eachProtocol(t *testing.T, h http.HandlerFunc, f func(t *testing.T, proto string, conf Config)) {
	ca := newAuthority(t, "ca")
	t.Run("HTTP/1.1", func(t *testing.T) {
		noLeak(t)
		f(t, "HTTP/1.1", httpOrigin(t, h))
	})
	t.Run("HTTP/1.1 with TLS", func(t *testing.T) {
		noLeak(t)
		f(t, "HTTP/1.1", tlsOrigin(t, ca, false, &tls.Config{}, h))
	})
	t.Run("HTTP/2", func(t *testing.T) {
		noLeak(t)
		f(t, "HTTP/2.0", tlsOrigin(t, ca, true, &tls.Config{}, h))
	})
	t.Run("HTTP/2 for gRPC", func(t *testing.T) {
		noLeak(t)
		c := tlsOrigin(t, ca, true, &tls.Config{}, h)
		c.GRPC = true
		f(t, "HTTP/2.0", c)
	})
	t.Run("HTTP/2 by prior knowledge", func(t *testing.T) {
		noLeak(t)
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		c := target(t, s.Listener.Addr())
		c.GRPC = true
		f(t, "HTTP/2.0", c)
	})
}

func TestTrailersBothWays(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		te := r.Header.Get("Te")
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("X-Te", te)
		fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-Sum"))
		w.Header().Set("Grpc-Status", "0")
	}, func(t *testing.T, proto string, conf Config) {
		b := open(t, conf)
		for range 3 {
			resp, body := mustGet(t, b, &Request{Method: "POST", URI: "/svc/Call", Header: fields("te", "trailers", "content-type", "application/grpc", "trailer", "x-sum"),
				Body: newSource(strings.NewReader("ping")), Length: 4, Trailers: func(l *httpfield.List) { l.Add("x-sum", "s") }})
			var tr httpfield.List
			resp.Trailers(&tr)
			if body != "ping s" || text(&tr) != "grpc-status: 0\n" || resp.Proto != proto {
				t.Errorf("%s: got %q, trailers %q", resp.Proto, body, text(&tr))
			}
			if te, _ := resp.Header.Get("x-te"); (te == "trailers") != (proto == "HTTP/2.0") {
				t.Errorf("te: %q", te)
			}
		}
		if s := b.Stats(); s.Connections != 1 || s.Reused != 2 || s.Idle != 1 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestFullDuplex(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		buf := make([]byte, 1024)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	}, func(t *testing.T, _ string, conf Config) {
		b := open(t, conf)
		pr, pw := io.Pipe()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		resp, err := b.Send(ctx, &Request{Method: "POST", Body: pr, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		for i := range 10 {
			msg := fmt.Sprintf("msg %d", i)
			if _, err := io.WriteString(pw, msg); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != msg {
				t.Fatalf("got %q, %v", buf, err)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		if s := b.Stats(); s.InFlight != 0 || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// endless gives n bytes and counts them.
type endless struct {
	n    int64
	read atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read.Load() >= e.n {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.n-e.read.Load()))
	e.read.Add(int64(n))
	return n, nil
}

func TestBigBodiesFlowWithBackPressure(t *testing.T) {
	const size = 64 << 20
	gate := make(chan chan struct{}, 1)
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		<-<-gate
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Got", fmt.Sprint(n))
		io.Copy(w, &endless{n: size})
	}, func(t *testing.T, _ string, conf Config) {
		open1 := make(chan struct{})
		gate <- open1
		conf.FirstByteTimeout = -1
		b := open(t, conf)
		src := &endless{n: size}
		done := make(chan *Response)
		go func() {
			defer close(done)
			resp, err := b.Send(context.Background(), &Request{Method: "POST", Body: newSource(src), Length: -1})
			if err != nil {
				t.Error(err)
				return
			}
			done <- resp
		}()
		// While the origin does not read, only what buffers hold is taken.
		last := int64(-1)
		for n := src.read.Load(); n != last || n == 0; n = src.read.Load() {
			last = n
			time.Sleep(100 * time.Millisecond)
		}
		if last > 32<<20 {
			t.Errorf("%d bytes were taken of a body that the origin does not read", last)
		}
		close(open1)
		resp, ok := <-done
		if !ok {
			return
		}
		if got, _ := resp.Header.Get("x-got"); got != fmt.Sprint(size) {
			t.Errorf("the origin got %s bytes", got)
		}
		var peak, m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		base, total := m.HeapAlloc, int64(0)
		buf := make([]byte, 64<<10)
		for i := 0; ; i++ {
			n, err := resp.Body.Read(buf)
			total += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if i%1000 == 0 {
				runtime.ReadMemStats(&peak)
				if peak.HeapAlloc > base+64<<20 {
					t.Fatalf("the heap grew from %d to %d", base, peak.HeapAlloc)
				}
			}
		}
		if total != size {
			t.Errorf("%d bytes came back", total)
		}
	})
}

func TestSlowWriterOfABodyIsNotTheOriginsFault(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}, func(t *testing.T, _ string, conf Config) {
		conf.FirstByteTimeout, conf.BetweenBytesTimeout = 150*time.Millisecond, 150*time.Millisecond
		b := open(t, conf)
		pr, pw := io.Pipe()
		go func() {
			for range 5 {
				time.Sleep(100 * time.Millisecond)
				io.WriteString(pw, "x")
			}
			pw.Close()
		}()
		_, body, err := get(b, &Request{Method: "PUT", Body: pr, Length: -1})
		if err != nil || body != "xxxxx" {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

func TestSlowReaderOfABodyIsNotTheOriginsFault(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		io.WriteString(w, "two")
	}, func(t *testing.T, _ string, conf Config) {
		conf.BetweenBytesTimeout = 50 * time.Millisecond
		b := open(t, conf)
		resp, err := b.Send(context.Background(), &Request{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond)
		one := make([]byte, 1)
		io.ReadFull(resp.Body, one)
		time.Sleep(150 * time.Millisecond)
		if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "netwo" {
			t.Errorf("got %q, %v", rest, err)
		}
	})
}

func TestWaitingBodiesAreReleased(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/answer":
			http.NewResponseController(w).EnableFullDuplex() // or the server waits for the body first
			w.WriteHeader(200)
		case "/abort":
			if hj, ok := w.(http.Hijacker); ok { // a panic would wait for the body first
				nc, _, _ := hj.Hijack()
				nc.Close()
				return
			}
			panic(http.ErrAbortHandler)
		default:
			io.Copy(io.Discard, r.Body)
		}
	}, func(t *testing.T, _ string, conf Config) {
		b := open(t, conf)
		t.Run("when the caller gives up", func(t *testing.T) {
			src := newStuck()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			if _, err := b.Send(ctx, &Request{Method: "POST", Body: src, Length: -1}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			eventually(t, "closed once", func() bool { return src.closed.Load() == 1 })
		})
		t.Run("when the origin breaks off", func(t *testing.T) {
			src := newStuck()
			_, err := b.Send(context.Background(), &Request{Method: "POST", URI: "/abort", Body: src, Length: -1})
			if e := detailOf(t, err); e.Detail != DetailConnectionTerminated && e.Detail != DetailH2Error {
				t.Errorf("got %v", err)
			}
			eventually(t, "closed once", func() bool { return src.closed.Load() == 1 })
		})
		t.Run("when the response has ended", func(t *testing.T) {
			src := newStuck()
			resp, err := b.Send(context.Background(), &Request{Method: "POST", URI: "/answer", Body: src, Length: -1})
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			eventually(t, "closed once", func() bool { return src.closed.Load() == 1 })
		})
		t.Run("when the response is closed", func(t *testing.T) {
			src := newStuck()
			resp, err := b.Send(context.Background(), &Request{Method: "POST", URI: "/answer", Body: src, Length: -1})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			resp.Body.Close()
			eventually(t, "closed once", func() bool { return src.closed.Load() == 1 })
		})
		eventually(t, "no exchange is left", func() bool { return b.Stats().InFlight == 0 })
	})
}

func TestBrokenRequestBodyAbortsTheRequest(t *testing.T) {
	saw := make(chan error, 1)
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		saw <- err
	}, func(t *testing.T, _ string, conf Config) {
		broken := errors.New("the guest abandoned it")
		b := open(t, conf)
		src := newSource(io.MultiReader(strings.NewReader("abc"), errReader{broken}))
		_, err := b.Send(context.Background(), &Request{Method: "POST", Body: src, Length: -1})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if err := <-saw; err == nil {
			t.Error("the origin saw a complete request")
		}
		if src.closed.Load() != 1 {
			t.Errorf("closed %d times", src.closed.Load())
		}
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestCloseEndsAWaitingRead(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-hang:
		}
	}, func(t *testing.T, _ string, conf Config) {
		b := open(t, conf)
		resp, err := b.Send(context.Background(), &Request{})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, func() { resp.Body.Close() })
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("got %v", err)
		}
	})
}
