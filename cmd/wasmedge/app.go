package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Exit codes; see the package comment.
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitTrap   = 134 // as a shell reports SIGABRT
	maxCode    = 256 // a guest's code is taken modulo this
	programTag = "wasmedge"
)

// world is what the command touches of its surroundings.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// terminal reports whether w shows colours and redrawn lines: a terminal, unless the user declines.
func (o world) terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && o.getenv("NO_COLOR") == "" && o.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// codeError is a result that has been told already, or needs no words.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// mainWith runs the command line and gives the exit code.
func mainWith(args []string, o world) int {
	app := newApp(o)
	words, err := normalize(args, syntaxes(app))
	if err == nil {
		err = app.Run(append([]string{app.Name}, words...))
	}
	var code codeError
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		help := strings.Join(slices.DeleteFunc([]string{programTag, usage.command, "--help"}, func(s string) bool { return s == "" }), " ")
		fmt.Fprintf(o.stderr, "error: %v\n\nFor more information, try '%s'.\n", usage, help)
		return exitUsage
	}
	fmt.Fprintf(o.stderr, "error: %v\n", err)
	return exitError
}

func newApp(o world) *cli.App {
	app := &cli.App{
		Name:      programTag,
		Usage:     "run programs built for the Fastly Compute ABI",
		UsageText: "wasmedge [OPTIONS] INPUT          (the same as serve)\nwasmedge COMMAND [OPTIONS] ...",
		Commands: []*cli.Command{
			serveCommand(o), runCommand(o), inspectCommand(o),
			kvStoreCommand(o), kvStoreEntryCommand(o), aclCommand(o),
			secretStoreCommand(o), secretStoreEntryCommand(o),
			configStoreCommand(o, "config-store"), configStoreEntryCommand(o, "config-store-entry"),
			configStoreCommand(o, "dictionary"), configStoreEntryCommand(o, "dictionary-entry"),
			versionCommand(o), adaptCommand(), helpCommand(),
		},
		CustomAppHelpTemplate: appHelp,
		HideVersion:           true,
		// A URL may hold commas.
		DisableSliceFlagSeparator: true,
		Writer:                    o.stdout,
		ErrWriter:                 o.stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // mainWith does it
		OnUsageError:              asUsage,
		CommandNotFound:           func(*cli.Context, string) {},
	}
	for _, c := range app.Commands {
		c.OnUsageError = asUsage
		c.CustomHelpTemplate = commandHelp
		c.HideHelpCommand = true
		for _, sub := range c.Subcommands {
			sub.OnUsageError = asUsage
			sub.CustomHelpTemplate = commandHelp
			sub.UsageText = strings.TrimSpace("wasmedge " + c.Name + " " + sub.Name + " [OPTIONS] " + sub.ArgsUsage)
		}
	}
	return app
}

func asUsage(ctx *cli.Context, err error, _ bool) error {
	return &usageError{command: ctx.Command.Name, text: err.Error()}
}

// syntaxes tells normalize of the commands.
func syntaxes(app *cli.App) []syntax {
	var all []syntax
	for _, c := range app.Commands {
		s := syntax{name: c.Name, flags: c.Flags, operands: 1}
		for _, sub := range c.Subcommands {
			for _, name := range sub.Names() {
				s.sub = append(s.sub, syntax{name: c.Name + " " + name, flags: sub.Flags, operands: len(strings.Fields(sub.ArgsUsage))})
			}
		}
		switch c.Name {
		case "run":
			s.guest = guestFlags()
		case "version":
			s.operands = 0
		case "help":
			s.operands = 2
		}
		all = append(all, s)
	}
	return all
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "tell the options of a command", UsageText: "wasmedge help [COMMAND]",
		Action: func(ctx *cli.Context) error {
			// The parent of this command's context is the program's.
			parent := ctx.Lineage()[1]
			name, sub := ctx.Args().First(), ctx.Args().Get(1)
			if name == "" {
				return cli.ShowAppHelp(parent)
			}
			c := ctx.App.Command(name)
			if c == nil {
				return &usageError{"", fmt.Sprintf("there is no command %q", name)}
			}
			if sub == "" && len(c.Subcommands) > 0 {
				cli.HelpPrinter(ctx.App.Writer, groupHelp, c)
				return nil
			}
			if sub == "" {
				return cli.ShowCommandHelp(parent, name)
			}
			for _, s := range c.Subcommands {
				if s.HasName(sub) {
					cli.HelpPrinter(ctx.App.Writer, commandHelp, s)
					return nil
				}
			}
			return &usageError{name, fmt.Sprintf("there is no command %q in %s", sub, name)}
		},
	}
}

// adaptCommand exists because the reference server has it.
func adaptCommand() *cli.Command {
	return &cli.Command{
		Name: "adapt", Hidden: true, ArgsUsage: "INPUT",
		Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}}, verboseFlag()},
		Action: func(*cli.Context) error {
			return errors.New("core modules run as they are: there is nothing to adapt, and components are not run")
		},
	}
}

// appHelp and commandHelp are the cli package's templates without what does not apply here.
const appHelp = `{{.Usage}}

Usage:
   {{wrap .UsageText 3}}

Commands:
{{range .VisibleCommands}}   {{printf "%-13s" .Name}}{{.Usage}}
{{end}}
'wasmedge COMMAND --help' tells the options. -V, --version prints the version.
`

const groupHelp = `{{.Usage}}

Usage:
   wasmedge {{.Name}} COMMAND [OPTIONS] ...
{{if .Description}}
{{wrap .Description 0}}
{{end}}
Commands:
{{range .VisibleCommands}}   {{printf "%-10s" .Name}}{{.Usage}}
{{end}}
'wasmedge {{.Name}} COMMAND --help' tells the options.
`

const commandHelp = `{{.Usage}}

Usage:
   {{wrap .UsageText 3}}
{{if .Description}}
{{wrap .Description 0}}
{{end}}{{range .VisibleFlagCategories}}
{{if .Name}}{{.Name}}{{else}}Options{{end}}:
{{range .Flags}}   {{.}}
{{end}}{{end}}`
