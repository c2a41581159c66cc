package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var testLimits = &limits{url: 100, method: 20, head: 2000, headers: 20}

// followAll feeds the stream in parts and gives what came out: each request as "names" or "status reason",
// and last the body error, if there is one.
func followAll(stream string, part int) []string {
	f := follower{lim: testLimits}
	var out []string
	var bad error
	for p := range slices.Chunk([]byte(stream), part) {
		n, err := f.feed(p)
		if bad = err; bad == nil && n < len(p) {
			_, bad = f.feed([]byte{'x'})
		}
		if bad != nil {
			break
		}
	}
	for range len(f.queue) {
		r := f.next()
		if r.refused != nil {
			out = append(out, strconv.Itoa(r.refused.status)+" "+r.refused.reason)
		} else {
			out = append(out, strings.Join(strings.Split(strings.TrimSuffix(string(r.names), "\x00"), "\x00"), ","))
		}
	}
	if bad != nil {
		out = append(out, bad.Error())
	}
	return out
}

func TestFollower(t *testing.T) {
	const (
		get  = "GET / HTTP/1.1\r\nHost: a\r\n"
		post = "POST / HTTP/1.1\r\nHost: a\r\n"
		next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n"
		chk  = post + "Transfer-Encoding: chunked\r\n\r\n"
	)
	const ok = "Host"
	for _, tt := range []struct {
		name, stream string
		want         []string
	}{
		{"names keep case, order and duplicates", "GET / HTTP/1.1\r\nhOST: a\r\nX-b: 1\r\nx-A:2\r\nX-B:\t3 \r\n\r\n", []string{"hOST,X-b,x-A,X-B"}},
		{"HTTP/1.0 needs no Host", "GET / HTTP/1.0\r\nA: b\r\n\r\n", []string{"A"}},
		{"pipelined", get + "\r\n" + next + next, []string{ok, "host", "host"}},
		{"a body by length", post + "Content-Length: 5\r\n\r\n\r\n\r\nG" + next, []string{"Host,Content-Length", "host"}},
		{"the same length twice", post + "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc" + next, []string{"Host,Content-Length,content-length", "host"}},
		{"a length of zero", post + "Content-Length: 0\r\n\r\n" + next, []string{"Host,Content-Length", "host"}},
		{"a body in chunks", chk + "5\r\nhello\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n" + next, []string{"Host,Transfer-Encoding", "host"}},
		{"chunks that hold line ends", chk + "4\r\n\r\n\r\n\r\n000\r\n\r\n" + next, []string{"Host,Transfer-Encoding", "host"}},
		{"trailers", chk + "1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n" + next, []string{"Host,Transfer-Encoding", "host"}},
		{"blank lines after a POST", post + "Content-Length: 0\r\n\r\n\r\n\r\n" + next, []string{"Host,Content-Length", "host"}},
		{"too many blank lines after a POST", post + "\r\n\r\n\r\n\r\n" + next, []string{ok, "400 malformed request line"}},
		{"a blank line after a GET", get + "\r\n\r\n" + next, []string{ok, "400 malformed request line"}},
		{"CONNECT ends tracking", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n\x00\x01anything", []string{"Host"}},
		{"Upgrade ends tracking", get + "Upgrade: websocket\r\n\r\n" + next, []string{"Host,Upgrade"}},
		{"an upgrade to h2c does not", get + "Upgrade: h2c\r\n\r\n" + next, []string{"Host,Upgrade", "host"}},
		{"absolute form", "GET http://A/x HTTP/1.1\r\nHost: a:80\r\n\r\n", []string{ok}},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", []string{ok}},
		{"bytes above ASCII in a value", get + "X: caf\xc3\xa9\r\n\r\n", []string{"Host,X"}},
		{"an IPv6 host", "GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]\r\n\r\n", []string{ok}},

		{"both framings", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400 both Content-Length and Transfer-Encoding"}},
		{"differing lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", []string{"400 differing Content-Length headers"}},
		{"a list of lengths", post + "Content-Length: 3, 3\r\n\r\nabc", []string{"400 malformed Content-Length"}},
		{"a signed length", post + "Content-Length: +3\r\n\r\nabc", []string{"400 malformed Content-Length"}},
		{"an empty length", post + "Content-Length:\r\n\r\nabc", []string{"400 malformed Content-Length"}},
		{"a hexadecimal length", post + "Content-Length: 0x3\r\n\r\nabc", []string{"400 malformed Content-Length"}},
		{"a huge length", post + "Content-Length: 9999999999999999999\r\n\r\nabc", []string{"400 malformed Content-Length"}},
		{"another coding", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", []string{"400 Transfer-Encoding other than one chunked"}},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400 Transfer-Encoding other than one chunked"}},
		{"identity", post + "Transfer-Encoding: identity\r\n\r\n", []string{"400 Transfer-Encoding other than one chunked"}},
		{"chunked with a vertical tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n", []string{"400 control character in a header value"}},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400 Transfer-Encoding in HTTP/1.0"}},
		{"a folded line", get + "X: a\r\n b\r\n\r\n", []string{"400 folded header line"}},
		{"a folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", []string{"400 folded header line"}},
		{"a bare LF in the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", []string{"400 line does not end in CRLF"}},
		{"a bare LF in a header", get + "X: a\nY: b\r\n\r\n", []string{"400 line does not end in CRLF"}},
		{"a bare LF at the end", get + "\n", []string{"400 line does not end in CRLF"}},
		{"a bare CR", get + "X: a\rY: b\r\n\r\n", []string{"400 control character in a header value"}},
		{"two CRs", get + "X: a\r\r\n\r\n", []string{"400 control character in a header value"}},
		{"space before the colon", get + "X : a\r\n\r\n", []string{"400 malformed header name"}},
		{"no name", get + ": a\r\n\r\n", []string{"400 malformed header name"}},
		{"no colon", get + "X\r\n\r\n", []string{"400 malformed header name"}},
		{"a name with NUL", get + "X\x00: a\r\n\r\n", []string{"400 malformed header name"}},
		{"a value with NUL", get + "X: a\x00b\r\n\r\n", []string{"400 control character in a header value"}},
		{"a value with DEL", get + "X: a\x7f\r\n\r\n", []string{"400 control character in a header value"}},
		{"two Hosts", get + "Host: a\r\n\r\n", []string{"400 more than one Host header"}},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", []string{"400 missing Host header"}},
		{"an empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", []string{"400 malformed host"}},
		{"a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", []string{"400 malformed host"}},
		{"a Host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", []string{"400 malformed host"}},
		{"absolute form with another host", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 Host header differs from the request target"}},
		{"absolute form with another port", "GET http://a:81/x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 Host header differs from the request target"}},
		{"absolute form with user information", "GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed host"}},
		{"another scheme", "GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a target without a slash", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a control character in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a fragment in the target", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"no version", "GET /\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", []string{"505 unsupported protocol version"}},
		{"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", []string{"505 unsupported protocol version"}},
		{"a method that is no token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 malformed request line"}},
		{"a long method", strings.Repeat("G", 21) + " / HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 method too long"}},
		{"a long target", "GET /" + strings.Repeat("a", 100) + " HTTP/1.1\r\nHost: a\r\n\r\n", []string{"414 request target too long"}},
		{"a target that does not end", "GET /" + strings.Repeat("a", 1000), []string{"414 request target too long"}},
		{"a huge head", get + strings.Repeat("X: "+strings.Repeat("a", 200)+"\r\n", 15) + "\r\n", []string{"431 request head too large"}},
		{"a header that does not end", get + "X: " + strings.Repeat("a", 3000), []string{"431 request head too large"}},
		{"too many headers", get + strings.Repeat("X: a\r\n", 20) + "\r\n", []string{"431 too many header lines"}},
		{"nothing after a refusal", get + "X : a\r\n\r\n" + next, []string{"400 malformed header name"}},
		{"TLS on a plain port", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\n", []string{"400 line does not end in CRLF"}},

		{"a chunk size that is none", chk + "x\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"a signed chunk size", chk + "+1\r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"a chunk size with 0x", chk + "0x1\r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"an empty chunk size", chk + "\r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"a chunk size with spaces", chk + "1 \r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"a chunk size that overflows", chk + "10000000000000000\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size"}},
		{"a bare LF after a chunk size", chk + "1\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk size line"}},
		{"a long chunk extension", chk + "1;" + strings.Repeat("a", 300) + "\r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: chunk size line too long"}},
		{"a chunk extension with a bare CR", chk + "1;a\rb\r\na\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed chunk extension"}},
		{"a chunk that is too long", chk + "1\r\nab\r\n", []string{"Host,Transfer-Encoding", "wire: request body: chunk does not end in CRLF"}},
		{"a chunk that ends in LF", chk + "1\r\na\n0\r\n\r\n", []string{"Host,Transfer-Encoding", "wire: request body: chunk does not end in CRLF"}},
		{"a length among the trailers", chk + "0\r\nContent-Length: 3\r\n\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed trailer"}},
		{"a folded trailer", chk + "0\r\nX: a\r\n b\r\n\r\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed trailer"}},
		{"a bare LF after the last chunk", chk + "0\r\n\n", []string{"Host,Transfer-Encoding", "wire: request body: malformed trailer"}},
		{"huge trailers", chk + "0\r\nX: " + strings.Repeat("a", 5000) + "\r\n\r\n", []string{"Host,Transfer-Encoding", "wire: request body: trailers too large"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, part := range []int{1, 2, 3, 7, 64, 1 << 20} {
				if got := followAll(tt.stream, part); !slices.Equal(got, tt.want) {
					t.Errorf("in parts of %d: got %q, want %q", part, got, tt.want)
				}
			}
		})
	}
}

