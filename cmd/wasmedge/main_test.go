//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/wasm"
	"github.com/edgewasm/wasmedge/testdata/guests"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// asCommand makes the test binary be the command itself, so that the tests see a real process.
const asCommand = "WASMEDGE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(testMain(m))
}

// moduleDir keeps compiled modules for the time of one test binary.
var moduleDir string

func testMain(m *testing.M) int {
	var err error
	if moduleDir, err = os.MkdirTemp("", "wasmedge-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(moduleDir)
	return m.Run()
}

// command prepares a process of the command.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "WASMEDGE_CACHE_DIR="+moduleDir, "WASMEDGE_LOG=", "RUST_LOG=")
	cmd.Dir = t.TempDir()
	return cmd
}

// runToEnd runs the command and gives its exit code and output.
func runToEnd(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return finish(t, command(t, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// guestFile puts a guest into a file of that name.
func guestFile(t *testing.T, name string, program []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func guest(t *testing.T, name string) string {
	t.Helper()
	return guestFile(t, filepath.Base(name)+".wasm", guests.Wasm(t, name))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("output differs from %s (go test -rewrite writes it anew):\n%s", path, got)
	}
}

func TestHelpTexts(t *testing.T) {
	for name, args := range map[string][]string{
		"help.txt": {"--help"}, "help_serve.txt": {"serve", "-h"}, "help_run.txt": {"help", "run"}, "help_inspect.txt": {"inspect", "--help"},
		"help_version.txt": {"version", "--help"}, "help_kv_store.txt": {"kv-store"}, "help_kv_store_put.txt": {"kv-store", "put", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runToEnd(t, args...)
			if code != 0 || stderr != "" {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
			golden(t, name, stdout)
		})
	}
}

func TestExitCodes(t *testing.T) {
	component := guestFile(t, "component.wasm", []byte("\x00asm\x0d\x00\x01\x00"))
	garbage := guestFile(t, "garbage.wasm", []byte("#!/bin/sh\n"))
	unnamed := guestFile(t, "text.wasm", []byte("(module)"))
	text := guestFile(t, "text.wat", []byte(`(module (memory (export "memory") 1) (func (export "_start")))`))
	badText := guestFile(t, "bad.wat", []byte("(module (func"))
	textCode, textError := 0, ``
	if !slices.Contains(host.Engines(), "wasmtime") {
		textCode, textError = 2, `wasmtime` // only that engine's library reads the text format
	}
	broken := guestFile(t, "fastly.toml", []byte("[local_server\n"))
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // a pattern for the whole
		stderr string // a pattern for the whole
	}{
		{"a guest that returns", []string{"run", guest(t, "wat/hello")}, 0, ``, ``},
		{"a guest that exits with 0", []string{"run", guest(t, "wat/exit_0")}, 0, ``, ``},
		{"a guest that exits with 1, without a word", []string{"run", guest(t, "wat/exit_1")}, 1, ``, ``},
		{"a guest that exits with 255", []string{"run", guest(t, "wat/exit_255")}, 255, ``, ``},
		{"a guest's code is taken modulo 256", []string{"run", guestFile(t, "m.wasm", exitModule(256+7))}, 7, ``, ``},
		{"a guest that traps", []string{"run", guest(t, "wat/trap_before_head")}, 134, ``, `^\S+Z ERROR guest trapped: unreachable instruction executed\n +0: .*\n$`},
		{"on the portable engine, too", []string{"run", "--engine", "wazero", guest(t, "wat/trap_before_head")}, 134, ``, `ERROR guest trapped`},
		{"a guest that computes too long", []string{"run", "--max-cpu", "50ms", guest(t, "wat/loop")}, 1, ``, `limit is 50ms`},
		{"a guest that takes too long", []string{"run", "--timeout", "50ms", guest(t, "wat/loop")}, 1, ``, `--timeout`},
		{"an unknown import", []string{"run", guest(t, "wat/unknown_import")}, 1, ``, `^error: \S+: unknown import fastly_nonsense\.does_not_exist\n$`},
		{"an unknown import that traps", []string{"run", "--unknown-import-behavior=trap", guest(t, "wat/unknown_import")}, 134, ``, `unknown import`},
		{"no entry point", []string{"run", guest(t, "wat/no_start")}, 1, ``, `_start`},
		{"a manifest that is not there", []string{"run", "-C", "nowhere.toml", guest(t, "wat/hello")}, 1, ``, `nowhere.toml`},
		{"a manifest that is broken", []string{"serve", "-C", broken, guest(t, "wat/hello")}, 1, ``, `fastly.toml:1:`},
		{"no such engine", []string{"run", "--engine", "v8", guest(t, "wat/hello")}, 1, ``, `there is no engine "v8"`},
		{"no input", []string{"run"}, 2, ``, `^error: INPUT is missing\n\nFor more information, try 'wasmedge run --help'\.\n$`},
		{"no such file", []string{"nowhere.wasm"}, 2, ``, `nowhere.wasm: no such file`},
		{"a folder", []string{"serve", "."}, 2, ``, `directory`},
		{"not a module", []string{"run", garbage}, 2, ``, `not a WebAssembly module`},
		{"a module in text", []string{"run", text}, textCode, ``, textError},
		{"a broken module in text", []string{"run", badText}, 2, ``, `bad\.wat: `},
		{"a module in text that is called a binary one", []string{"run", unnamed}, 2, ``, `wat2wasm`},
		{"a component", []string{"serve", component}, 2, ``, `component`},
		{"an unknown flag", []string{"serve", "--nonsense", "x"}, 2, ``, `unknown flag --nonsense`},
		{"a bad value", []string{"run", "--timeout", "soon", "x"}, 2, ``, `timeout`},
		{"a bad size", []string{"run", "--max-memory", "much", guest(t, "wat/hello")}, 2, ``, `--max-memory`},
		{"a host name as address", []string{"--addr", "localhost:1", guest(t, "wat/hello")}, 2, ``, `IP:PORT`},
		{"half a certificate", []string{"--tls-cert", "c.pem", guest(t, "wat/hello")}, 2, ``, `--tls-key`},
		{"a profile that is not available", []string{guest(t, "wat/hello"), "--profile=guest,dir"}, 2, ``, `not available yet`},
		{"no such command to help with", []string{"help", "nonsense"}, 2, ``, `no command`},
		{"adapt", []string{"adapt", "x.wasm"}, 1, ``, `nothing to adapt`},
		{"version in two words", []string{"-V"}, 0, `^wasmedge \d+\.\d+\.\d+\n$`, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := runToEnd(t, tt.args...)
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			match(t, "stdout", stdout, tt.stdout)
			match(t, "stderr", stderr, tt.stderr)
		})
	}
}

func match(t *testing.T, what, got, pattern string) {
	t.Helper()
	if pattern == "" {
		pattern = `^$`
	}
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s is %q, want %s", what, got, pattern)
	}
}

