//go:build wasip1

// Command hello is the smallest useful guest: one status, one header, one line of body.
package main

import (
	"io"
	"log"

	"github.com/edgewasm/wasmedge/testdata/guests/go/internal/fastly"
)

func main() {
	if _, err := fastly.ClientRequest(); err != nil {
		log.Fatal(err)
	}
	body, err := fastly.Respond(200, fastly.Field{Name: "x-guest", Value: "go/hello"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(body, "hello from go\n"); err != nil {
		log.Fatal(err)
	}
	if err := body.Close(); err != nil {
		log.Fatal(err)
	}
}
