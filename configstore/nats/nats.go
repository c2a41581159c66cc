// Package nats keeps config stores in a JetStream key-value bucket, for nodes on many machines.
//
// The bucket has a record for each store, which names a generation of its entries, and a record for each entry. Replace
// writes a new generation and then changes the store's record, so that nobody sees half of it. What has returned nil has been
// acknowledged by JetStream; whether that survives a power failure is the server's setting (sync_interval: always) and the
// bucket's number of replicas.
//
// Nodes follow the bucket (Follow). While it cannot be reached they keep what they have, and a snapshot file lets them start
// with that, too.
package nats

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/edgewasm/wasmedge/configstore"
)

// Options says where the stores are.
type Options struct {
	Bucket   string             // "config-stores" when empty
	Replicas int                // of a bucket that is made; 1 when 0
	Limits   configstore.Limits // of entries that are written
}

func (o Options) bucket() string {
	if o.Bucket == "" {
		return "config-stores"
	}
	return o.Bucket
}

// Stores is the config stores in a bucket. It implements configstore.Admin.
type Stores struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
	o  Options
}

var _ configstore.Admin = (*Stores)(nil)

// Open opens the bucket and makes it if there is none. The connection stays the caller's.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Stores, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, o.bucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: o.bucket(), Description: "config stores", Storage: jetstream.FileStorage, Replicas: max(o.Replicas, 1),
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // made by somebody else just now
			kv, err = js.KeyValue(ctx, o.bucket())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", o.bucket(), err)
	}
	return &Stores{js, kv, o}, nil
}

// Close does nothing: the connection is the caller's.
func (s *Stores) Close() error { return nil }

// record is what the bucket holds of a store.
type record struct {
	Generation string    `json:"generation"`
	Created    time.Time `json:"created"`
	Updated    time.Time `json:"updated"` // when the generation was written
	Entries    int       `json:"entries"` // that it was written with
}

// Names and keys are in base64 in the bucket, where few characters are allowed and dots mean something; keys have a "k"
// before them, for a part may not be empty.
var encoding = base64.RawURLEncoding

func storeKey(store string) string { return "s." + encoding.EncodeToString([]byte(store)) }

func generationPrefix(store, generation string) string {
	return "e." + encoding.EncodeToString([]byte(store)) + "." + generation + "."
}

func entryKey(store, generation, key string) string {
	return generationPrefix(store, generation) + "k" + encoding.EncodeToString([]byte(key))
}

// parsed is a key of the bucket: of a store's record when generation is empty.
type parsed struct{ store, generation, key string }

func parseKey(key string) (p parsed, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) < 2 {
		return p, false
	}
	name, err := encoding.DecodeString(parts[1])
	if err != nil {
		return p, false
	}
	p.store = string(name)
	switch {
	case parts[0] == "s" && len(parts) == 2:
		return p, true
	case parts[0] == "e" && len(parts) == 4 && parts[2] != "" && strings.HasPrefix(parts[3], "k"):
		k, err := encoding.DecodeString(parts[3][1:])
		p.generation, p.key = parts[2], string(k)
		return p, err == nil
	}
	return p, false
}

func parseRecord(b []byte) (r record, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: a record: %v", configstore.ErrDamaged, err)
	}
	if r.Generation == "" || strings.ContainsAny(r.Generation, ".*> \t\r\n") {
		return r, fmt.Errorf("%w: a record has no generation", configstore.ErrDamaged)
	}
	return r, nil
}

// record gives a store's record and its revision.
func (s *Stores) record(ctx context.Context, store string) (record, uint64, error) {
	if configstore.CheckName(store) != nil {
		return record{}, 0, configstore.NotFound(store)
	}
	e, err := s.kv.Get(ctx, storeKey(store))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, 0, configstore.NotFound(store)
	}
	if err != nil {
		return record{}, 0, err
	}
	r, err := parseRecord(e.Value())
	return r, e.Revision(), err
}

func fresh(created time.Time, entries int) (record, []byte, error) {
	now := time.Now().UTC()
	if created.IsZero() {
		created = now
	}
	r := record{Generation: nuid.Next(), Created: created, Updated: now, Entries: entries}
	b, err := json.Marshal(r)
	return r, b, err
}

// Create implements configstore.Admin.
func (s *Stores) Create(ctx context.Context, store string) error {
	if err := configstore.CheckName(store); err != nil {
		return err
	}
	_, b, err := fresh(time.Time{}, 0)
	if err != nil {
		return err
	}
	_, err = s.kv.Create(ctx, storeKey(store), b)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return configstore.StoreExists(store)
	}
	return err
}

// Drop implements configstore.Admin.
func (s *Stores) Drop(ctx context.Context, store string) error {
	for {
		_, revision, err := s.record(ctx, store)
		if err != nil && !errors.Is(err, configstore.ErrDamaged) {
			return err
		}
		err = s.kv.Delete(ctx, storeKey(store), jetstream.LastRevision(revision))
		if conflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		return s.purge(ctx, "e."+encoding.EncodeToString([]byte(store))+".>")
	}
}

// conflict tells whether somebody else has written first.
func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// purge removes records for good.
func (s *Stores) purge(ctx context.Context, keys string) error {
	stream, err := s.js.Stream(ctx, "KV_"+s.o.bucket())
	if err != nil {
		return err
	}
	return stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+s.o.bucket()+"."+keys))
}

