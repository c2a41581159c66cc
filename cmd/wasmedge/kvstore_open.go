package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/bolt"
)

// kvFile is the file of the KV stores in a data directory.
const kvFile = "kv.db"

// place gives what --store says.
func (c *storeCall) place() (string, error) {
	place := c.flags.String("store")
	if place == "" {
		return "", c.usage("where the stores are is missing: --store DIR, or WASMEDGE_DATA_DIR in the environment")
	}
	return place, nil
}

// kvPath gives the file of a place that is a directory.
func (c *storeCall) kvPath() (string, error) {
	place, err := c.place()
	if err != nil {
		return "", err
	}
	if isURL(place) {
		return "", c.usage("%s is no directory: this works on the file of one", place)
	}
	return filepath.Join(place, kvFile), nil
}

// openKV opens the stores once. Only create makes what is not there.
func (c *storeCall) openKV(ctx context.Context) (kvstore.Stores, error) {
	if c.opened != nil {
		return c.opened, nil
	}
	place, err := c.place()
	if err != nil {
		return nil, err
	}
	if isURL(place) {
		stores, err := dialKVStores(ctx, place, c.flags.String("credentials"))
		if err != nil {
			return nil, err
		}
		c.opened = stores
		c.close = append(c.close, stores.Close)
		return stores, nil
	}
	path, err := c.kvPath()
	if err != nil {
		return nil, err
	}
	if c.command == "kv-store create" {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	} else if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there are no KV stores in %s; kv-store create makes one", filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	stores, err := bolt.Open(path, bolt.Options{})
	if errors.Is(err, kvstore.ErrBusy) {
		return nil, fmt.Errorf("%w: a server that has the directory is running, and must be stopped first", err)
	}
	if err != nil {
		return nil, err
	}
	c.opened = stores
	c.close = append(c.close, stores.Close)
	return stores, nil
}

// kv opens the store that is named.
func (c *storeCall) kv(ctx context.Context) (kvstore.Store, error) {
	if c.store == "" {
		return nil, c.usage("STORE is missing")
	}
	stores, err := c.openKV(ctx)
	if err != nil {
		return nil, err
	}
	store, err := stores.Open(ctx, c.store)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", printable(c.store), err)
	}
	return store, nil
}
