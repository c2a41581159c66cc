package backend

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// BenchmarkKeepAlive compares a Send on a kept connection with net/http's own client doing the same.
func BenchmarkKeepAlive(b *testing.B) {
	body := make([]byte, 1024)
	conf := httpOrigin(b, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	header := fields("accept", "*/*", "user-agent", "bench", "x-request-id", "1")
	buf := make([]byte, 4096)
	read := func(r io.ReadCloser) {
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
		r.Close()
	}
	b.Run("Send", func(b *testing.B) {
		o := open(b, conf)
		b.ReportAllocs()
		for b.Loop() {
			resp, err := o.Send(context.Background(), &Request{URI: "/x", Header: header})
			if err != nil {
				b.Fatal(err)
			}
			read(resp.Body)
		}
		if o.Stats().Connections != 1 {
			b.Fatal("the connection was not kept")
		}
	})
	b.Run("net_http", func(b *testing.B) {
		tr := &http.Transport{DisableCompression: true}
		defer tr.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			req, _ := http.NewRequest("GET", "http://"+conf.Addr()+"/x", nil)
			header.AppendHTTP(req.Header)
			resp, err := tr.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			var l httpfield.List
			l.FromHTTP(resp.Header, nil)
			read(resp.Body)
		}
	})
}
