package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/wasm"
)

// maxProgram is the largest file that is read as a program: the platform's limit for packages is 100 MB.
const maxProgram = 512 << 20

// readProgram reads INPUT. That it does not exist or is no core module is a mistake in the command line.
func readProgram(command, path string) ([]byte, error) {
	refuse := func(err error) ([]byte, error) {
		return nil, &usageError{command, fmt.Sprintf("%s: %v", path, err)}
	}
	info, err := os.Stat(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return refuse(err)
	}
	if info.IsDir() {
		return refuse(errors.New("is a directory, want a WebAssembly module"))
	}
	if info.Size() > maxProgram {
		return refuse(fmt.Errorf("has %d bytes, at most %d can be run", info.Size(), maxProgram))
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(filepath.Ext(path), ".wat") {
		if program, err = host.FromText(program); err != nil {
			return refuse(err)
		}
	}
	if err := wasm.Detect(program); err != nil {
		return refuse(err)
	}
	return program, nil
}

// stem is a file's name without folder and extension: what a guest is told as its own name.
func stem(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
