package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/edgewasm/wasmedge/secretstore"
)

// secretStoreCommand works on secret stores. Nothing in it shows a secret.
func secretStoreCommand(o world) *cli.Command {
	with := func(flags ...cli.Flag) []cli.Flag { return append([]cli.Flag{secretKeyFlag()}, flags...) }
	return &cli.Command{
		Name:  "secret-store",
		Usage: "make and fill secret stores, and change their keys",
		Description: "Secrets are encrypted with the key of --secret-key, and can be replaced and removed but not read. A server that has the " +
			"directory takes every change over when a program opens the store next.",
		Subcommands: []*cli.Command{
			storeCommand(o, "create", "make an empty store", "STORE", with(), secretCreate),
			storeCommand(o, "list", "list the stores, or the secrets of one", "[STORE]", with(), secretList),
			storeCommand(o, "describe", "tell of a store, or of a secret and its versions", "STORE [SECRET]", with(), secretDescribe),
			storeCommand(o, "put", "store a secret: asked for, from a file or from standard input", "STORE SECRET", with(secretPutFlags()...), secretPut),
			storeCommand(o, "delete", "remove a secret, or a store with all its secrets", "STORE [SECRET]", with(yesFlag()), secretDelete),
			storeCommand(o, "prune", "remove old versions of a secret", "STORE SECRET",
				with(&cli.IntFlag{Name: "keep", Value: 1, Usage: "keep the newest `N`"}), secretPrune),
			storeCommand(o, "rotate", "bring all stores under the first of several keys", "", with(
				&cli.BoolFlag{Name: "data-keys", DisableDefaultText: true, Usage: "encrypt every secret anew, for when somebody else may have had the old key and the files"}), secretRotate),
			storeCommand(o, "new-key", "write a random key into a new file", "FILE", nil, secretNewKey),
		},
	}
}

// secretStoreEntryCommand has the names of the platform's own tool.
func secretStoreEntryCommand(o world) *cli.Command {
	with := func(flags ...cli.Flag) []cli.Flag { return append([]cli.Flag{secretKeyFlag()}, flags...) }
	return &cli.Command{
		Name: "secret-store-entry", Usage: "work on the entries of secret stores", Hidden: true,
		Subcommands: []*cli.Command{
			storeCommand(o, "create", "store a secret", "STORE SECRET", with(secretPutFlags()...), secretPut),
			storeCommand(o, "list", "list the secrets", "STORE", with(), secretList),
			storeCommand(o, "describe", "tell of a secret", "STORE SECRET", with(), secretDescribe),
			storeCommand(o, "delete", "remove a secret", "STORE SECRET", with(), secretDelete),
		},
	}
}

func secretKeyFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "secret-key", EnvVars: []string{"WASMEDGE_SECRET_KEY_SOURCE"},
		Usage: "the key of `SOURCE`: file:PATH, env:NAME or exec:PROGRAM[,FILE]; repeatable: the first seals, all open"}
}

// secrets opens the directory's secret stores. Only create makes one.
func (c *storeCall) secrets(ctx context.Context) (*secretstore.Stores, error) {
	path, err := c.existing(secretsFolder, "secret stores")
	if err != nil {
		return nil, err
	}
	sources := c.flags.StringSlice("secret-key")
	if len(sources) == 0 {
		return nil, c.usage("--secret-key is missing; secret-store new-key makes a key")
	}
	keys, err := secretstore.KeyringFrom(ctx, sources, func(err error) { fmt.Fprintln(c.o.stderr, "warning:", err) })
	if err != nil {
		return nil, fmt.Errorf("--secret-key: %w", err)
	}
	stores, err := secretstore.OpenDir(path, keys)
	if err != nil {
		keys.Destroy()
		return nil, err
	}
	c.close = append(c.close, stores.Close)
	return stores, nil
}

func (c *storeCall) secretStore(ctx context.Context) (*secretstore.Stores, *secretstore.Store, error) {
	stores, err := c.secrets(ctx)
	if err != nil {
		return nil, nil, err
	}
	store, err := stores.Open(c.store)
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", printable(c.store), err)
	}
	return stores, store, nil
}

// secretStoreJSON is a store as the platform's own tool prints it.
type secretStoreJSON struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created_at"`
}

func secretCreate(ctx context.Context, c *storeCall) error {
	stores, err := c.secrets(ctx)
	if err != nil {
		return err
	}
	store, err := stores.Create(c.store)
	if err != nil {
		return c.failed("making", err)
	}
	if c.json {
		return printJSON(c.o.stdout, secretStoreJSON{c.store, c.store, store.Created()})
	}
	fmt.Fprintf(c.o.stderr, "made secret store %s\n", printable(c.store))
	return nil
}

