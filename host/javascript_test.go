package host

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/backend"
)

// loadOutbound serves js/outbound with these backends.
func loadOutbound(t *testing.T, h *testHost, backends ...backend.Config) (url string) {
	return "http://" + listen(t, load(t, h, "js/outbound", ServiceConfig{Backends: backends}), nil)
}

// postJSON sends a value and gives the answer, decoded.
func postJSON(t *testing.T, url string, value any) (status int, result map[string]any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a := fetch(t, plainClient, req)
	if err := json.Unmarshal([]byte(a.body), &result); err != nil {
		t.Fatalf("%d %q: %v", a.StatusCode, a.body, err)
	}
	return a.StatusCode, result
}

func TestJavaScriptSendsAndAnswersInStreams(t *testing.T) {
	ended := make(chan struct{}, 10)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fill":
			time.Sleep(500 * time.Millisecond) // 64 MiB are made in far less
			n, made, err := readFlow(r.Body)
			fmt.Fprint(w, n, " ", made >= 300*time.Millisecond, " ", err)
		case "/endless":
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					ended <- struct{}{}
					return
				}
			}
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, "decoded")
			z.Close()
		case "/framing":
			b, err := io.ReadAll(r.Body)
			fmt.Fprint(w, r.ContentLength, " ", r.TransferEncoding, " ", string(b), " ", err)
		case "/hello":
			w.Header().Set("Trailer", "X-Sum")
			for _, s := range []string{"hello ", "gr\xc3", "\xbc\xc3\x9fe"} { // a letter comes in halves
				io.WriteString(w, s)
				w.(http.Flusher).Flush()
			}
			w.Header().Set("X-Sum", "3")
		default:
			http.NewResponseController(w).EnableFullDuplex()
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			fmt.Fprintf(w, "%s %s %s %v: ", r.Method, r.URL, r.Host, r.TransferEncoding)
			w.(http.Flusher).Flush()
			io.Copy(w, r.Body)
		}
	}))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h, backendAt("origin", origin.Listener.Addr()))

		big := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", url+"/pass/a%20b?c=d", strings.NewReader(big))
		a := fetch(t, plainClient, req)
		if want := "PUT /a%20b?c=d " + strings.TrimPrefix(url, "http://") + " []: " + big; a.StatusCode != 200 || a.body != want || a.err != nil {
			t.Errorf("pass: %d with %d bytes of %d, %v: %.80s", a.StatusCode, len(a.body), len(want), a.err, a.body)
		}
		if len(a.Header["Set-Cookie"]) != 2 {
			t.Errorf("pass: %v", a.Header)
		}
		for path, want := range map[string]string{
			"/upper/hello":  "HELLO GRÜSSE",
			"/generate?n=3": "PUT /body origin.example [chunked]: line 0\nline 1\nline 2\n",
			"/half":         strings.Repeat("x", 100),
			"/gunzip/gzip":  "decoded",
		} {
			if a := get(t, url+path); a.StatusCode != 200 || a.body != want || a.err != nil {
				t.Errorf("%s: %d %q, %v; want %q", path, a.StatusCode, a.body, a.err, want)
			}
		}
		if a := get(t, url+"/gunzip/gzip"); a.Header.Get("Content-Encoding") != "" {
			t.Errorf("decoded, but %v", a.Header)
		}
		if a := get(t, url+"/pass/gzip"); a.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(a.body, "\x1f\x8b") {
			t.Errorf("left alone, but %v with %q", a.Header, a.body)
		}
		if a := get(t, url+"/pass/hello"); a.Trailer.Get("X-Sum") != "3" {
			t.Errorf("the trailers are %v", a.Trailer)
		}
		select {
		case <-ended: // that of /half
		case <-time.After(10 * time.Second):
			t.Error("the guest has cancelled the answer, and the origin still sends")
		}

		if a := get(t, url+"/fill?n=1024"); a.body != "1024 true <nil>" {
			t.Errorf("fill: the origin got %s", a.body)
		}

		for query, want := range map[string][2]string{
			"n=9&of=9": {"9 [] 012345678 <nil>", "012345678"},
			"n=9&of=4": {"4 [] 0123 <nil>", "0123"},
		} {
			a := get(t, url+"/framed?"+query)
			if got := [2]string{a.Header.Get("X-Origin"), a.body}; got != want || a.ContentLength != int64(len(want[1])) {
				t.Errorf("framed?%s: %q as %d bytes, want %q", query, got, a.ContentLength, want)
			}
		}
	})
}

