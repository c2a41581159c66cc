//go:build wasip1

// Command echo sends the request back: each value of each header field, the body piece by piece while it still
// arrives, and the trailers. Method and URL go into x-echo-* fields.
package main

import (
	"log"

	"github.com/edgewasm/wasmedge/testdata/guests/go/internal/fastly"
)

var notCopied = map[string]bool{
	"connection":        true,
	"content-length":    true,
	"expect":            true,
	"host":              true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
}

func main() {
	if err := echo(); err != nil {
		log.Fatal(err)
	}
}

func echo() error {
	req, err := fastly.ClientRequest()
	if err != nil {
		return err
	}
	header := []fastly.Field{
		{Name: "x-guest", Value: "go/echo"},
		{Name: "x-echo-method", Value: req.Method},
		{Name: "x-echo-url", Value: req.URL},
	}
	for _, f := range req.Header {
		if !notCopied[f.Name] {
			header = append(header, f)
		}
	}
	out, err := fastly.Respond(200, header...)
	if err != nil {
		return err
	}
	if err := out.Copy(req.Body); err != nil {
		return err
	}
	return out.Close()
}
