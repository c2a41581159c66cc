package host

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/memory"
)

// seedWriters is how many keys are written at once: a durable driver writes them to the disk together.
const seedWriters = 64

// seedKVStores puts the manifest's KV stores into c.KVStores, without touching what is there.
func (c *ServiceConfig) seedKVStores(m *manifest.Manifest) error {
	if c.KVStores == nil {
		c.KVStores = memory.New(memory.Options{})
	}
	for i := range m.LocalServer.KVStores {
		s := &m.LocalServer.KVStores[i]
		if err := seedKVStore(context.Background(), c.KVStores, s); err != nil {
			return fmt.Errorf("%s:%d: KV store %q: %w", m.Path, s.Pos.Line, s.Name, err)
		}
	}
	return nil
}

func seedKVStore(ctx context.Context, stores kvstore.Stores, s *manifest.KVStore) error {
	store, err := stores.Open(ctx, s.Name)
	if errors.Is(err, kvstore.ErrNoStore) {
		store, err = stores.Create(ctx, s.Name)
	}
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(seedWriters)
	for i := range s.Items {
		item := &s.Items[i]
		group.Go(func() error {
			if err := seedKey(ctx, store, item); err != nil {
				return fmt.Errorf("key %q: %w", item.Key, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// seedKey stores a key that is absent.
func seedKey(ctx context.Context, store kvstore.Store, item *manifest.KVItem) error {
	switch v, err := store.Lookup(ctx, item.Key); {
	case err == nil:
		return v.Body.Close()
	case !errors.Is(err, kvstore.ErrNotFound):
		return err
	}
	o := kvstore.InsertOptions{Mode: kvstore.Add}
	if item.HasMetadata {
		o.Metadata = []byte(item.Metadata)
	}
	_, err := store.Insert(ctx, item.Key, kvstore.BytesBody(item.Value), o)
	if errors.Is(err, kvstore.ErrPrecondition) {
		return nil // another process was faster
	}
	return err
}
