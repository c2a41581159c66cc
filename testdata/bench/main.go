//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	root     string        // of the source tree
	out      string        // the Markdown file; empty prints only
	peers    string        // folder with node_modules of workerd and deno
	js       string        // folder with JavaScript guests
	rounds   int           // over all servers
	duration time.Duration // of one wrk run
	conns    int           // connections of wrk
	only     string        // substring of the workloads and servers to run
	inFlight int           // requests that wait at once
	quick    bool          // fewer points on the plots
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "native" {
		serveNative(os.Args[2])
		return
	}
	if len(os.Args) > 1 && (os.Args[1] == "origin" || os.Args[1] == "proxy") {
		serveHandler(os.Args[1:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "costs" {
		if err := measureCosts(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "neighbours" {
		if err := serveNeighbours(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.root, "root", ".", "`folder` of the source tree")
	flag.StringVar(&o.out, "o", "", "write the results to this Markdown `file`")
	flag.StringVar(&o.peers, "peers", os.Getenv("WASMEDGE_BENCH_PEERS"), "`folder` whose node_modules holds workerd and deno; installed into a temporary one when empty; \"none\" leaves them out")
	flag.StringVar(&o.js, "js", os.Getenv("WASMEDGE_JS_GUESTS"), "`folder` that build.sh -o wrote JavaScript guests to; built into a temporary one when empty; \"none\" leaves them out")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each server is run")
	flag.DurationVar(&o.duration, "d", 4*time.Second, "how long each run takes")
	flag.IntVar(&o.conns, "c", 32, "connections of the load generator")
	flag.StringVar(&o.only, "only", "", "run only what has this in WORKLOAD/SERVER")
	flag.IntVar(&o.inFlight, "inflight", 10_000, "requests that wait at once beside another service")
	flag.BoolVar(&o.quick, "quick", false, "fewer points on the plots")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("the load generator is missing: install wrk: %w", err)
	}
	tmp, err := os.MkdirTemp("", "wasmedge-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b := &bench{options: o, tmp: tmp}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"building the command and the guests", b.build},
		{"looking for other servers", b.findPeers},
		{"measuring throughput", b.measureThroughput},
		{"measuring throughput over connections", b.measureConnections},
		{"measuring proxies", b.measureProxies},
		{"measuring services beside one another", b.measureNeighbours},
		{"measuring sandboxes", b.runCosts},
		{"running the Go benchmarks", b.goBenchmarks},
	} {
		progress("%s", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	text := b.report(ctx)
	fmt.Println(text)
	if o.out == "" {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.write(text)
}

func progress(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
}

// output runs a command and gives the first line of what it prints, or "".
func output(ctx context.Context, name string, args ...string) string {
	out, _ := exec.CommandContext(ctx, name, args...).CombinedOutput()
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}
