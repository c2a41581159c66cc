package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/bolt"
)

// openKVStores opens the KV stores of a data directory, which is made if it is not there.
func openKVStores(dir string) (*bolt.Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	stores, err := bolt.Open(filepath.Join(dir, kvFile), bolt.Options{})
	if errors.Is(err, kvstore.ErrBusy) {
		return nil, fmt.Errorf("--data-dir %s is in use by another process: %w", dir, err)
	}
	return stores, err
}

// openKV opens the KV stores that --data-dir keeps; without it there is nothing to open, and what programs store is gone at the end.
func (s *session) openKV(dir string) error {
	if dir == "" {
		return nil
	}
	stores, err := openKVStores(dir)
	if err != nil {
		return err
	}
	s.conf.KVStores, s.kv = stores, stores
	return nil
}