// readFlow reads the pieces of js/outbound: how many, and the time between the first's making and the last's.
func readFlow(r io.Reader) (n int, made time.Duration, err error) {
	piece := make([]byte, 1<<16)
	var first, last int64
	for ; ; n++ {
		if _, err := io.ReadFull(r, piece); err == io.EOF {
			return n, time.Duration(last-first) * time.Millisecond, nil
		} else if err != nil {
			return n, 0, err
		}
		fmt.Sscan(string(piece[:13]), &last)
		if n == 0 {
			first = last
		}
	}
}

func TestJavaScriptIsHeldBackByItsClient(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h)
		resp, err := plainClient.Get(url + "/flow?n=1024")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(500 * time.Millisecond) // 64 MiB are made in far less
		if n, made, err := readFlow(resp.Body); n != 1024 || made < 300*time.Millisecond || err != nil {
			t.Errorf("%d pieces, made within %s while nobody read for 500 ms, %v", n, made, err)
		}
	})
}

func TestJavaScriptWaitsForManyRequests(t *testing.T) {
	inTurn, order := answersInTurn(t, 64)
	arrived, gone := make(chan struct{}, 1000), make(chan struct{}, 1000)
	waits := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		if r.URL.Query().Get("i") == "5" {
			w.Header().Set("X-I", "5")
			return
		}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	defer waits.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h, backendAt("origin", inTurn))
		var got struct {
			Order string
			Sum   int
		}
		if a := get(t, url+"/many?n=64"); json.Unmarshal([]byte(a.body), &got) != nil || got.Order+" " != order || got.Sum != 63*64/2 {
			t.Errorf("many: %s", a.body)
		}

		url = loadOutbound(t, h, backendAt("origin", waits.Listener.Addr()))
		// all waits until requests that nobody waits for have ended.
		all := func(what string, n, ends int) {
			t.Helper()
			for range n {
				<-arrived
			}
			for i := range ends {
				select {
				case <-gone:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: only %d of %d requests have ended with their sandbox", what, i, ends)
				}
			}
		}
		if a := get(t, url+"/race?n=8"); a.body != "5" {
			t.Errorf("race: %d %q", a.StatusCode, a.body)
		}
		all("race", 8, 7)
		start := time.Now()
		if a := get(t, url+"/impatient?ms=100"); a.StatusCode != 504 || a.body != "too late" || time.Since(start) < 100*time.Millisecond {
			t.Errorf("impatient: %d %q after %s", a.StatusCode, a.body, time.Since(start))
		}
		all("impatient", 1, 1)

		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", url+"/many?n=16", nil)
		done := make(chan struct{})
		go func() {
			if resp, err := plainClient.Do(req); err == nil {
				resp.Body.Close()
			}
			close(done)
		}()
		for range 16 {
			<-arrived
		}
		cancel()
		<-done
		all("the client has gone", 0, 15)
	})
}

func TestJavaScriptIsToldWhatIsWrong(t *testing.T) {
	configs, says := failingOrigins(t)
	delete(says, "absent")
	// This SDK gives the host no room to tell which alert it was.
	says["strict"] = "TLS alert received (alert_id=0)"
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h, configs...)
		for name, want := range says {
			var got struct {
				Name, Message string
				DOM           bool
			}
			a := get(t, url+"/error/"+name)
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != 502 || !got.DOM || got.Message != want {
				t.Errorf("%s: %d %s, want a DOMException %q", name, a.StatusCode, a.body, want)
			}
		}
		if a := get(t, url+"/error/absent"); a.StatusCode != 502 || !strings.Contains(a.body, "absent") {
			t.Errorf("absent: %d %s", a.StatusCode, a.body)
		}
	})
}

