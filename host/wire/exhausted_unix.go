//go:build unix

package wire

import (
	"errors"
	"syscall"
)

// isExhausted reports an error of accept that passes by itself.
func isExhausted(err error) bool {
	for _, e := range [...]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
