//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/modcache"
)

// costs are what one process of our own finds out about sandboxes, without HTTP.
type costs struct {
	Sandboxes []sandboxCost
	Services  []pair // services loaded, KiB resident each
	InFlight  []pair // sandboxes that wait, KiB resident each
	Memory    []pair // MiB that a guest touches, microseconds of its run
}

type pair struct{ X, Y float64 }

type sandboxCost struct {
	Engine, Guest                string
	Instantiate50, Instantiate99 time.Duration // p50 and p99 of instantiate and close
	Run50, Run99                 time.Duration // of a whole request without HTTP
}

// runCosts measures in a process of its own, so that what this one holds does not count.
func (b *bench) runCosts(ctx context.Context) error {
	if b.only != "" && !strings.Contains("costs", b.only) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	args := []string{"costs", strconv.FormatBool(b.quick), filepath.Join(b.tmp, "cache"), filepath.Join(b.root, "testdata", "guests")}
	for _, name := range []string{"rust/hello", "assemblyscript/hello", "c/hello", "go/hello", "js/hello"} {
		if b.guests[name] != "" {
			args = append(args, name+"="+b.guests[name])
		}
	}
	cmd := exec.CommandContext(ctx, b.self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, &b.costs)
}

// measureCosts is the other process. args are: quick, cache folder, guests folder, then NAME=FILE.
func measureCosts(args []string) error {
	quick, dir, sources := args[0] == "true", args[1], args[2]
	var c costs
	// What resident memory tells comes first, while there is nothing yet to be given back.
	for _, part := range []func(*costs, string, string, bool) error{servicesCosts, inFlightCosts, memoryCosts} {
		if err := part(&c, dir, sources, quick); err != nil {
			return err
		}
	}
	for _, engineName := range host.Engines() {
		for _, arg := range args[3:] {
			name, file, _ := strings.Cut(arg, "=")
			fmt.Fprintf(os.Stderr, "bench: sandboxes of %s on %s\n", name, engineName)
			cost, err := sandboxCosts(engineName, dir, file, quick)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", name, engineName, err)
			}
			cost.Guest = name
			c.Sandboxes = append(c.Sandboxes, cost)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}

func sandboxCosts(engineName, dir, file string, quick bool) (sandboxCost, error) {
	cost := sandboxCost{Engine: engineName}
	program, err := os.ReadFile(file)
	if err != nil {
		return cost, err
	}
	ctx := context.Background()
	h, err := host.New(host.Options{Engine: engineName, CacheDir: dir})
	if err != nil {
		return cost, err
	}
	defer h.Close(ctx)
	service, err := h.Load(ctx, program, host.ServiceConfig{Name: "bench"})
	if err != nil {
		return cost, err
	}
	// The service keeps its template to itself; another one comes from the same artifact.
	cache, err := modcache.Open(dir, modcache.Options{})
	if err != nil {
		return cost, err
	}
	defer cache.Close()
	module, _, err := cache.Module(ctx, h.Engine(), program)
	if err != nil {
		return cost, err
	}
	defer module.Close()
	template, err := module.Link(abi.Hostcalls(), engine.LinkOptions{})
	if err != nil {
		return cost, err
	}
	defer template.Close()
	most := 20_000
	if quick {
		most = 500
	}
	cost.Instantiate50, cost.Instantiate99, err = quantiles(most, func() error {
		instance, err := template.Instantiate(engine.InstanceConfig{MaxCPU: time.Second})
		if err == nil {
			instance.Close()
		}
		return err
	})
	if err != nil {
		return cost, err
	}
	cost.Run50, cost.Run99, err = quantiles(most, func() error { return request(service, "/") })
	return cost, err
}

// quantiles times f up to most times, within five seconds, and gives p50 and p99.
func quantiles(most int, f func() error) (p50, p99 time.Duration, err error) {
	for range 20 {
		if err := f(); err != nil {
			return 0, 0, err
		}
	}
	times := make([]time.Duration, 0, most)
	for began := time.Now(); len(times) < most && time.Since(began) < 5*time.Second; {
		start := time.Now()
		if err := f(); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}

// request serves one request without HTTP.
func request(h http.Handler, target string) error {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
	if err != nil {
		return err
	}
	w := &writer{header: make(http.Header)}
	h.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("status %d", w.status)
	}
	return nil
}

// writer is a client that costs next to nothing.
type writer struct {
	header http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) WriteHeader(status int)      { w.status = status }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) FlushError() error           { return nil }

