package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/kvstore"
)

// kvStoreCommand works on KV stores and, for short, on their entries.
func kvStoreCommand(o world) *cli.Command {
	return &cli.Command{
		Name:  "kv-store",
		Usage: "make, fill, read and keep KV stores",
		Description: "STORE and KEY may also be given as --name and --key. The stores are those of --store: the data directory of a server " +
			"that is not running, or a JetStream server (nats://HOST:PORT).",
		Subcommands: []*cli.Command{
			storeCommand(o, "create", "make an empty store", "STORE", kvFlags(), kvCreate),
			storeCommand(o, "list", "list the stores, or the keys of one", "[STORE]", kvFlags(kvListFlags()...), kvList),
			storeCommand(o, "describe", "tell of a store, or of a key", "STORE [KEY]", kvFlags(), kvDescribe),
			storeCommand(o, "put", "store a value, or many", "STORE [KEY] [VALUE]", kvFlags(kvPutFlags()...), kvPut),
			storeCommand(o, "get", "write a key's value to standard output", "STORE KEY", kvFlags(kvGetFlags()...), kvGet),
			storeCommand(o, "delete", "remove a key, keys, or a store with all its keys", "STORE [KEY]", kvFlags(append(kvDeleteFlags(), yesFlag())...), kvDelete),
			storeCommand(o, "import", "store the lines of an NDJSON file", "STORE [FILE]", kvFlags(), kvImport),
			storeCommand(o, "export", "write keys and values as NDJSON", "STORE [FILE]", kvFlags(kvExportFlags()...), kvExport),
			kvMaintenance(o, "check", "look for damage in the stores' file", "", kvCheck),
			kvMaintenance(o, "compact", "make the stores' file as small as it can be", "", kvCompact),
			kvMaintenance(o, "backup", "copy the stores to a file", "FILE", kvBackup),
			kvMaintenance(o, "restore", "put the stores of a backup in place of those that are there", "FILE", kvRestore),
		},
	}
}

// kvStoreEntryCommand has the names of the platform's own tool.
func kvStoreEntryCommand(o world) *cli.Command {
	create := storeCommand(o, "create", "store a value, or many", "[STORE] [KEY] [VALUE]", kvFlags(kvPutFlags()...), kvPut)
	create.Aliases = []string{"update", "put"}
	return &cli.Command{
		Name:   "kv-store-entry",
		Usage:  "work on the entries of KV stores",
		Hidden: true,
		Subcommands: []*cli.Command{
			create,
			storeCommand(o, "get", "write a key's value to standard output", "[STORE] [KEY]", kvFlags(kvGetFlags()...), kvGet),
			storeCommand(o, "describe", "tell of a key", "[STORE] [KEY]", kvFlags(), kvDescribe),
			storeCommand(o, "list", "list the keys", "[STORE]", kvFlags(kvListFlags()...), kvListKeys),
			storeCommand(o, "delete", "remove a key, or keys", "[STORE] [KEY]", kvFlags(kvDeleteFlags()...), kvDeleteEntries),
		},
	}
}

// kvFlags are those of every command that opens the stores, and others.
func kvFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{&cli.StringFlag{Name: "credentials", EnvVars: []string{"WASMEDGE_KV_CREDENTIALS"},
		Usage: "`FILE` with the JWT and key to show to a JetStream server"}}, more...)
}

func kvCreate(ctx context.Context, c *storeCall) error {
	stores, err := c.openKV(ctx)
	if err != nil {
		return err
	}
	if _, err := stores.Create(ctx, c.store); err != nil {
		return c.failed("making", err)
	}
	if c.json {
		return printJSON(c.o.stdout, map[string]string{"Name": c.store, "StoreID": c.store})
	}
	fmt.Fprintf(c.o.stderr, "made KV store %s\n", printable(c.store))
	return nil
}

func kvListFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "prefix", Usage: "only keys that begin with `TEXT`"},
		&cli.StringFlag{Name: "consistency", Value: "strong", Usage: "`KIND`: strong, or eventual for an answer that may lag behind"},
	}
}

