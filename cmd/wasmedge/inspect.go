package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/wasm"
)

func inspectCommand(o world) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "tell what a program imports, exports and was built with",
		UsageText: "wasmedge inspect [OPTIONS] INPUT\nwasmedge inspect --abi [--json]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "abi", DisableDefaultText: true, Usage: "list every hostcall of the platform with its state instead"},
			&cli.BoolFlag{Name: "check", DisableDefaultText: true, Usage: "exit with 1 unless every import is implemented and there is an entry point"},
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print JSON"},
			verboseFlag(),
		},
		Action: func(ctx *cli.Context) error {
			if ctx.Bool("abi") {
				if ctx.NArg() > 0 {
					return &usageError{"inspect", "--abi takes no INPUT"}
				}
				return printABI(o.stdout, ctx.Bool("json"))
			}
			if ctx.NArg() == 0 {
				return &usageError{"inspect", "INPUT is missing"}
			}
			path := ctx.Args().First()
			program, err := readProgram("inspect", path)
			if err != nil {
				return err
			}
			r, err := inspect(path, program)
			if err != nil {
				return &usageError{"inspect", fmt.Sprintf("%s: %v", path, err)}
			}
			if ctx.Bool("json") {
				err = printJSON(o.stdout, r)
			} else {
				r.print(o.stdout)
			}
			if err == nil && ctx.Bool("check") && !r.Complete {
				return codeError(exitError)
			}
			return err
		},
	}
}

// report is what inspect tells. The JSON form is for scripts: fields are only added.
type report struct {
	File      string         `json:"file"`
	Size      int            `json:"size"`
	CodeSize  int            `json:"codeSize"`
	Functions int            `json:"functions"`
	Language  string         `json:"language,omitempty"`
	Compiler  string         `json:"compiler,omitempty"`
	SDK       string         `json:"sdk,omitempty"`
	Kind      string         `json:"kind"`     // command, reactor or library
	Runs      bool           `json:"runs"`     // there is an entry point and every import links
	Complete  bool           `json:"complete"` // runs, and every import is implemented
	Imports   []importReport `json:"imports"`
	Exports   []exportReport `json:"exports"`
	Memory    *memoryReport  `json:"memory,omitempty"`
}

