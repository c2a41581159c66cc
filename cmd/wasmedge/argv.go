package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageError is a mistake in the command line: exit code 2 and a pointer to the help.
type usageError struct {
	command string // empty for the program as a whole
	text    string
}

func (e *usageError) Error() string { return e.text }

// syntax is what normalize needs to know of one command.
type syntax struct {
	name     string
	flags    []cli.Flag
	operands int // at most
	// guest is set for run: after the first operand only these flags belong to us, up to the first word that is
	// none of them. The rest is the guest's, unchanged.
	guest []cli.Flag
	// sub makes it a group of commands: a word that names one of these follows.
	sub []syntax
}

// helpFlags are the flags that every command takes besides its own.
var helpFlags = []cli.Flag{
	&cli.BoolFlag{Name: "help", Aliases: []string{"h"}},
	&cli.BoolFlag{Name: "version", Aliases: []string{"V"}},
}

// normalize brings a command line into the one form that the flag package below the cli package reads as the
// reference server would have read the original: the command's name, then flags by their long names, one
// word each, then "--", then the operands. The rules:
//   - Without a command's name in front the command is serve. Flags before a name are refused.
//   - Flags may stand before or after operands. "--" ends them.
//   - --flag=value and --flag value are the same; so are -C value, -C=value and -Cvalue; -vvC file is -v -v -C file.
//   - --help and --version win over all that follows.
//   - For run see syntax.guest, for groups of commands syntax.sub; the name is then two words.
func normalize(args []string, commands []syntax) ([]string, error) {
	find := func(name string) (syntax, bool) {
		i := slices.IndexFunc(commands, func(s syntax) bool { return s.name == name })
		if i < 0 {
			return syntax{}, false
		}
		return commands[i], true
	}
	if len(args) == 0 {
		return []string{"help"}, nil
	}
	if cmd, ok := find(args[0]); ok {
		if cmd.sub != nil {
			return normalizeGroup(cmd, args[1:])
		}
		return normalizeCommand(cmd, args[1:], true)
	}
	serve, _ := find("serve")
	limit := serve.operands
	serve.operands = len(args)
	words, err := normalizeCommand(serve, args, false)
	if err != nil || words[0] != "serve" {
		return words, err
	}
	operands := words[slices.Index(words, "--")+1:]
	if len(operands) > 0 && !slices.Contains(args, "--") {
		if _, ok := find(operands[0]); ok {
			return nil, &usageError{operands[0], fmt.Sprintf("flags stand after the command: wasmedge %s [OPTIONS]", operands[0])}
		}
	}
	return words, tooMany("serve", operands, limit)
}

// tooMany refuses more than limit operands.
func tooMany(command string, operands []string, limit int) error {
	if len(operands) <= limit {
		return nil
	}
	text := fmt.Sprintf("unexpected argument %q", operands[limit])
	if limit > 0 {
		text += fmt.Sprintf(" after %q", operands[limit-1])
	}
	return &usageError{command, text}
}

// normalizeGroup reads what follows a group's name. Its commands have the group's name before their own.
func normalizeGroup(group syntax, args []string) ([]string, error) {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" && len(args) == 1 {
		return []string{"help", group.name}, nil
	}
	name := args[0]
	if name == "help" {
		name = args[1]
		args = []string{name, "--help"}
	}
	i := slices.IndexFunc(group.sub, func(s syntax) bool { return s.name == group.name+" "+name })
	switch {
	case i >= 0:
		return normalizeCommand(group.sub[i], args[1:], true)
	case strings.HasPrefix(name, "-"):
		return nil, &usageError{group.name, fmt.Sprintf("flags stand after the command: wasmedge %s COMMAND [OPTIONS]", group.name)}
	}
	var names []string
	for _, s := range group.sub {
		names = append(names, strings.TrimPrefix(s.name, group.name+" "))
	}
	return nil, &usageError{group.name, fmt.Sprintf("there is no command %q in %s; there are %s", name, group.name, strings.Join(names, ", "))}
}

func normalizeCommand(cmd syntax, args []string, named bool) ([]string, error) {
	words := strings.Fields(cmd.name)
	var operands []string
	refuse := func(format string, a ...any) ([]string, error) {
		return nil, &usageError{cmd.name, fmt.Sprintf(format, a...)}
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			operands = append(operands, args[i+1:]...)
			break
		}
		guest := cmd.guest != nil && len(operands) > 0
		if len(arg) < 2 || arg[0] != '-' {
			if guest {
				operands = append(operands, args[i:]...)
				break
			}
			operands = append(operands, arg)
			continue
		}

		known := append(slices.Clip(cmd.flags), helpFlags...)
		if guest {
			known = append(slices.Clip(cmd.guest), helpFlags...)
		}
		parsed, needs, err := parseWord(arg, known)
		if err != nil {
			if guest {
				operands = append(operands, args[i:]...)
				break
			}
			return refuse("%v", err)
		}
		for _, p := range parsed {
			switch p {
			case "--help":
				if !named {
					return []string{"help"}, nil
				}
				return append([]string{"help"}, strings.Fields(cmd.name)...), nil
			case "--version":
				return []string{"version"}, nil
			}
		}
		words = append(words, parsed...)
		if needs != "" {
			i++
			if i == len(args) || len(args[i]) > 1 && args[i][0] == '-' {
				return refuse("%s wants a value", needs)
			}
			words = append(words, needs+"="+args[i])
		}
	}
	if cmd.guest == nil {
		if err := tooMany(cmd.name, operands, cmd.operands); err != nil {
			return nil, err
		}
	}
	return append(append(words, "--"), operands...), nil
}

// parseWord reads one word that begins with a dash. needs names the flag whose value is the next word.
func parseWord(arg string, known []cli.Flag) (parsed []string, needs string, err error) {
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		name, value, hasValue := strings.Cut(long, "=")
		f := lookup(known, name)
		if f == nil || len(name) < 2 {
			if guess := cli.SuggestFlag(known, name, false); guess != "" {
				return nil, "", fmt.Errorf("unknown flag --%s; did you mean %s?", name, guess)
			}
			return nil, "", fmt.Errorf("unknown flag --%s", name)
		}
		canonical := "--" + f.Names()[0]
		switch {
		case takesValue(f) && hasValue:
			return []string{canonical + "=" + value}, "", nil
		case takesValue(f):
			return nil, canonical, nil
		case hasValue && value != "true" && value != "false":
			return nil, "", fmt.Errorf("--%s is a switch, %q is no value for it", name, value)
		case hasValue:
			return []string{canonical + "=" + value}, "", nil
		}
		return []string{canonical}, "", nil
	}

	for rest := arg[1:]; rest != ""; {
		f := lookup(known, rest[:1])
		if f == nil {
			return nil, "", fmt.Errorf("unknown flag -%s in %q", rest[:1], arg)
		}
		canonical := "--" + f.Names()[0]
		rest = rest[1:]
		if !takesValue(f) {
			parsed = append(parsed, canonical)
			continue
		}
		if rest == "" {
			return parsed, canonical, nil
		}
		return append(parsed, canonical+"="+strings.TrimPrefix(rest, "=")), "", nil
	}
	return parsed, "", nil
}

func lookup(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}
