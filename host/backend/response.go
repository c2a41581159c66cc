package backend

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// response makes the answer of what net/http has received.
func (x *exchange) response(r *Request, h *http.Response) *Response {
	resp := &Response{
		Status:        h.StatusCode,
		Proto:         h.Proto,
		ContentLength: h.ContentLength,
		Remote:        x.conn.remote(),
	}
	resp.Header.FromHTTP(h.Header, nil)
	removeHopByHop(&resp.Header)
	body := &responseBody{x: x, src: h.Body}
	resp.Body = body
	resp.Trailers = func(l *httpfield.List) {
		var t httpfield.List
		t.FromHTTP(h.Trailer, nil)
		for _, f := range t.Fields() {
			l.Add(f.Name, f.Value)
		}
	}
	if h.Body == http.NoBody && (x.upload == nil || x.upload.complete()) {
		// Nothing is left to do: the connection is free although nobody might read the body.
		body.end(io.EOF)
		x.finish(true, nil)
	}
	if r.Gunzip {
		if coding, ok := single(&resp.Header, "content-encoding"); ok && (strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip")) {
			resp.Header.Del("content-encoding")
			resp.Header.Del("content-length")
			resp.ContentLength = -1
			resp.Body = &gunzip{src: body}
			if h.Body == http.NoBody {
				resp.Body = body
			}
		}
	}
	return resp
}

// single gives the value of a field that has one line.
func single(l *httpfield.List, name string) (value string, ok bool) {
	n := 0
	for _, f := range l.Fields() {
		if f.Name == name {
			value, n = strings.TrimSpace(f.Value), n+1
		}
	}
	return value, n == 1
}

// responseBody is the body as it comes from the origin.
type responseBody struct {
	x   *exchange
	src io.ReadCloser

	timer *time.Timer // between bytes; used by Read alone

	mu  sync.Mutex
	err error // what Reads give from now on
}

func (b *responseBody) Read(p []byte) (int, error) {
	if err := b.ended(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if d := b.x.betweenBytes; d > 0 {
		if b.timer == nil {
			b.timer = time.AfterFunc(d, func() { b.x.abort(errBetweenBytes) })
		} else {
			b.timer.Reset(d)
		}
	}
	n, err := b.src.Read(p)
	if b.timer != nil {
		b.timer.Stop()
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		// Closing it again after its end is what ends an HTTP/2 stream whose request is not sent whole.
		_ = b.src.Close()
		b.x.finish(true, nil)
	default:
		if cause := context.Cause(b.x.ctx); cause != nil {
			err = b.x.b.failure(cause)
		} else {
			err = b.x.b.cutShort(err)
		}
		b.x.finish(false, err)
		_ = b.src.Close()
	}
	return n, b.end(err)
}

// Close breaks the exchange off unless the body has ended.
func (b *responseBody) Close() error {
	if b.ended() != nil {
		return nil
	}
	b.x.abort(errBodyClosed)
	b.end(b.x.b.failure(errBodyClosed))
	_ = b.src.Close()
	b.x.finish(false, errBodyClosed)
	return nil
}

// end decides what later Reads give; the first call counts.
func (b *responseBody) end(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err
}

func (b *responseBody) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// gunzip decodes a body while it is read. Read is not to be called concurrently with itself, Close may be.
type gunzip struct {
	src *responseBody
	zr  *gzip.Reader
	err error
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if g.zr == nil {
		if g.zr, g.err = gzip.NewReader(bufio.NewReaderSize(g.src, 16<<10)); g.err != nil {
			g.err = g.failure(g.err) // a body of no bytes gives io.EOF
			return 0, g.err
		}
	}
	n, err := g.zr.Read(p)
	if err != nil {
		g.err = g.failure(err)
	}
	return n, g.err
}

// failure tells broken compression from a broken exchange.
func (g *gunzip) failure(err error) error {
	var send *SendError
	if err == io.EOF || errors.As(err, &send) {
		return err
	}
	_ = g.src.Close()
	return g.src.x.b.failure(&SendError{Detail: DetailHTTPProtocolError, Err: err})
}

func (g *gunzip) Close() error { return g.src.Close() }
