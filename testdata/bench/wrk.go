//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one run of wrk against one server.
type row struct {
	server   string
	round    int
	rps      float64
	p50, p99 time.Duration
	cpu      time.Duration // of the server, a request
	faults   float64       // minor page faults a request
	rss      int           // KiB at the end
	failed   int           // answers other than 2xx and 3xx, broken connections
}

func (b *bench) measureThroughput(ctx context.Context) error { return b.measure(ctx, b.loads) }

// measure runs every server of every workload, in rounds.
func (b *bench) measure(ctx context.Context, loads []*load) error {
	for _, l := range loads {
		for round := range b.rounds {
			// Every other round goes backwards, so that nobody always follows the same neighbour.
			servers := slices.Clone(l.servers)
			if round%2 == 1 {
				slices.Reverse(servers)
			}
			for _, s := range servers {
				if !strings.Contains(l.name+"/"+s.name, b.only) {
					continue
				}
				r, err := b.one(ctx, l, s, b.conns, b.duration)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", l.name, s.name, err)
				}
				r.round = round + 1
				l.rows = append(l.rows, r)
				progress("%s round %d: %-28s %8.0f requests/s", l.name, r.round, r.server, r.rps)
			}
		}
		if err := l.check(); err != nil {
			return err
		}
	}
	return nil
}

// check insists that all servers have done the same work.
func (l *load) check() error {
	if l.name == "hello" {
		return nil // each language names itself
	}
	for name, answer := range l.answers {
		if want := l.answers[l.servers[0].name]; want != "" && answer != want {
			return fmt.Errorf("%s: %s answers %.200q, %s answers %.200q", l.name, l.servers[0].name, want, name, answer)
		}
	}
	return nil
}

// one starts a server, warms it up, and measures it.
func (b *bench) one(ctx context.Context, l *load, s server, conns int, duration time.Duration) (row, error) {
	p, err := b.start(ctx, s, l)
	if err != nil {
		return row{}, err
	}
	defer p.stop()
	if _, err := b.wrk(ctx, p, l, conns, time.Second); err != nil {
		return row{}, err
	}
	before := p.usage()
	r, err := b.wrk(ctx, p, l, conns, duration)
	if err != nil {
		return row{}, err
	}
	after := p.usage()
	r.server = s.name
	requests := max(r.rps*duration.Seconds(), 1)
	r.cpu = time.Duration(float64(after.cpu-before.cpu) / requests)
	r.faults = float64(after.faults-before.faults) / requests
	r.rss = after.rss
	return r, nil
}

var (
	requestsLine = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)`)
	latencyLine  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s|m)`)
	statusLine   = regexp.MustCompile(`Non-2xx or 3xx responses: ([0-9]+)`)
	socketLine   = regexp.MustCompile(`Socket errors: connect ([0-9]+), read ([0-9]+), write ([0-9]+), timeout ([0-9]+)`)
)

// wrk runs the load generator on one thread.
func (b *bench) wrk(ctx context.Context, p *process, l *load, conns int, duration time.Duration) (row, error) {
	args := []string{"-t1", "-c" + strconv.Itoa(conns), "-d" + strconv.Itoa(max(int(duration.Seconds()), 1)) + "s", "--latency"}
	if l.body != nil {
		script := filepath.Join(b.tmp, l.name+".lua")
		text := "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nwrk.body = [==[" + string(l.body) + "]==]\n"
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			return row{}, err
		}
		args = append(args, "-s", script)
	}
	ctx, cancel := context.WithTimeout(ctx, duration+30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "wrk", append(args, "http://"+p.addr+l.path)...).CombinedOutput()
	if err != nil {
		return row{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parse(string(out))
}

// parse reads what wrk --latency prints.
func parse(text string) (row, error) {
	m := requestsLine.FindStringSubmatch(text)
	if m == nil {
		return row{}, fmt.Errorf("wrk prints no rate:\n%s", text)
	}
	var r row
	r.rps, _ = strconv.ParseFloat(m[1], 64)
	for _, m := range latencyLine.FindAllStringSubmatch(text, -1) {
		unit := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute}[m[3]]
		value, _ := strconv.ParseFloat(m[2], 64)
		if d := time.Duration(value * float64(unit)); m[1] == "50" {
			r.p50 = d
		} else {
			r.p99 = d
		}
	}
	for _, re := range []*regexp.Regexp{statusLine, socketLine} {
		if m := re.FindStringSubmatch(text); m != nil {
			for _, n := range m[1:] {
				failed, _ := strconv.Atoi(n)
				r.failed += failed
			}
		}
	}
	return r, nil
}

// measureConnections runs hello over a growing number of connections.
func (b *bench) measureConnections(ctx context.Context) error {
	points := []int{1, 4, 16, 64, 256}
	if b.quick {
		points = []int{1, 64}
	}
	l := b.loads[0]
	for _, name := range []string{"native net/http", "wasmedge wasmtime rust", "wasmedge wasmtime js", "workerd", "deno"} {
		i := slices.IndexFunc(l.servers, func(s server) bool { return s.name == name })
		if i < 0 || !strings.Contains("connections/"+name, b.only) {
			continue
		}
		s := series{name: name}
		for _, n := range points {
			r, err := b.one(ctx, l, l.servers[i], n, min(b.duration, 3*time.Second))
			if err != nil {
				return err
			}
			progress("%4d connections: %-28s %8.0f requests/s", n, name, r.rps)
			s.points = append(s.points, point{float64(n), r.rps})
		}
		b.connections = append(b.connections, s)
	}
	return nil
}
