//go:build wasip1

// Package fastly declares the few hostcalls that the Go guests use and wraps them for Go callers.
//
// It is for these guests alone: it knows nothing of backends or stores, keeps no state, and gives every failed hostcall
// as an error that names it.
package fastly

import (
	"fmt"
	"strings"
	"unsafe"
)

//go:wasmimport fastly_abi init
func abiInit(version uint64) uint32

//go:wasmimport fastly_http_req body_downstream_get
func bodyDownstreamGet(req, body *uint32) uint32

//go:wasmimport fastly_http_req method_get
func reqMethodGet(req uint32, buf *byte, bufLen uint32, written *uint32) uint32

//go:wasmimport fastly_http_req uri_get
func reqURIGet(req uint32, buf *byte, bufLen uint32, written *uint32) uint32

//go:wasmimport fastly_http_req header_names_get
func reqHeaderNamesGet(req uint32, buf *byte, bufLen, cursor uint32, ending *int64, written *uint32) uint32

//go:wasmimport fastly_http_req header_values_get
func reqHeaderValuesGet(req uint32, name *byte, nameLen uint32, buf *byte, bufLen, cursor uint32, ending *int64, written *uint32) uint32

//go:wasmimport fastly_http_resp new
func respNew(resp *uint32) uint32

//go:wasmimport fastly_http_resp status_set
func respStatusSet(resp, status uint32) uint32

//go:wasmimport fastly_http_resp header_append
func respHeaderAppend(resp uint32, name *byte, nameLen uint32, value *byte, valueLen uint32) uint32

//go:wasmimport fastly_http_resp send_downstream
func respSendDownstream(resp, body, streaming uint32) uint32

//go:wasmimport fastly_http_body new
func bodyNew(body *uint32) uint32

//go:wasmimport fastly_http_body read
func bodyRead(body uint32, buf *byte, bufLen uint32, read *uint32) uint32

//go:wasmimport fastly_http_body write
func bodyWrite(body uint32, buf *byte, bufLen, end uint32, written *uint32) uint32

//go:wasmimport fastly_http_body close
func bodyClose(body uint32) uint32

//go:wasmimport fastly_http_body trailer_append
func bodyTrailerAppend(body uint32, name *byte, nameLen uint32, value *byte, valueLen uint32) uint32

//go:wasmimport fastly_http_body trailer_names_get
func bodyTrailerNamesGet(body uint32, buf *byte, bufLen, cursor uint32, ending *int64, written *uint32) uint32

//go:wasmimport fastly_http_body trailer_values_get
func bodyTrailerValuesGet(body uint32, name *byte, nameLen uint32, buf *byte, bufLen, cursor uint32, ending *int64, written *uint32) uint32

// Status is what a hostcall returned when it was not 0.
type Status struct {
	Call string // the hostcall
	Code uint32 // its status
}

func (s Status) Error() string { return fmt.Sprintf("%s: status %d", s.Call, s.Code) }

func check(call string, code uint32) error {
	if code == 0 {
		return nil
	}
	return Status{call, code}
}

// Field is one header field or trailer.
type Field struct{ Name, Value string }

// Request is the client's request.
type Request struct {
	Method, URL string
	Header      []Field // each value of each name, in the host's order
	Body        *Body
}