// kvList lists stores, or keys.
func kvList(ctx context.Context, c *storeCall) error {
	if c.store != "" {
		return kvListKeys(ctx, c)
	}
	stores, err := c.openKV(ctx)
	if err != nil {
		return err
	}
	names, err := stores.Names(ctx)
	if err != nil {
		return c.failed("listing", err)
	}
	type entry struct {
		Name, StoreID string
		Keys, Bytes   int64
	}
	data := []entry{}
	for _, name := range names {
		store, err := stores.Open(ctx, name)
		if err != nil {
			return c.failed("opening", err)
		}
		st, err := store.Stat(ctx)
		if err != nil {
			return c.failed("counting", err)
		}
		data = append(data, entry{name, name, st.Keys, st.Bytes})
	}
	if c.json {
		return printJSON(c.o.stdout, map[string]any{"Data": data, "Meta": map[string]any{"limit": len(data)}})
	}
	t := newTable("NAME", "KEYS", "SIZE")
	for _, e := range data {
		t.row(printable(e.Name), fmt.Sprint(e.Keys), sizeText(uint64(e.Bytes)))
	}
	t.print(c.o.stdout, "")
	return nil
}

func kvListKeys(ctx context.Context, c *storeCall) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	o, err := kvListOptions(c)
	if err != nil {
		return err
	}
	keys := []string{}
	err = eachKey(ctx, store, o, func(key string) error {
		if c.json {
			keys = append(keys, key)
			return nil
		}
		_, err := fmt.Fprintln(c.o.stdout, printable(key))
		return err
	})
	if err != nil {
		return c.failed("listing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, keys)
	}
	return nil
}

func kvListOptions(c *storeCall) (kvstore.ListOptions, error) {
	o := kvstore.ListOptions{Prefix: c.flags.String("prefix")}
	switch kind := c.flags.String("consistency"); kind {
	case "", "strong":
	case "eventual":
		o.Eventual = true
	default:
		return o, c.usage("--consistency is strong or eventual, not %q", kind)
	}
	return o, nil
}

// eachKey calls f for every key of a listing, in order.
func eachKey(ctx context.Context, store kvstore.Store, o kvstore.ListOptions, f func(key string) error) error {
	for {
		page, err := store.List(ctx, o)
		if err != nil {
			return err
		}
		for _, key := range page.Keys {
			if err := f(key); err != nil {
				return err
			}
		}
		if page.NextCursor == "" {
			return nil
		}
		o.Cursor = page.NextCursor
	}
}

