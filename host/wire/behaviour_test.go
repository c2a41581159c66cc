package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/wire"
)

// transport is a way in which a client may speak to the server.
type transport struct {
	name string
	tls  bool
	h2   bool
}

var transports = []transport{
	{"HTTP/1.1", false, false},
	{"HTTP/1.1 over TLS", true, false},
	{"HTTP/2 with prior knowledge", false, true},
	{"HTTP/2 over TLS", true, true},
}

// client speaks nothing but the transport.
func (tr transport) client(t testing.TB) *http.Client {
	var p http.Protocols
	p.SetHTTP1(!tr.h2)
	p.SetHTTP2(tr.h2 && tr.tls)
	p.SetUnencryptedHTTP2(tr.h2 && !tr.tls)
	rt := &http.Transport{Protocols: &p, TLSClientConfig: insecure(), ExpectContinueTimeout: 5 * time.Second}
	t.Cleanup(rt.CloseIdleConnections)
	return &http.Client{Transport: rt, Timeout: 20 * time.Second}
}

// each runs a test over every transport.
func each(t *testing.T, server func() *wire.Server, test func(t *testing.T, client *http.Client, url string)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			s := server()
			url := "http://"
			if tr.tls {
				s.TLS = &wire.TLSConfig{}
				url = "https://"
			}
			url += start(t, s)
			test(t, tr.client(t), url)
		})
	}
}

func handler(f http.HandlerFunc) func() *wire.Server {
	return func() *wire.Server { return &wire.Server{Handler: f} }
}

func TestBothBodiesStreamAtTheSameTime(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	}), func(t *testing.T, client *http.Client, url string) {
		pr, pw := io.Pipe()
		watch := time.AfterFunc(10*time.Second, func() { pw.CloseWithError(errors.New("no answer")) })
		defer watch.Stop()
		go pw.Write([]byte("0"))
		res, err := client.Post(url, "", pr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := make([]byte, 1)
		for i := range 20 {
			if _, err := io.ReadFull(res.Body, buf); err != nil || buf[0] != '0'+byte(i) {
				t.Fatalf("round %d: %q %v", i, buf, err)
			}
			pw.Write([]byte{'0' + byte(i) + 1})
		}
		pw.Close()
		io.Copy(io.Discard, res.Body)
	})
}

func TestLargeBodyComesBackWhole(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }),
		func(t *testing.T, client *http.Client, url string) {
			body := bytes.Repeat([]byte("0123456789abcdef\n"), 500_000)
			for _, in := range []io.Reader{bytes.NewReader(body), io.MultiReader(bytes.NewReader(body))} { // with and without length
				res, err := client.Post(url, "", in)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
			}
		})
}

func TestTrailersPassBothWays(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Declared")
		io.WriteString(w, "body")
		w.Header().Set("X-Declared", r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "u")
	}), func(t *testing.T, client *http.Client, url string) {
		req, _ := http.NewRequest("POST", url, io.MultiReader(strings.NewReader("abc")))
		req.Trailer = http.Header{"X-Sum": {"42"}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got := res.Trailer.Get("X-Declared") + res.Trailer.Get("X-Undeclared"); got != "42u" {
			t.Errorf("trailers %v", res.Trailer)
		}
	})
}

func TestUndeclaredTrailersOfHTTP1ReachTheHandler(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, r.Trailer.Get("X-Sum"))
	})})
	_, body := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 42\r\n\r\n")
	if body != "42" {
		t.Errorf("got %q", body)
	}
}

func TestEarlyHintsComeBeforeTheResponse(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			w.Header().Set("Link", fmt.Sprint(i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		io.WriteString(w, "final")
	}), func(t *testing.T, client *http.Client, url string) {
		var hints []string
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
				return nil
			},
		})
		req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if got := strings.Join(hints, ","); got != "103 0,103 1,103 2" || res.StatusCode != 200 || string(body) != "final" {
			t.Errorf("hints %q, then %d %q", got, res.StatusCode, body)
		}
	})
}

func TestContinueIsSentWhenTheBodyIsRead(t *testing.T) {
	read := make(chan bool)
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		if <-read {
			io.Copy(w, r.Body)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}), func(t *testing.T, client *http.Client, url string) {
		for _, want := range []bool{true, false} {
			continued := false
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				Wait100Continue: func() { read <- want },
				Got100Continue:  func() { continued = true },
			})
			req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("body"))
			req.Header.Set("Expect", "100-continue")
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if continued != want {
				t.Errorf("read: %v, 100 Continue: %v, then %d %q", want, continued, res.StatusCode, body)
			}
		}
	})
}

func TestRefusedExpectationEndsTheConnectionWithoutTheBody(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	all, err := io.ReadAll(c) // ends without a byte of the body
	if err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.1 413 ")) {
		t.Errorf("got %q %v", all, err)
	}
}

func TestResponsesWithoutABodyHaveNone(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.WriteHeader(status)
		io.WriteString(w, "a body that must not be sent")
	}), func(t *testing.T, client *http.Client, url string) {
		for _, ask := range []string{"HEAD /", "GET /?status=204", "GET /?status=304", "GET /?status=200"} {
			method, path, _ := strings.Cut(ask, " ")
			req, _ := http.NewRequest(method, url+path, nil)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(ask, err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if want := strings.HasSuffix(ask, "200"); err != nil || len(body) > 0 != want {
				t.Errorf("%s: %d with %q, %v", ask, res.StatusCode, body, err)
			}
		}
	})
}