func TestRunGivesTheGuestItsArguments(t *testing.T) {
	path := guestFile(t, "pkg.test", argsModule())
	code, stdout, stderr := runToEnd(t, "run", path, "--log-stderr", "-test.v=true", "", "-v", "--", "x")
	if want := "pkg\x00-test.v=true\x00\x00-v\x00--\x00x\x00"; code != 0 || stdout != want {
		t.Errorf("code %d, stdout %q, want %q (stderr %q)", code, stdout, want, stderr)
	}
	code, stdout, _ = runToEnd(t, "run", "--log-stdout", "--", path, "a")
	if want := "stdout :: pkg\x00a\x00\n"; code != 0 || stdout != want {
		t.Errorf("code %d, stdout %q, want %q", code, stdout, want)
	}
}

func TestInspect(t *testing.T) {
	cmd := command(t, "inspect", "args.wasm")
	if err := os.WriteFile(filepath.Join(cmd.Dir, "args.wasm"), argsModule(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stdout, stderr := finish(t, cmd)
	golden(t, "inspect_args.txt", stdout)
	match(t, "stderr", stderr, "")

	code, stdout, _ := runToEnd(t, "inspect", "--json", "--check", guest(t, "wat/unknown_import"))
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, i := range r.Imports {
		states[i.Module+"."+i.Name] = i.Status
	}
	if code != 1 || r.Runs || states["fastly_nonsense.does_not_exist"] != unknown {
		t.Errorf("code %d, %+v", code, r)
	}
	_, stdout, _ = runToEnd(t, "inspect", guest(t, "wat/wrong_signature"))
	match(t, "stdout", stdout, `mismatch +the platform's is \(`)
	if code, _, _ := runToEnd(t, "inspect", "--check", guest(t, "wat/hello")); code != 0 {
		t.Errorf("--check of a complete guest gives %d", code)
	}
}

func TestInspectOfTheABI(t *testing.T) {
	_, stdout, _ := runToEnd(t, "inspect", "--abi")
	match(t, "stdout", stdout, `(?s)fastly_http_req\n.*  body_downstream_get +implemented.*\n\n\d+ hostcalls, \d+ implemented\n$`)
	_, stdout, _ = runToEnd(t, "inspect", "--abi", "--json")
	var entries []map[string]any
	if err := json.Unmarshal([]byte(stdout), &entries); err != nil || len(entries) < 303 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestNamesInAModuleCannotMoveTheCursor(t *testing.T) {
	program := wasm.Encode([]wasm.Section{
		{ID: wasm.SectionType, Body: []byte{1, 0x60, 0, 0}},
		{ID: wasm.SectionImport, Body: append(wasm.AppendName(wasm.AppendName([]byte{1}, "a\x1b[2J"), "b\nc"), 0, 0)},
	})
	_, stdout, _ := runToEnd(t, "inspect", guestFile(t, "m.wasm", program))
	if strings.ContainsAny(stdout, "\x1b") || !strings.Contains(stdout, `"a\x1b[2J"`) {
		t.Errorf("%q", stdout)
	}
}

func TestVersionInFullNamesEnginesAndAdvisories(t *testing.T) {
	_, stdout, _ := runToEnd(t, "version", "-v")
	for _, name := range host.Engines() {
		if !strings.Contains(stdout, name) {
			t.Errorf("no %s in %q", name, stdout)
		}
	}
	_, stdout, _ = runToEnd(t, "version", "--json")
	var v versionReport
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || len(v.Engines) != len(host.Engines()) || v.Engines[0].Name != host.Engines()[0] {
		t.Errorf("%+v, %v", v, err)
	}
	seen := map[string]bool{}
	for _, a := range advisories {
		if seen[a.ID] || a.Why == "" || a.Title == "" || a.Date == "" || engineModules[a.Engine] == "" {
			t.Errorf("advisory %+v", a)
		}
		seen[a.ID] = true
	}
}

// server is a running serve.
type server struct {
	cmd    *exec.Cmd
	url    string
	before []string    // lines up to the one with the address
	stdout chan string // lines after it
	stderr bytes.Buffer
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{cmd: command(t, append([]string{"--addr", "127.0.0.1:0"}, args...)...), stdout: make(chan string, 1000)}
	pipe, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			s.stdout <- lines.Text()
		}
		close(s.stdout)
	}()
	for line := range s.stdout {
		s.before = append(s.before, line)
		if _, url, ok := strings.Cut(line, " INFO Listening on "); ok {
			s.url = url
			return s
		}
	}
	s.cmd.Wait()
	t.Fatalf("it ended: %s", &s.stderr)
	return nil
}

// stop sends the signal and gives the exit code and what is left of standard output.
func (s *server) stop(t *testing.T, sig os.Signal) (code int, stdout string) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for line := range s.stdout {
		rest = append(rest, line)
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode(), strings.Join(rest, "\n")
}

var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
}, Timeout: 30 * time.Second}