func TestJavaScriptDefinesBackends(t *testing.T) {
	ca, pool, server, cert, key := testCA(t)
	var conns atomic.Int32
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s at %s over %s", client, r.Host, r.Proto)
		if r.TLS != nil {
			fmt.Fprintf(w, " and %s for %q", tls.VersionName(r.TLS.Version), r.TLS.ServerName)
		}
	}))
	origin.Config.ErrorLog = nullLog
	origin.EnableHTTP2 = true
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	origin.StartTLS()
	defer origin.Close()
	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s over %s", r.Host, r.Proto) }))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	plain.Start()
	defer plain.Close()
	slow := brokenOrigin(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	type m = map[string]any
	at := func(a net.Addr) (target string, port float64) {
		return a.String(), float64(a.(*net.TCPAddr).Port)
	}
	secure, securePort := at(origin.Listener.Addr())
	open, openPort := at(plain.Listener.Addr())
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h, backendAt("origin", plain.Listener.Addr()))
		for _, tt := range []struct {
			name    string
			options m
			status  int
			want    string // the origin's words, or the error's
			about   m
		}{
			{"nothing but a target", m{"name": "b", "target": open}, 200, "origin.example over HTTP/1.1", m{
				"name": "b", "dynamic": true, "target": "127.0.0.1", "port": openPort, "tls": false, "health": "unknown",
				"timeouts": []any{1000.0, 15000.0, 10000.0}, "httpKeepalive": 600000.0,
				"tcpKeepalive": m{"timeSecs": 300.0, "intervalSecs": 10.0, "probes": 3.0}}},
			{"timeouts and keep-alive", m{"target": open, "hostOverride": "over.example", "connectTimeout": 500, "firstByteTimeout": 600, "betweenBytesTimeout": 700,
				"httpKeepalive": 5000, "tcpKeepalive": m{"timeSecs": 7, "intervalSecs": 8, "probes": 9}}, 200, "over.example over HTTP/1.1", m{
				"host": "over.example", "timeouts": []any{500.0, 600.0, 700.0}, "httpKeepalive": 5000.0,
				"tcpKeepalive": m{"timeSecs": 7.0, "intervalSecs": 8.0, "probes": 9.0}}},
			{"gRPC means HTTP/2", m{"target": open, "grpc": true}, 200, "origin.example over HTTP/2.0", nil},
			{"TLS with everything", m{"target": secure, "useSSL": true, "caCertificate": string(ca), "certificateHostname": "origin.example", "sniHostname": "sni.example",
				"tlsMinVersion": 1.2, "tlsMaxVersion": 1.2, "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
				"clientCertificate": m{"certificate": string(cert), "key": string(key)}}, 200,
				`client at origin.example over HTTP/2.0 and TLS 1.2 for "sni.example"`, m{"tls": true, "port": securePort, "versions": []any{1.2, 1.2}}},
			{"TLS 1.3 without a client certificate", m{"target": secure, "useSSL": true, "caCertificate": string(ca), "certificateHostname": "origin.example", "sniHostname": "origin.example",
				"tlsMinVersion": 1.3, "dontPool": true}, 200, `nobody at origin.example over HTTP/2.0 and TLS 1.3 for "origin.example"`, nil},
			{"an unknown authority", m{"target": secure, "useSSL": true, "certificateHostname": "origin.example"}, 502, "TLS certificate error", nil},
			{"another host's certificate", m{"target": secure, "useSSL": true, "caCertificate": string(ca), "certificateHostname": "other.example"}, 502, "TLS certificate error", nil},
			{"TLS where there is none", m{"target": open, "useSSL": true}, 502, "TLS protocol error", nil},
			{"a first byte that does not come", m{"target": slow.String(), "firstByteTimeout": 50}, 502, "HTTP response timeout", nil},
			{"another's name", m{"name": "origin", "target": open}, 502, "Generic error value", nil},
		} {
			if tt.options["name"] == nil {
				tt.options["name"] = "mine"
			}
			status, got := postJSON(t, url+"/dynamic", tt.options)
			text, _ := got["text"].(string)
			if tt.status != 200 {
				text, _ = got["message"].(string)
			}
			if status != tt.status || tt.status == 200 && text != tt.want || !strings.Contains(text, tt.want) {
				t.Errorf("%s: %d %v, want %d %q", tt.name, status, got, tt.status, tt.want)
				continue
			}
			about, _ := got["about"].(m)
			for key, want := range tt.about {
				if d := cmp.Diff(want, about[key]); d != "" {
					t.Errorf("%s: %s: %s", tt.name, key, d)
				}
			}
			if tt.status == 200 && (got["ip"] != "127.0.0.1" || got["port"] == nil) {
				t.Errorf("%s: the origin was %v:%v", tt.name, got["ip"], got["port"])
			}
		}

		// Equal definitions share a connection, also across sandboxes, unless they are not to be pooled.
		for _, pool := range []bool{true, false} {
			before := conns.Load()
			for range 3 {
				if status, got := postJSON(t, url+"/dynamic", m{"name": "pooled", "target": open, "betweenBytesTimeout": 9000, "dontPool": !pool}); status != 200 {
					t.Errorf("pooled %v: %d %v", pool, status, got)
				}
			}
			if got := conns.Load() - before; pool && got > 1 || !pool && got != 3 {
				t.Errorf("pooled %v: %d connections", pool, got)
			}
		}

		if a := get(t, url+"/implicit?url=http://"+open+"/"); a.StatusCode != 200 || a.body != open+" over HTTP/1.1" {
			t.Errorf("implicit: %d %q", a.StatusCode, a.body)
		}
		if a := get(t, url+"/implicit?forbidden&url=http://"+open+"/"); a.StatusCode != 502 {
			t.Errorf("implicit, but forbidden: %d %q", a.StatusCode, a.body)
		}
		if a := get(t, url+"/about/nothing"); a.body != "null" {
			t.Errorf("about nothing: %s", a.body)
		}
		if a := get(t, url+"/about/origin"); !strings.Contains(a.body, `"dynamic":false,"target":"127.0.0.1"`) {
			t.Errorf("about origin: %s", a.body)
		}
	})
}

