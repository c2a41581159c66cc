package telemetry

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var zone = time.FixedZone("east", 3600)

// fixedClock makes the log's times known.
type fixedClock struct{}

func (fixedClock) Now() time.Time { return time.Date(2026, 1, 2, 4, 4, 5, 678901234, zone) }

func (fixedClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func testLogger(o LogOptions) (l *zap.Logger, stdout, stderr *writes) {
	stdout, stderr = new(writes), new(writes)
	o.Stdout, o.Stderr = stdout, stderr
	return NewLogger(o).WithOptions(zap.WithClock(fixedClock{})), stdout, stderr
}

const stamp = "2026-01-02T03:04:05.678901Z "

func TestTextRecords(t *testing.T) {
	tests := []struct {
		name string
		log  func(l *zap.Logger)
		want string
	}{
		{"info", func(l *zap.Logger) { l.Info("Listening on http://127.0.0.1:7676") }, stamp + " INFO Listening on http://127.0.0.1:7676\n"},
		{"warn", func(l *zap.Logger) { l.Warn("no backends") }, stamp + " WARN no backends\n"},
		{"debug", func(l *zap.Logger) { l.Debug("x") }, stamp + "DEBUG x\n"},
		{"trace", func(l *zap.Logger) { l.Log(TraceLevel, "x") }, stamp + "TRACE x\n"},
		{"a request", func(l *zap.Logger) { l.Info("handling request", Request(7)) }, stamp + " INFO request{id=7}: handling request\n"},
		{"a request given before", func(l *zap.Logger) { l.With(Request(0), zap.String("a", "b")).Info("x", zap.Int("c", -1)) },
			stamp + " INFO request{id=0}: x a=b c=-1\n"},
		{"fields that need quotes", func(l *zap.Logger) {
			l.Info("x", zap.String("a", ""), zap.String("b", "c d"), zap.String("e", "f\"g"), zap.String("h", "i\nj"), zap.String("k", "é"))
		}, stamp + ` INFO x a="" b="c d" e="f\"g" h="i\nj" k=é` + "\n"},
		{"fields of other types", func(l *zap.Logger) {
			l.Info("x", zap.Duration("d", 1500*time.Millisecond), zap.Bool("b", true), zap.Error(errors.New("bad")),
				zap.Strings("s", []string{"a", "b"}), zap.Time("t", time.Unix(0, 0)), zap.Error(nil), zap.Any("m", map[string]any{"a": 1}),
				zap.Float64("f", 0.5))
		}, stamp + ` INFO x d=1.5s b=true error=bad s="[\"a\",\"b\"]" t=1970-01-01T00:00:00.000000Z m="{\"a\":1}" f=0.5` + "\n"},
		{"a text with lines", func(l *zap.Logger) { l.Info("trap\n  0: main\n" + stamp + "ERROR forged\n") },
			stamp + " INFO trap\n    0: main\n  " + stamp + "ERROR forged\n"},
		{"fields follow the first line", func(l *zap.Logger) { l.Info("trap\nframe", zap.Int("n", 1)) }, stamp + " INFO trap n=1\n  frame\n"},
		{"a text with control characters", func(l *zap.Logger) { l.Info("a\x1b[31mb\rc\x00\xff\u0085é\td") },
			stamp + " INFO a\\x1b[31mb\\rc\\x00\\xff\\u0085é\td\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, stdout, stderr := testLogger(LogOptions{Level: TraceLevel})
			tt.log(l)
			stdout.wants(t, tt.want)
			stderr.wants(t)
		})
	}
}

func TestErrorsGoToStderrOnly(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		l, stdout, stderr := testLogger(LogOptions{Level: zapcore.InfoLevel, JSON: asJSON})
		l.Error("bad")
		l.Warn("hm")
		if len(stderr.list) != 1 || !strings.Contains(stderr.list[0], "bad") {
			t.Errorf("stderr: %q", stderr.list)
		}
		if len(stdout.list) != 1 || !strings.Contains(stdout.list[0], "hm") {
			t.Errorf("stdout: %q", stdout.list)
		}
	}
}

func TestTheLevelHoldsBackAllButAnnouncements(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		l, stdout, stderr := testLogger(LogOptions{Level: zapcore.ErrorLevel, JSON: asJSON})
		l.Info("no")
		l.Warn("no")
		l.Error("yes")
		Announce(l.With(zap.Int("n", 1)), "Listening on http://127.0.0.1:1")
		if len(stderr.list) != 1 || len(stdout.list) != 1 || !strings.Contains(stdout.list[0], "Listening") || !strings.Contains(stdout.list[0], "n") {
			t.Errorf("stdout %q, stderr %q", stdout.list, stderr.list)
		}
		l, stdout, stderr = testLogger(LogOptions{Level: offLevel, JSON: asJSON})
		l.Error("no")
		stdout.wants(t)
		stderr.wants(t)
	}
}

func TestTheAnnouncedLineIsWhatHarnessesLookFor(t *testing.T) {
	l, stdout, _ := testLogger(LogOptions{Level: zapcore.ErrorLevel})
	Announce(l, "Listening on http://127.0.0.1:7676")
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z  INFO Listening on http://127\.0\.0\.1:7676\n$`).MatchString(stdout.list[0]) {
		t.Errorf("%q", stdout.list)
	}
}

