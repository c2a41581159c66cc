package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/kvstore/bolt"
)

// kvMaintenance makes a command that works on the file as a whole.
func kvMaintenance(o world, name, usage, operands string, run func(context.Context, *storeCall) error) *cli.Command {
	var flags []cli.Flag
	if name == "restore" {
		flags = append(flags, yesFlag())
	}
	return storeCommand(o, name, usage, operands, flags, run)
}

// fileProgress shows on a terminal how far a work on a file is.
func (c *storeCall) fileProgress(what string) (report bolt.Progress, done func()) {
	var shown *bar
	var before int64
	return func(n, total int64) {
			if shown == nil {
				shown = newBar(c.o, what, total)
			}
			shown.add(n - before)
			before = n
		}, func() {
			shown.finish()
		}
}

func kvCheck(ctx context.Context, c *storeCall) error {
	path, err := c.path(kvFile)
	if err != nil {
		return err
	}
	progress, done := c.fileProgress("checking")
	problems := []string{}
	err = bolt.Check(ctx, path, func(problem error) {
		problems = append(problems, problem.Error())
		if !c.json {
			fmt.Fprintln(c.o.stdout, problem)
		}
	}, progress)
	done()
	if err != nil && len(problems) == 0 {
		return err
	}
	if c.json {
		if err := printJSON(c.o.stdout, map[string]any{"file": path, "problems": problems}); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s has %s", path, count(int64(len(problems)), "problem"))
	}
	fmt.Fprintf(c.o.stderr, "%s is in order\n", path)
	return nil
}

func kvCompact(ctx context.Context, c *storeCall) error {
	path, err := c.path(kvFile)
	if err != nil {
		return err
	}
	progress, done := c.fileProgress("compacting")
	before, after, err := bolt.Compact(ctx, path, progress)
	done()
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.o.stdout, map[string]any{"file": path, "before": before, "after": after})
	}
	fmt.Fprintf(c.o.stderr, "%s had %s and has %s\n", path, sizeText(uint64(before)), sizeText(uint64(after)))
	return nil
}

func kvBackup(ctx context.Context, c *storeCall) error {
	if len(c.rest) == 0 {
		return c.usage("FILE is missing")
	}
	path, err := c.path(kvFile)
	if err != nil {
		return err
	}
	stores, err := bolt.Open(path, bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer stores.Close()
	progress, done := c.fileProgress("copying")
	var n int64
	copyTo := func(w io.Writer) (err error) {
		n, err = stores.Backup(ctx, w, progress)
		return err
	}
	if c.rest[0] == "-" {
		err = copyTo(c.o.stdout)
	} else {
		err = writeWhole(c.rest[0], copyTo)
	}
	done()
	if err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	fmt.Fprintf(c.o.stderr, "copied %s of %s\n", sizeText(uint64(n)), path)
	return nil
}

func kvRestore(ctx context.Context, c *storeCall) error {
	if len(c.rest) == 0 {
		return c.usage("FILE is missing")
	}
	path, err := c.path(kvFile)
	if err != nil {
		return err
	}
	r, _, err := openSource(c.o, c.rest[0])
	if err != nil {
		return err
	}
	defer r.Close()
	replace := false
	if exists(path) {
		if err := c.confirm("replace all KV stores in %s", path); err != nil {
			return err
		}
		replace = true
	}
	progress, done := c.fileProgress("restoring")
	err = bolt.Restore(ctx, r, path, replace, progress)
	done()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.o.stderr, "restored %s\n", path)
	return nil
}

// exists reports whether there is something of that name, as far as can be told.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
