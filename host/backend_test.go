package host

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
)

func TestProxying(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-time.After(3 * time.Second):
			case <-r.Context().Done():
				return
			}
		}
		http.NewResponseController(w).EnableFullDuplex()
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s %s: ", r.Method, r.URL, r.Host)
		w.(http.Flusher).Flush()
		n, err := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", err))
	}))
	defer origin.Close()
	addr := netip.MustParseAddrPort(origin.Listener.Addr().String())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/proxy", ServiceConfig{Backends: []backend.Config{
			{Name: "origin", Host: addr.Addr().String(), Port: addr.Port()},
			{Name: "closed", Host: closed.Addr().String(), Port: closed.Port()},
		}})
		front := listen(t, service, nil)
		big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", "http://"+front+"/send/a%20b?c=d", strings.NewReader(big))
		req.Host = "shop.example"
		a := fetch(t, plainClient, req)
		if want := "PUT /a%20b?c=d shop.example: " + big; a.StatusCode != 200 || a.body != want || a.err != nil {
			t.Errorf("send: %d with %d bytes of %d, %v: %.80s", a.StatusCode, len(a.body), len(want), a.err, a.body)
		}
		if len(a.Header["Set-Cookie"]) != 2 || a.Trailer.Get("X-Sum") != fmt.Sprint(len(big), " <nil>") {
			t.Errorf("send: %v, trailers %v", a.Header, a.Trailer)
		}
		for url, want := range map[string]string{
			front + "/async/fast":                        "GET /fast origin.example: ",
			front + "/build/it":                          "POST /it origin.example: line 0\nline 1\nline 2\n",
			front + "/dynamic/x?target=" + addr.String(): "GET /x dynamic.example: ",
			front + "/error/":                            "connection refused",
		} {
			if a := get(t, "http://"+url); a.body != want || a.Header.Get("X-Guest") == "" {
				t.Errorf("%s: %d %q, want %q", url, a.StatusCode, a.body, want)
			}
		}
	})
}
