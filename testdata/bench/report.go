//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// goBenchmarks runs those of package host that tell what hostcalls and allocations cost.
func (b *bench) goBenchmarks(ctx context.Context) error {
	if b.only != "" && !strings.Contains("gobench", b.only) {
		return nil
	}
	for _, group := range []struct{ pattern, times string }{
		{"^BenchmarkHostcall$", "200000x"},
		{"^BenchmarkHTTPHello$/^(native|wasmtime)$", "2000x"},
		{"^BenchmarkBody$", "50x"},
	} {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", group.pattern, "-benchtime", group.times, "-timeout", "10m", "./host")
		cmd.Dir = b.root
		cmd.Env = append(os.Environ(), "WASMEDGE_JS_GUESTS="+b.jsFolder())
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Benchmark") {
				b.goBench += line
			}
		}
	}
	return nil
}

// jsFolder is empty without JavaScript guests, so that benchmarks skip them.
func (b *bench) jsFolder() string {
	if b.guests["js/hello"] == "" {
		return ""
	}
	folder, err := filepath.Abs(b.js)
	if err != nil {
		return ""
	}
	return folder
}

func (b *bench) report(ctx context.Context) string {
	var t strings.Builder
	say := func(format string, a ...any) { fmt.Fprintf(&t, format+"\n", a...) }
	say("# Benchmarks\n")
	say("Written by `make bench`; do not edit. Compare figures of one run with one another, not with those of another machine: the")
	say("load generator runs on the same machine as the server, and takes its share of it. workerd and deno keep their")
	say("isolate from request to request and run it on one thread; every `wasmedge` row but")
	say("those of reuse makes a fresh sandbox for each request.\n")
	say("## Machine and versions\n")
	say("| | |\n|---|---|")
	for _, line := range b.machine(ctx) {
		say("| %s | %s |", line[0], line[1])
	}
	say("\n%d rounds, one server at a time, every other round in reverse order; in each round a server is started, warmed up for 1 s and measured", b.rounds)
	say("for %s over %d kept connections on loopback. Figures are medians over the rounds; the range is that of requests/s.\n", b.duration, b.conns)
	for _, l := range b.loads {
		b.reportLoad(&t, l)
	}
	b.reportProxies(&t)
	if len(b.connections) > 0 {
		say("## Requests per second as connections grow (hello)\n\n![](benchmarks/connections.svg)\n")
	}
	b.reportNeighbours(&t)
	b.reportCosts(&t)
	if b.goBench != "" {
		say("## Hostcalls, allocations, bodies\n\n`go test -run '^$' -bench . ./host`, named BENCHMARK/ENGINE/GUEST. BenchmarkHostcall loops inside the guest; BenchmarkHTTPHello")
		say("counts the allocations of client and server together, the client's being none.\n\n```\n%s```\n", b.goBench)
	}
	say("## Raw rows\n")
	for _, l := range slices.Concat(b.loads, b.proxies) {
		if len(l.rows) == 0 {
			continue
		}
		say("### %s\n\n```\nround  requests/s      p50      p99  cpu/request  faults/request  rss KiB  failed  server", l.name)
		for _, r := range l.rows {
			say("%5d  %10.0f  %7s  %7s  %11s  %14.1f  %7d  %6d  %s", r.round, r.rps, short(r.p50), short(r.p99), short(r.cpu), r.faults, r.rss, r.failed, r.server)
		}
		say("```\n")
	}
	return strings.TrimRight(t.String(), "\n") + "\n"
}

func (b *bench) machine(ctx context.Context) [][2]string {
	cpu := ""
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	lines := [][2]string{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"machine", fmt.Sprintf("%d CPUs, %s; Linux %s %s", runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)), runtime.GOARCH)},
		{"load average at the end", strings.Join(strings.Fields(string(load))[:3], " ")},
		{"Go", runtime.Version()},
		{"wasmedge", cmp.Or(output(ctx, b.command, "version"), "unknown")},
		{"wrk", strings.TrimSuffix(strings.Split(output(ctx, "wrk", "-v"), " Copyright")[0], " [epoll]")},
	}
	for _, name := range []string{"workerd", "deno", "viceroy"} {
		version := "not installed"
		if file := b.peer[name]; file != "" {
			version = output(ctx, file, "--version")
		}
		lines = append(lines, [2]string{name, version})
	}
	return lines
}