func TestClientThatGoesAwayCancelsTheRequest(t *testing.T) {
	for _, body := range []string{"", "body"} {
		cancelled := make(chan bool, 1)
		each(t, handler(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				cancelled <- true
			case <-time.After(10 * time.Second):
				cancelled <- false
			}
		}), func(t *testing.T, client *http.Client, url string) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			res.Body.Close()
			if !<-cancelled {
				t.Error("the context did not end")
			}
		})
	}
}

func TestConcurrentRequestsGetTheirOwnFacts(t *testing.T) {
	each(t, handler(namesHandler), func(t *testing.T, client *http.Client, url string) {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				req, _ := http.NewRequest("GET", url, nil)
				name := fmt.Sprintf("x-%d", i)
				req.Header[name] = []string{"v"}
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if !strings.HasPrefix(string(body), "true ") || !strings.Contains(string(body)+",", ","+name+",") && !strings.Contains(string(body), " "+name) {
					t.Errorf("request with %s got %q", name, body)
				}
			}()
		}
		wg.Wait()
	})
}

func TestTheHandlerDoesNotSeeTheMarker(t *testing.T) {
	each(t, handler(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Write(w)
	}), func(t *testing.T, client *http.Client, url string) {
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if strings.Contains(strings.ToLower(string(body)), "x-stream-") {
			t.Errorf("headers: %q", body)
		}
	})
}

func TestBodyThatStallsIsAnswered408(t *testing.T) {
	var got error
	done := make(chan struct{}, 1)
	each(t, func() *wire.Server {
		return &wire.Server{BodyTimeout: 100 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, got = io.Copy(io.Discard, r.Body)
			done <- struct{}{}
		})}
	}, func(t *testing.T, client *http.Client, url string) {
		pr, pw := io.Pipe()
		defer pw.Close()
		go pw.Write([]byte("beginning"))
		res, err := client.Post(url, "", pr)
		<-done
		var bad *wire.BodyError
		if !errors.As(got, &bad) || !bad.Timeout() {
			t.Errorf("the handler read %v", got)
		}
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

func TestBodyThatTakesLongButFlowsIsRead(t *testing.T) {
	each(t, func() *wire.Server {
		return &wire.Server{BodyTimeout: 400 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		})}
	}, func(t *testing.T, client *http.Client, url string) {
		pr, pw := io.Pipe()
		go func() {
			for range 16 {
				time.Sleep(50 * time.Millisecond)
				pw.Write([]byte("x"))
			}
			pw.Close()
		}()
		res, err := client.Post(url, "", pr)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "16 <nil>" {
			t.Errorf("got %q", body)
		}
	})
}

func TestTimeBetweenTwoReadsOrWritesDoesNotCount(t *testing.T) {
	each(t, func() *wire.Server {
		return &wire.Server{BodyTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				buf := make([]byte, 1)
				for range 3 {
					if _, err := io.ReadFull(r.Body, buf); err != nil {
						t.Error(err)
						return
					}
					w.Write(buf)
					w.(http.Flusher).Flush()
					time.Sleep(250 * time.Millisecond)
				}
			})}
	}, func(t *testing.T, client *http.Client, url string) {
		res, err := client.Post(url, "", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "abc" || err != nil {
			t.Errorf("got %q %v", body, err)
		}
	})
}

func TestClientThatDoesNotReadEndsTheResponse(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			failed := make(chan error, 1)
			s := &wire.Server{WriteTimeout: 200 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				piece := make([]byte, 64<<10)
				for {
					if _, err := w.Write(piece); err != nil {
						failed <- err
						return
					}
				}
			})}
			url := "http://"
			if tr.tls {
				s.TLS = &wire.TLSConfig{}
				url = "https://"
			}
			res, err := tr.client(t).Get(url + start(t, s))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			select {
			case <-failed:
			case <-time.After(10 * time.Second):
				t.Error("the handler still writes")
			}
		})
	}
}

func TestHeadThatDoesNotComeEndsTheConnection(t *testing.T) {
	addr := start(t, &wire.Server{ReadHeaderTimeout: 100 * time.Millisecond, Handler: http.HandlerFunc(namesHandler)})
	for _, send := range []string{"", "P", "GET / HTTP/1.1\r\nHost: a\r\n", "PRI * HTTP/2.0\r\n"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, send)
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("after %q the connection stays open", send)
		}
		c.Close()
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestHijackedConnectionIsFollowedNoMore(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		io.CopyN(c, rw, 9)
	})})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	io.WriteString(c, "\x00\n\xff\r\nabcd")
	if got, err := io.ReadAll(br); err != nil || string(got) != "\x00\n\xff\r\nabcd" {
		t.Errorf("got %q %v", got, err)
	}
}

func TestUpgradeThatIsNotTakenEndsTheConnection(t *testing.T) {
	addr := start(t, &wire.Server{Handler: http.HandlerFunc(namesHandler)})
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
	} {
		if res, _ := raw(t, addr, head); res.StatusCode != 200 || !res.Close {
			t.Errorf("%.20q: status %d, close %v", head, res.StatusCode, res.Close)
		}
	}
}

func TestClearTextOnATLSPortIsTold(t *testing.T) {
	addr := start(t, &wire.Server{TLS: &wire.TLSConfig{}, Handler: http.HandlerFunc(namesHandler)})
	if res, body := raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); res.StatusCode != 400 || !strings.Contains(body, "HTTPS") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}
