//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wire"
)

// neighbour is what a hello service did while another service of the same host did something else.
type neighbour struct {
	engine, beside string
	rps            float64       // of wrk
	p50, p99       time.Duration // of wrk, which asks for as much as it can get
	paced50        time.Duration // of requests at a fixed, low rate
	paced99        time.Duration
	failed         int
}

// flight is many requests that wait at once.
type flight struct {
	engine   string
	requests int
	answered int           // with 200
	took     time.Duration // from the first request to the last answer
	threads  int           // of the server while they waited
	each     float64       // KiB resident for each of them
}

const (
	flightWait = 2 * time.Second
	pacedRate  = 200 // requests a second
)

// serveNeighbours is the server process: rust/hello at the first address, rust/hostile at the second, metrics at the third.
// args are: engine, cache folder, guests folder, the addresses.
func serveNeighbours(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	const most = 11_000
	h, err := host.New(host.Options{Engine: args[0], CacheDir: args[1], EngineConfig: engine.Config{MaxInstances: most}})
	if err != nil {
		return err
	}
	defer h.Close(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i, name := range []string{"hello", "hostile"} {
		program, err := os.ReadFile(filepath.Join(args[2], "rust", name+".wasm"))
		if err != nil {
			return err
		}
		s, err := h.Load(ctx, program, host.ServiceConfig{Name: name, Limits: host.Limits{CPU: -1, Wall: time.Hour, QueueWait: time.Minute}})
		if err != nil {
			return err
		}
		server := &wire.Server{Handler: s, Addr: args[3+i], DrainTimeout: time.Nanosecond}
		wg.Go(func() { server.ListenAndServe(ctx) })
	}
	server := &http.Server{Addr: args[5], Handler: h.MetricsHandler()}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serverPair is such a server under way.
type serverPair struct {
	*process
	hello, hostile, metrics string
}

func (b *bench) startPair(ctx context.Context, engineName string) (*serverPair, error) {
	addrs, err := freeAddrs()
	if err != nil {
		return nil, err
	}
	s := server{"neighbours", func(string) []string {
		return []string{b.self, "neighbours", engineName, filepath.Join(b.tmp, "cache"), filepath.Join(b.root, "testdata", "guests"), addrs[0], addrs[1], addrs[2]}
	}}
	return b.startAt(ctx, s, addrs)
}

// freeAddrs finds three addresses that nobody listens on.
func freeAddrs() (addrs [3]string, err error) {
	for i := range addrs {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return addrs, err
		}
		defer listener.Close()
		addrs[i] = listener.Addr().String()
	}
	return addrs, nil
}

// startAt starts the server and waits for all of its addresses.
func (b *bench) startAt(ctx context.Context, s server, addrs [3]string) (*serverPair, error) {
	args := s.args("")
	p := &serverPair{process: &process{addr: addrs[0], cmd: exec.Command(args[0], args[1:]...)}, hello: addrs[0], hostile: addrs[1], metrics: addrs[2]}
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, url := range []string{"http://" + p.hello + "/", "http://" + p.hostile + "/", "http://" + p.metrics + "/"} {
		for {
			_, err := ask(ctx, url, nil)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				p.stop()
				return nil, fmt.Errorf("%s does not answer: %w\n%s", url, err, p.log.String())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return p, nil
}

// measureNeighbours finds out what services of one host do to each other.
func (b *bench) measureNeighbours(ctx context.Context) error {
	for _, engineName := range host.Engines() {
		for round := range max(b.rounds/2, 1) {
			if err := b.neighbourRound(ctx, engineName, round); err != nil {
				return fmt.Errorf("%s: %w", engineName, err)
			}
		}
	}
	return nil
}

func (b *bench) neighbourRound(ctx context.Context, engineName string, round int) error {
	cpus := runtime.NumCPU()
	for _, beside := range []struct {
		name    string
		n, wait int // computing guests, waiting guests
	}{
		{"nothing", 0, 0},
		{fmt.Sprintf("a guest that computes for each of %d CPUs", cpus), cpus, 0},
		{"50 guests that compute", 50, 0},
		{fmt.Sprintf("%d requests that wait", b.inFlight), 0, b.inFlight},
	} {
		if !strings.Contains("neighbours/"+engineName+"/"+beside.name, b.only) {
			continue
		}
		p, err := b.startPair(ctx, engineName)
		if err != nil {
			return err
		}
		r, err := b.beside(ctx, p, beside.n, beside.wait)
		p.stop()
		if err != nil {
			return fmt.Errorf("beside %s: %w", beside.name, err)
		}
		r.engine, r.beside = engineName, beside.name
		b.neighbours = append(b.neighbours, r)
		progress("%s, beside %s: %.0f requests/s, p50 %s, p99 %s; at %d/s p50 %s, p99 %s", engineName, r.beside, r.rps, short(r.p50), short(r.p99),
			pacedRate, short(r.paced50), short(r.paced99))
	}
	if round > 0 || !strings.Contains("neighbours/"+engineName+"/flight", b.only) {
		return nil
	}
	p, err := b.startPair(ctx, engineName)
	if err != nil {
		return err
	}
	defer p.stop()
	f, err := b.fly(ctx, p)
	f.engine = engineName
	b.flights = append(b.flights, f)
	progress("%s: %d of %d requests answered in %s, %d threads, %.0f KiB each", engineName, f.answered, f.requests, short(f.took), f.threads, f.each)
	return err
}

// beside measures the hello service while guests of the other one compute or wait.
func (b *bench) beside(ctx context.Context, p *serverPair, computing, waiting int) (neighbour, error) {
	var r neighbour
	l := &load{path: "/"}
	if _, err := b.wrk(ctx, p.process, l, b.conns, time.Second); err != nil {
		return r, err
	}
	others, err := dialAll(p.hostile, computing+waiting)
	defer closeAll(others)
	if err != nil {
		return r, err
	}
	target := "/spin"
	if waiting > 0 {
		target = fmt.Sprintf("/sleep?ms=%d", (2*b.duration + 20*time.Second).Milliseconds())
	}
	for _, c := range others {
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target); err != nil {
			return r, err
		}
	}
	if err := p.awaitInside(ctx, len(others)); err != nil {
		return r, err
	}
	if r.paced50, r.paced99, err = paced(p.hello, b.duration); err != nil {
		return r, err
	}
	row, err := b.wrk(ctx, p.process, l, b.conns, b.duration)
	r.rps, r.p50, r.p99, r.failed = row.rps, row.p50, row.p99, row.failed
	return r, err
}

// paced sends requests at a fixed rate, whether or not the ones before have been answered, and gives quantiles of the time
// from when each was due.
func paced(addr string, duration time.Duration) (p50, p99 time.Duration, err error) {
	const conns = 8
	var mu sync.Mutex
	var times []time.Duration
	var wg sync.WaitGroup
	began := time.Now()
	for k := range conns {
		wg.Go(func() {
			e := func() error {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				defer c.Close()
				in := bufio.NewReader(c)
				for n := k; ; n += conns {
					due := began.Add(time.Duration(n) * time.Second / pacedRate)
					if due.Sub(began) > duration {
						return nil
					}
					time.Sleep(time.Until(due))
					// The client's own lateness is not the server's.
					due = time.Now()
					if err := get(c, in, "/"); err != nil {
						return err
					}
					mu.Lock()
					times = append(times, time.Since(due))
					mu.Unlock()
				}
			}()
			if e != nil {
				mu.Lock()
				err = errors.Join(err, e)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err != nil || len(times) == 0 {
		return 0, 0, err
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}

// get asks over a kept connection.
func get(c net.Conn, in *bufio.Reader, target string) error {
	if _, err := io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// fly lets many requests wait at once.
func (b *bench) fly(ctx context.Context, p *serverPair) (flight, error) {
	f := flight{requests: b.inFlight}
	conns, err := dialAll(p.hostile, b.inFlight)
	defer closeAll(conns)
	if err != nil {
		return f, err
	}
	before := p.usage().rss
	began := time.Now()
	answers := make(chan error, len(conns))
	for _, c := range conns {
		go func() {
			c.SetDeadline(time.Now().Add(time.Minute))
			answers <- get(c, bufio.NewReaderSize(c, 1024), fmt.Sprintf("/sleep?ms=%d", flightWait.Milliseconds()))
		}()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range conns {
			e := <-answers
			if e == nil {
				f.answered++
			} else if err == nil {
				err = e
			}
		}
	}()
	peak := 0
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-done:
			tick.Stop()
			f.took = time.Since(began)
			f.each = float64(peak-before) / float64(f.requests)
			return f, err
		case <-tick.C:
			peak = max(peak, p.usage().rss)
			f.threads = max(f.threads, status(strconv.Itoa(p.cmd.Process.Pid), "Threads:"))
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
}

func dialAll(addr string, n int) ([]net.Conn, error) {
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// awaitInside waits until the other service has so many sandboxes.
func (p *serverPair) awaitInside(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	const line = `wasmedge_service_sandboxes{nth="1",service="hostile",version="0"} `
	for {
		text, err := ask(ctx, "http://"+p.metrics+"/", nil)
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(text, "\n"+line)
		value, _, _ := strings.Cut(rest, "\n")
		if got, _ := strconv.ParseFloat(value, 64); int(got) >= n {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reportNeighbours gives medians over the rounds, and the ratio to the service alone.
func (b *bench) reportNeighbours(t *strings.Builder) {
	if len(b.neighbours) == 0 {
		return
	}
	t.WriteString("## A service beside another\n\n" +
		"One host serves Rust hello, and another Rust program that computes without end or waits. wrk takes what it can get; the last two columns\n")
	fmt.Fprintf(t, "are for requests at a steady %d a second.\n\n", pacedRate)
	t.WriteString("| engine | beside | requests/s | p50 | p99 | p99 to alone | steady p50 | steady p99 | failed |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
	type key struct{ engine, beside string }
	rounds := make(map[key][]neighbour)
	var keys []key
	for _, r := range b.neighbours {
		k := key{r.engine, r.beside}
		if rounds[k] == nil {
			keys = append(keys, k)
		}
		rounds[k] = append(rounds[k], r)
	}
	median := func(k key, f func(neighbour) float64) float64 {
		var v []float64
		for _, r := range rounds[k] {
			v = append(v, f(r))
		}
		if len(v) == 0 {
			return 0
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	p99 := func(r neighbour) float64 { return float64(r.p99) }
	for _, k := range keys {
		span := func(f func(neighbour) time.Duration) string {
			return short(time.Duration(median(k, func(r neighbour) float64 { return float64(f(r)) })))
		}
		ratio := "" // unknown without the service alone
		if alone := median(key{k.engine, "nothing"}, p99); alone > 0 {
			ratio = fmt.Sprintf("%.1f", median(k, p99)/alone)
		}
		fmt.Fprintf(t, "| %s | %s | %.0f | %s | %s | %s | %s | %s | %.0f |\n", k.engine, k.beside,
			median(k, func(r neighbour) float64 { return r.rps }),
			span(func(r neighbour) time.Duration { return r.p50 }), span(func(r neighbour) time.Duration { return r.p99 }), ratio,
			span(func(r neighbour) time.Duration { return r.paced50 }), span(func(r neighbour) time.Duration { return r.paced99 }),
			median(k, func(r neighbour) float64 { return float64(r.failed) }))
	}
	for _, f := range b.flights {
		fmt.Fprintf(t, "\nOn %s, of %d requests that each waited %s at once %d were answered, the last after %s; the server had %d threads and %.0f KiB resident for each.\n",
			f.engine, f.requests, flightWait, f.answered, short(f.took), f.threads, f.each)
	}
	t.WriteString("\n")
}