func TestFollowerHandsOnNothingBehindABrokenChunk(t *testing.T) {
	f := follower{lim: testLimits}
	good := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
	n, err := f.feed([]byte(good + "zz\r\nmore"))
	if n != len(good) || err != nil {
		t.Errorf("got %d bytes and %v, want %d and none", n, err, len(good))
	}
	if n, err := f.feed([]byte("more")); n != 0 || !errors.Is(err, errChunkSize) {
		t.Errorf("then got %d bytes and %v", n, err)
	}
}

func TestValidValueAgreesWithTheTableForEachByteAtEachPlace(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := bytes.Repeat([]byte{'a'}, 20)
			b[at] = byte(c)
			if at > 0 {
				b[at-1] = 0xff // a borrow out of the byte before
			}
			if got, want := validValue(b), allIn(valueChar, b); got != want {
				t.Errorf("%#x at %d: %v, want %v", c, at, got, want)
			}
			b[at] = 'a'
			b[0] = byte(c)
			if got, want := validValue(b[:at]), allIn(valueChar, b[:at]); got != want {
				t.Errorf("%#x before %d: %v, want %v", c, at, got, want)
			}
		}
	}
}

func TestFollowingABodyDoesNotAllocate(t *testing.T) {
	f := follower{lim: testLimits}
	f.feed([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"))
	part := bytes.Repeat([]byte{'a'}, 1000)
	if n := testing.AllocsPerRun(100, func() { f.feed(part) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFollowHead(b *testing.B) {
	head := []byte("GET /some/path?with=query HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\r\n")
	f := follower{lim: &limits{url: 8192, method: 8192, head: 1 << 20, headers: 1000}}
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		f.feed(head)
		if f.next().refused != nil {
			b.Fatal("refused")
		}
	}
}

// followedReader reads as serverConn does.
type followedReader struct {
	f *follower
	r io.Reader
}

func (r followedReader) Read(p []byte) (int, error) {
	if r.f.failed != nil {
		return 0, r.f.failed
	}
	n, err := r.r.Read(p)
	if n == 0 {
		return n, err
	}
	m, bad := r.f.feed(p[:n])
	if bad != nil {
		return m, bad
	}
	return m, err
}

// framing headers are removed or merged by net/http.
var framingHeaders = []string{"Host", "Transfer-Encoding", "Content-Length", "Trailer"}

// FuzzHTTP1Follower lets net/http read through a follower, as the server does. As long as the follower
// refuses nothing, both must see the same requests, end each body at the same byte, and name the same headers.
func FuzzHTTP1Follower(f *testing.F) {
	const next = "GET /n HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, s := range []string{
		next + next,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: 1\r\nx: 2\r\n\r\nabc\r\n" + next,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n\r\n\r\n" + next,
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + next,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n" + next,
		"GET / HTTP/1.0\n\n" + next,
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + next,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + next,
	} {
		f.Add([]byte(s), 5)
		f.Add([]byte(s), 1000)
	}
	f.Fuzz(func(t *testing.T, stream []byte, part int) {
		follow := follower{lim: &limits{url: 8192, method: 8192, head: 1 << 20, headers: 1000}}
		src := &partReader{r: bytes.NewReader(stream), n: max(part, 1)}
		br := bufio.NewReader(followedReader{&follow, src})
		lastPost := false
		for {
			if lastPost {
				peek, _ := br.Peek(4)
				n := 0
				for n < len(peek) && (peek[n] == '\r' || peek[n] == '\n') {
					n++
				}
				br.Discard(n)
			}
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			lastPost = req.Method == "POST"
			seen := follow.next()
			if seen.refused != nil {
				return
			}
			want := map[string]int{}
			for k, v := range req.Header {
				want[k] = len(v)
			}
			got := map[string]int{}
			count := 0
			for _, n := range strings.Split(strings.TrimSuffix(string(seen.names), "\x00"), "\x00") {
				if n != "" {
					got[textproto.CanonicalMIMEHeaderKey(n)]++
					count++
				}
			}
			if count != seen.count {
				t.Fatalf("%d names, count %d", count, seen.count)
			}
			for _, k := range framingHeaders {
				delete(want, k)
				delete(got, k)
			}
			if len(want) != len(got) {
				t.Fatalf("names: net/http has %v, the follower %v", want, got)
			}
			for k, n := range want {
				if got[k] != n {
					t.Fatalf("names: net/http has %v, the follower %v", want, got)
				}
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			// A follower that saw only what net/http consumed stands between two messages.
			consumed := src.read - br.Buffered()
			again := follower{lim: follow.lim}
			if n, err := again.feed(stream[:consumed]); n != consumed || err != nil {
				t.Fatalf("net/http consumed %d bytes, the follower took %d (%v)", consumed, n, err)
			}
			if again.state == stopped {
				return // CONNECT or Upgrade: the server closes the connection after this request
			}
			if again.state != atRequestLine || len(again.line) > 0 {
				t.Fatalf("after %q the follower is in state %d with %q left", stream[:consumed], again.state, again.line)
			}
		}
	})
}

// partReader gives at most n bytes at a time and counts them.
type partReader struct {
	r    io.Reader
	n    int
	read int
}

func (r *partReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), r.n)])
	r.read += n
	return n, err
}
