package telemetry

import (
	"fmt"
	"strings"

	"go.uber.org/zap/zapcore"
)

// TraceLevel is below zap's lowest level.
const TraceLevel = zapcore.DebugLevel - 1

// offLevel is above all levels.
const offLevel = zapcore.FatalLevel + 1

// VerbosityLevel is what a number of -v flags means: none prints errors, one info, two debug, more trace.
func VerbosityLevel(v int) zapcore.Level {
	switch {
	case v <= 0:
		return zapcore.ErrorLevel
	case v == 1:
		return zapcore.InfoLevel
	case v == 2:
		return zapcore.DebugLevel
	}
	return TraceLevel
}

// ParseLevel reads the value of WASMEDGE_LOG or RUST_LOG: one of off, error, warn, info, debug, trace in any case,
// or a comma-separated list of them and of target=level, as Rust programs take it. The targets wasmedge and
// viceroy are this program; those of other programs are skipped. ok is false when nothing in it concerns us.
func ParseLevel(s string) (level zapcore.Level, ok bool, err error) {
	for directive := range strings.SplitSeq(s, ",") {
		directive = strings.TrimSpace(directive)
		if directive == "" {
			continue
		}
		word := directive
		if target, value, cut := strings.Cut(directive, "="); cut {
			target, _, _ = strings.Cut(target, "[") // a span filter
			target, _, _ = strings.Cut(target, "::")
			switch strings.TrimSpace(target) {
			case "wasmedge", "viceroy", "viceroy_lib", "":
				word = strings.TrimSpace(value)
			default:
				continue
			}
		}
		l, known := levelWords[strings.ToLower(word)]
		if !known {
			return 0, false, fmt.Errorf("%q is no log level: want off, error, warn, info, debug or trace", word)
		}
		level, ok = l, true
	}
	return level, ok, nil
}

var levelWords = map[string]zapcore.Level{
	"off": offLevel, "error": zapcore.ErrorLevel, "warn": zapcore.WarnLevel, "warning": zapcore.WarnLevel,
	"info": zapcore.InfoLevel, "debug": zapcore.DebugLevel, "trace": TraceLevel,
}

// LevelFromEnvironment is the level that WASMEDGE_LOG, else RUST_LOG, asks for, else that of the verbosity. An
// unreadable value counts as absent and is reported by err; the level is good all the same.
func LevelFromEnvironment(getenv func(string) string, verbosity int) (zapcore.Level, error) {
	var firstErr error
	for _, name := range []string{"WASMEDGE_LOG", "RUST_LOG"} {
		level, ok, err := ParseLevel(getenv(name))
		if ok && err == nil {
			return level, firstErr
		}
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("%s is ignored: %w", name, err)
		}
	}
	return VerbosityLevel(verbosity), firstErr
}

// levelName is the word for a level in the log, at most five letters.
func levelName(l zapcore.Level) string {
	switch {
	case l <= TraceLevel:
		return "TRACE"
	case l == zapcore.DebugLevel:
		return "DEBUG"
	case l == zapcore.InfoLevel:
		return "INFO"
	case l == zapcore.WarnLevel:
		return "WARN"
	}
	return "ERROR"
}
