package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

func TestServeTakesBackendsFromTheCommandLine(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.URL.String()))
	}))
	defer origin.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	manifest := guestFile(t, "fastly.toml", []byte("[local_server.backends]\norigin.url = \"http://"+nobody+"\"\nclosed.url = \"http://"+nobody+"\"\n"))
	s := startServer(t, "-v", "-C", manifest, "--backend", "origin="+origin.URL+"/pre,fix", "--backend=third="+origin.URL, guest(t, "rust/proxy"))
	if resp, body := fetch(t, s.url+"/send/a?b=c"); resp.StatusCode != 200 || body != "/pre,fix/a?b=c" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if _, body := fetch(t, s.url+"/error/"); body != "connection refused" {
		t.Errorf("the manifest's other backend: %q", body)
	}
	_, log := s.stop(t, syscall.SIGTERM)
	log += s.stderr.String()
	if strings.Contains(log, "'origin' does not answer") || strings.Contains(log, "'third' does not answer") {
		t.Errorf("a backend that is up was warned of:\n%s", log)
	}
}

func TestServeWarnsOfBackendsThatAreDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	// Warnings come before the port is open, so they are not in what startServer leaves.
	cmd := command(t, "-v", "--addr", nobody, "--backend", "x=http://"+nobody, guest(t, "wat/hello"))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	blocked, err := net.Listen("tcp", nobody) // the server cannot listen and ends by itself
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := blocked.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	defer blocked.Close()
	if err := cmd.Run(); err == nil {
		t.Error("it could listen")
	}
	match(t, "log", out.String(), `backend 'x' does not answer`)
}

func TestBackendsOfTheCommandLineAreChecked(t *testing.T) {
	program := guest(t, "wat/hello")
	for definition, want := range map[string]string{
		"origin":                               "want NAME=URL",
		"=http://h":                            "want NAME=URL",
		"o=":                                   "want NAME=URL",
		"o=h:80":                               `"o"`,
		"o=ftp://h":                            `the scheme is "ftp", want http or https`,
		"o=http://h:99999":                     "port",
		"o=http://user:secret@h:0":             `"o"`,
		strings.Repeat("n", 256) + "=http://h": "at most 255 bytes",
	} {
		code, _, stderr := runToEnd(t, "serve", "--backend", definition, program)
		if code != exitUsage || !strings.Contains(stderr, "--backend: ") || !strings.Contains(stderr, want) || strings.Contains(stderr, "secret") {
			t.Errorf("%q: code %d, %q", definition, code, stderr)
		}
	}
	if code, _, stderr := runToEnd(t, "serve", "--backend", "a=http://h", "--backend", "a=http://i", program); code != exitUsage || !strings.Contains(stderr, `"a" is defined twice`) {
		t.Errorf("twice: code %d, %q", code, stderr)
	}
}
