//go:build !unix

package wire

// isExhausted reports an error of accept that passes by itself.
func isExhausted(error) bool { return false }
