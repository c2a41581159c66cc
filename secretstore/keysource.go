package secretstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxKeyFile is far more than a key in any form takes, in bytes.
const maxKeyFile = 4096

// maxWrapped is the most that a file for a key command may hold, in bytes.
const maxWrapped = 1 << 20

// KeyFromFile reads a key from a file, in a form that ParseKey knows. A file that others than its owner may read or change,
// or that belongs to somebody else, is refused. One that its group may read is reported to warn and taken; a nil warn
// refuses it as well. Errors name the file.
func KeyFromFile(path string, warn func(error)) (*Key, error) {
	b, info, err := readRegular(path, maxKeyFile)
	defer clear(b)
	if err != nil {
		return nil, err
	}
	group, others := readableBy(info)
	if others || group && warn == nil {
		return nil, fmt.Errorf("%s: mode %#o gives the key to others than the owner of this process: chmod 600 %[1]s, and see whose it is", path, info.Mode().Perm())
	}
	if group {
		warn(fmt.Errorf("%s: mode %#o lets the file's group read the key", path, info.Mode().Perm()))
	}
	k, err := ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// WriteKeyFile writes a key in base64 into a new file that its owner alone may read. It fails when the file exists.
func WriteKeyFile(path string, k *Key) (err error) {
	text, err := k.AppendText(nil)
	if err != nil {
		return err
	}
	defer clear(text)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if _, err := f.WriteString("\n"); err != nil {
		return err
	}
	return f.Sync()
}

// KeyFromEnv reads a key from an environment variable, in base64 or hexadecimal, and takes the variable out of the
// environment, so that commands this process starts do not get it. (The system may go on showing it to the process's owner.)
// Errors name the variable.
func KeyFromEnv(name string) (*Key, error) {
	text, ok := os.LookupEnv(name)
	if !ok {
		return nil, fmt.Errorf("the environment variable %s is not set", name)
	}
	if err := os.Unsetenv(name); err != nil {
		return nil, err
	}
	k, err := ParseKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the environment variable %s: %w", name, err)
	}
	return k, nil
}

// KeyFrom reads a key from where source says: "file:PATH" (see KeyFromFile), "env:NAME" (see KeyFromEnv), "exec:PROGRAM" or
// "exec:PROGRAM,FILE", a command that gets the content of FILE, the wrapped key, on standard input (see KeyFromCommand).
func KeyFrom(ctx context.Context, source string, warn func(error)) (*Key, error) {
	kind, rest, _ := strings.Cut(source, ":")
	if rest == "" {
		kind = ""
	}
	switch kind {
	case "file":
		return KeyFromFile(rest, warn)
	case "env":
		return KeyFromEnv(rest)
	case "exec":
		c := Command{}
		var file string
		if c.Path, file, _ = strings.Cut(rest, ","); file != "" {
			var err error
			if c.Wrapped, _, err = readRegular(file, maxWrapped); err != nil {
				return nil, err
			}
		}
		return KeyFromCommand(ctx, c)
	}
	// The source is not repeated: somebody may have put the key itself there.
	return nil, errors.New("want file:PATH, env:NAME or exec:PROGRAM[,FILE]")
}

// KeyringFrom makes a ring of the keys of at least one source, in their order (see KeyFrom). When one fails it destroys the
// others.
func KeyringFrom(ctx context.Context, sources []string, warn func(error)) (*Keyring, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("%w: no source of one is given", ErrKey)
	}
	ring := new(Keyring)
	for _, source := range sources {
		k, err := KeyFrom(ctx, source, warn)
		if err != nil {
			ring.Destroy()
			return nil, err
		}
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}
