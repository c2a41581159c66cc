package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/engine"
)

func runCommand(o world) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a program once, with arguments, and exit with its code",
		UsageText: "wasmedge run [OPTIONS] INPUT [ARGS]...",
		Description: "The guest gets the request GET http://example.com/, its response is dropped; standard output and error are those of\n" +
			"this process. After INPUT, flags of the reference server still\n" +
			"belong to this command, up to the first word that is none of them; the rest is for the guest.\n" +
			"\"--\" ends our options: wasmedge run -C fastly.toml -- app.wasm --flag-of-the-guest",
		Flags:  runFlags(),
		Action: func(ctx *cli.Context) error { return run(o, ctx) },
	}
}

func run(o world, ctx *cli.Context) error {
	if ctx.NArg() == 0 {
		return &usageError{"run", "INPUT is missing"}
	}
	input := ctx.Args().First()
	program, err := readProgram("run", input)
	if err != nil {
		return err
	}
	s, err := openSession(o, ctx, input, 1)
	if err != nil {
		return err
	}
	defer onReopen(s.reopenLogs)()
	svc, err := s.host.Load(ctx.Context, program, s.conf)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", input, err), s.close(0))
	}
	stdout, stderr := s.guestOutput(ctx.Bool("log-stdout"), ctx.Bool("log-stderr"), true)(0)
	err = svc.Run(ctx.Context, host.RunOptions{
		Args:   append([]string{stem(input)}, ctx.Args().Tail()...),
		Stdout: stdout,
		Stderr: stderr,
	})
	return errors.Join(s.exitCode(err), s.close(runGrace))
}

// runGrace is what writes to stores get that the guest has not waited for.
const runGrace = 10 * time.Second

// exitCode tells why the guest ended, if that needs words, and gives the code to end with.
func (s *session) exitCode(err error) error {
	var exit *engine.ExitError
	var trap *engine.TrapError
	var unknown *engine.UnknownImportError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return codeError(exit.Code % maxCode)
	case errors.As(err, &trap):
		s.log.Error(err.Error() + "\n" + trap.Backtrace())
		return codeError(exitTrap)
	case errors.As(err, &unknown):
		s.log.Error(err.Error())
		return codeError(exitTrap)
	}
	return err
}
