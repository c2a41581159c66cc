//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
)

// echoServer echoes WebSockets, and says what else it is asked for.
func echoServer(t *testing.T) (addr string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, r.URL.Path+" "+r.Header.Get("Pushpin-Route"))
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(context.Background())
			if err != nil {
				return
			}
			c.Write(context.Background(), kind, message)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestServePassesWebSocketsThrough(t *testing.T) {
	s := startServer(t, "--backend", "origin=ws://"+echoServer(t), "--drain-timeout", "200ms", "--tunnel-idle", "1h", "--tunnel-bytes", "1GiB", guest(t, "rust/handoff"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.url+"/ws/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.Write(ctx, websocket.MessageText, []byte("hello"))
	if _, got, err := c.Read(ctx); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if code, log := s.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, "GET /ws/ status=101 bytes=7 ") {
		t.Errorf("code %d\n%s", code, log)
	}
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket outlives the server: %v", err)
	}
}

func TestServeOffersWebSocketsOverHTTP2(t *testing.T) {
	s := startServer(t, guest(t, "wat/hello"))
	nc, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	var settings bytes.Buffer
	http2.NewFramer(&settings, nil).WriteSettings()
	io.WriteString(nc, http2.ClientPreface+settings.String())
	frame, err := http2.NewFramer(nil, nc).ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if first, ok := frame.(*http2.SettingsFrame); !ok {
		t.Errorf("the first frame is %v", frame)
	} else if v, _ := first.Value(http2.SettingEnableConnectProtocol); v != 1 {
		t.Errorf("the server's settings are %v", first)
	}
}

func TestServeKnowsThePlatformsFlagsForHandOffs(t *testing.T) {
	addr := echoServer(t)
	_, port, _ := net.SplitHostPort(addr)
	s := startServer(t, "--backend", "origin=http://127.0.0.1:9", "--local-pushpin-proxy-port", port, "--enable-local-websocket-passthrough=false", guest(t, "rust/handoff"))
	if resp, body := fetch(t, s.url+"/fanout/a"); resp.StatusCode != 200 || body != "/a origin" {
		t.Errorf("by way of the proxy: %d %q", resp.StatusCode, body)
	}
	if resp, body := fetch(t, s.url+"/ws/a"); resp.StatusCode != 500 {
		t.Errorf("a WebSocket: %d %q", resp.StatusCode, body)
	}
	for _, arg := range []string{"--max-tunnels=0", "--tunnel-idle=-1s", "--tunnel-time=-1s", "--tunnel-bytes=many", "--rate-limit-memory=1k", "--rate-limit-memory=much"} {
		flag, _, _ := strings.Cut(arg, "=")
		if code, _, stderr := runToEnd(t, arg, guest(t, "wat/hello")); code != 2 || !strings.Contains(stderr, flag+" is ") {
			t.Errorf("%s: code %d, %s", arg, code, stderr)
		}
	}
}