func secretList(ctx context.Context, c *storeCall) error {
	if c.store != "" {
		_, store, err := c.secretStore(ctx)
		if err != nil {
			return err
		}
		infos, err := store.List()
		if err != nil {
			return c.failed("listing", err)
		}
		if c.json {
			if infos == nil {
				infos = []secretstore.Info{}
			}
			return printJSON(c.o.stdout, infos)
		}
		t := newTable("SECRET", "VERSION", "CREATED", "DIGEST")
		for _, i := range infos {
			t.row(printable(i.Name), fmt.Sprint(i.Version), i.Created.Format(time.RFC3339), i.Digest)
		}
		t.print(c.o.stdout, "")
		return nil
	}
	stores, err := c.secrets(ctx)
	if err != nil {
		return err
	}
	names, err := stores.Names()
	if err != nil {
		return err
	}
	list := []secretStoreJSON{}
	t := newTable("STORE", "SECRETS", "CREATED", "KEY")
	var failed error
	for _, name := range names {
		store, err := stores.Open(name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		infos, err := store.List()
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		list = append(list, secretStoreJSON{name, name, store.Created()})
		t.row(printable(name), fmt.Sprint(len(infos)), store.Created().Format(time.RFC3339), store.KeyID())
	}
	if c.json {
		return errors.Join(failed, printJSON(c.o.stdout, list))
	}
	t.print(c.o.stdout, "")
	return failed
}

func secretDescribe(ctx context.Context, c *storeCall) error {
	_, store, err := c.secretStore(ctx)
	if err != nil {
		return err
	}
	if c.key == "" {
		if c.json {
			return printJSON(c.o.stdout, secretStoreJSON{c.store, c.store, store.Created()})
		}
		t := newTable("name", printable(c.store))
		t.row("created", store.Created().Format(time.RFC3339))
		t.row("key", store.KeyID())
		t.print(c.o.stdout, "")
		return nil
	}
	versions, err := store.Versions(c.key)
	if err != nil {
		return c.failed("describing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, versions[0])
	}
	t := newTable("VERSION", "SIZE", "CREATED", "DIGEST")
	for _, i := range versions {
		t.row(fmt.Sprint(i.Version), fmt.Sprint(i.Size), i.Created.Format(time.RFC3339), i.Digest)
	}
	t.print(c.o.stdout, "")
	return nil
}

func secretPutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "the secret is what `FILE` holds, every byte of it"},
		&cli.BoolFlag{Name: "stdin", DisableDefaultText: true, Usage: "the same from standard input"},
		&cli.BoolFlag{Name: "recreate", DisableDefaultText: true, Usage: "a new version of a secret that is there"},
		&cli.BoolFlag{Name: "recreate-allow", DisableDefaultText: true, Usage: "a new version, or a new secret"},
	}
}

func secretPut(ctx context.Context, c *storeCall) error {
	mode := secretstore.Create
	switch {
	case c.flags.Bool("recreate") && c.flags.Bool("recreate-allow"):
		return c.usage("--recreate and --recreate-allow exclude each other")
	case c.flags.Bool("recreate"):
		mode = secretstore.Recreate
	case c.flags.Bool("recreate-allow"):
		mode = secretstore.CreateOrRecreate
	}
	_, store, err := c.secretStore(ctx)
	if err != nil {
		return err
	}
	plaintext, err := c.readSecret()
	defer clear(plaintext)
	if err != nil {
		return err
	}
	info, err := store.Put(c.key, plaintext, mode)
	if err != nil {
		return c.failed("storing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, info)
	}
	fmt.Fprintf(c.o.stderr, "stored %s in %s, version %d, digest %s\n", printable(c.key), printable(c.store), info.Version, info.Digest)
	return nil
}

// readSecret reads it from a file or standard input, or asks for it without echo.
func (c *storeCall) readSecret() ([]byte, error) {
	file, stdin := c.flags.String("file"), c.flags.Bool("stdin")
	if file != "" && stdin {
		return nil, c.usage("--file and --stdin exclude each other")
	}
	if file != "" || stdin {
		r, _, err := openSource(c.o, file)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		// One byte more than is allowed: Put refuses it.
		b := make([]byte, secretstore.MaxSecret+1)
		n, err := io.ReadFull(r, b)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil
		}
		return b[:n], err
	}
	f, ok := c.o.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, c.usage("there is no terminal to ask for the secret: --file or --stdin")
	}
	fmt.Fprintf(c.o.stderr, "Secret (not shown): ")
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(c.o.stderr)
	if err == nil && len(b) == 0 {
		err = errors.New("nothing was entered")
	}
	return b, err
}

func secretDelete(ctx context.Context, c *storeCall) error {
	if c.key == "" {
		stores, err := c.secrets(ctx)
		if err != nil {
			return err
		}
		if err := c.confirm("remove secret store %s with all its secrets", printable(c.store)); err != nil {
			return err
		}
		if err := stores.Drop(c.store); err != nil {
			return c.failed("removing", err)
		}
		fmt.Fprintf(c.o.stderr, "removed secret store %s\n", printable(c.store))
		return nil
	}
	_, store, err := c.secretStore(ctx)
	if err != nil {
		return err
	}
	if err := store.Delete(c.key); err != nil {
		return c.failed("removing", err)
	}
	return nil
}

func secretPrune(ctx context.Context, c *storeCall) error {
	keep := c.flags.Int("keep")
	if keep < 1 {
		return c.usage("--keep is at least 1")
	}
	_, store, err := c.secretStore(ctx)
	if err != nil {
		return err
	}
	n, err := store.Prune(c.key, keep)
	if err != nil {
		return c.failed("pruning", err)
	}
	fmt.Fprintf(c.o.stderr, "removed %s of %s\n", count(int64(n), "version"), printable(c.key))
	return nil
}

func secretRotate(ctx context.Context, c *storeCall) error {
	stores, err := c.secrets(ctx)
	if err != nil {
		return err
	}
	n, err := stores.Rotate(secretstore.RotateOptions{DataKeys: c.flags.Bool("data-keys")})
	fmt.Fprintf(c.o.stderr, "wrote %s anew\n", count(int64(n), "store"))
	return err
}

func secretNewKey(_ context.Context, c *storeCall) error {
	if len(c.rest) == 0 {
		return c.usage("FILE is missing")
	}
	key := secretstore.NewKey()
	defer key.Destroy()
	if err := secretstore.WriteKeyFile(c.rest[0], key); err != nil {
		return err
	}
	fmt.Fprintf(c.o.stderr, "wrote key %s; without it the secrets cannot be read: keep a copy in a safe place\n", key.ID())
	return nil
}
