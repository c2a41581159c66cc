package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// path gives what a place that is a directory calls name.
func (c *storeCall) path(name string) (string, error) {
	place, err := c.place()
	if err != nil {
		return "", err
	}
	if isURL(place) {
		return "", c.usage("%s is no directory", place)
	}
	return filepath.Join(place, name), nil
}

// existing is path for stores of a kind that are there already. Only a group's create makes the directory for them.
func (c *storeCall) existing(name, kind string) (string, error) {
	path, err := c.path(name)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	group, command, _ := strings.Cut(c.command, " ")
	if command == "create" && !strings.HasSuffix(group, "-entry") {
		return path, os.MkdirAll(dir, 0o700)
	}
	if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there are no %s in %s; %s create makes one", kind, dir, strings.TrimSuffix(group, "-entry"))
	}
	return path, err
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
	path, err := c.existing(kvFile, "KV stores")
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
