package telemetry

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// Lines are log endpoints that share one writer, one line a message:
//
//	<endpoint> :: <message>
//
// One newline at the message's end is cut, others become the two characters \n; a message that is then empty
// prints nothing. All other bytes pass unchanged.
type Lines struct {
	mu      sync.Mutex
	w       io.Writer
	dropped atomic.Uint64
}

// NewLines gives endpoints that write to w: one call of w.Write for each line, one at a time.
func NewLines(w io.Writer) *Lines { return &Lines{w: w} }

// Endpoint gives the endpoint of that name.
func (l *Lines) Endpoint(name string) Endpoint {
	return &lineEndpoint{lines: l, prefix: append(appendEscaped(nil, []byte(name)), " :: "...)}
}

// Dropped counts the lines that the writer did not take.
func (l *Lines) Dropped() uint64 { return l.dropped.Load() }

type lineEndpoint struct {
	lines  *Lines
	prefix []byte
}

func (e *lineEndpoint) Write(msg []byte) {
	buf := getBuffer()
	defer putBuffer(buf)
	line, ok := appendLine(*buf, e.prefix, msg)
	*buf = line
	if !ok {
		return
	}
	e.lines.mu.Lock()
	defer e.lines.mu.Unlock()
	if _, err := e.lines.w.Write(line); err != nil {
		e.lines.dropped.Add(1)
	}
}

// appendLine appends prefix, the message as a line's text, and a newline; ok is false for an empty message.
func appendLine(dst, prefix, msg []byte) (line []byte, ok bool) {
	msg = bytes.TrimSuffix(msg, []byte{'\n'})
	if len(msg) == 0 {
		return dst, false
	}
	dst = append(dst, prefix...)
	return append(appendEscaped(dst, msg), '\n'), true
}

// appendEscaped appends b with its newlines escaped.
func appendEscaped(dst, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return append(dst, b...)
		}
		dst = append(append(dst, b[:i]...), '\\', 'n')
		b = b[i+1:]
	}
}

// maxPooledBuffer keeps one huge message from holding its memory for good.
const maxPooledBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 1024)) }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) > maxPooledBuffer {
		return
	}
	*b = (*b)[:0]
	buffers.Put(b)
}
