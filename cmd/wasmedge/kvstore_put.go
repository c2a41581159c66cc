package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/kvstore"
)

func kvPutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "value", Usage: "`TEXT`, in place of the operand"},
		&cli.StringFlag{Name: "file", Usage: "the value is what `FILE` holds; without KEY, FILE holds NDJSON as import reads it"},
		&cli.BoolFlag{Name: "stdin", DisableDefaultText: true, Usage: "the same from standard input"},
		&cli.StringFlag{Name: "dir", Usage: "a key for every file below `DIR`: its path below DIR, with slashes; KEY is put in front"},
		&cli.BoolFlag{Name: "dir-allow-hidden", DisableDefaultText: true, Usage: "names below DIR that begin with a dot, too"},
		&cli.IntFlag{Name: "dir-concurrency", Value: 50, Usage: "store `N` files at a time"},
		&cli.StringFlag{Name: "metadata", Usage: "`TEXT` to keep beside the value, at most 2000 bytes"},
		&cli.DurationFlag{Name: "ttl", DefaultText: "none", Usage: "let the key expire after this `TIME`"},
		&cli.BoolFlag{Name: "add", DisableDefaultText: true, Usage: "fail if the key exists"},
		&cli.BoolFlag{Name: "append", DisableDefaultText: true, Usage: "put the value behind the present one"},
		&cli.BoolFlag{Name: "prepend", DisableDefaultText: true, Usage: "put the value in front of the present one"},
		&cli.Uint64Flag{Name: "if-generation-match", Usage: "fail unless the key has this `GENERATION` (0: unless it is missing)", DefaultText: "any"},
		&cli.BoolFlag{Name: "background-fetch", DisableDefaultText: true, Hidden: true, Usage: "has no effect: nothing is fetched from afar"},
	}
}

func (c *storeCall) insertOptions() (kvstore.InsertOptions, error) {
	o := kvstore.InsertOptions{TTL: c.flags.Duration("ttl"), HasIfGeneration: c.flags.IsSet("if-generation-match")}
	o.IfGeneration = c.flags.Uint64("if-generation-match")
	if c.flags.IsSet("metadata") {
		o.Metadata = []byte(c.flags.String("metadata"))
	}
	if o.TTL < 0 || c.flags.IsSet("ttl") && o.TTL < time.Second {
		return o, c.usage("--ttl is at least a second")
	}
	modes := 0
	for name, mode := range map[string]kvstore.InsertMode{"add": kvstore.Add, "append": kvstore.Append, "prepend": kvstore.Prepend} {
		if c.flags.Bool(name) {
			o.Mode = mode
			modes++
		}
	}
	if modes > 1 {
		return o, c.usage("--add, --append and --prepend exclude each other")
	}
	return o, nil
}

// kvPut stores one value, NDJSON, or a directory.
func kvPut(ctx context.Context, c *storeCall) error {
	value, given := c.flags.String("value"), c.flags.IsSet("value")
	if len(c.rest) > 0 {
		if given {
			return c.usage("the value is given twice")
		}
		value, given = c.rest[0], true
	}
	file, stdin, dir := c.flags.String("file"), c.flags.Bool("stdin"), c.flags.String("dir")
	ways := 0
	for _, is := range []bool{given, file != "", stdin, dir != ""} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		return c.usage("give one of VALUE, --file, --stdin and --dir")
	}
	o, err := c.insertOptions()
	if err != nil {
		return err
	}
	if dir != "" {
		return kvPutDir(ctx, c, dir, o)
	}
	if given && c.key == "" {
		return c.needKey()
	}
	if c.key == "" {
		c.rest = []string{file}
		return kvImport(ctx, c)
	}
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	var from io.Reader = strings.NewReader(value)
	if !given {
		f, _, err := openSource(c.o, file)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	generation, err := store.Insert(ctx, c.key, from, o)
	if err != nil {
		return c.failed("storing", err)
	}
	if c.json {
		return printJSON(c.o.stdout, map[string]any{"id": c.store, "key": c.key, "generation": generation})
	}
	fmt.Fprintf(c.o.stderr, "stored %s in %s\n", printable(c.key), printable(c.store))
	return nil
}

// kvPutDir stores the files below a directory, several at a time.
func kvPutDir(ctx context.Context, c *storeCall, dir string, o kvstore.InsertOptions) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	type source struct{ key, file string }
	limit, err := c.concurrency("dir-concurrency")
	if err != nil {
		return err
	}
	var files []source
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != dir && strings.HasPrefix(d.Name(), ".") && !c.flags.Bool("dir-allow-hidden") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			fmt.Fprintf(c.o.stderr, "skipped %s: not a regular file\n", printable(name))
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		key := path.Join(c.key, filepath.ToSlash(rel))
		if err := kvstore.CheckKey(key); err != nil {
			return fmt.Errorf("%s: %w", printable(name), err)
		}
		files = append(files, source{key, name})
		return nil
	})
	if err != nil {
		return err
	}
	progress := newBar(c.o, "storing files", int64(len(files)))
	defer progress.finish()
	n, err := parallel(ctx, limit, progress, func(submit func(func(context.Context) error) bool) error {
		for _, s := range files {
			if !submit(func(ctx context.Context) error {
				f, err := os.Open(s.file)
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := store.Insert(ctx, s.key, f, o); err != nil {
					return fmt.Errorf("%s: %w", printable(s.file), err)
				}
				return nil
			}) {
				return errStopped
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("after %s: %w", count(n, "file"), err)
	}
	fmt.Fprintf(c.o.stderr, "stored %s in %s\n", count(n, "file"), printable(c.store))
	return nil
}
