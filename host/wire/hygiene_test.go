package wire_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/edgewasm/wasmedge/host/wire"
)

// echo answers with the body, so that an accepted smuggled request shows as a second response.
func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server answers
	}
	w.Header().Set("X-Path", r.URL.Path)
	w.Write(b)
}

func TestAmbiguousRequestsAreRefusedAndTheConnectionEnds(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(echo), MaxHead: 64 << 10})
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: a\r\n"
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, send string
		want       int
	}{
		{"both framings", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"differing lengths", post + "Content-Length: 0\r\nContent-Length: 37\r\n\r\n", 400},
		{"a list of lengths", post + "Content-Length: 0, 0\r\n\r\n", 400},
		{"a signed length", post + "Content-Length: +0\r\n\r\n", 400},
		{"another coding", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
		{"an obfuscated coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"an obfuscated name", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"a folded line", post + "X: a\r\n b\r\n\r\n", 400},
		{"a bare LF", post + "X: a\nY: b\r\n\r\n", 400},
		{"bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n", 400},
		{"a bare CR", post + "X: a\rb\r\n\r\n", 400},
		{"a CR before the line end", post + "X: a\r\r\n\r\n", 400},
		{"NUL in a value", post + "X: a\x00b\r\n\r\n", 400},
		{"two Hosts", post + "Host: b\r\n\r\n", 400},
		{"two equal Hosts", post + "Host: a\r\n\r\n", 400},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"absolute form with another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a target too long", "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"a method too long", strings.Repeat("G", 9000) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a huge header", post + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		{"a huge head", post + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100) + "\r\n", 431},
		{"too many headers", post + strings.Repeat("X: a\r\n", 1001) + "\r\n", 431},
		{"HTTP/2.0 on the request line", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		{"garbage", "\x16\x03\x01\x00\x05hello\r\n\r\n", 400},
		{"a chunk size that is none", chunked + "zz\r\n", 400},
		{"a chunk size that overflows", chunked + "ffffffffffffffffff\r\n", 400},
		{"a chunk with a bare LF", chunked + "1\na\r\n0\r\n\r\n", 400},
		{"a chunk that is too long", chunked + "1\r\nabc\r\n0\r\n\r\n", 400},
		{"a long chunk extension", chunked + "1;" + strings.Repeat("a", 1000) + "\r\na\r\n0\r\n\r\n", 400},
		{"a length among the trailers", chunked + "0\r\nContent-Length: 5\r\n\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			go io.WriteString(c, tt.send+smuggled)
			br := bufio.NewReader(c)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode != tt.want {
				t.Errorf("status %d, want %d", res.StatusCode, tt.want)
			}
			if !res.Close {
				t.Error("the connection is kept")
			}
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("more came: %q", rest)
			}
		})
	}
}

func TestRefusedRequestDoesNotCutIntoTheResponseBeforeIt(t *testing.T) {
	release := make(chan struct{})
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		if r.Context().Err() != nil {
			t.Error("the first request was cancelled")
		}
		io.WriteString(w, "first")
	})})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n")
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	br := bufio.NewReader(c)
	for _, want := range []string{"200 OK first", "400 Bad Request folded header line\n"} {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if got := res.Status + " " + string(body); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// h2Client is a bare HTTP/2 connection.
type h2Client struct {
	net.Conn
	*http2.Framer
	enc  *hpack.Encoder
	head bytes.Buffer
}

func dialH2(t testing.TB, addr string) *h2Client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, http2.ClientPreface)
	h := &h2Client{Conn: c, Framer: http2.NewFramer(c, c)}
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.head)
	h.WriteSettings()
	return h
}

// block encodes fields given as name, value, name, value.
func (h *h2Client) block(fields ...string) []byte {
	h.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return h.head.Bytes()
}

// answer reads frames until stream id is answered: the status, "RST code" or "GOAWAY code", and the body.
func (h *h2Client) answer(t testing.TB, id uint32) (status, body string) {
	t.Helper()
	for {
		f, err := h.ReadFrame()
		if err != nil {
			return "closed", body
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				if status = f.PseudoValue("status"); f.StreamEnded() {
					return status, body
				}
			}
		case *http2.DataFrame:
			if f.StreamID == id {
				body += string(f.Data())
				if f.StreamEnded() {
					return status, body
				}
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "RST " + f.ErrCode.String(), body
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != 0 {
				return "GOAWAY " + f.ErrCode.String(), body
			}
		}
	}
}

func TestMalformedHTTP2RequestsAreRefused(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(echo)})
	base := []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}
	with := func(more ...string) []string { return append(append([]string(nil), base...), more...) }
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"a good one", base, "200"},
		{"Connection", with("connection", "close"), "400"},
		{"Transfer-Encoding", with("transfer-encoding", "chunked"), "400"},
		{"Upgrade", with("upgrade", "websocket"), "400"},
		{"TE other than trailers", with("te", "gzip"), "400"},
		{"an upper-case name", with("X-A", "b"), "RST PROTOCOL_ERROR"},
		{"a line end in a value", with("x", "a\r\nb: c"), "RST PROTOCOL_ERROR"},
		{"a line end in a name", with("x\r\ny", "a"), "RST PROTOCOL_ERROR"},
		{"a colon in a name", with("x: y", "a"), "RST PROTOCOL_ERROR"},
		{"a pseudo-header behind the headers", with("x", "y", ":path", "/b"), "RST PROTOCOL_ERROR"},
		{"another Host", with("host", "b"), "400"},
		{"the same Host", with("host", "a"), "200"},
		{"no authority", []string{":method", "GET", ":scheme", "http", ":path", "/"}, "400"},
		{"an authority with a path", []string{":method", "GET", ":scheme", "http", ":authority", "a/b", ":path", "/"}, "400"},
		{"a space in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/a HTTP/1.1"}, "400"},
		{"a space in the method", []string{":method", "GET /x", ":scheme", "http", ":authority", "a", ":path", "/"}, "400"},
		{"a path too long", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/" + strings.Repeat("a", 9000)}, "414"},
		{"a length that the body does not have", with("content-length", "5"), "400"},
		{"two lengths", with("content-length", "0", "content-length", "0"), "400"},
		{"a signed length", with("content-length", "+0"), "400"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dialH2(t, addr)
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(tt.fields...), EndStream: true, EndHeaders: true})
			// Some versions of net/http find out themselves and reset the stream.
			if got, body := c.answer(t, 1); got != tt.want && (tt.want != "400" || got != "RST PROTOCOL_ERROR") {
				t.Errorf("got %s %q, want %s", got, body, tt.want)
			}
		})
	}
}

func TestInterimResponsesDoNotHideThatABodyIsRefused(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		io.Copy(io.Discard, r.Body) // sends 100 Continue
	})})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	br := bufio.NewReader(c)
	var got []string
	for {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			break
		}
		io.Copy(io.Discard, res.Body)
		got = append(got, res.Status[:3])
	}
	if s := strings.Join(got, " "); s != "103 100 400" && s != "103 400" {
		t.Errorf("got %s", s)
	}
}
