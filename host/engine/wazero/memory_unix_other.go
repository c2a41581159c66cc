//go:build unix && !linux

package wazero

import "os"

// namelessFile gives a file without a name, and a function that takes the name away.
func namelessFile(dir string) (*os.File, func() error, error) { return temporaryFile(dir) }
