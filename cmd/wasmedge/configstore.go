package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/configstore"
	configbolt "github.com/edgewasm/wasmedge/configstore/bolt"
)

// configStoreCommand works on config stores; name is config-store, or dictionary, as they were called.
func configStoreCommand(o world, name string) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       "make, fill and read config stores",
		Hidden:      name != "config-store",
		Description: "A server that has the directory takes every change over within milliseconds.",
		Subcommands: []*cli.Command{
			storeCommand(o, "create", "make an empty store", "STORE", nil, configCreate),
			storeCommand(o, "list", "list the stores, or the entries of one", "[STORE]", nil, configList),
			storeCommand(o, "describe", "tell of a store, or of an entry", "STORE [KEY]", nil, configDescribe),
			storeCommand(o, "put", "make an entry, or give it another value", "STORE KEY [VALUE]", configPutFlags(), configPut),
			storeCommand(o, "get", "write an entry's value to standard output", "STORE KEY", nil, configGet),
			storeCommand(o, "delete", "remove an entry, or a store with all its entries", "STORE [KEY]", []cli.Flag{
				&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, DisableDefaultText: true, Usage: "remove every entry, and keep the store"}, yesFlag(),
			}, configDelete),
			storeCommand(o, "import", "put the entries of a file in place of all that a store has", "STORE [FILE]", nil, configImport),
			storeCommand(o, "export", "write the entries as NDJSON", "STORE [FILE]", nil, configExport),
		},
	}
}

// configStoreEntryCommand has the names of the platform's own tool; name is config-store-entry or dictionary-entry.
func configStoreEntryCommand(o world, name string) *cli.Command {
	create := storeCommand(o, "create", "make an entry", "STORE KEY [VALUE]", configPutFlags(), configPutNew)
	update := storeCommand(o, "update", "give an entry another value", "STORE KEY [VALUE]", append(configPutFlags(),
		&cli.BoolFlag{Name: "upsert", Aliases: []string{"u"}, DisableDefaultText: true, Usage: "make the entry if it is not there"}), configPutOld)
	return &cli.Command{
		Name: name, Usage: "work on the entries of config stores", Hidden: true,
		Subcommands: []*cli.Command{
			create, update,
			storeCommand(o, "list", "list the entries", "STORE", nil, configList),
			storeCommand(o, "describe", "tell of an entry", "STORE KEY", nil, configDescribe),
			storeCommand(o, "delete", "remove an entry", "STORE [KEY]", []cli.Flag{
				&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, DisableDefaultText: true, Usage: "remove every entry"}, yesFlag(),
			}, configDeleteEntries),
		},
	}
}

// configs gives the stores of the directory. Only create makes a file.
func (c *storeCall) configs() (configstore.Admin, error) {
	path, err := c.existing(configFile, "config stores")
	if err != nil {
		return nil, err
	}
	admin := configbolt.New(path, configstore.Limits{})
	c.close = append(c.close, admin.Close)
	return admin, nil
}

