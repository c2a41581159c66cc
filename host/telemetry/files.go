package telemetry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// DefaultMaxFiles bounds the files of Files when FilesOptions.Max is zero.
const DefaultMaxFiles = 256

// FilesOptions are settings of NewFiles. The zero value means the defaults named here.
type FilesOptions struct {
	// Max bounds the files, and so the open descriptors; 0 means DefaultMaxFiles. Guests choose names freely and
	// must not use up what the host has. Messages to endpoints above it are dropped.
	Max int
	// Warn takes the reason why an endpoint has no file, once for each name; nil drops it.
	Warn func(error)
}

// Files are log endpoints with a file each, <name>.log, in one directory. A line is a message, formed as those
// of Lines but without the name. Files are only appended to, so they can be rotated by renaming and Reopen.
type Files struct {
	root    *os.Root
	opts    FilesOptions
	dropped atomic.Uint64

	mu     sync.Mutex
	files  map[string]*fileEndpoint // by file name
	full   bool                     // the bound has been reported
	closed bool
}

// NewFiles makes endpoints in dir, which is created when absent.
func NewFiles(dir string, opts FilesOptions) (*Files, error) {
	if opts.Max == 0 {
		opts.Max = DefaultMaxFiles
	}
	if opts.Warn == nil {
		opts.Warn = func(error) {}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("telemetry: directory of the log endpoints: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("telemetry: directory of the log endpoints: %w", err)
	}
	return &Files{root: root, opts: opts, files: make(map[string]*fileEndpoint)}, nil
}

// Endpoint gives the endpoint of that name and opens its file. When it cannot be opened, the reason goes to
// FilesOptions.Warn and messages are dropped until a Reopen succeeds.
func (f *Files) Endpoint(name string) Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := fileName(name)
	if e := f.files[file]; e != nil {
		return e
	}
	e := &fileEndpoint{owner: f}
	switch {
	case f.closed:
		return e
	case len(f.files) >= f.opts.Max:
		if !f.full {
			f.full = true
			f.opts.Warn(fmt.Errorf("telemetry: log endpoint %q and further ones are dropped: %d have a file already", name, f.opts.Max))
		}
		return e
	}
	opened, err := f.open(file)
	if err != nil {
		f.opts.Warn(fmt.Errorf("telemetry: log endpoint %q is dropped: %w", name, err))
	} else {
		e.file = opened
	}
	f.files[file] = e
	return e
}

func (f *Files) open(name string) (*os.File, error) {
	return f.root.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
}

// Reopen opens every file anew by its name, for use after the old ones have been renamed. A file that cannot be
// opened keeps its old descriptor; the errors are joined.
func (f *Files) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for name, e := range f.files {
		opened, err := f.open(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("telemetry: reopening a log endpoint: %w", err))
			continue
		}
		errs = append(errs, e.replace(opened))
	}
	return errors.Join(errs...)
}

// Close closes all files. Later messages are counted as dropped.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, e := range f.files {
		errs = append(errs, e.replace(nil))
	}
	return errors.Join(append(errs, f.root.Close())...)
}

// Dropped counts the lines that no file took.
func (f *Files) Dropped() uint64 { return f.dropped.Load() }

type fileEndpoint struct {
	owner *Files
	mu    sync.Mutex
	file  *os.File // nil when closed
}

func (e *fileEndpoint) Write(msg []byte) {
	buf := getBuffer()
	defer putBuffer(buf)
	line, ok := appendLine(*buf, nil, msg)
	*buf = line
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.file == nil {
		e.owner.dropped.Add(1)
		return
	}
	if _, err := e.file.Write(line); err != nil {
		e.owner.dropped.Add(1)
	}
}

// replace closes the file in use, if any, and puts next in its place.
func (e *fileEndpoint) replace(next *os.File) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.file
	e.file = next
	if old == nil {
		return nil
	}
	return old.Close()
}

// maxFileName leaves room for the suffixes below the 255 bytes that file systems allow.
const maxFileName = 200

// fileName turns an endpoint's name into one that is safe in a directory: bytes other than letters, digits, dot
// (not in front), dash and underscore become %XX, and a long name ends in a digest of the whole.
func fileName(name string) string {
	var b []byte
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b = append(b, c)
		default:
			b = fmt.Appendf(b, "%%%02X", c)
		}
	}
	if len(b) > maxFileName {
		sum := sha256.Sum256([]byte(name))
		b = append(append(b[:maxFileName], '~'), hex.EncodeToString(sum[:8])...)
	}
	return string(b) + ".log"
}