// kvDescription is a key as describe prints it.
type kvDescription struct {
	Key        string     `json:"key"`
	Size       int64      `json:"size"`
	Generation uint64     `json:"generation"`
	Metadata   *string    `json:"metadata,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
}

func describeValue(key string, v kvstore.Value) kvDescription {
	d := kvDescription{Key: key, Size: v.Body.Size(), Generation: v.Generation}
	if v.Metadata != nil {
		s := string(v.Metadata)
		d.Metadata = &s
	}
	if !v.Expires.IsZero() {
		// To the second, which is what the platform counts a key's life in.
		at := v.Expires.Round(time.Second).UTC()
		d.Expires = &at
	}
	return d
}

func kvDescribe(ctx context.Context, c *storeCall) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	if c.key == "" {
		st, err := store.Stat(ctx)
		if err != nil {
			return c.failed("counting", err)
		}
		if c.json {
			return printJSON(c.o.stdout, map[string]any{"Name": c.store, "StoreID": c.store, "Keys": st.Keys, "Bytes": st.Bytes})
		}
		t := newTable("name", printable(c.store))
		t.row("keys", fmt.Sprint(st.Keys))
		t.row("size", sizeText(uint64(st.Bytes)))
		t.print(c.o.stdout, "")
		return nil
	}
	v, err := store.Lookup(ctx, c.key)
	if err != nil {
		return c.failed("reading", err)
	}
	defer v.Body.Close()
	d := describeValue(c.key, v)
	if c.json {
		return printJSON(c.o.stdout, d)
	}
	t := newTable("key", printable(d.Key))
	t.row("size", sizeText(uint64(d.Size)))
	t.row("generation", fmt.Sprint(d.Generation))
	if d.Metadata != nil {
		t.row("metadata", printable(*d.Metadata))
	}
	if d.Expires != nil {
		t.row("expires", d.Expires.Format(time.RFC3339))
	}
	t.print(c.o.stdout, "")
	return nil
}

func kvGetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which appears when it is complete"},
		&cli.Uint64Flag{Name: "if-generation-match", Usage: "fail unless the key has this `GENERATION`", DefaultText: "any"},
	}
}

func kvGet(ctx context.Context, c *storeCall) error {
	if err := c.needKey(); err != nil {
		return err
	}
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	v, err := store.Lookup(ctx, c.key)
	if err != nil {
		return c.failed("reading", err)
	}
	defer v.Body.Close()
	if c.flags.IsSet("if-generation-match") && v.Generation != c.flags.Uint64("if-generation-match") {
		return c.failed("reading", fmt.Errorf("the key's generation is %d: %w", v.Generation, kvstore.ErrPrecondition))
	}
	if c.json {
		b, err := io.ReadAll(v.Body)
		if err != nil {
			return c.failed("reading", err)
		}
		return printJSON(c.o.stdout, map[string]string{c.key: base64.StdEncoding.EncodeToString(b)})
	}
	if path := c.flags.String("output"); path != "" {
		return writeWhole(path, func(w io.Writer) error {
			_, err := v.Body.WriteTo(w)
			return err
		})
	}
	if _, err := v.Body.WriteTo(c.o.stdout); err != nil {
		return c.failed("reading", err)
	}
	return nil
}

func kvDeleteFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "prefix", Usage: "remove every key that begins with `TEXT`"},
		&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, DisableDefaultText: true, Usage: "remove every key"},
		&cli.Uint64Flag{Name: "if-generation-match", Usage: "fail unless the key has this `GENERATION`", DefaultText: "any"},
		&cli.BoolFlag{Name: "force", DisableDefaultText: true, Usage: "do not mind a key that is not there"},
		&cli.IntFlag{Name: "concurrency", Aliases: []string{"r"}, Value: 64, Usage: "remove `N` keys at a time"},
	}
}

// kvDelete removes entries when some are named, else the store.
func kvDelete(ctx context.Context, c *storeCall) error {
	if c.key != "" || c.flags.String("prefix") != "" {
		return kvDeleteEntries(ctx, c)
	}
	stores, err := c.openKV(ctx)
	if err != nil {
		return err
	}
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	if !c.flags.Bool("all") {
		page, err := store.List(ctx, kvstore.ListOptions{Limit: 1})
		if err != nil {
			return c.failed("listing", err)
		}
		if len(page.Keys) > 0 {
			return fmt.Errorf("KV store %s is not empty: --all removes it with its keys", printable(c.store))
		}
	} else if err := c.confirm("remove KV store %s with all its keys", printable(c.store)); err != nil {
		return err
	}
	if err := stores.Drop(ctx, c.store); err != nil {
		return c.failed("removing", err)
	}
	fmt.Fprintf(c.o.stderr, "removed KV store %s\n", printable(c.store))
	return nil
}

func kvDeleteEntries(ctx context.Context, c *storeCall) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	prefix, all := c.flags.String("prefix"), c.flags.Bool("all")
	ways := 0
	for _, given := range []bool{c.key != "", prefix != "", all} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return c.usage("name a KEY, --prefix or --all, and only one of them")
	}
	if c.key != "" {
		o := kvstore.DeleteOptions{IfGeneration: c.flags.Uint64("if-generation-match"), HasIfGeneration: c.flags.IsSet("if-generation-match")}
		err := store.Delete(ctx, c.key, o)
		if err != nil && !(c.flags.Bool("force") && errors.Is(err, kvstore.ErrNotFound)) {
			return c.failed("removing", err)
		}
		return nil
	}
	limit, err := c.concurrency("concurrency")
	if err != nil {
		return err
	}
	progress := newBar(c.o, "removing keys", -1)
	defer progress.finish()
	n, err := parallel(ctx, limit, progress, func(submit func(func(context.Context) error) bool) error {
		return eachKey(ctx, store, kvstore.ListOptions{Prefix: prefix}, func(key string) error {
			if !submit(func(ctx context.Context) error {
				err := store.Delete(ctx, key, kvstore.DeleteOptions{})
				if errors.Is(err, kvstore.ErrNotFound) {
					return nil
				}
				return err
			}) {
				return errStopped
			}
			return nil
		})
	})
	if err != nil {
		return c.failed("removing", err)
	}
	fmt.Fprintf(c.o.stderr, "removed %s\n", count(n, "key"))
	return nil
}

// count puts a noun into the plural.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// openSource opens an operand FILE for reading: standard input when it is empty or "-".
func openSource(o world, path string) (r io.ReadCloser, size int64, err error) {
	if path == "" || path == "-" {
		return io.NopCloser(o.stdin), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func isURL(s string) bool { return strings.Contains(s, "://") }