func TestColoursOnlyWhenAsked(t *testing.T) {
	l, stdout, stderr := testLogger(LogOptions{Level: TraceLevel, ColorStdout: true})
	l.Info("x")
	l.Error("x")
	stdout.wants(t, "\x1b[2m2026-01-02T03:04:05.678901Z\x1b[0m \x1b[32m INFO\x1b[0m x\n")
	stderr.wants(t, stamp+"ERROR x\n")
}

func TestJSONRecordsAreOneObjectALine(t *testing.T) {
	l, stdout, _ := testLogger(LogOptions{Level: zapcore.InfoLevel, JSON: true})
	l.With(Request(3)).Warn("two\nlines", zap.Duration("took", 1500*time.Millisecond))
	want := `{"level":"warn","time":"2026-01-02T03:04:05.678901Z","message":"two\nlines","request_id":3,"took":1.5}` + "\n"
	stdout.wants(t, want)
}

func TestAccessRecords(t *testing.T) {
	a := Access{ID: 4, Client: "127.0.0.1", Method: "GET", Path: "/a?b=c", Proto: "HTTP/1.1", Status: 200, Bytes: 12,
		Total: 1234567 * time.Nanosecond, Sandbox: 1200345 * time.Nanosecond, CPU: 987 * time.Microsecond, Memory: 5<<20 + 1<<19}
	l, stdout, _ := testLogger(LogOptions{Level: zapcore.ErrorLevel})
	a.Log(l)
	got := regexp.MustCompile(`^\S+ `).ReplaceAllString(stdout.list[0], "")
	want := " INFO request{id=4}: GET /a?b=c status=200 bytes=12 total=1.235ms sandbox=1.2ms vcpu=987µs memory=5.5MiB client=127.0.0.1 proto=HTTP/1.1\n"
	if got != want {
		t.Errorf("text %q, want %q", got, want)
	}

	l, stdout, _ = testLogger(LogOptions{Level: zapcore.ErrorLevel, JSON: true})
	a.Log(l)
	var object map[string]any
	if err := json.Unmarshal([]byte(stdout.list[0]), &object); err != nil {
		t.Fatal(err)
	}
	if object["memory"] != float64(5<<20+1<<19) || object["vcpu"] != 0.000987 || object["status"] != 200. || object["time"] == nil {
		t.Errorf("JSON %q", stdout.list)
	}
}

func TestLevelWords(t *testing.T) {
	tests := []struct {
		in   string
		want zapcore.Level
		ok   bool
		bad  bool
	}{
		{in: ""},
		{in: "info", want: zapcore.InfoLevel, ok: true},
		{in: " TRACE ", want: TraceLevel, ok: true},
		{in: "off", want: offLevel, ok: true},
		{in: "warn,hyper=debug", want: zapcore.WarnLevel, ok: true},
		{in: "hyper=debug"},
		{in: "viceroy=debug", want: zapcore.DebugLevel, ok: true},
		{in: "error,viceroy_lib::execute[request]=info", want: zapcore.InfoLevel, ok: true},
		{in: "wasmedge=warn", want: zapcore.WarnLevel, ok: true},
		{in: "loud", bad: true},
		{in: "wasmedge=", bad: true},
	}
	for _, tt := range tests {
		got, ok, err := ParseLevel(tt.in)
		if ok != tt.ok || (err != nil) != tt.bad || ok && got != tt.want {
			t.Errorf("ParseLevel(%q) = %v, %v, %v", tt.in, got, ok, err)
		}
	}
}

func TestTheEnvironmentOverridesTheVerbosity(t *testing.T) {
	tests := []struct {
		name      string
		ours      string
		rust      string
		verbosity int
		want      zapcore.Level
		bad       bool
	}{
		{name: "errors by default", want: zapcore.ErrorLevel},
		{name: "-v", verbosity: 1, want: zapcore.InfoLevel},
		{name: "-vv", verbosity: 2, want: zapcore.DebugLevel},
		{name: "-vvvv", verbosity: 4, want: TraceLevel},
		{name: "RUST_LOG over -v", rust: "error", verbosity: 2, want: zapcore.ErrorLevel},
		{name: "WASMEDGE_LOG over RUST_LOG", ours: "debug", rust: "error", want: zapcore.DebugLevel},
		{name: "an unreadable value counts as absent", ours: "loud", rust: "warn", want: zapcore.WarnLevel, bad: true},
		{name: "RUST_LOG about other programs", rust: "hyper=trace", verbosity: 1, want: zapcore.InfoLevel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"WASMEDGE_LOG": tt.ours, "RUST_LOG": tt.rust}
			got, err := LevelFromEnvironment(func(k string) string { return env[k] }, tt.verbosity)
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("level %v (%v), want %v", got, err, tt.want)
			}
		})
	}
}

func TestALogOnAFileIsWrittenAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	Announce(NewLogger(LogOptions{Stdout: w, Stderr: w, Level: zapcore.ErrorLevel}), "ready")
	buf := make([]byte, 100)
	n, err := r.Read(buf)
	if err != nil || !strings.HasSuffix(string(buf[:n]), " INFO ready\n") {
		t.Errorf("%q, %v", buf[:n], err)
	}
}