// Names implements configstore.Admin.
func (s *Stores) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := s.each(ctx, "s.*", func(p parsed, e jetstream.KeyValueEntry) error {
		names = append(names, p.store)
		return nil
	}, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	slices.Sort(names)
	return names, err
}

// each gives the newest record of each key that matches.
func (s *Stores) each(ctx context.Context, keys string, fn func(parsed, jetstream.KeyValueEntry) error, o ...jetstream.WatchOpt) error {
	w, err := s.kv.Watch(ctx, keys, o...)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the server ended the listing")
			}
			if e == nil {
				return nil
			}
			if p, ok := parseKey(e.Key()); ok {
				if err := fn(p, e); err != nil {
					return err
				}
			}
		}
	}
}

// Describe implements configstore.Admin.
func (s *Stores) Describe(ctx context.Context, store string) (configstore.Info, error) {
	r, _, err := s.record(ctx, store)
	if err != nil {
		return configstore.Info{}, err
	}
	info := configstore.Info{Name: store, Created: r.Created, Updated: r.Updated}
	err = s.each(ctx, generationPrefix(store, r.Generation)+"*", func(_ parsed, e jetstream.KeyValueEntry) error {
		if e.Operation() == jetstream.KeyValuePut {
			info.Entries++
		}
		if t := e.Created().UTC(); t.After(info.Updated) {
			info.Updated = t
		}
		return nil
	}, jetstream.MetaOnly())
	return info, err
}

// Lookup implements configstore.Admin.
func (s *Stores) Lookup(ctx context.Context, store, key string) (string, error) {
	r, _, err := s.record(ctx, store)
	if err != nil {
		return "", err
	}
	e, err := s.kv.Get(ctx, entryKey(store, r.Generation, key))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", configstore.NoKey(store, key)
	}
	if err != nil {
		return "", err
	}
	return string(e.Value()), nil
}

// Contents implements configstore.Admin.
func (s *Stores) Contents(ctx context.Context, store string) (map[string]string, error) {
	for {
		r, _, err := s.record(ctx, store)
		if err != nil {
			return nil, err
		}
		contents, err := s.generation(ctx, store, r.Generation)
		if err != nil {
			return nil, err
		}
		if now, _, err := s.record(ctx, store); err != nil || now.Generation == r.Generation {
			return contents, err
		}
		// It has been replaced meanwhile, and what was read may be half purged.
	}
}

func (s *Stores) generation(ctx context.Context, store, generation string) (map[string]string, error) {
	contents := map[string]string{}
	err := s.each(ctx, generationPrefix(store, generation)+"*", func(p parsed, e jetstream.KeyValueEntry) error {
		contents[p.key] = string(e.Value())
		return nil
	}, jetstream.IgnoreDeletes())
	return contents, err
}

// Put implements configstore.Admin.
func (s *Stores) Put(ctx context.Context, store, key, value string) error {
	if err := s.o.Limits.CheckEntry(key, value); err != nil {
		return err
	}
	return s.write(ctx, store, func(generation string) error {
		_, err := s.kv.Put(ctx, entryKey(store, generation, key), []byte(value))
		return err
	})
}

// write lets fn write to the current generation, again if the store was replaced meanwhile.
func (s *Stores) write(ctx context.Context, store string, fn func(generation string) error) error {
	r, _, err := s.record(ctx, store)
	if err != nil {
		return err
	}
	for {
		if err := fn(r.Generation); err != nil {
			return err
		}
		now, _, err := s.record(ctx, store)
		if err != nil || now.Generation == r.Generation {
			return err
		}
		// What was written to the old generation may have come after its removal.
		if err := s.purge(ctx, generationPrefix(store, r.Generation)+">"); err != nil {
			return err
		}
		r = now
	}
}

// Delete implements configstore.Admin.
func (s *Stores) Delete(ctx context.Context, store, key string) error {
	return s.write(ctx, store, func(generation string) error {
		k := entryKey(store, generation, key)
		if _, err := s.kv.Get(ctx, k); err != nil {
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				return configstore.NoKey(store, key)
			}
			return err
		}
		return s.kv.Delete(ctx, k)
	})
}

// atOnce is how many entries Replace has on their way at once.
const atOnce = 64

// Replace implements configstore.Admin. Of two at once the one that ends last counts.
func (s *Stores) Replace(ctx context.Context, store string, contents map[string]string) (err error) {
	for key, value := range contents {
		if err := s.o.Limits.CheckEntry(key, value); err != nil {
			return err
		}
	}
	old, revision, err := s.record(ctx, store)
	if err != nil {
		return err
	}
	r, b, err := fresh(old.Created, len(contents))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// Nothing refers to it: it costs room if this fails, too.
			_ = s.purge(context.WithoutCancel(ctx), generationPrefix(store, r.Generation)+">")
		}
	}()
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for key, value := range contents {
		group.Go(func() error {
			_, err := s.kv.Put(within, entryKey(store, r.Generation, key), []byte(value))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for {
		_, err := s.kv.Update(ctx, storeKey(store), b, revision)
		if err == nil {
			break
		}
		if !conflict(err) && !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		if old, revision, err = s.record(ctx, store); err != nil {
			return err
		}
	}
	return s.purge(ctx, generationPrefix(store, old.Generation)+">")
}
