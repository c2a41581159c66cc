package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// textCore prints the text format of NewLogger. Fields keep their order; those added with With come first.
type textCore struct {
	zapcore.LevelEnabler
	out    zapcore.WriteSyncer
	color  bool
	fields []zapcore.Field
}

func (c *textCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = append(slices.Clip(c.fields), fields...)
	return &clone
}

func (c *textCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *textCore) Sync() error { return c.out.Sync() }

func (c *textCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	b := c.format(e, fields)
	defer b.Free()
	_, err := c.out.Write(b.Bytes())
	return err
}

func (c *textCore) format(entry zapcore.Entry, fields []zapcore.Field) *buffer.Buffer {
	b := textPool.Get()
	stamp := formatTime(entry.Time)
	level := fmt.Sprintf("%5s", levelName(entry.Level))
	if c.color {
		stamp = "\x1b[2m" + stamp + "\x1b[0m"
		level = levelColor(entry.Level) + level + "\x1b[0m"
	}
	b.AppendString(stamp)
	b.AppendByte(' ')
	b.AppendString(level)
	b.AppendByte(' ')

	all := fields
	if len(c.fields) > 0 {
		all = append(slices.Clip(c.fields), fields...)
	}
	for _, f := range all {
		if f.Key == requestKey && f.Type == zapcore.Uint64Type {
			b.AppendString("request{id=")
			b.AppendUint(uint64(f.Integer))
			b.AppendString("}: ")
			break
		}
	}
	first, more, several := strings.Cut(strings.TrimSuffix(entry.Message, "\n"), "\n")
	appendText(b, first)
	for _, f := range all {
		if f.Key != requestKey {
			appendField(b, f)
		}
	}
	if several {
		appendText(b, "\n"+more)
	}
	if entry.Stack != "" {
		b.AppendByte('\n')
		appendText(b, entry.Stack)
	}
	b.AppendByte('\n')
	return b
}

func levelColor(l zapcore.Level) string {
	switch levelName(l) {
	case "ERROR":
		return "\x1b[31m"
	case "WARN":
		return "\x1b[33m"
	case "INFO":
		return "\x1b[32m"
	case "DEBUG":
		return "\x1b[34m"
	}
	return "\x1b[35m"
}

var textPool = buffer.NewPool()

// appendText writes free text: lines after the first are indented, other control characters are escaped, so that
// no text from outside can move a terminal's cursor or look like another record.
func appendText(b *buffer.Buffer, s string) {
	s = strings.TrimSuffix(s, "\n")
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b.AppendString("\n  ")
		case r == '\t':
			b.AppendByte('\t')
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			q := strconv.QuoteToASCII(s[i : i+n])
			b.AppendString(q[1 : len(q)-1])
		default:
			b.AppendString(s[i : i+n])
		}
		i += n
	}
}

// appendField writes " key=value".
func appendField(b *buffer.Buffer, f zapcore.Field) {
	switch f.Type {
	case zapcore.SkipType, zapcore.NamespaceType:
		return
	case zapcore.StringType:
		appendPair(b, f.Key, f.String)
		return
	case zapcore.DurationType:
		appendPair(b, f.Key, time.Duration(f.Integer).String())
		return
	}
	values := zapcore.NewMapObjectEncoder()
	f.AddTo(values)
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		appendPair(b, key, plain(values.Fields[key]))
	}
}

func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case time.Time:
		return formatTime(v)
	case map[string]any, []any:
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}

// appendPair quotes a value that would not read as one word.
func appendPair(b *buffer.Buffer, key, value string) {
	b.AppendByte(' ')
	appendText(b, key)
	b.AppendByte('=')
	if value == "" || strings.ContainsFunc(value, func(r rune) bool {
		return r == ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r)
	}) {
		b.AppendString(strconv.Quote(value))
		return
	}
	b.AppendString(value)
}
