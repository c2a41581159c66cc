package host

//lint:file-ignore SA1019 http.Transport refuses the header :protocol, the older transport of golang.org/x/net does not

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
)

// connectTransport sends a WebSocket's handshake over HTTP/2 as the extended CONNECT that it is there (RFC 8441), and
// other requests as they are.
type connectTransport struct {
	http.RoundTripper
	close func()
}

// newConnectTransport makes one for TLS, or for clear text when conf is nil.
func newConnectTransport(conf *tls.Config) connectTransport {
	t := &http2.Transport{TLSClientConfig: conf}
	if conf == nil {
		t.AllowHTTP = true
		t.DialTLSContext = func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}
	return connectTransport{t, t.CloseIdleConnections}
}

type connectBody struct {
	io.ReadCloser
	w *io.PipeWriter
}

func (b connectBody) Write(p []byte) (int, error) { return b.w.Write(p) }
func (b connectBody) Close() error {
	b.w.Close()
	return b.ReadCloser.Close()
}

func (t connectTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Upgrade") == "" {
		return t.RoundTripper.RoundTrip(r)
	}
	key := r.Header.Get("Sec-Websocket-Key")
	pr, pw := io.Pipe()
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.Method, out.Body, out.ContentLength = http.MethodConnect, pr, -1
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key"} {
		out.Header.Del(name)
	}
	out.Header[":protocol"] = []string{"websocket"}
	resp, err := t.RoundTripper.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		resp.StatusCode = http.StatusSwitchingProtocols
		resp.Header.Set("Connection", "Upgrade")
		resp.Header.Set("Upgrade", "websocket")
		resp.Header.Set("Sec-Websocket-Accept", accept(key))
	}
	resp.Body = connectBody{resp.Body, pw}
	return resp, nil
}