// ClientRequest gives the request that this sandbox is there to answer.
func ClientRequest() (*Request, error) {
	if err := check("fastly_abi.init", abiInit(1)); err != nil {
		return nil, err
	}
	var req, body uint32
	if err := check("http_req.body_downstream_get", bodyDownstreamGet(&req, &body)); err != nil {
		return nil, err
	}
	method, err := text("http_req.method_get", func(buf *byte, n uint32, written *uint32) uint32 {
		return reqMethodGet(req, buf, n, written)
	})
	if err != nil {
		return nil, err
	}
	url, err := text("http_req.uri_get", func(buf *byte, n uint32, written *uint32) uint32 {
		return reqURIGet(req, buf, n, written)
	})
	if err != nil {
		return nil, err
	}
	header, err := fields("http_req.header_names_get",
		func(buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32 {
			return reqHeaderNamesGet(req, buf, n, cursor, ending, written)
		},
		func(name string, buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32 {
			return reqHeaderValuesGet(req, unsafe.StringData(name), uint32(len(name)), buf, n, cursor, ending, written)
		})
	if err != nil {
		return nil, err
	}
	return &Request{method, url, header, &Body{body}}, nil
}

// text calls a hostcall that fills a buffer, and once more with a larger one when it asks for that.
func text(call string, get func(buf *byte, n uint32, written *uint32) uint32) (string, error) {
	const bufferTooSmall = 4
	buf := make([]byte, 512)
	var written uint32
	code := get(&buf[0], uint32(len(buf)), &written)
	if code == bufferTooSmall && int(written) > len(buf) {
		buf = make([]byte, written)
		code = get(&buf[0], uint32(len(buf)), &written)
	}
	if err := check(call, code); err != nil {
		return "", err
	}
	return string(buf[:written]), nil
}

type getList func(buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32

// list collects the items of a multi-value hostcall: pages of items that each end with a zero byte.
func list(call string, get getList) ([]string, error) {
	var items []string
	buf := make([]byte, 64<<10)
	for cursor := uint32(0); ; {
		var written uint32
		ending := int64(-1)
		if err := check(call, get(&buf[0], uint32(len(buf)), cursor, &ending, &written)); err != nil {
			return nil, err
		}
		if written > 0 {
			items = append(items, strings.Split(strings.TrimSuffix(string(buf[:written]), "\x00"), "\x00")...)
		}
		if ending < 0 {
			return items, nil
		}
		cursor = uint32(ending)
	}
}

func fields(call string, names getList, values func(name string, buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32) ([]Field, error) {
	var all []Field
	ns, err := list(call, names)
	if err != nil {
		return nil, err
	}
	for _, name := range ns {
		vs, err := list(call+" "+name, func(buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32 {
			return values(name, buf, n, cursor, ending, written)
		})
		if err != nil {
			return nil, err
		}
		for _, v := range vs {
			all = append(all, Field{name, v})
		}
	}
	return all, nil
}

// Body is a body handle: the client's to read, or a response's to write.
type Body struct{ handle uint32 }

// Read implements io.Reader, except that the end of the body is 0 bytes and no error: see Copy.
func (b *Body) Read(p []byte) (int, error) {
	var n uint32
	err := check("http_body.read", bodyRead(b.handle, unsafe.SliceData(p), uint32(len(p)), &n))
	return int(n), err
}

// Write implements io.Writer.
func (b *Body) Write(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		var n uint32
		rest := p[total:]
		if err := check("http_body.write", bodyWrite(b.handle, unsafe.SliceData(rest), uint32(len(rest)), 0, &n)); err != nil {
			return total, err
		}
		total += int(n)
	}
	return total, nil
}

// Copy writes what is left of src to b in pieces of at most 32 KiB, and adds src's trailers.
func (b *Body) Copy(src *Body) error {
	piece := make([]byte, 32<<10)
	for {
		n, err := src.Read(piece)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if _, err := b.Write(piece[:n]); err != nil {
			return err
		}
	}
	trailers, err := fields("http_body.trailer_names_get",
		func(buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32 {
			return bodyTrailerNamesGet(src.handle, buf, n, cursor, ending, written)
		},
		func(name string, buf *byte, n, cursor uint32, ending *int64, written *uint32) uint32 {
			return bodyTrailerValuesGet(src.handle, unsafe.StringData(name), uint32(len(name)), buf, n, cursor, ending, written)
		})
	if err != nil {
		return err
	}
	for _, f := range trailers {
		code := bodyTrailerAppend(b.handle, unsafe.StringData(f.Name), uint32(len(f.Name)), unsafe.StringData(f.Value), uint32(len(f.Value)))
		if err := check("http_body.trailer_append", code); err != nil {
			return err
		}
	}
	return nil
}

// Close ends a streaming body: without it the client sees a broken message.
func (b *Body) Close() error { return check("http_body.close", bodyClose(b.handle)) }

// Respond sends the head of the response and gives its streaming body, to be closed.
func Respond(status int, header ...Field) (*Body, error) {
	var resp, body uint32
	if err := check("http_resp.new", respNew(&resp)); err != nil {
		return nil, err
	}
	if err := check("http_resp.status_set", respStatusSet(resp, uint32(status))); err != nil {
		return nil, err
	}
	for _, f := range header {
		code := respHeaderAppend(resp, unsafe.StringData(f.Name), uint32(len(f.Name)), unsafe.StringData(f.Value), uint32(len(f.Value)))
		if err := check("http_resp.header_append", code); err != nil {
			return nil, err
		}
	}
	if err := check("http_body.new", bodyNew(&body)); err != nil {
		return nil, err
	}
	if err := check("http_resp.send_downstream", respSendDownstream(resp, body, 1)); err != nil {
		return nil, err
	}
	return &Body{body}, nil
}
