package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgewasm/wasmedge/host/backend"
)

// gripProxy is a proxy that holds its clients' connections for an origin, as Pushpin does (pushpin.org/docs/protocols/grip):
// what the origin answers says which channels a connection listens to, and what is published there goes to it. WebSockets
// reach the origin as requests with events (WebSocket-over-HTTP).
type gripProxy struct {
	routes map[string]string // pushpin-route to the origin's URL

	mu       sync.Mutex
	channels map[string]map[chan string]bool
}

func (p *gripProxy) subscribe(channel string) (messages chan string, leave func()) {
	messages = make(chan string, 10)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.channels[channel] == nil {
		p.channels[channel] = make(map[chan string]bool)
	}
	p.channels[channel][messages] = true
	return messages, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.channels[channel], messages)
	}
}

// publish gives the number of connections that listened.
func (p *gripProxy) publish(channel, message string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.channels[channel] {
		c <- message
	}
	return len(p.channels[channel])
}

func (p *gripProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin, ok := p.routes[r.Header.Get("Pushpin-Route")]
	if !ok {
		http.Error(w, "no route", http.StatusBadGateway)
		return
	}
	if r.Header.Get("Upgrade") == "websocket" {
		p.webSocket(w, r, origin)
		return
	}
	resp, err := ask(r, origin, r.Method, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	hold, channel := resp.Header.Get("Grip-Hold"), resp.Header.Get("Grip-Channel")
	for name, values := range resp.Header {
		if !strings.HasPrefix(name, "Grip-") && name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	messages, leave := p.subscribe(channel)
	defer leave()
	if hold == "stream" {
		w.Write(body)
		w.(http.Flusher).Flush()
	}
	for hold != "" {
		select {
		case m := <-messages:
			io.WriteString(w, m)
			w.(http.Flusher).Flush()
			if hold == "response" || m == "end" {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(resp.StatusCode)
	w.Write(body)
}

// ask sends what the proxy asks the origin, signed as the origin expects it.
func ask(r *http.Request, origin, method string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.Context(), method, origin+r.RequestURI, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade", "Pushpin-Route":
		default:
			req.Header[name] = values
		}
	}
	req.Header.Set("Grip-Sig", "signed")
	return plainClient.Do(req)
}

func (p *gripProxy) webSocket(w http.ResponseWriter, r *http.Request, origin string) {
	events := func(kind string, content []byte) ([]byte, error) {
		r.Header.Set("Content-Type", "application/websocket-events")
		text := kind + "\r\n"
		if content != nil {
			text = fmt.Sprintf("%s %x\r\n%s\r\n", kind, len(content), content)
		}
		resp, err := ask(r, origin, "POST", strings.NewReader(text))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return nil, fmt.Errorf("the origin answers %d", resp.StatusCode)
		}
		return io.ReadAll(resp.Body)
	}
	opened, err := events("OPEN", nil)
	if err != nil || !bytes.HasPrefix(opened, []byte("OPEN\r\n")) {
		http.Error(w, "refused", http.StatusForbidden)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	messages, leave := p.subscribe("room")
	defer leave()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			select {
			case m := <-messages:
				c.Write(ctx, websocket.MessageText, []byte(m))
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		_, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		answer, err := events("TEXT", message)
		if err != nil {
			return
		}
		if _, content, ok := bytes.Cut(answer, []byte("\r\n")); ok {
			c.Write(ctx, websocket.MessageText, bytes.TrimSuffix(content, []byte("\r\n")))
		}
	}
}

// publisher is an origin behind such a proxy. It never holds a connection.
func publisher(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Grip-Sig") == "" {
		http.Error(w, "come by way of the proxy", http.StatusNotImplemented)
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/stream":
		w.Header().Set("Grip-Hold", "stream")
		w.Header().Set("Grip-Channel", "news")
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: hello\n\n")
	case "/poll":
		w.Header().Set("Grip-Hold", "response")
		w.Header().Set("Grip-Channel", "poll")
	case "/ws":
		switch kind, content, _ := bytes.Cut(body, []byte("\r\n")); {
		case string(kind) == "OPEN":
			w.Header().Set("Content-Type", "application/websocket-events")
			io.WriteString(w, "OPEN\r\n")
		default:
			content = bytes.ToUpper(bytes.TrimSuffix(content, []byte("\r\n")))
			fmt.Fprintf(w, "TEXT %x\r\n%s\r\n", len(content), content)
		}
	default:
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL, body, r.Header.Get("X-Edge"), r.Header.Get("Cdn-Loop"))
	}
}

func TestWithoutAGRIPProxyTheClientIsToldSo(t *testing.T) {
	origin := originOf(httptest.NewServer(http.HandlerFunc(publisher)).Listener)
	eachEngine(t, func(t *testing.T, h *testHost) {
		service := load(t, h, "rust/handoff", ServiceConfig{Backends: []backend.Config{origin}})
		if a := get(t, "http://"+listen(t, service, nil)+"/fanout/plain"); a.StatusCode != 500 {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
		h.logged(t, "--local-pushpin-proxy-port")
	})
}

func TestClientsAreHandedToAGRIPProxy(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(publisher))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		calm(t)
		proxy := &gripProxy{routes: map[string]string{"origin": origin.URL}, channels: make(map[string]map[chan string]bool)}
		server := httptest.NewServer(proxy)
		defer server.Close()
		at := originOf(server.Listener)
		at.FirstByteTimeout, at.BetweenBytesTimeout = 50*time.Millisecond, 50*time.Millisecond // nothing waits for these
		addr := netip.MustParseAddrPort(origin.Listener.Addr().String())
		cfg := ServiceConfig{Backends: []backend.Config{{Name: "origin", Host: addr.Addr().String(), Port: addr.Port()}}, GRIPProxy: &at}
		service := load(t, h, "rust/handoff", cfg)
		for name, front := range fronts(t, service) {
			t.Run(name, func(t *testing.T) { gripThrough(t, proxy, front.url+"/fanout", front.client) })
		}
		if s := service.Tunnels(); s.Opened != 16 || s.Switched != 4 || s.Failed != 0 {
			t.Errorf("counted %+v", s)
		}
		eventually(t, "nothing is open", func() bool { return service.Tunnels().Open == 0 })
	})
}

