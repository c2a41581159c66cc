//go:build wasip1

// Command wasi uses Go's standard library as an ordinary program would, and answers with what it saw, one
// "name: value" a line. A request for a path that ends in /exit ends the program with exit code 3 afterwards.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/testdata/guests/go/internal/fastly"
)

func main() {
	req, err := fastly.ClientRequest()
	if err != nil {
		log.Fatal(err)
	}
	out, err := fastly.Respond(200, fastly.Field{Name: "x-guest", Value: "go/wasi"})
	if err != nil {
		log.Fatal(err)
	}
	report(out)
	if err := out.Close(); err != nil {
		log.Fatal(err)
	}
	if strings.HasSuffix(req.URL, "/exit") {
		os.Exit(3)
	}
}

func report(out io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("args: %q", os.Args)
	for _, e := range os.Environ() {
		say("env: %s", e)
	}
	say("wall seconds: %d", time.Now().Unix())

	start := time.Now()
	time.Sleep(5 * time.Millisecond)
	say("slept nanoseconds: %d", time.Since(start).Nanoseconds())

	random := make([]byte, 16)
	_, err := rand.Read(random)
	say("random: %x %v", random, err)

	var sleepers sync.WaitGroup
	order := make(chan int, 3)
	for i := range 3 {
		sleepers.Go(func() {
			time.Sleep(time.Duration(3-i) * 10 * time.Millisecond)
			order <- i
		})
	}
	sleepers.Wait()
	say("goroutines woke: %d %d %d", <-order, <-order, <-order)

	hoard := make([]byte, 8<<20)
	for i := 0; i < len(hoard); i += 4096 {
		hoard[i] = 1
	}
	runtime.KeepAlive(hoard)
	runtime.GC()
	say("heap bytes: %d", len(hoard))

	fmt.Fprintln(os.Stdout, "stdout of go/wasi")
	fmt.Fprintln(os.Stderr, "stderr of go/wasi")
	n, err := os.Stdin.Read(make([]byte, 1))
	say("stdin: %d %v", n, err)
	_, err = os.Open("/etc/passwd")
	say("open file: %v", err)
}
