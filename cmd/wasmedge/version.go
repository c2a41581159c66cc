package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/host"
)

// version is that of this program, a semantic version: tools read the second word of "wasmedge X.Y.Z".
const version = "0.1.0"

func versionCommand(o world) *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version; with -v the engines and what is known against them",
		UsageText: "wasmedge version [OPTIONS]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print JSON, always in full"},
			verboseFlag(),
		},
		Action: func(ctx *cli.Context) error {
			v := describe()
			switch {
			case ctx.Bool("json"):
				return printJSON(o.stdout, v)
			case ctx.Bool("verbose"):
				v.print(o)
			default:
				fmt.Fprintf(o.stdout, "%s %s\n", programTag, version)
			}
			return nil
		},
	}
}

type versionReport struct {
	Version  string         `json:"version"`
	Commit   string         `json:"commit,omitempty"`
	Modified bool           `json:"modified,omitempty"` // built from a changed tree
	Go       string         `json:"go"`
	Platform string         `json:"platform"`
	Engines  []engineReport `json:"engines"`
	AsOf     string         `json:"advisoriesAsOf"`
}

type engineReport struct {
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Default    bool       `json:"default"`
	Advisories []advisory `json:"advisories"`
}

// engineModules are the Go modules that carry the engines.
var engineModules = map[string]string{
	"wasmtime": "github.com/bytecodealliance/wasmtime-go/",
	"wazero":   "github.com/tetratelabs/wazero",
}

func describe() versionReport {
	v := versionReport{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, AsOf: advisoriesAsOf}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	for i, name := range host.Engines() {
		e := engineReport{Name: name, Version: "unknown", Default: i == 0, Advisories: []advisory{}}
		if ok {
			for _, dep := range info.Deps {
				if strings.HasPrefix(dep.Path, engineModules[name]) {
					e.Version = strings.TrimPrefix(dep.Version, "v")
				}
			}
		}
		for _, a := range advisories {
			if a.Engine == name {
				e.Advisories = append(e.Advisories, a)
			}
		}
		v.Engines = append(v.Engines, e)
	}
	return v
}

func (v versionReport) print(o world) {
	fmt.Fprintf(o.stdout, "%s %s\n", programTag, v.Version)
	t := newTable("go", v.Go+" "+v.Platform)
	if v.Commit != "" {
		commit := v.Commit
		if v.Modified {
			commit += ", modified"
		}
		t.row("commit", commit)
	}
	for _, e := range v.Engines {
		text := e.Version
		if e.Default {
			text += ", the default"
		}
		t.row(e.Name, text)
	}
	t.print(o.stdout, "  ")

	fmt.Fprintf(o.stdout, "\nknown against these engines, as of %s:\n", v.AsOf)
	for _, exposed := range []exposure{exposedYes, exposedSome, exposedNo} {
		t := newTable()
		for _, e := range v.Engines {
			for _, a := range e.Advisories {
				if a.Exposed == exposed {
					t.row(a.Engine, a.ID, a.Severity, a.Title)
					t.row("", "", "", a.Why)
				}
			}
		}
		if len(t.rows) > 0 {
			fmt.Fprintf(o.stdout, "\n%s\n", exposed.heading())
			t.print(o.stdout, "  ")
		}
	}
}
