package host

import (
	"io"
	"sync"
)

// output is a sandbox's standard output and error, opened on the first write.
type output struct {
	open    func(request uint64) (stdout, stderr io.WriteCloser)
	request uint64

	once   sync.Once
	stdout io.WriteCloser
	stderr io.WriteCloser
}

// stream is one of the two as the guest's WASI world sees it.
type stream struct {
	out    *output
	stderr bool
}

func (s stream) Write(p []byte) (int, error) {
	o := s.out
	if o.open == nil {
		return len(p), nil
	}
	o.once.Do(func() { o.stdout, o.stderr = o.open(o.request) })
	if s.stderr {
		return o.stderr.Write(p)
	}
	return o.stdout.Write(p)
}

func (o *output) close() {
	if o.stdout != nil {
		o.stdout.Close()
		o.stderr.Close()
	}
}