func gripThrough(t *testing.T, proxy *gripProxy, url string, client *http.Client) {
	resp, err := client.Post(url+"/any?q", "text/plain", strings.NewReader("posted"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "POST /any?q posted rust/handoff wasmedge" {
		t.Errorf("a plain request: %d %q", resp.StatusCode, body)
	}

	if resp, err = client.Get(url + "/stream"); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Grip-Hold") != "" {
		t.Errorf("a stream's header: %v", resp.Header)
	}
	got := make([]byte, len("data: hello\n\n"))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "data: hello\n\n" {
		t.Errorf("a stream begins with %q, %v", got, err)
	}
	time.Sleep(100 * time.Millisecond) // longer than the backend's timeouts
	for i := range 3 {
		message := fmt.Sprintf("data: %d\n\n", i)
		eventually(t, "somebody listens", func() bool { return proxy.publish("news", message) == 1 })
		got = make([]byte, len(message))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != message {
			t.Errorf("a message came as %q, %v", got, err)
		}
	}
	proxy.publish("news", "end")
	if rest, err := io.ReadAll(resp.Body); string(rest) != "end" || err != nil {
		t.Errorf("the end came as %q, %v", rest, err)
	}
	resp.Body.Close()

	polled := make(chan string, 1)
	go func() {
		resp, err := client.Get(url + "/poll")
		if err != nil {
			polled <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		polled <- string(body)
	}()
	time.Sleep(100 * time.Millisecond)
	eventually(t, "somebody polls", func() bool { return proxy.publish("poll", "answer") == 1 })
	if got := <-polled; got != "answer" {
		t.Errorf("a long poll got %q", got)
	}

	c, _, err := dialWebSocket(t, url+"/ws", client)
	if err != nil {
		t.Fatal(err)
	}
	c.Write(t.Context(), websocket.MessageText, []byte("shout"))
	if got := receive(t, c); got != "SHOUT" {
		t.Errorf("a WebSocket's message came back as %q", got)
	}
	eventually(t, "somebody listens", func() bool { return proxy.publish("room", "for all") == 1 })
	if got := receive(t, c); got != "for all" {
		t.Errorf("a published message came as %q", got)
	}
	c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the proxy notices", func() bool { return proxy.publish("room", "nobody") == 0 })
}