func TestJavaScriptKnowsHealth(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer well.Close()
	ill := httptest.NewServer(http.NotFoundHandler())
	defer ill.Close()
	var configs []backend.Config
	for name, s := range map[string]*httptest.Server{"healthy": well, "unhealthy": ill} {
		c := backendAt(name, s.Listener.Addr())
		c.HealthCheck = &backend.HealthCheck{Interval: 20 * time.Millisecond, Window: 2, Threshold: 2, Initial: 1}
		configs = append(configs, c)
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h, configs...)
		for _, want := range []string{"healthy", "unhealthy"} {
			waitFor(t, func() bool { return strings.Contains(get(t, url+"/about/"+want).body, `"health":"`+want+`"`) })
		}
		if a := get(t, url+"/error/unhealthy"); a.StatusCode != 502 || !strings.Contains(a.body, "Destination unavailable") {
			t.Errorf("the unhealthy backend: %d %s", a.StatusCode, a.body)
		}
	})
}

func TestJavaScriptSendsEarlyHints(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := loadOutbound(t, h)
		var links []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			links = append(links, fmt.Sprint(code, header["Link"]))
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, "GET", url+"/hints", nil)
		a := fetch(t, plainClient, req)
		want := []string{"103 [</style.css>; rel=preload; as=style]", "103 [</a.js>; rel=preload </b.js>; rel=preload]"}
		if a.StatusCode != 200 || a.body != "after the hints" {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		if d := cmp.Diff(want, links); d != "" {
			t.Error(d)
		}
	})
}

func TestJavaScriptGoesThroughShields(t *testing.T) {
	shield := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "at the shield") }))
	defer shield.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		url := "http://" + listen(t, load(t, h, "js/outbound", ServiceConfig{Shields: map[string]abi.Shield{"home": {Here: true}, "far": {Plain: shield.URL}}}), nil)
		for name, want := range map[string]string{"home": "here", "far": "at the shield", "nowhere": "Invalid argument"} {
			if a := get(t, url+"/shield/"+name); !strings.Contains(a.body, want) || (a.StatusCode == 200) == (name == "nowhere") {
				t.Errorf("%s: %d %q", name, a.StatusCode, a.body)
			}
		}
	})
}

func TestJavaScriptServesSeveralRequestsInASandbox(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "js/reuse", ServiceConfig{Limits: Limits{SandboxRequests: 4}})
		url := "http://" + listen(t, s, nil)
		for i := range 10 {
			if i%4 != 0 {
				waitFor(t, func() bool { return s.idlers.n.Load() == 1 })
			} else {
				waitFor(t, func() bool { return s.gate.inside() == 0 })
			}
			status, n, rest := askReuse(t, url+fmt.Sprintf("/%d", i), "body")
			if want := fmt.Sprint(i%4 + 1); status != 200 || n != want || rest != fmt.Sprintf("/%d body", i) {
				t.Errorf("request %d: %d %q %q, want number %s", i, status, n, rest, want)
			}
		}
	})
}