func fetch(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestServeAnswersAndEndsWellOnEachSignal(t *testing.T) {
	path := guest(t, "wat/hello")
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			s := startServer(t, path)
			if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+$`).MatchString(s.url) {
				t.Errorf("URL %q", s.url)
			}
			resp, _ := fetch(t, s.url+"/a?b")
			if resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
			access := <-s.stdout // it comes once the guest has ended, which may be after the response
			code, stdout := s.stop(t, sig)
			if code != 0 || s.stderr.Len() > 0 || stdout != "" {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, &s.stderr)
			}
			match(t, "access line", access, `^\S+Z  INFO request\{id=0\}: GET /a\?b status=200 .*vcpu=.* memory=\d+KiB client=127\.0\.0\.1 proto=HTTP/1\.1$`)
			if _, err := client.Get(s.url); err == nil {
				t.Error("the port is still open")
			}
		})
	}
}

func TestServeOverTLSSpeaksHTTP2(t *testing.T) {
	s := startServer(t, guest(t, "wat/hello"), "--tls-self-signed", "--access-log=off")
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatalf("URL %q", s.url)
	}
	if resp, _ := fetch(t, s.url); resp.ProtoMajor != 2 {
		t.Errorf("protocol %s", resp.Proto)
	}
	_, stdout := s.stop(t, syscall.SIGTERM)
	match(t, "stdout", stdout, "")
}

func TestServeTellsOfTraps(t *testing.T) {
	s := startServer(t, guest(t, "wat/trap_before_head"))
	resp, body := fetch(t, s.url)
	if resp.StatusCode != 500 || !strings.Contains(body, "unreachable") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	s.stop(t, syscall.SIGTERM)
	match(t, "stderr", s.stderr.String(), `ERROR request\{id=0\}: guest trapped: unreachable instruction executed service=trap_before_head\n +0: `)

	s = startServer(t, "--hide-errors", guest(t, "wat/trap_before_head"))
	if _, body := fetch(t, s.url); strings.Contains(body, "unreachable") {
		t.Errorf("%q", body)
	}
	s.stop(t, syscall.SIGTERM)
}

func TestServeShowsWhatTheGuestWrites(t *testing.T) {
	path := guest(t, "rust/logging")
	tests := []struct {
		name   string
		args   []string
		stdout string
		stderr string
	}{
		{"prefixed", nil, `(?m)^access :: first line\\nsecond line$(?s:.*)^stdout\{id=0\}: stdout: /p$`, `(?m)^stderr\{id=0\}: stderr: /p$`},
		{"raw", []string{"--guest-output=raw"}, `(?m)^stdout: /p$`, `(?m)^stderr: /p$`},
		{"as log endpoints", []string{"--log-stdout", "--log-stderr"}, `(?m)^stdout :: stdout: /p$(?s:.*)^stderr :: `, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, append(tt.args, path)...)
			fetch(t, s.url+"/p")
			_, stdout := s.stop(t, syscall.SIGTERM)
			match(t, "stdout", stdout, tt.stdout)
			match(t, "stderr", s.stderr.String(), tt.stderr)
		})
	}
}

func TestLogEndpointsInFilesAreReopened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	s := startServer(t, "--log-dir", dir, "--access-log=off", guest(t, "rust/logging"))
	fetch(t, s.url+"/1")
	audit := filepath.Join(dir, "audit.log")
	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGUSR1)
	for range 500 { // until the signal has been handled
		if _, err := os.Stat(audit); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	fetch(t, s.url+"/2")
	s.stop(t, syscall.SIGTERM)
	for path, want := range map[string]string{audit + ".1": "/1", audit: "/2"} {
		got, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(got), want+"\n") || strings.Count(string(got), "\n") > 2 {
			t.Errorf("%s holds %q (%v)", path, got, err)
		}
	}
}

func TestServeReadsTheManifest(t *testing.T) {
	manifest := guestFile(t, "fastly.toml", []byte("name = \"shop\"\n[local_server.config_stores.s]\nformat = \"inline-toml\"\ncontents = { k = \"v\" }\n"))
	s := startServer(t, "-C", manifest, guest(t, "wat/trap_before_head"))
	fetch(t, s.url)
	s.stop(t, syscall.SIGTERM)
	match(t, "stderr", s.stderr.String(), `service=shop`)
}

func TestALogInJSONIsJSONThroughout(t *testing.T) {
	s := startServerJSON(t, guest(t, "wat/trap_before_head"))
	fetch(t, s.url)
	_, stdout := s.stop(t, syscall.SIGTERM)
	for _, line := range strings.Split(strings.TrimSpace(stdout+"\n"+s.stderr.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q", line)
		}
	}
}

func startServerJSON(t *testing.T, path string) *server {
	t.Helper()
	s := &server{cmd: command(t, "--addr", "127.0.0.1:0", "--log-format=json", path), stdout: make(chan string, 1000)}
	pipe, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	lines := bufio.NewScanner(pipe)
	lines.Scan()
	var first struct{ Level, Message string }
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil || first.Level != "info" {
		t.Fatalf("%q, %v", lines.Text(), err)
	}
	s.url = strings.TrimPrefix(first.Message, "Listening on ")
	go func() {
		for lines.Scan() {
			s.stdout <- lines.Text()
		}
		close(s.stdout)
	}()
	return s
}

func TestASecondServerOnThePortFails(t *testing.T) {
	path := guest(t, "wat/hello")
	s := startServer(t, path)
	code, _, stderr := runToEnd(t, "--addr", strings.TrimPrefix(s.url, "http://"), path)
	if code != 1 {
		t.Errorf("code %d", code)
	}
	match(t, "stderr", stderr, `^error: cannot listen on 127\.0\.0\.1:\d+: address already in use\n$`)
	s.stop(t, syscall.SIGTERM)
}

func TestVerbosityAddsAndTheEnvironmentOverrides(t *testing.T) {
	path := guest(t, "wat/hello")
	for _, tt := range []struct {
		env, flag, stdout string
	}{
		{"", "", ``},
		{"", "-v", `WARN no manifest was given`},
		{"RUST_LOG=error", "-v", ``},
		{"WASMEDGE_LOG=warn", "", `WARN no manifest was given`},
	} {
		args := []string{"run", path}
		if tt.flag != "" {
			args = append(args, tt.flag)
		}
		cmd := command(t, args...)
		cmd.Env = append(cmd.Env, tt.env)
		_, stdout, _ := finish(t, cmd)
		match(t, tt.env+" "+tt.flag, stdout, tt.stdout)
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]uint64{"128MiB": 128 << 20, "64k": 64 << 10, "1.5 GiB": 3 << 29, "1000": 1000, "2MB": 2e6, "7b": 7, "0": 0} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1TiB", "nan", "inf", "1e30", "0x10", "1 2"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d", in, got)
		}
	}
}
