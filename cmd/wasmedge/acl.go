package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/host/acl"
)

// aclDir holds the access control lists of a data directory.
const aclDir = "acls"

// aclCommand works on access control lists.
func aclCommand(o world) *cli.Command {
	list := storeCommand(o, "list", "list the ACLs", "", nil, aclList)
	list.Aliases = []string{"list-acls"}
	return &cli.Command{
		Name:        "acl",
		Usage:       "make, fill and ask access control lists",
		Description: "A server that has the directory takes every change over at its next request.",
		Subcommands: []*cli.Command{
			storeCommand(o, "create", "make an empty ACL", "ACL", nil, aclCreate),
			list,
			storeCommand(o, "describe", "tell of an ACL", "ACL", nil, aclDescribe),
			storeCommand(o, "delete", "remove an ACL", "ACL", []cli.Flag{yesFlag()}, aclDelete),
			storeCommand(o, "update", "change entries", "ACL", aclUpdateFlags(), aclUpdate),
			storeCommand(o, "lookup", "tell which entry an address meets", "ACL [IP]",
				[]cli.Flag{&cli.StringFlag{Name: "ip", Usage: "`ADDRESS`, in place of the operand"}}, aclLookup),
			storeCommand(o, "list-entries", "list the entries of an ACL, a page at a time", "ACL", []cli.Flag{
				&cli.StringFlag{Name: "cursor", Usage: "`CURSOR` of the page before"},
				&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Value: 50, Usage: "`N` entries at most"},
			}, aclListEntries),
			storeCommand(o, "import", "put the entries of an NDJSON file in place of all that an ACL has", "ACL [FILE]", nil, aclImport),
			storeCommand(o, "export", "write the entries as NDJSON", "ACL [FILE]", nil, aclExport),
		},
	}
}

// acls opens the directory. Only create makes one.
func (c *storeCall) acls() (*acl.Dir, error) {
	path, err := c.existing(aclDir, "ACLs")
	if err != nil {
		return nil, err
	}
	return acl.OpenDir(path)
}

// acl finds the ACL that is named, by its name or its ID.
func (c *storeCall) acl() (*acl.Dir, acl.Info, error) {
	dir, err := c.acls()
	if err != nil {
		return nil, acl.Info{}, err
	}
	info, err := dir.Find(c.store)
	if errors.Is(err, acl.ErrNotFound) {
		if byID, ierr := dir.Describe(c.store); ierr == nil {
			info, err = byID, nil
		}
	}
	return dir, info, err
}

