package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/host/wire"
	_ "github.com/edgewasm/wasmedge/host/wire/xconnect" // WebSockets over HTTP/2
)

func serveCommand(o world) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a program over HTTP, a fresh sandbox for each request",
		UsageText: "wasmedge [serve] [OPTIONS] INPUT",
		Description: "INPUT is a WebAssembly module built for the Fastly Compute ABI. The line \"INFO Listening on http://...\"\n" +
			"says that the port is open. SIGINT, SIGTERM and SIGHUP close it and let requests under way finish.",
		Flags:  serveFlags(),
		Action: func(ctx *cli.Context) error { return serve(o, ctx) },
	}
}

func serve(o world, ctx *cli.Context) error {
	refuse := func(format string, a ...any) error { return &usageError{"serve", fmt.Sprintf(format, a...)} }
	if ctx.NArg() == 0 {
		return refuse("INPUT is missing")
	}
	addr, err := netip.ParseAddrPort(ctx.String("addr"))
	if err != nil {
		return refuse("--addr is %q, want IP:PORT such as 127.0.0.1:7676 or [::1]:7676", ctx.String("addr"))
	}
	tls, err := tlsConfig(ctx)
	if err != nil {
		return err
	}
	access := ctx.String("access-log")
	if access != "stdout" && access != "off" {
		return refuse("--access-log is stdout or off, not %q", access)
	}
	output := ctx.String("guest-output")
	if output != "prefixed" && output != "raw" {
		return refuse("--guest-output is prefixed or raw, not %q", output)
	}
	concurrent := ctx.Int("max-concurrent")
	if concurrent < 1 || concurrent > 100_000 {
		return refuse("--max-concurrent is %d, want 1 to 100000", concurrent)
	}
	var metrics netip.AddrPort
	if text := ctx.String("metrics-addr"); text != "" {
		if metrics, err = netip.ParseAddrPort(text); err != nil {
			return refuse("--metrics-addr is %q, want IP:PORT such as 127.0.0.1:9090", text)
		}
	}
	if warm := ctx.Int("warm"); warm < 0 {
		return refuse("--warm is %d, want 0 or more", warm)
	}
	if n := ctx.Int("sandbox-requests"); n < 1 {
		return refuse("--sandbox-requests is %d, want 1 or more", n)
	}
	if queue := ctx.Int("max-queue"); queue < 0 || queue > 1_000_000 {
		return refuse("--max-queue is %d, want 0 to 1000000", queue)
	}
	if wait := ctx.Duration("queue-timeout"); wait <= 0 {
		return refuse("--queue-timeout is %s, want more than 0; --max-queue 0 lets no request wait", wait)
	}
	if n := ctx.Int("max-tunnels"); n < 1 || n > 1_000_000 {
		return refuse("--max-tunnels is %d, want 1 to 1000000", n)
	}
	for _, flag := range []string{"tunnel-idle", "tunnel-time"} {
		if d := ctx.Duration(flag); d < 0 {
			return refuse("--%s is %s, want 0 or more", flag, d)
		}
	}
	if body := ctx.Duration("body-timeout"); body <= 0 {
		return refuse("--body-timeout is %s, want more than 0", body)
	}
	drain := ctx.Duration("drain-timeout")
	if drain < 0 {
		return refuse("--drain-timeout is %s, want 0 or more", drain)
	}
	input := ctx.Args().First()
	program, err := readProgram("serve", input)
	if err != nil {
		return err
	}

	s, err := openSession(o, ctx, input, concurrent)
	if err != nil {
		return err
	}
	s.conf.AccessLog = access == "stdout"
	s.conf.ExposeErrors = !ctx.Bool("hide-errors")
	s.conf.Output = s.guestOutput(ctx.Bool("log-stdout"), ctx.Bool("log-stderr"), output == "raw")

	life, stop := untilSignal(ctx.Context)
	defer stop()
	defer onReopen(s.reopenLogs)()
	svc, err := s.load(life, program)
	if err != nil {
		if life.Err() != nil {
			return nil // told to stop while compiling
		}
		return errors.Join(fmt.Errorf("%s: %w", input, err), s.close(0))
	}

	s.probeBackends(life)

	scheme := "http"
	if tls != nil {
		scheme = "https"
	}
	listener, err := net.Listen("tcp", addr.String())
	if err != nil {
		return errors.Join(cannotListen(addr, err), s.close(0))
	}
	if metrics.IsValid() {
		stopMetrics, err := s.serveMetrics(metrics)
		if err != nil {
			return errors.Join(err, listener.Close(), s.close(0))
		}
		defer stopMetrics()
	}
	server := &wire.Server{
		Handler: svc,
		TLS:     tls,
		NoHTTP2: !ctx.Bool("http2"),
		NoH2C:   !ctx.Bool("http2"),
		// Zero means the server's own default there.
		DrainTimeout: max(drain, time.Nanosecond),
		Ready: func(a net.Addr) {
			telemetry.Announce(s.log, fmt.Sprintf("Listening on %s://%s", scheme, a))
		},
	}
	err = server.Serve(life, listener)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("some requests did not finish in time and were broken off")
		err = nil
	}
	return errors.Join(err, s.close(drain))
}

// cannotListen says why in few words.
func cannotListen(addr netip.AddrPort, err error) error {
	var cause *os.SyscallError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

// tlsConfig is nil for clear text.
func tlsConfig(ctx *cli.Context) (*wire.TLSConfig, error) {
	cert, key, self := ctx.String("tls-cert"), ctx.String("tls-key"), ctx.Bool("tls-self-signed")
	switch {
	case self && (cert != "" || key != ""):
		return nil, &usageError{"serve", "--tls-self-signed and --tls-cert exclude each other"}
	case (cert == "") != (key == ""):
		return nil, &usageError{"serve", "--tls-cert and --tls-key belong together"}
	case self:
		return &wire.TLSConfig{ClientAuth: wire.RecordClientCert}, nil
	case cert == "":
		return nil, nil
	}
	for _, file := range []string{cert, key} {
		if _, err := os.Stat(file); err != nil {
			return nil, err
		}
	}
	return &wire.TLSConfig{CertFile: cert, KeyFile: key, ClientAuth: wire.RecordClientCert}, nil
}

// guestOutput says where a sandbox's standard output and error go.
func (s *session) guestOutput(logStdout, logStderr, raw bool) func(uint64) (stdout, stderr io.WriteCloser) {
	one := func(request uint64, name string, w io.Writer, asLog bool) io.WriteCloser {
		switch {
		case asLog:
			return keepOpen{telemetry.EndpointWriter(s.logs.Endpoint(name))}
		case raw:
			return keepOpen{w}
		}
		return telemetry.NewPrefixWriter(w, fmt.Sprintf("%s{id=%d}: ", name, request))
	}
	return func(request uint64) (io.WriteCloser, io.WriteCloser) {
		return one(request, "stdout", s.stdout, logStdout), one(request, "stderr", s.stderr, logStderr)
	}
}

// keepOpen is a writer that outlives those who use it.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