func (b *bench) reportLoad(t io.Writer, l *load) {
	if len(l.rows) == 0 {
		return
	}
	what := map[string]string{
		"hello":       "a status, a header and a line of text",
		"transform":   fmt.Sprintf("%.0f kB of JSON in, its summary as JSON out", float64(len(l.body))/1000),
		"proxy-small": fmt.Sprintf("a request is passed on, the answer of %d bytes streamed back", smallAnswer),
		"proxy-large": fmt.Sprintf("a request is passed on, the answer of %d kB streamed back", largeAnswer>>10),
		"reuse":       "sandboxes that serve one request each, or up to 100; compared with the first row",
		"primes":      "the primes below 30000 are counted: computing alone",
	}[l.name]
	fmt.Fprintf(t, "## %s: %s\n\n", l.name, what)
	io.WriteString(t, "| server | requests/s | range | of native | of workerd | p50 | p99 | CPU/request | page faults/request | RSS |\n|---|---:|---|---:|---:|---:|---:|---:|---:|---:|\n")
	rps := func(server string) float64 {
		return median(l.rows, server, func(r row) float64 { return r.rps })
	}
	for _, s := range l.servers {
		mine := slices.DeleteFunc(slices.Clone(l.rows), func(r row) bool { return r.server != s.name })
		if len(mine) == 0 {
			continue
		}
		least := slices.MinFunc(mine, func(a, b row) int { return cmp.Compare(a.rps, b.rps) }).rps
		most := slices.MaxFunc(mine, func(a, b row) int { return cmp.Compare(a.rps, b.rps) }).rps
		of := func(other string) string {
			if v := rps(other); v > 0 {
				return fmt.Sprintf("%.2f", rps(s.name)/v)
			}
			return ""
		}
		d := func(f func(r row) time.Duration) string {
			return short(time.Duration(median(mine, s.name, func(r row) float64 { return float64(f(r)) })))
		}
		fmt.Fprintf(t, "| %s | %.0f | %.0f-%.0f | %s | %s | %s | %s | %s | %.1f | %.0f MiB |\n", s.name, rps(s.name), least, most,
			of(l.servers[0].name), of("workerd"),
			d(func(r row) time.Duration { return r.p50 }), d(func(r row) time.Duration { return r.p99 }), d(func(r row) time.Duration { return r.cpu }),
			median(mine, s.name, func(r row) float64 { return r.faults }), median(mine, s.name, func(r row) float64 { return float64(r.rss) })/1024)
	}
	io.WriteString(t, "\n")
}

func (b *bench) reportCosts(t *strings.Builder) {
	c := b.costs
	if len(c.Sandboxes) == 0 {
		return
	}
	t.WriteString("## One sandbox, without HTTP\n\nMaking and closing an instance, and a whole hello request from http.Handler's call to its return, one after the other.\n\n")
	t.WriteString("| engine | guest | instantiate p50 | p99 | run p50 | p99 |\n|---|---|---:|---:|---:|---:|\n")
	for _, s := range c.Sandboxes {
		fmt.Fprintf(t, "| %s | %s | %s | %s | %s | %s |\n", s.Engine, s.Guest, short(s.Instantiate50), short(s.Instantiate99), short(s.Run50), short(s.Run99))
	}
	last := func(p []pair) pair { return p[len(p)-1] }
	fmt.Fprintf(t, "\nAn idle service (AssemblyScript hello, each with code of its own) holds %.0f KiB resident when %.0f are loaded; a sandbox that waits"+
		" (Rust) holds %.0f KiB when there are %.0f.\n\n", last(c.Services).Y, last(c.Services).X, last(c.InFlight).Y, last(c.InFlight).X)
	t.WriteString("![](benchmarks/services.svg)\n![](benchmarks/in-flight.svg)\n![](benchmarks/memory.svg)\n\n")
}

// write writes the report and the plots it shows.
func (b *bench) write(text string) error {
	pictures := map[string]string{}
	if len(b.connections) > 0 {
		pictures["connections"] = plot("hello over kept connections", "connections", "requests/s", b.connections)
	}
	if len(b.costs.Sandboxes) > 0 {
		pictures["services"] = plot("memory of an idle service", "services loaded", "KiB each", toSeries("assemblyscript/hello", b.costs.Services))
		pictures["in-flight"] = plot("memory of a waiting sandbox", "sandboxes that wait at once", "KiB each", toSeries("rust, asleep", b.costs.InFlight))
		pictures["memory"] = plot("a request that touches memory", "MiB touched", "microseconds", toSeries("rust", b.costs.Memory))
	}
	folder := filepath.Join(filepath.Dir(b.out), "benchmarks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(folder, name+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(b.out, []byte(text), 0o644)
}

func median(rows []row, server string, f func(row) float64) float64 {
	var values []float64
	for _, r := range rows {
		if r.server == server {
			values = append(values, f(r))
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// short prints a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f us", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f us", float64(d)/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
