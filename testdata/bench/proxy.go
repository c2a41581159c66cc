//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sizes of the origin's answers, in bytes.
const (
	smallAnswer = 100
	largeAnswer = 64 << 10
)

// origin answers with as many bytes as the path says.
func origin() http.Handler {
	bytesOf := func(n int) http.HandlerFunc {
		body, length := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n], strconv.Itoa(n)
		return func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/plain")
			h.Set("Content-Length", length)
			h.Set("Cache-Control", "no-store")
			w.Write(body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/small", bytesOf(smallAnswer))
	mux.HandleFunc("/large", bytesOf(largeAnswer))
	return mux
}

// reverseProxy is the handler that proxying guests are compared with: the standard library's, with as many kept connections as
// it can use.
func reverseProxy(target *url.URL) http.Handler {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1024
	transport.DisableCompression = true
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = strings.TrimPrefix(r.Out.URL.Path, "/send")
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("X-Guest", "native/proxy")
			return nil
		},
	}
}

// serveHandler is what this program does when it is started as "origin" or "proxy".
func serveHandler(args []string) {
	handler := origin()
	if args[0] == "proxy" {
		handler = reverseProxy(&url.URL{Scheme: "http", Host: args[2]})
	}
	fmt.Fprintln(os.Stderr, (&http.Server{Addr: args[1], Handler: handler}).ListenAndServe())
}

// measureProxies measures what a guest costs that passes requests on and streams the answers back.
func (b *bench) measureProxies(ctx context.Context) error {
	loads := []*load{
		{name: "proxy-small", path: "/send/small"},
		{name: "proxy-large", path: "/send/large"},
	}
	if !strings.Contains(b.only, "proxy") && b.only != "" {
		return nil
	}
	o, err := b.start(ctx, server{"origin", func(addr string) []string { return []string{b.self, "origin", addr} }}, &load{path: "/small"})
	if err != nil {
		return err
	}
	defer o.stop()
	servers := []server{{"native ReverseProxy", func(addr string) []string { return []string{b.self, "proxy", addr, o.addr} }}}
	for _, engine := range []string{"wasmtime", "wazero"} {
		servers = append(servers, server{"wasmedge " + engine + " rust", func(addr string) []string {
			return []string{b.command, "serve", "--addr", addr, "--engine", engine, "--access-log", "off", "--backend", "origin=http://" + o.addr,
				"--cache-dir", filepath.Join(b.tmp, "cache"), filepath.Join(b.root, "testdata", "guests", "rust", "proxy.wasm")}
		}})
	}
	for _, l := range loads {
		l.servers = servers
	}
	if err := b.measure(ctx, loads); err != nil {
		return err
	}
	b.proxies = loads
	return nil
}

func (b *bench) reportProxies(w io.Writer) {
	if len(b.proxies) == 0 {
		return
	}
	fmt.Fprint(w, "The proxies' origin is a process of its own on the same machine, and takes its share of it as well.\n\n")
	for _, l := range b.proxies {
		b.reportLoad(w, l)
	}
}
