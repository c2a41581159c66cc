package telemetry

import (
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogOptions are settings of NewLogger.
type LogOptions struct {
	// Stdout takes everything but errors, Stderr takes the errors. Each record is one Write.
	Stdout, Stderr io.Writer
	// Level is the lowest that is printed; see VerbosityLevel and LevelFromEnvironment.
	Level zapcore.Level
	// JSON asks for one object a line: time, level, message and the fields.
	JSON bool
	// ColorStdout and ColorStderr put colours into the text format. Set them for terminals only.
	ColorStdout, ColorStderr bool
}

// NewLogger makes the server's log. A line of the text format is
//
//	2026-01-02T03:04:05.678901Z  INFO request{id=0}: text key=value
//
// with the time in UTC, the level right-aligned in five places, and the request when the field Request is set.
// Newlines in the text are followed by two spaces, so that no text can look like another record.
func NewLogger(o LogOptions) *zap.Logger {
	stdout := zapcore.Lock(zapcore.AddSync(o.Stdout))
	stderr := zapcore.Lock(zapcore.AddSync(o.Stderr))
	isError := zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= zapcore.ErrorLevel && l >= o.Level })
	isOther := zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l < zapcore.ErrorLevel && l >= o.Level })
	return zap.New(split{
		errors: newCore(o.JSON, o.ColorStderr, stderr, isError),
		others: newCore(o.JSON, o.ColorStdout, stdout, isOther),
	})
}

// Announce prints a record at info level whatever the logger's level is.
func Announce(l *zap.Logger, text string, fields ...zap.Field) {
	entry := zapcore.Entry{Level: zapcore.InfoLevel, Time: time.Now(), LoggerName: l.Name(), Message: text}
	_ = l.Core().Write(entry, fields) // the log has nowhere to report its own failure
}

// Request is the field that ties a record to a client request.
func Request(id uint64) zap.Field { return zap.Uint64(requestKey, id) }

const requestKey = "request_id"

// split is two cores of which each record reaches one, also when it is written past the level check.
type split struct{ errors, others zapcore.Core }

func (s split) pick(l zapcore.Level) zapcore.Core {
	if l >= zapcore.ErrorLevel {
		return s.errors
	}
	return s.others
}

func (s split) Enabled(l zapcore.Level) bool { return s.pick(l).Enabled(l) }

func (s split) With(fields []zapcore.Field) zapcore.Core {
	return split{errors: s.errors.With(fields), others: s.others.With(fields)}
}

func (s split) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(e.Level) {
		return c.AddCore(e, s)
	}
	return c
}

func (s split) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return s.pick(e.Level).Write(e, fields)
}

func (s split) Sync() error {
	err := s.others.Sync()
	if err2 := s.errors.Sync(); err == nil {
		err = err2
	}
	return err
}

func newCore(json, color bool, out zapcore.WriteSyncer, levels zapcore.LevelEnabler) zapcore.Core {
	if !json {
		return &textCore{LevelEnabler: levels, out: out, color: color}
	}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", StacktraceKey: "stack",
		EncodeTime:     func(t time.Time, e zapcore.PrimitiveArrayEncoder) { e.AppendString(formatTime(t)) },
		EncodeLevel:    func(l zapcore.Level, e zapcore.PrimitiveArrayEncoder) { e.AppendString(strings.ToLower(levelName(l))) },
		EncodeDuration: zapcore.SecondsDurationEncoder,
		LineEnding:     "\n",
	})
	return zapcore.NewCore(encoder, out, levels)
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }
