package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/edgewasm/wasmedge/kvstore"
)

// storeCall is one call of a command that works on stores.
type storeCall struct {
	o       world
	command string // "kv-store put"
	flags   *cli.Context
	store   string
	key     string
	rest    []string // operands behind STORE and KEY
	json    bool
	close   []func() error
	opened  kvstore.Stores
}

// errStopped ends a walk whose tasks have failed; the task's error is the one to tell.
var errStopped = errors.New("stopped")

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y", "auto-yes"}, DisableDefaultText: true, Usage: "do not ask"}
}

// placeFlag names where stores are kept.
func placeFlag() cli.Flag {
	return &cli.StringFlag{Name: "store", Aliases: []string{"data-dir"}, EnvVars: []string{"WASMEDGE_DATA_DIR"},
		Usage: "the stores of this data `DIR`, that of serve --data-dir"}
}

// storeCommand makes one command of a group. operands are STORE, KEY and what else may follow, those in brackets
// may be left out.
func storeCommand(o world, name, usage, operands string, flags []cli.Flag, run func(context.Context, *storeCall) error) *cli.Command {
	words := strings.Fields(operands)
	common := []cli.Flag{placeFlag()}
	word := func(i int, known ...string) string {
		if i < len(words) {
			if w := strings.Trim(words[i], "[]"); slices.Contains(known, w) {
				return w
			}
		}
		return ""
	}
	// The platform's tool calls a secret by --name, and so everything that has a name but no key.
	store, key := word(0, "STORE", "ACL"), word(1, "KEY", "SECRET")
	storeFlag := []string{"name", "n", "store-id", "s"}
	keyFlag := []string{"key", "k"}
	switch {
	case store == "ACL":
		storeFlag = []string{"name", "n", "acl-id"}
	case key == "SECRET":
		storeFlag, keyFlag = []string{"store-id", "s"}, []string{"name", "n"}
	}
	if store != "" {
		common = append(common, &cli.StringFlag{Name: storeFlag[0], Aliases: storeFlag[1:], Usage: "`" + store + "`, in place of the operand"})
	}
	if key != "" {
		common = append(common, &cli.StringFlag{Name: keyFlag[0], Aliases: keyFlag[1:], Usage: "`" + key + "`, in place of the operand"})
	}
	common = append(common, &cli.BoolFlag{Name: "json", Aliases: []string{"j"}, DisableDefaultText: true, Usage: "print JSON"}, verboseFlag())
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: operands, Flags: append(common, flags...),
		Action: func(ctx *cli.Context) error {
			lineage := ctx.Lineage()
			group := lineage[1].Command.Name
			c := &storeCall{o: o, command: group + " " + name, flags: ctx, json: ctx.Bool("json"), rest: ctx.Args().Slice()}
			take := func(flag string) string {
				if v := ctx.String(flag); v != "" {
					return v
				}
				if len(c.rest) == 0 {
					return ""
				}
				v := c.rest[0]
				c.rest = c.rest[1:]
				return v
			}
			if store != "" {
				c.store = take(storeFlag[0])
				if c.store == "" && words[0] == store {
					return c.usage("%s is missing", store)
				}
			}
			if key != "" {
				c.key = take(keyFlag[0])
				if c.key == "" && words[1] == key {
					return c.usage("%s is missing", key)
				}
			}
			return c.run(ctx.Context, run)
		},
	}
}

func (c *storeCall) run(ctx context.Context, f func(context.Context, *storeCall) error) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	defer func() {
		for _, close := range c.close {
			if cerr := close(); err == nil && cerr != nil {
				err = c.failed("closing the stores", cerr)
			}
		}
	}()
	return f(ctx, c)
}

func (c *storeCall) usage(format string, a ...any) error {
	return &usageError{c.command, fmt.Sprintf(format, a...)}
}

func (c *storeCall) needKey() error {
	if c.key == "" {
		return c.usage("KEY is missing")
	}
	return nil
}

// failed says what was being done with which store and key.
func (c *storeCall) failed(doing string, err error) error {
	var u *usageError
	if errors.As(err, &u) {
		return err
	}
	switch {
	case c.store == "":
		return fmt.Errorf("%s: %w", doing, err)
	case c.key == "":
		return fmt.Errorf("%s %s: %w", doing, printable(c.store), err)
	}
	return fmt.Errorf("%s %s of %s: %w", doing, printable(c.key), printable(c.store), err)
}

// confirm asks before something is lost.
func (c *storeCall) confirm(format string, a ...any) error {
	if c.flags.Bool("yes") {
		return nil
	}
	what := fmt.Sprintf(format, a...)
	f, ok := c.o.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return fmt.Errorf("will not %s without being told so: add --yes", what)
	}
	fmt.Fprintf(c.o.stderr, "Really %s? [y/N] ", what)
	line, _ := bufio.NewReader(f).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// concurrency reads a flag that bounds how much is done at a time.
func (c *storeCall) concurrency(flag string) (int, error) {
	n := c.flags.Int(flag)
	if n < 1 || n > 1024 {
		return 0, c.usage("--%s is between 1 and 1024", flag)
	}
	return n, nil
}

// parallel runs the tasks that feed submits, n at a time, and counts those that succeeded. The first error ends it:
// submit answers false from then on.
func parallel(ctx context.Context, n int, bar *bar, feed func(submit func(func(context.Context) error) bool) error) (int64, error) {
	g, tasks := errgroup.WithContext(ctx)
	g.SetLimit(n)
	var done atomic.Int64
	err := feed(func(task func(context.Context) error) bool {
		if tasks.Err() != nil {
			return false
		}
		g.Go(func() error {
			err := task(tasks)
			if err == nil {
				done.Add(1)
				bar.add(1)
			}
			return err
		})
		return true
	})
	failed := g.Wait()
	if failed == nil && errors.Is(err, errStopped) {
		failed = ctx.Err()
	}
	return done.Load(), cmp.Or(failed, err)
}

// bar shows on a terminal how far a long work is. It may be used from many goroutines.
type bar struct {
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

// newBar makes a bar of total steps (-1: not known); nil without a terminal, which is a bar that shows nothing.
func newBar(o world, what string, total int64) *bar {
	if !o.terminal(o.stderr) {
		return nil
	}
	return &bar{bar: progressbar.NewOptions64(total, progressbar.OptionSetWriter(o.stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond))}
}

func (b *bar) add(n int64) {
	if b == nil || b.bar == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.bar.Add64(n) // the terminal's errors are nobody's business
}

func (b *bar) finish() {
	if b == nil || b.bar == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.bar.Finish()
}

// writeWhole writes a file that appears under its name when it is complete.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	if err := write(buf); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
