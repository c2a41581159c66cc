package telemetry

import (
	"bytes"
	"io"
	"sync"
)

// EndpointWriter makes a guest's standard output a log endpoint: each write of the guest is one message.
// Its Write never fails.
func EndpointWriter(e Endpoint) io.Writer { return endpointWriter{e} }

type endpointWriter struct{ e Endpoint }

func (w endpointWriter) Write(p []byte) (int, error) {
	w.e.Write(p)
	return len(p), nil
}

// maxPartialLine is how much of an unfinished line is kept before it is printed as it is.
const maxPartialLine = 64 << 10

// PrefixWriter puts a prefix before each line of a guest's standard output, so that the output of several
// sandboxes can be told apart. Each line goes out in one write; an unfinished one waits for its end, for 64 KiB or for
// Close. Its Write never fails. It is safe for concurrent use; several may share a writer that is, too.
type PrefixWriter struct {
	mu     sync.Mutex
	w      io.Writer
	prefix []byte
	line   []byte // prefix and the unfinished line; empty when there is none
}

// NewPrefixWriter writes to w and puts prefix before each line.
func NewPrefixWriter(w io.Writer, prefix string) *PrefixWriter {
	return &PrefixWriter{w: w, prefix: []byte(prefix)}
}

// Write takes guest output, cut anywhere.
func (p *PrefixWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		if len(p.line) == 0 {
			p.line = append(p.line, p.prefix...)
		}
		room := maxPartialLine + len(p.prefix) - len(p.line)
		end := bytes.IndexByte(b, '\n')
		switch {
		case end >= 0 && end <= room:
			p.line = append(p.line, b[:end]...)
			b = b[end+1:]
			p.flush()
		case len(b) > room:
			p.line = append(p.line, b[:room]...)
			b = b[room:]
			p.flush()
		default:
			p.line = append(p.line, b...)
			b = nil
		}
	}
	return n, nil
}

// Close prints an unfinished line. The writer behind stays open.
func (p *PrefixWriter) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.line) > 0 {
		p.flush()
	}
	return nil
}

func (p *PrefixWriter) flush() {
	p.line = append(p.line, '\n')
	_, _ = p.w.Write(p.line) // a guest has no use for the error
	p.line = p.line[:0]
}