// configStoreJSON is a store as the platform's own tool prints it, configEntryJSON an entry.
type configStoreJSON struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`
	Entries int       `json:"item_count"`
}

type configEntryJSON struct {
	Store string  `json:"store_id,omitempty"`
	Key   string  `json:"item_key"`
	Value *string `json:"item_value"`
}

func configCreate(ctx context.Context, c *storeCall) error {
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if err := admin.Create(ctx, c.store); err != nil {
		return c.failed("making", err)
	}
	if !c.json {
		fmt.Fprintf(c.o.stderr, "made config store %s\n", printable(c.store))
		return nil
	}
	i, err := admin.Describe(ctx, c.store)
	if err != nil {
		return err
	}
	return printJSON(c.o.stdout, configStoreJSON{i.Name, i.Name, i.Created, i.Updated, i.Entries})
}

func configList(ctx context.Context, c *storeCall) error {
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if c.store != "" {
		contents, err := admin.Contents(ctx, c.store)
		if err != nil {
			return c.failed("listing", err)
		}
		list := []configEntryJSON{}
		t := newTable("KEY", "VALUE")
		for _, key := range slices.Sorted(maps.Keys(contents)) {
			value := contents[key]
			list = append(list, configEntryJSON{c.store, key, &value})
			t.row(printable(key), printable(value))
		}
		if c.json {
			return printJSON(c.o.stdout, list)
		}
		t.print(c.o.stdout, "")
		return nil
	}
	names, err := admin.Names(ctx)
	if err != nil {
		return err
	}
	list := []configStoreJSON{}
	t := newTable("NAME", "ENTRIES", "UPDATED")
	for _, name := range names {
		i, err := admin.Describe(ctx, name)
		if err != nil {
			return err
		}
		list = append(list, configStoreJSON{i.Name, i.Name, i.Created, i.Updated, i.Entries})
		t.row(printable(i.Name), fmt.Sprint(i.Entries), i.Updated.Format(time.RFC3339))
	}
	if c.json {
		return printJSON(c.o.stdout, list)
	}
	t.print(c.o.stdout, "")
	return nil
}

func configDescribe(ctx context.Context, c *storeCall) error {
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if c.key != "" {
		value, err := admin.Lookup(ctx, c.store, c.key)
		if err != nil {
			return c.failed("reading", err)
		}
		if c.json {
			return printJSON(c.o.stdout, configEntryJSON{c.store, c.key, &value})
		}
		t := newTable("key", printable(c.key))
		t.row("value", printable(value))
		t.print(c.o.stdout, "")
		return nil
	}
	i, err := admin.Describe(ctx, c.store)
	if err != nil {
		return c.failed("describing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, configStoreJSON{i.Name, i.Name, i.Created, i.Updated, i.Entries})
	}
	t := newTable("name", printable(i.Name))
	t.row("entries", fmt.Sprint(i.Entries))
	t.row("created", i.Created.Format(time.RFC3339))
	t.row("updated", i.Updated.Format(time.RFC3339))
	t.print(c.o.stdout, "")
	return nil
}

func configPutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "value", Usage: "`TEXT`, in place of the operand"},
		&cli.StringFlag{Name: "file", Usage: "the value is what `FILE` holds"},
		&cli.BoolFlag{Name: "stdin", DisableDefaultText: true, Usage: "the same from standard input"},
	}
}

// mostConfigValue is the most that is read of a value: four bytes for each character that is allowed, and one more.
const mostConfigValue = 4*configstore.DefaultValueChars + 1

func (c *storeCall) configValue() (string, error) {
	value, given := c.flags.String("value"), c.flags.IsSet("value")
	if len(c.rest) > 0 {
		if given {
			return "", c.usage("the value is given twice")
		}
		value, given = c.rest[0], true
	}
	file, stdin := c.flags.String("file"), c.flags.Bool("stdin")
	ways := 0
	for _, is := range []bool{given, file != "", stdin} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		return "", c.usage("give one of VALUE, --file and --stdin")
	}
	if given {
		return value, nil
	}
	r, _, err := openSource(c.o, file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, mostConfigValue))
	return string(b), err
}

func configPut(ctx context.Context, c *storeCall) error { return putConfig(ctx, c, true, true) }

func configPutNew(ctx context.Context, c *storeCall) error { return putConfig(ctx, c, true, false) }

func configPutOld(ctx context.Context, c *storeCall) error {
	return putConfig(ctx, c, c.flags.Bool("upsert"), true)
}

// putConfig stores an entry that is not there (fresh), or is (again).
func putConfig(ctx context.Context, c *storeCall, fresh, again bool) error {
	value, err := c.configValue()
	if err != nil {
		return err
	}
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if !fresh || !again {
		_, err := admin.Lookup(ctx, c.store, c.key)
		switch {
		case err == nil && !again:
			return c.failed("storing", errors.New("the key exists already"))
		case err != nil && (!errors.Is(err, configstore.ErrNoKey) || !fresh):
			return c.failed("storing", err)
		}
	}
	if err := admin.Put(ctx, c.store, c.key, value); err != nil {
		return c.failed("storing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, configEntryJSON{c.store, c.key, &value})
	}
	fmt.Fprintf(c.o.stderr, "stored %s in %s\n", printable(c.key), printable(c.store))
	return nil
}

func configGet(ctx context.Context, c *storeCall) error {
	admin, err := c.configs()
	if err != nil {
		return err
	}
	value, err := admin.Lookup(ctx, c.store, c.key)
	if err != nil {
		return c.failed("reading", err)
	}
	if c.json {
		return printJSON(c.o.stdout, configEntryJSON{c.store, c.key, &value})
	}
	_, err = io.WriteString(c.o.stdout, value)
	return err
}

func configDelete(ctx context.Context, c *storeCall) error {
	if c.key != "" || c.flags.Bool("all") {
		return configDeleteEntries(ctx, c)
	}
	admin, err := c.configs()
	if err != nil {
		return err
	}
	i, err := admin.Describe(ctx, c.store)
	if err != nil {
		return c.failed("removing", err)
	}
	if i.Entries > 0 {
		if err := c.confirm("remove config store %s with %s", printable(c.store), entries(i.Entries)); err != nil {
			return err
		}
	}
	if err := admin.Drop(ctx, c.store); err != nil {
		return c.failed("removing", err)
	}
	fmt.Fprintf(c.o.stderr, "removed config store %s\n", printable(c.store))
	return nil
}

func configDeleteEntries(ctx context.Context, c *storeCall) error {
	if (c.key != "") == c.flags.Bool("all") {
		return c.usage("name a KEY or --all, and only one of them")
	}
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if c.key == "" {
		if err := c.confirm("remove every entry of config store %s", printable(c.store)); err != nil {
			return err
		}
		err = admin.Replace(ctx, c.store, nil)
	} else {
		err = admin.Delete(ctx, c.store, c.key)
	}
	if err != nil {
		return c.failed("removing", err)
	}
	return nil
}

// configImport takes NDJSON as export writes it, or one JSON object of strings.
func configImport(ctx context.Context, c *storeCall) error {
	var file string
	if len(c.rest) > 0 {
		file = c.rest[0]
	}
	r, _, err := openSource(c.o, file)
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, configstore.MaxFileSize+1))
	if err == nil && len(text) > configstore.MaxFileSize {
		err = fmt.Errorf("larger than %d bytes", configstore.MaxFileSize)
	}
	var contents map[string]string
	if err == nil {
		contents, err = parseConfigs(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", orElse(file, "standard input"), err)
	}
	admin, err := c.configs()
	if err != nil {
		return err
	}
	if err := admin.Replace(ctx, c.store, contents); err != nil {
		return c.failed("storing", err)
	}
	fmt.Fprintf(c.o.stderr, "%s has %s now\n", printable(c.store), entries(len(contents)))
	return nil
}

func parseConfigs(text []byte) (map[string]string, error) {
	contents := map[string]string{}
	lines := bytes.Split(text, []byte("\n"))
	for n, line := range lines {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var e configEntryJSON
		if err := json.Unmarshal(line, &e); err != nil || e.Value == nil {
			if len(contents) == 0 { // of one object, or nothing that is known
				return configstore.ParseJSON(text, configstore.Limits{})
			}
			return nil, fmt.Errorf("line %d is not {\"item_key\":...,\"item_value\":...}", n+1)
		}
		if err := (configstore.Limits{}).CheckEntry(e.Key, *e.Value); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		contents[e.Key] = *e.Value
	}
	return contents, nil
}

func configExport(ctx context.Context, c *storeCall) error {
	admin, err := c.configs()
	if err != nil {
		return err
	}
	contents, err := admin.Contents(ctx, c.store)
	if err != nil {
		return c.failed("reading", err)
	}
	write := func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		for _, key := range slices.Sorted(maps.Keys(contents)) {
			value := contents[key]
			if err := e.Encode(configEntryJSON{Key: key, Value: &value}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(c.rest) > 0 && c.rest[0] != "-" {
		return writeWhole(c.rest[0], write)
	}
	return write(c.o.stdout)
}
