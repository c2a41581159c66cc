//go:build !unix

package wazero

// reserve takes n bytes; the system gives pages when they are touched first.
func reserve(n uint64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	return make([]byte, n), nil
}

func commit([]byte, int, int) error { return nil }

func unreserve([]byte) {}
