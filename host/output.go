package host

import "io"

// output is a sandbox's standard output and error, opened on the first write.
type output struct {
	open    func(request uint64) (stdout, stderr io.WriteCloser)
	request uint64

	stdout io.WriteCloser
	stderr io.WriteCloser
}

// stdoutStream and stderrStream are an output as the guest's WASI world sees it.
type (
	stdoutStream output
	stderrStream output
)

func (s *stdoutStream) Write(p []byte) (int, error) {
	o := (*output)(s)
	if !o.opened() {
		return len(p), nil
	}
	return o.stdout.Write(p)
}

func (s *stderrStream) Write(p []byte) (int, error) {
	o := (*output)(s)
	if !o.opened() {
		return len(p), nil
	}
	return o.stderr.Write(p)
}

func (o *output) opened() bool {
	if o.stdout == nil && o.open != nil {
		o.stdout, o.stderr = o.open(o.request)
	}
	return o.stdout != nil
}

func (o *output) close() {
	if o.stdout != nil {
		o.stdout.Close()
		o.stderr.Close()
	}
}
