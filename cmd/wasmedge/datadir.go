package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/host/acl"
	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/bolt"
	"github.com/edgewasm/wasmedge/kvstore/nats"
)

// openKVStores opens the KV stores of a data directory, which is made if it is not there.
func openKVStores(dir string) (kvstore.Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	stores, err := bolt.Open(filepath.Join(dir, kvFile), bolt.Options{})
	if errors.Is(err, kvstore.ErrBusy) {
		return nil, fmt.Errorf("--data-dir %s is in use by another process: %w", dir, err)
	}
	return stores, err
}

// kvConnectTimeout bounds the wait for a JetStream server at the start.
const kvConnectTimeout = 15 * time.Second

// dialKVStores connects to the KV stores of a JetStream server.
func dialKVStores(ctx context.Context, url, credentials string) (kvstore.Stores, error) {
	ctx, cancel := context.WithTimeout(ctx, kvConnectTimeout)
	defer cancel()
	return nats.New(ctx, nats.Options{URL: url, Credentials: credentials, Name: programTag})
}

// openKV opens the KV stores that --kv or --data-dir keeps; without them there is nothing to open, and what programs store is gone at
// the end.
func (s *session) openKV(ctx *cli.Context) error {
	var stores kvstore.Stores
	var err error
	switch url, dir := ctx.String("kv"), ctx.String("data-dir"); {
	case url != "":
		stores, err = dialKVStores(ctx.Context, url, ctx.String("kv-credentials"))
	case dir != "":
		stores, err = openKVStores(dir)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	s.conf.KVStores, s.kv = stores, stores
	return nil
}

// openACLs gives the program the ACLs of the data directory, besides those of the manifest, which hide others of their names.
func (s *session) openACLs(dir string) error {
	if dir == "" {
		return nil
	}
	lists, err := acl.OpenDir(filepath.Join(dir, aclDir))
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	infos, err := lists.List()
	if err != nil {
		return err // a damaged list is told at the start
	}
	chain := acl.Chain{lists}
	if s.conf.ACLs != nil {
		for _, i := range infos {
			if _, err := s.conf.ACLs.Open(i.Name); err == nil {
				s.log.Warn(fmt.Sprintf("the ACL %q of the manifest hides the one in %s", i.Name, dir))
			}
		}
		chain = acl.Chain{s.conf.ACLs, lists}
	}
	s.conf.ACLs = chain
	return nil
}
