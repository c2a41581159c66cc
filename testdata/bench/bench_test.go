//go:build linux

package main

import (
	"encoding/xml"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const wrkOutput = `Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.95ms    2.51ms  46.07ms   91.53%
    Req/Sec    21.12k     5.13k   29.80k    65.00%
  Latency Distribution
     50%    1.25ms
     75%    2.40ms
     90%    3.99ms
     99%  840.00us
  42077 requests in 2.00s, 5.30MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 7
Requests/sec:  21012.57
Transfer/sec:      2.65MB
`

func TestRatesQuantilesAndFailuresAreReadFromWrk(t *testing.T) {
	got, err := parse(wrkOutput)
	if err != nil {
		t.Fatal(err)
	}
	want := row{rps: 21012.57, p50: 1250 * time.Microsecond, p99: 840 * time.Microsecond, failed: 11}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := parse("unable to connect to 127.0.0.1:8080 Connection refused\n"); err == nil {
		t.Error("a run that did not happen has a rate")
	}
}

func TestNativeServerDoesTheWork(t *testing.T) {
	server := httptest.NewServer(native())
	defer server.Close()
	in := `{"orders":[{"id":7,"customer":{"name":"ada"},"lines":[{"quantity":2,"price":150},{"quantity":1,"price":5}]}]}`
	for _, test := range []struct{ path, body, want string }{
		{"/", "", "hello from go\n"},
		{"/transform", in, `{"count":1,"total":305,"orders":[{"id":7,"customer":"ADA","total":305}]}`},
		{"/primes", "", `{"primes":3245}`},
	} {
		got, err := ask(t.Context(), server.URL+test.path, []byte(test.body))
		if err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %q", test.path, got, err, test.want)
		}
	}
	if n := len(orders()); n < 9_000 || n > 11_000 {
		t.Errorf("the body of /transform has %d bytes, not about 10 kB", n)
	}
}

func TestMedianOfAnEvenNumberIsBetweenTheTwo(t *testing.T) {
	rows := []row{{server: "a", rps: 4}, {server: "b", rps: 100}, {server: "a", rps: 1}, {server: "a", rps: 3}, {server: "a", rps: 2}}
	if got := median(rows, "a", func(r row) float64 { return r.rps }); got != 2.5 {
		t.Errorf("got %v, want 2.5", got)
	}
}

func TestServersThatAnswerDifferentlyAreRefused(t *testing.T) {
	l := &load{name: "transform", servers: []server{{name: "a"}, {name: "b"}}, answers: map[string]string{"a": "1", "b": "1"}}
	if err := l.check(); err != nil {
		t.Error(err)
	}
	l.answers["b"] = "2"
	if l.check() == nil {
		t.Error("a server that does other work is compared")
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	for _, lines := range [][]series{
		nil,
		{{name: "one & only", points: []point{{1, 0}}}},
		{{name: "<a>", points: []point{{1, 10}, {4, 2_500_000}}}, {name: "b", points: []point{{1, 3}}}},
	} {
		d := xml.NewDecoder(strings.NewReader(plot("a < b", "x", "y", lines)))
		for {
			_, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
