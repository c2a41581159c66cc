package secretstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// Command asks a key management service for a master key: a program that gets the wrapped key on standard input and gives
// the plaintext key on standard output, in a form that ParseKey knows. It is run without a shell.
type Command struct {
	Path    string        // absolute
	Args    []string      // without the program's name
	Wrapped []byte        // standard input; may be empty
	Timeout time.Duration // 0 means 30 seconds
	Env     []string      // "NAME=value"; nil means this process's environment
}

const (
	commandTimeout = 30 * time.Second
	maxStderr      = 1024 // bytes of the command's complaint that an error shows
)

// KeyFromCommand runs the command. It and what it has started are killed when ctx or its time ends. Errors name the
// command and show how it ended and the end of what it wrote to standard error, never standard output.
func KeyFromCommand(ctx context.Context, c Command) (*Key, error) {
	if !filepath.IsAbs(c.Path) {
		return nil, fmt.Errorf("the key command %q is not an absolute path", c.Path)
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = commandTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	killGroup(cmd)
	cmd.WaitDelay = time.Second // for pipes that something else holds open
	cmd.Env = c.Env
	cmd.Stdin = bytes.NewReader(c.Wrapped)
	out := &firstBytes{b: make([]byte, 0, maxKeyFile)}
	defer func() { clear(out.b[:cap(out.b)]) }()
	complaint := new(lastBytes)
	cmd.Stdout, cmd.Stderr = out, complaint
	err := cmd.Run()
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case out.over:
		err = fmt.Errorf("it wrote more than %d bytes", maxKeyFile)
	}
	var k *Key
	if err == nil {
		k, err = ParseKey(out.b)
	}
	if err != nil {
		if text := complaint.String(); text != "" {
			err = fmt.Errorf("%w; it said: %s", err, text)
		}
		return nil, fmt.Errorf("the key command %s: %w", c.Path, err)
	}
	return k, nil
}

var errFull = errors.New("too much output")

// firstBytes keeps what fits and never moves it.
type firstBytes struct {
	b    []byte
	over bool
}

func (w *firstBytes) Write(p []byte) (int, error) {
	if len(p) > cap(w.b)-len(w.b) {
		w.over = true
		return 0, errFull
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// lastBytes keeps the end of what was written.
type lastBytes struct {
	b   []byte
	cut bool
}

func (w *lastBytes) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxStderr {
		p, w.cut = p[len(p)-maxStderr:], true
	}
	if over := len(w.b) + len(p) - maxStderr; over > 0 {
		w.b, w.cut = w.b[:copy(w.b, w.b[over:])], true
	}
	w.b = append(w.b, p...)
	return n, nil
}

// String gives one printable line.
func (w *lastBytes) String() string {
	text := bytes.TrimSpace(w.b)
	if len(text) == 0 {
		return ""
	}
	if w.cut {
		return fmt.Sprintf("...%q", text)
	}
	return fmt.Sprintf("%q", text)
}