type importReport struct {
	Module string `json:"module"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Type   string `json:"type,omitempty"`
	Status string `json:"status"` // implemented, missing, unknown or mismatch
	Note   string `json:"note,omitempty"`
}

type exportReport struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Type string `json:"type,omitempty"`
}

type memoryReport struct {
	MinBytes uint64  `json:"minBytes"`
	MaxBytes *uint64 `json:"maxBytes"` // null when the module sets no bound
	Imported bool    `json:"imported"`
}

// The states of an import.
const (
	implemented = "implemented"
	missing     = "missing"  // links, answers unsupported
	unknown     = "unknown"  // does not link
	mismatch    = "mismatch" // known, but with another signature; does not link
)

func inspect(path string, program []byte) (*report, error) {
	m, err := wasm.Parse(program)
	if err != nil {
		return nil, err
	}
	tool := m.Toolchain()
	r := &report{
		File: path, Size: len(program), CodeSize: m.CodeSize(), Functions: len(m.Funcs),
		Language: tool.Language, Compiler: tool.Compiler.String(), SDK: tool.SDK.String(), Kind: m.Kind().String(),
		Imports: []importReport{}, Exports: []exportReport{},
	}
	r.Runs = m.Kind() == wasm.Command
	r.Complete = r.Runs

	known := make(map[[2]string]abi.Entry)
	for _, e := range abi.Table() {
		known[[2]string{e.Module, e.Name}] = e
	}
	types := make(map[[2]string]engine.FuncType)
	for _, h := range abi.Hostcalls() {
		types[[2]string{h.Module, h.Name}] = h.Type
	}
	seen := make(map[importReport]bool) // Go guests import one function several times
	for _, i := range m.EngineImports() {
		in := importReport{Module: i.Module, Name: i.Name, Kind: i.Kind.String()}
		key := [2]string{i.Module, i.Name}
		entry, ok := known[key]
		if i.Kind == engine.KindFunc {
			in.Type = i.Func.String()
		}
		switch {
		case !ok:
			in.Status = unknown
		case i.Kind != engine.KindFunc:
			in.Status, in.Note = mismatch, "the platform offers a function"
		case !i.Func.Equal(types[key]):
			in.Status, in.Note = mismatch, "the platform's is "+types[key].String()
		case entry.Implemented:
			in.Status = implemented
		default:
			in.Status, in.Note = missing, entry.Reason
		}
		if seen[in] {
			continue
		}
		seen[in] = true
		r.Runs = r.Runs && (in.Status == implemented || in.Status == missing)
		r.Complete = r.Complete && in.Status == implemented
		r.Imports = append(r.Imports, in)
	}
	sort.SliceStable(r.Imports, func(a, b int) bool {
		x, y := r.Imports[a], r.Imports[b]
		return x.Module < y.Module || x.Module == y.Module && x.Name < y.Name
	})

	for _, e := range m.EngineExports() {
		out := exportReport{Name: e.Name, Kind: e.Kind.String()}
		if e.Kind == engine.KindFunc {
			out.Type = e.Func.String()
		}
		r.Exports = append(r.Exports, out)
	}
	if limits, ok := m.Memory(); ok {
		r.Memory = &memoryReport{MinBytes: limits.Min * pageSize, Imported: m.ImportedMemories > 0}
		if limits.HasMax {
			n := limits.Max * pageSize
			r.Memory.MaxBytes = &n
		}
	}
	return r, nil
}

const pageSize = 64 << 10

func (r *report) print(w io.Writer) {
	functions := fmt.Sprintf("%d functions", r.Functions)
	if r.Functions == 1 {
		functions = "1 function"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s of code\n", printable(r.File), sizeText(uint64(r.Size)), functions, sizeText(uint64(r.CodeSize)))
	t := newTable("built with", orElse(join(r.Language, r.Compiler), "not recognised"))
	t.row("SDK", orElse(r.SDK, "not recognised"))
	switch r.Kind {
	case "command":
		t.row("entry point", "_start")
	default:
		t.row("entry point", "none: this is a "+r.Kind+", not a command; it cannot be run")
	}
	if r.Memory != nil {
		text := sizeText(r.Memory.MinBytes) + " at start"
		if r.Memory.MaxBytes != nil {
			text += ", at most " + sizeText(*r.Memory.MaxBytes)
		}
		if r.Memory.Imported {
			text += ", imported"
		}
		t.row("memory", text)
	}
	t.print(w, "  ")

	counts := map[string]int{}
	for _, i := range r.Imports {
		counts[i.Status]++
	}
	var parts []string
	for _, s := range []string{implemented, missing, unknown, mismatch} {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	fmt.Fprintf(w, "\nimports: %s\n", orElse(strings.Join(parts, ", "), "none"))
	for i := 0; i < len(r.Imports); {
		module := r.Imports[i].Module
		fmt.Fprintf(w, "  %s\n", printable(module))
		t := newTable()
		for ; i < len(r.Imports) && r.Imports[i].Module == module; i++ {
			in := r.Imports[i]
			t.row(printable(in.Name), in.Status, in.Note)
		}
		t.print(w, "    ")
	}

	fmt.Fprintf(w, "\nexports: %s\n", orElse(fmt.Sprint(len(r.Exports)), "none"))
	t = newTable()
	for _, e := range r.Exports {
		t.row(printable(e.Name), join(e.Kind, e.Type))
	}
	t.print(w, "  ")
}

// printABI lists the whole hostcall table.
func printABI(w io.Writer, asJSON bool) error {
	entries := abi.Table()
	if asJSON {
		return printJSON(w, entries)
	}
	done := 0
	for i := 0; i < len(entries); {
		module := entries[i].Module
		fmt.Fprintf(w, "%s\n", module)
		t := newTable()
		for ; i < len(entries) && entries[i].Module == module; i++ {
			e := entries[i]
			state := missing
			if e.Implemented {
				done++
				state = implemented
			}
			var notes []string
			if e.MayBlock {
				notes = append(notes, "may wait")
			}
			if e.Deprecated {
				notes = append(notes, "deprecated")
			}
			if e.AliasOf != "" {
				notes = append(notes, "same as "+e.AliasOf)
			}
			if e.Reason != "" {
				notes = append(notes, e.Reason)
			}
			t.row(e.Name, state, strings.Join(notes, "; "))
		}
		t.print(w, "  ")
	}
	_, err := fmt.Fprintf(w, "\n%d hostcalls, %d implemented\n", len(entries), done)
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return errors.Join(errors.New("cannot print the result"), err)
	}
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// join puts a space between what is not empty.
func join(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, " ")
}
