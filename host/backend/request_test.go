package backend

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// Whatever a guest asks for, the request on the wire must be one request, with the target that was given.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a?b", "/p", "x-a", "b")
	f.Add("POST", "http://h:1/%zz//", "", "connection", "x, y")
	f.Add("OPTIONS", "*", "//", "host", "a b")
	f.Add("get", "//é|?#", "p/", "te", "trailers")
	f.Fuzz(func(t *testing.T, method, uri, prefix, name, value string) {
		c := Config{Host: "origin.test", PathPrefix: prefix}
		if c.Validate() != nil {
			return
		}
		b := newBackend(c.withDefaults(), Options{})
		defer b.Close()
		req, err := b.request(&Request{Method: method, URI: uri, Header: fields(strings.ToLower(name), value)}, false)
		if err != nil {
			return
		}
		var wire bytes.Buffer
		if err := req.Write(&wire); err != nil {
			t.Fatalf("%v for %q %q", err, method, uri)
		}
		head := wire.String()
		got, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			// net/http's server refuses some targets that are one word nevertheless.
			if strings.Count(head[:strings.Index(head, "\r\n")], " ") != 2 || strings.Count(head, "\r\n\r\n") != 1 {
				t.Fatalf("%v: %q", err, head)
			}
			return
		}
		if _, target, _ := splitURI(uri, req.Method); target != "*" {
			if want := joinPath(b.conf.PathPrefix, target); !strings.HasPrefix(want, "//") && got.RequestURI != want {
				t.Errorf("the target is %q, not %q", got.RequestURI, want)
			}
		}
		if rest := wire.Len(); rest != 0 || len(got.TransferEncoding) != 0 || got.ContentLength != 0 {
			t.Errorf("more than a head: %q", head)
		}
	})
}
