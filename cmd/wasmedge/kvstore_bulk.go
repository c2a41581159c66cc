package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/kvstore"
)

// kvLine is one line of NDJSON, as the platform's batch interface takes it; value is base64. expires is ours: export
// writes it, so that an import keeps what is left of a key's life.
type kvLine struct {
	Key      string     `json:"key"`
	Value    *string    `json:"value"`
	Metadata *string    `json:"metadata,omitempty"`
	TTL      int64      `json:"time_to_live_sec,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
}

// maxKVLine bounds a line: the largest value in base64, its key and metadata with every character escaped.
const maxKVLine = kvstore.DefaultMaxValue/3*4 + 6*(kvstore.MaxKey+kvstore.MaxMetadata) + 1024

// importConcurrency makes writes share their syncs of the disk; it also bounds the memory, at that many values.
const importConcurrency = 16

func parseKVLine(line []byte) (key string, value []byte, o kvstore.InsertOptions, err error) {
	var l kvLine
	if err := json.Unmarshal(line, &l); err != nil {
		return "", nil, o, err
	}
	if err := kvstore.CheckKey(l.Key); err != nil {
		return "", nil, o, err
	}
	if l.Value == nil {
		return "", nil, o, errors.New(`"value" is missing`)
	}
	if value, err = base64.StdEncoding.DecodeString(*l.Value); err != nil {
		return "", nil, o, fmt.Errorf("the value is not base64: %w", err)
	}
	if l.Metadata != nil {
		o.Metadata = []byte(*l.Metadata)
	}
	if l.TTL < 0 || l.TTL > int64(1<<62/time.Second) {
		return "", nil, o, errors.New(`"time_to_live_sec" is out of range`)
	}
	o.TTL = time.Duration(l.TTL) * time.Second
	if l.Expires != nil && l.TTL == 0 {
		o.TTL = time.Until(*l.Expires)
		if o.TTL <= 0 {
			return l.Key, nil, o, errExpired
		}
	}
	return l.Key, value, o, nil
}

var errExpired = errors.New("expired")

func kvImport(ctx context.Context, c *storeCall) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	var file string
	if len(c.rest) > 0 {
		file = c.rest[0]
	}
	r, size, err := openSource(c.o, file)
	if err != nil {
		return err
	}
	defer r.Close()
	progress := newBar(c.o, "importing", size)
	defer progress.finish()
	lines := bufio.NewReaderSize(r, 1<<16)
	expired := 0
	n, err := parallel(ctx, importConcurrency, nil, func(submit func(func(context.Context) error) bool) error {
		for number := 1; ; number++ {
			line, err := readLine(lines, maxKVLine)
			if err != nil && err != io.EOF {
				return fmt.Errorf("line %d: %w", number, err)
			}
			progress.add(int64(len(line)))
			if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
				key, value, o, perr := parseKVLine(trimmed)
				if perr != nil && !errors.Is(perr, errExpired) {
					return fmt.Errorf("line %d: %w", number, perr)
				}
				if perr != nil {
					expired++
				} else if !submit(func(ctx context.Context) error {
					if _, err := store.Insert(ctx, key, kvstore.BytesBody(value), o); err != nil {
						return fmt.Errorf("line %d: %w", number, err)
					}
					return nil
				}) {
					return errStopped
				}
			}
			if err == io.EOF {
				return nil
			}
		}
	})
	if err != nil {
		return fmt.Errorf("after %s: %w", count(n, "key"), err)
	}
	fmt.Fprintf(c.o.stderr, "stored %s in %s", count(n, "key"), printable(c.store))
	if expired > 0 {
		fmt.Fprintf(c.o.stderr, ", left out %d expired", expired)
	}
	fmt.Fprintln(c.o.stderr)
	return nil
}

// readLine reads a line of at most limit bytes into memory of its own.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fmt.Errorf("longer than %d bytes", limit)
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

func kvExportFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "prefix", Usage: "only keys that begin with `TEXT`"}}
}

func kvExport(ctx context.Context, c *storeCall) error {
	store, err := c.kv(ctx)
	if err != nil {
		return err
	}
	progress := newBar(c.o, "exporting", -1)
	defer progress.finish()
	var n int64
	write := func(w io.Writer) error {
		return eachKey(ctx, store, kvstore.ListOptions{Prefix: c.flags.String("prefix")}, func(key string) error {
			v, err := store.Lookup(ctx, key)
			if errors.Is(err, kvstore.ErrNotFound) {
				return nil // removed since it was listed
			}
			if err != nil {
				return fmt.Errorf("reading %s: %w", printable(key), err)
			}
			defer v.Body.Close()
			b, err := io.ReadAll(v.Body)
			if err != nil {
				return fmt.Errorf("reading %s: %w", printable(key), err)
			}
			text := base64.StdEncoding.EncodeToString(b)
			d := describeValue(key, v)
			line, err := json.Marshal(kvLine{Key: key, Value: &text, Metadata: d.Metadata, Expires: d.Expires})
			if err != nil {
				return err
			}
			n++
			progress.add(1)
			_, err = w.Write(append(line, '\n'))
			return err
		})
	}
	if len(c.rest) > 0 && c.rest[0] != "-" {
		err = writeWhole(c.rest[0], write)
	} else {
		out := bufio.NewWriter(c.o.stdout)
		if err = write(out); err == nil {
			err = out.Flush()
		}
	}
	if err != nil {
		return c.failed("exporting", err)
	}
	progress.finish()
	fmt.Fprintf(c.o.stderr, "exported %s of %s\n", count(n, "key"), printable(c.store))
	return nil
}
