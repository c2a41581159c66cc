package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// writes records each call of Write.
type writes struct {
	mu   sync.Mutex
	list []string
	err  error
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.list = append(w.list, string(p))
	return len(p), nil
}

func (w *writes) wants(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if fmt.Sprintf("%q", w.list) != fmt.Sprintf("%q", want) {
		t.Errorf("writes %q, want %q", w.list, want)
	}
}

func TestAMessageIsOneLineInOneWrite(t *testing.T) {
	tests := []struct{ name, endpoint, msg, want string }{
		{"plain", "audit", "user 7 logged in", "audit :: user 7 logged in\n"},
		{"the newline at the end is cut", "audit", "first\n", "audit :: first\n"},
		{"only one of two newlines at the end is cut", "audit", "first\n\n", "audit :: first\\n\n"},
		{"inner newlines become two characters", "audit", "first\nsecond\n\nthird", "audit :: first\\nsecond\\n\\nthird\n"},
		{"a newline in front is an inner one", "audit", "\nx", "audit :: \\nx\n"},
		{"an empty message prints nothing", "audit", "", ""},
		{"a newline alone prints nothing", "audit", "\n", ""},
		{"other bytes pass unchanged", "audit", "\x00\xff\r\t\\n é", "audit :: \x00\xff\r\t\\n é\n"},
		{"a newline in the name cannot forge a line", "a\nb", "x", "a\\nb :: x\n"},
		{"a message larger than any buffer", "a", strings.Repeat("x\n", 100_000), "a :: " + strings.Repeat("x\\n", 99_999) + "x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := new(writes)
			NewLines(w).Endpoint(tt.endpoint).Write([]byte(tt.msg))
			if tt.want == "" {
				w.wants(t)
			} else {
				w.wants(t, tt.want)
			}
		})
	}
}

func TestLinesOfManyWritersDoNotMix(t *testing.T) {
	var out bytes.Buffer // not safe by itself
	lines := NewLines(&out)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			e := lines.Endpoint(fmt.Sprintf("e%d", g))
			for range 200 {
				e.Write(bytes.Repeat([]byte{byte('0' + g)}, 3000))
			}
		})
	}
	wg.Wait()
	counts := map[string]int{}
	for line := range strings.Lines(out.String()) {
		counts[line]++
	}
	for g := range 8 {
		if n := counts[fmt.Sprintf("e%d :: %s\n", g, strings.Repeat(fmt.Sprint(g), 3000))]; n != 200 {
			t.Errorf("%d whole lines of writer %d, want 200", n, g)
		}
	}
}

func TestWritingALineAllocatesNothing(t *testing.T) {
	e := NewLines(discardWriter{}).Endpoint("audit")
	msg := []byte("user 7\nlogged in\n")
	if n := testing.AllocsPerRun(1000, func() { e.Write(msg) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

type discardWriter struct{}

func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestLinesThatTheWriterRefusesAreCounted(t *testing.T) {
	l := NewLines(&writes{err: errors.New("broken pipe")})
	l.Endpoint("a").Write([]byte("x"))
	l.Endpoint("b").Write([]byte("x"))
	if l.Dropped() != 2 {
		t.Errorf("%d dropped, want 2", l.Dropped())
	}
}

func TestTeeWritesToAll(t *testing.T) {
	a, b := new(writes), new(writes)
	e := Tee(NewLines(a), Discard, NewLines(b)).Endpoint("e")
	e.Write([]byte("x"))
	a.wants(t, "e :: x\n")
	b.wants(t, "e :: x\n")
}

func BenchmarkLine(b *testing.B) {
	e := NewLines(discardWriter{}).Endpoint("audit")
	msg := []byte("user 7 logged in from 192.0.2.1 after 3 tries\n")
	b.ReportAllocs()
	for b.Loop() {
		e.Write(msg)
	}
}