// resident gives the process's resident memory in KiB, without what the garbage collector has yet to give back.
func resident() int {
	debug.FreeOSMemory()
	return status("self", "VmRSS:")
}

// idleAfter is when the wasmtime engine has taken back what it takes from a service without requests.
const idleAfter = 47 * time.Second

// servicesCosts loads more and more services, and looks at them when they are idle. Each is a program of its own: the
// same code, and a custom section that differs.
func servicesCosts(c *costs, dir, sources string, quick bool) error {
	program, err := os.ReadFile(filepath.Join(sources, "assemblyscript", "hello.wasm"))
	if err != nil {
		return err
	}
	points := []int{1, 10, 100, 1000}
	if quick {
		points = []int{1, 10}
	}
	ctx := context.Background()
	h, err := host.New(host.Options{CacheDir: dir})
	if err != nil {
		return err
	}
	defer h.Close(ctx)
	var services []*host.Service
	load := func() error {
		section := binary.AppendUvarint([]byte{6}, uint64(len(services)))
		section = append([]byte("\x06number"), section...)
		mine := append(bytes.Clone(program), 0, byte(len(section)))
		s, err := h.Load(ctx, append(mine, section...), host.ServiceConfig{Name: strconv.Itoa(len(services))})
		if err == nil {
			services = append(services, s)
			err = request(s, "/")
		}
		return err
	}
	if err := load(); err != nil { // what the first one costs is the engine's
		return err
	}
	time.Sleep(idleAfter)
	before := resident()
	for _, n := range points {
		for len(services) <= n {
			if err := load(); err != nil {
				return err
			}
		}
		time.Sleep(idleAfter)
		c.Services = append(c.Services, pair{float64(n), float64(resident()-before) / float64(n)})
	}
	return nil
}

// inFlightCosts lets more and more sandboxes wait at once.
func inFlightCosts(c *costs, dir, sources string, quick bool) error {
	program, err := os.ReadFile(filepath.Join(sources, "rust", "hostile.wasm"))
	if err != nil {
		return err
	}
	points := []int{10, 100, 300, 1000}
	if quick {
		points = []int{10, 100}
	}
	ctx := context.Background()
	h, err := host.New(host.Options{CacheDir: dir, EngineConfig: engine.Config{MaxInstances: slices.Max(points)}})
	if err != nil {
		return err
	}
	defer h.Close(ctx)
	s, err := h.Load(ctx, program, host.ServiceConfig{Name: "sleep"})
	if err != nil {
		return err
	}
	if err := request(s, "/sleep?ms=1"); err != nil {
		return err
	}
	for _, n := range points {
		before := resident()
		var wg sync.WaitGroup
		errs := make(chan error, n)
		for range n {
			wg.Go(func() { errs <- request(s, "/sleep?ms=1500") })
		}
		time.Sleep(time.Second)
		during := resident()
		wg.Wait()
		close(errs)
		for e := range errs {
			err = errors.Join(err, e)
		}
		if err != nil {
			return err
		}
		c.InFlight = append(c.InFlight, pair{float64(n), float64(during-before) / float64(n)})
	}
	return nil
}

// memoryCosts lets guests touch more and more memory.
func memoryCosts(c *costs, dir, sources string, quick bool) error {
	program, err := os.ReadFile(filepath.Join(sources, "rust", "hostile.wasm"))
	if err != nil {
		return err
	}
	points := []int{0, 1, 2, 4, 8, 16, 32}
	if quick {
		points = []int{0, 8}
	}
	ctx := context.Background()
	h, err := host.New(host.Options{CacheDir: dir})
	if err != nil {
		return err
	}
	defer h.Close(ctx)
	s, err := h.Load(ctx, program, host.ServiceConfig{Name: "memory"})
	if err != nil {
		return err
	}
	for _, mib := range points {
		p50, _, err := quantiles(100, func() error { return request(s, fmt.Sprint("/memory-ok?mib=", mib)) })
		if err != nil {
			return err
		}
		c.Memory = append(c.Memory, pair{float64(mib), float64(p50.Microseconds())})
	}
	return nil
}