// aclJSON is an ACL as the platform's own tool prints it.
type aclJSON struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`
}

func asACLJSON(i acl.Info) aclJSON { return aclJSON{i.ID, i.Name, i.Created, i.Updated} }

type aclEntryJSON struct {
	Prefix string `json:"prefix"`
	Action string `json:"action"`
}

func aclCreate(_ context.Context, c *storeCall) error {
	dir, err := c.acls()
	if err != nil {
		return err
	}
	info, err := dir.Create(c.store)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.o.stdout, asACLJSON(info))
	}
	fmt.Fprintf(c.o.stderr, "made ACL %s (%s)\n", printable(info.Name), info.ID)
	return nil
}

func aclList(_ context.Context, c *storeCall) error {
	dir, err := c.acls()
	if err != nil {
		return err
	}
	infos, err := dir.List()
	if err != nil {
		return err
	}
	if c.json {
		data := []aclJSON{}
		for _, i := range infos {
			data = append(data, asACLJSON(i))
		}
		return printJSON(c.o.stdout, map[string]any{"data": data, "meta": map[string]int{"total": len(data)}})
	}
	t := newTable("NAME", "ID", "UPDATED")
	for _, i := range infos {
		t.row(printable(i.Name), i.ID, i.Updated.Format(time.RFC3339))
	}
	t.print(c.o.stdout, "")
	return nil
}

func aclDescribe(_ context.Context, c *storeCall) error {
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.o.stdout, asACLJSON(info))
	}
	list, err := dir.OpenID(info.ID)
	if err != nil {
		return err
	}
	t := newTable("name", printable(info.Name))
	t.row("id", info.ID)
	t.row("entries", fmt.Sprint(list.Table().Len()))
	t.row("created", info.Created.Format(time.RFC3339))
	t.row("updated", info.Updated.Format(time.RFC3339))
	t.print(c.o.stdout, "")
	return nil
}

func aclDelete(_ context.Context, c *storeCall) error {
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	list, err := dir.OpenID(info.ID)
	if err == nil && list.Table().Len() > 0 {
		if err := c.confirm("remove ACL %s with %s", printable(info.Name), entries(list.Table().Len())); err != nil {
			return err
		}
	}
	if err := dir.Delete(info.ID); err != nil {
		return err
	}
	fmt.Fprintf(c.o.stderr, "removed ACL %s\n", printable(info.Name))
	return nil
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func aclUpdateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Usage: "the changes are in `FILE`, as the platform's API takes them: {\"entries\":[{\"op\":...,\"prefix\":...,\"action\":...}]}; - is standard input"},
		&cli.StringFlag{Name: "operation", Usage: "`OP` is create, update or delete"},
		&cli.StringFlag{Name: "prefix", Usage: "`PREFIX` such as 192.0.2.0/24"},
		&cli.StringFlag{Name: "action", Usage: "`ACTION` is ALLOW or BLOCK"},
	}
}

func aclUpdate(_ context.Context, c *storeCall) error {
	file, prefix := c.flags.String("file"), c.flags.String("prefix")
	if (file == "") == (prefix == "") {
		return c.usage("give either --file, or --operation, --prefix and --action")
	}
	var ops []acl.Op
	if file != "" {
		r, _, err := openSource(c.o, file)
		if err != nil {
			return err
		}
		defer r.Close()
		if ops, err = acl.ReadOps(r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	} else {
		kind, err := acl.ParseKind(c.flags.String("operation"))
		if err != nil {
			return c.usage("--operation: %v", err)
		}
		p, err := acl.ParsePrefix(prefix)
		if err != nil {
			return c.usage("--prefix: %v", err)
		}
		ops = []acl.Op{{Kind: kind, Entry: acl.Entry{Prefix: p, Action: c.flags.String("action")}}}
	}
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	changes, err := dir.Update(info.ID, ops)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.o.stdout, map[string]int{"created": changes.Created, "updated": changes.Updated, "deleted": changes.Deleted, "missing": changes.Missing})
	}
	fmt.Fprintf(c.o.stderr, "%d created, %d updated, %d deleted, %d to delete were not there\n", changes.Created, changes.Updated, changes.Deleted, changes.Missing)
	return nil
}

func aclLookup(_ context.Context, c *storeCall) error {
	text := c.flags.String("ip")
	if text == "" && len(c.rest) > 0 {
		text = c.rest[0]
	}
	if text == "" {
		return c.usage("IP is missing")
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return c.usage("%q is no IP address", text)
	}
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	list, err := dir.OpenID(info.ID)
	if err != nil {
		return err
	}
	entry, ok := list.Lookup(ip)
	if !ok {
		fmt.Fprintf(c.o.stderr, "no entry of %s has %s\n", printable(info.Name), ip)
		return codeError(exitError)
	}
	if c.json {
		return printJSON(c.o.stdout, aclEntryJSON{entry.Prefix.String(), entry.Action})
	}
	_, err = fmt.Fprintf(c.o.stdout, "%s %s\n", entry.Prefix, printable(entry.Action))
	return err
}

func aclListEntries(_ context.Context, c *storeCall) error {
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	list, err := dir.OpenID(info.ID)
	if err != nil {
		return err
	}
	page, next, err := list.Table().List(c.flags.String("cursor"), c.flags.Int("limit"))
	if err != nil {
		return err
	}
	if c.json {
		data := []aclEntryJSON{}
		for _, e := range page {
			data = append(data, aclEntryJSON{e.Prefix.String(), e.Action})
		}
		return printJSON(c.o.stdout, map[string]any{"entries": data, "meta": map[string]any{"limit": c.flags.Int("limit"), "next_cursor": next}})
	}
	t := newTable("PREFIX", "ACTION")
	for _, e := range page {
		t.row(e.Prefix.String(), printable(e.Action))
	}
	t.print(c.o.stdout, "")
	if next != "" {
		fmt.Fprintf(c.o.stderr, "there are more: --cursor %s\n", next)
	}
	return nil
}

func aclImport(_ context.Context, c *storeCall) error {
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
	ops, err := acl.ReadLines(&metered{r, progress})
	if err != nil {
		return fmt.Errorf("%s: %w", orElse(file, "standard input"), err)
	}
	var empty *acl.Table
	table, _, err := empty.Update(ops)
	if err != nil {
		return err
	}
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	if err := dir.Replace(info.ID, table); err != nil {
		return err
	}
	progress.finish()
	fmt.Fprintf(c.o.stderr, "%s has %s now\n", printable(info.Name), entries(table.Len()))
	return nil
}

// metered shows how far the reading of a file is.
type metered struct {
	r   io.Reader
	bar *bar
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.bar.add(int64(n))
	return n, err
}

func aclExport(_ context.Context, c *storeCall) error {
	dir, info, err := c.acl()
	if err != nil {
		return err
	}
	list, err := dir.OpenID(info.ID)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { return acl.WriteLines(w, list.Table().All()) }
	if len(c.rest) > 0 && c.rest[0] != "-" {
		return writeWhole(c.rest[0], write)
	}
	out := bufio.NewWriter(c.o.stdout)
	if err := write(out); err != nil {
		return err
	}
	return out.Flush()
}
