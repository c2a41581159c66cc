//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bench is one run of this program and what it has found out.
type bench struct {
	options
	tmp, self string
	command   string            // our server
	guests    map[string]string // name -> file
	peer      map[string]string // name -> program

	loads       []*load
	proxies     []*load
	connections []series
	neighbours  []neighbour
	flights     []flight
	costs       costs
	goBench     string
}

// server is something that answers on an address until it is told to stop.
type server struct {
	name string
	args func(addr string) []string
}

// load is one workload with the servers that can do it.
type load struct {
	name, path string
	body       []byte // POSTed when it is not nil
	servers    []server
	answers    map[string]string
	rows       []row
}

func (b *bench) build(ctx context.Context) error {
	run := func(dir string, env []string, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
		}
		return nil
	}
	b.command = filepath.Join(b.tmp, "wasmedge")
	if err := run(b.root, nil, "go", "build", "-o", b.command, "./cmd/wasmedge"); err != nil {
		return err
	}
	sources := filepath.Join(b.root, "testdata", "guests")
	b.guests = map[string]string{}
	for _, name := range []string{"rust/hello", "rust/work", "rust/reuse", "assemblyscript/hello", "c/hello"} {
		b.guests[name] = filepath.Join(sources, name+".wasm")
	}
	b.guests["go/hello"] = filepath.Join(b.tmp, "go-hello.wasm")
	err := run(sources, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS="}, "go", "build", "-o", b.guests["go/hello"], "./go/hello")
	if err != nil {
		return err
	}
	if b.js == "" {
		b.js = filepath.Join(b.tmp, "guests")
		if err := run(b.root, nil, filepath.Join(sources, "build.sh"), "-o", b.js, "js"); err != nil {
			progress("without JavaScript guests: %v", err)
			return nil
		}
	}
	for _, name := range []string{"js/hello", "js/work", "js/reuse"} {
		if file := filepath.Join(b.js, name+".wasm"); exists(file) {
			b.guests[name] = file
		}
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// Versions of the servers from npm.
const (
	workerdVersion = "1.20261117.1"
	denoVersion    = "2.9.6"
)

func (b *bench) findPeers(ctx context.Context) error {
	b.peer = map[string]string{}
	dir := b.peers
	if dir == "" {
		dir = filepath.Join(b.tmp, "peers")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir,
			"workerd@"+workerdVersion, "deno@"+denoVersion)
		if out, err := cmd.CombinedOutput(); err != nil {
			progress("without workerd and deno: %v\n%s", err, out)
		}
	}
	for _, name := range []string{"workerd", "deno"} {
		if file := filepath.Join(dir, "node_modules", ".bin", name); exists(file) {
			b.peer[name] = file
		}
	}
	if file, err := exec.LookPath("viceroy"); err == nil {
		b.peer["viceroy"] = file
	}
	b.loads = []*load{
		{name: "hello", path: "/", servers: b.servers("hello")},
		{name: "transform", path: "/transform", body: orders(), servers: b.servers("work")},
		// js-compute interprets its program: it would need seconds for each request.
		{name: "primes", path: "/primes", servers: slices.DeleteFunc(b.servers("work"), func(s server) bool {
			return strings.HasSuffix(s.name, " js")
		})},
		{name: "reuse", path: "/", servers: b.reusers()},
	}
	return nil
}

// servers lists what can run a kind of guest. The first one is what the others are compared with.
func (b *bench) servers(kind string) []server {
	list := []server{{"native net/http", func(addr string) []string { return []string{b.self, "native", addr} }}}
	serve := func(engine, guest string) {
		if b.guests[guest] == "" {
			return
		}
		language, _, _ := strings.Cut(guest, "/")
		list = append(list, server{"wasmedge " + engine + " " + language, func(addr string) []string {
			return []string{b.command, "serve", "--addr", addr, "--engine", engine, "--access-log", "off",
				"--cache-dir", filepath.Join(b.tmp, "cache"), b.guests[guest]}
		}})
	}
	for _, engine := range []string{"wasmtime", "wazero"} {
		for _, language := range []string{"rust", "assemblyscript", "js", "go"} {
			if engine == "wasmtime" || language == "rust" {
				serve(engine, language+"/"+kind)
			}
		}
	}
	if file := b.peer["workerd"]; file != "" {
		list = append(list, server{"workerd", func(addr string) []string {
			return []string{file, "serve", "--socket-addr=http=" + addr, filepath.Join(b.root, "testdata", "bench", "peers", "workerd.capnp")}
		}})
	}
	if file := b.peer["deno"]; file != "" {
		list = append(list, server{"deno", func(addr string) []string {
			host, port, _ := net.SplitHostPort(addr)
			return []string{file, "serve", "--host", host, "--port", port, filepath.Join(b.root, "testdata", "bench", "peers", "peer.js")}
		}})
	}
	if file := b.peer["viceroy"]; file != "" {
		for _, language := range []string{"rust", "js"} {
			if guest := b.guests[language+"/"+kind]; guest != "" {
				list = append(list, server{"viceroy " + language, func(addr string) []string {
					return []string{file, "serve", "--addr", addr, guest}
				}})
			}
		}
	}
	return list
}

// reusers lists guests that ask for further requests: each where it gets none, then where it does.
func (b *bench) reusers() []server {
	var list []server
	for _, engine := range []string{"wasmtime", "wazero"} {
		for _, guest := range []string{"rust/reuse", "js/reuse"} {
			if b.guests[guest] == "" {
				continue
			}
			language, _, _ := strings.Cut(guest, "/")
			for _, requests := range []string{"1", "100"} {
				list = append(list, server{fmt.Sprintf("wasmedge %s %s, %s each", engine, language, requests), func(addr string) []string {
					return []string{b.command, "serve", "--addr", addr, "--engine", engine, "--access-log", "off", "--sandbox-requests", requests,
						"--cache-dir", filepath.Join(b.tmp, "cache"), b.guests[guest]}
				}})
			}
		}
	}
	return list
}

// process is a server under way.
type process struct {
	cmd  *exec.Cmd
	addr string
	log  bytes.Buffer
}

// start starts a server and waits until it answers; compiling a guest may take a while the first time.
func (b *bench) start(ctx context.Context, s server, l *load) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{addr: listener.Addr().String()}
	listener.Close()
	args := s.args(p.addr)
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		answer, err := ask(ctx, "http://"+p.addr+l.path, l.body)
		if err == nil {
			if l.answers == nil {
				l.answers = map[string]string{}
			}
			l.answers[s.name] = answer
			return p, nil
		}
		if ctx.Err() != nil {
			p.stop()
			return nil, fmt.Errorf("%s does not answer: %w\n%s", s.name, err, p.log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func ask(ctx context.Context, url string, body []byte) (string, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return string(text), err
}

// stop ends the server, by force after two seconds, and what it has started.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(2*time.Second, func() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	p.cmd.Wait()
	timer.Stop()
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

// usage is what a process and the processes it has started have consumed.
type usage struct {
	cpu    time.Duration
	faults int // minor page faults
	rss    int // KiB
}

func (p *process) usage() usage {
	var u usage
	for _, pid := range group(p.cmd.Process.Pid) {
		if tasks, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat"); err == nil {
			for _, task := range tasks {
				text, _ := os.ReadFile(task)
				first, _, _ := strings.Cut(string(text), " ")
				ns, _ := strconv.ParseInt(first, 10, 64)
				u.cpu += time.Duration(ns)
			}
		}
		if fields := statFields(pid); len(fields) > 7 {
			n, _ := strconv.Atoi(fields[7])
			u.faults += n
		}
		u.rss += status(pid, "VmRSS:")
	}
	return u
}

// group lists the processes of a process group: npm's launchers start the real server as a child.
func group(leader int) []string {
	var pids []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if fields := statFields(pid); len(fields) > 2 && fields[2] == strconv.Itoa(leader) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// statFields gives /proc/PID/stat from the third field, the state, on.
func statFields(pid string) []string {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// status gives a number from /proc/PID/status.
func status(pid, name string) int {
	text, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.Atoi(strings.Fields(value)[0])
			return n
		}
	}
	return 0
}

func serveNative(addr string) {
	server := &http.Server{Addr: addr, Handler: native()}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}
