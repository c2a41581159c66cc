//go:build !unix

package wazero

import (
	"errors"
	"os"
)

// canMap says that memory is made of slices of Go's here, and nothing else of this file used.
const canMap = false

var errNoMap = errors.New("wazero: memory cannot be mapped on this system")

func reserve(uint64) ([]byte, error)                     { return nil, errNoMap }
func commit([]byte, int, int) error                      { return errNoMap }
func unreserve([]byte)                                   {}
func mapFile([]byte, *os.File, int64) error              { return errNoMap }
func mapZeroes([]byte) error                             { return errNoMap }
func imageFile([]byte, string) (*os.File, []byte, error) { return nil, nil, errNoMap }
