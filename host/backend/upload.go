package backend

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// errUploadStopped is what net/http reads from a body that was closed because the exchange has failed.
var errUploadStopped = errors.New("the request was broken off")

// bodyError is a failure to read the request's body: the sender's, not the origin's.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// upload is the request's body as net/http reads it.
type upload struct {
	src      io.ReadCloser
	trailers func(*httpfield.List)
	left     int64       // bytes until the length that was set by hand is reached; negative: to the end of src
	filled   http.Header // the request's Trailer map; nil without trailers
	x        *exchange

	mu   sync.Mutex
	err  error // not io.EOF: why src failed by itself
	done bool  // src gave io.EOF
	shut bool  // src is closed
}

func (u *upload) Read(p []byte) (int, error) {
	// The time that the writer of the body takes is not the origin's.
	u.x.pause()
	n, err := u.read(p)
	switch {
	case err == io.EOF && !u.stopped():
		if u.trailers != nil {
			var l httpfield.List
			u.trailers(&l)
			for _, f := range l.Fields() {
				name := httpfield.Canonical(f.Name)
				if validTrailer(name) && httpguts.ValidHeaderFieldValue(f.Value) {
					u.filled[name] = append(u.filled[name], f.Value)
				}
			}
		}
		u.mu.Lock()
		u.done = true
		u.mu.Unlock()
	case err != nil:
		u.mu.Lock()
		if u.shut {
			err = errUploadStopped
		} else if u.err == nil {
			u.err = &bodyError{err}
		}
		u.mu.Unlock()
	}
	u.x.resume()
	return n, err
}

// read keeps to a length that was set by hand: what lies beyond it would be taken for the connection's next request. It is read
// all the same, so that its writer need not know.
func (u *upload) read(p []byte) (int, error) {
	if u.left < 0 {
		return u.src.Read(p)
	}
	if u.left == 0 {
		_, _ = io.Copy(io.Discard, u.src)
		return 0, io.EOF
	}
	n, err := u.src.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	return n, err
}

// Close implements io.Closer for net/http.
func (u *upload) Close() error {
	u.close()
	return nil
}

// close closes the source once, which also ends a Read of it; u may be nil.
func (u *upload) close() {
	if u == nil {
		return
	}
	u.mu.Lock()
	shut := u.shut
	u.shut = true
	u.mu.Unlock()
	if !shut {
		_ = u.src.Close()
	}
}

func (u *upload) stopped() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.shut
}

func (u *upload) complete() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done
}

func (u *upload) failed() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// pause stops the clock of the first byte, resume starts it anew.
func (x *exchange) pause() {
	x.mu.Lock()
	if !x.head && x.timer != nil {
		x.timer.Stop()
	}
	x.mu.Unlock()
}

func (x *exchange) resume() {
	x.mu.Lock()
	if !x.head && x.timer != nil {
		x.timer.Reset(x.firstByte)
	}
	x.mu.Unlock()
}

// announce puts the names of a request's Trailer fields into the map of its trailers, without values.
func announce(filled http.Header, h *httpfield.List) {
	for _, f := range h.Fields() {
		if f.Name == "trailer" {
			eachListItem(f.Value, func(item string) {
				if name := httpfield.Canonical(item); validTrailer(name) {
					filled[name] = nil
				}
			})
		}
	}
}

// validTrailer takes the canonical form of a name.
func validTrailer(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name)
}
