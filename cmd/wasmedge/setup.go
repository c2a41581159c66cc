package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	_ "time/tzdata" // offsets of time zones where the system has no zone files

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	configbolt "github.com/edgewasm/wasmedge/configstore/bolt"
	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/geo"
	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/host/telemetry"
	"github.com/edgewasm/wasmedge/secretstore"
)

// session is what serve and run make of their flags before a guest runs.
type session struct {
	world
	log   *zap.Logger
	host  *host.Host
	files *telemetry.Files // log endpoints in files; nil without --log-dir
	logs  telemetry.Endpoints
	geo   *geo.Database // nil without --geo-db
	conf  host.ServiceConfig

	config  *configbolt.Follower // of the data directory's config stores; nil without one
	secrets *secretstore.Stores  // in the data directory; nil when there are none
	kv      io.Closer            // the KV stores in the data directory; nil without --data-dir
}

func newLogger(o world, ctx *cli.Context) (*zap.Logger, error) {
	format := ctx.String("log-format")
	if format != "text" && format != "json" {
		return nil, &usageError{ctx.Command.Name, fmt.Sprintf("--log-format is text or json, not %q", format)}
	}
	level, levelErr := telemetry.LevelFromEnvironment(o.getenv, ctx.Count("verbose"))
	log := telemetry.NewLogger(telemetry.LogOptions{
		Stdout: o.stdout, Stderr: o.stderr, Level: level, JSON: format == "json",
		ColorStdout: o.terminal(o.stdout), ColorStderr: o.terminal(o.stderr),
	})
	if levelErr != nil {
		log.Error(levelErr.Error())
	}
	return log, nil
}

// openSession checks the flags, reads the manifest and opens the host. concurrent is how many sandboxes there may be.
func openSession(o world, ctx *cli.Context, input string, concurrent int) (s *session, err error) {
	command := ctx.Command.Name
	refuse := func(format string, a ...any) (*session, error) {
		return nil, &usageError{command, fmt.Sprintf(format, a...)}
	}
	s = &session{world: o}
	if s.log, err = newLogger(o, ctx); err != nil {
		return nil, err
	}
	cfg := engine.Config{
		MaxInstances: concurrent,
		Exceptions:   ctx.Bool("wasm-exceptions"),
		GC:           ctx.Bool("wasm-gc"),
	}
	if cfg.MaxMemory, err = parseSize(ctx.String("max-memory")); err != nil {
		return refuse("--max-memory: %v", err)
	}
	if cfg.MaxMemory < pageSize || cfg.MaxMemory > 4<<30 {
		return refuse("--max-memory is %s, want 64 KiB to 4 GiB", sizeText(cfg.MaxMemory))
	}
	if cfg.MaxStack, err = parseSize(ctx.String("max-stack")); err != nil {
		return refuse("--max-stack: %v", err)
	}
	if cfg.MaxStack < 64<<10 || cfg.MaxStack > 256<<20 {
		return refuse("--max-stack is %s, want 64 KiB to 256 MiB", sizeText(cfg.MaxStack))
	}
	switch kind, _, _ := strings.Cut(ctx.String("profile"), ","); kind {
	case "":
	case "perfmap":
		cfg.ProfileGuest = true
	case "guest", "jitdump", "vtune":
		return refuse("--profile=%s is not available yet; perfmap lets perf name the guest's functions", kind)
	default:
		return refuse("--profile=%s: want perfmap, jitdump, vtune or guest[,PATH[,PERIOD]]", kind)
	}
	switch behaviour := ctx.String("unknown-import-behavior"); behaviour {
	case "link-error":
	case "trap":
		s.conf.UnknownImports = engine.TrapUnknown
	default:
		return refuse("--unknown-import-behavior is link-error or trap, not %q", behaviour)
	}
	for _, name := range ctx.StringSlice("experimental_modules") {
		if name != "wasi-nn" {
			return refuse("--experimental_modules: there is no %q, want wasi-nn", name)
		}
		s.log.Warn("--experimental_modules=wasi-nn has no effect: guests that import it do not link")
	}
	if port := ctx.Uint("local-pushpin-proxy-port"); port > 65535 {
		return refuse("--local-pushpin-proxy-port is %d, want a port up to 65535", port)
	}
	if ctx.Bool("adapt") {
		s.log.Debug("--adapt has no effect: core modules run as they are")
	}
	for _, flag := range []string{"max-cpu", "timeout"} {
		if ctx.Duration(flag) < 0 {
			return refuse("--%s is %s, want 0 or more", flag, ctx.Duration(flag))
		}
	}

	s.conf.Name = stem(input)
	if s.conf.Warm = ctx.Int("warm"); s.conf.Warm == 0 {
		s.conf.Warm = -1 // also where there is no such flag
	}
	s.conf.Limits = host.Limits{Memory: cfg.MaxMemory, Concurrent: concurrent, CPU: ctx.Duration("max-cpu"), Wall: ctx.Duration("timeout")}
	if ctx.IsSet("max-cpu") && s.conf.Limits.CPU == 0 {
		s.conf.Limits.CPU = -1
	}
	if ctx.IsSet("max-queue") {
		if s.conf.Limits.Queue = ctx.Int("max-queue"); s.conf.Limits.Queue == 0 {
			s.conf.Limits.Queue = -1
		}
	}
	if err := s.openKV(ctx); err != nil {
		return nil, err
	}
	defer func(s *session) {
		if err != nil && s.kv != nil {
			s.kv.Close()
		}
	}(s)
	s.conf.Limits.SandboxRequests = ctx.Int("sandbox-requests")
	s.conf.Limits.QueueWait = ctx.Duration("queue-timeout")
	if text := ctx.String("rate-limit-memory"); text != "" { // a flag of serve alone
		n, err := parseSize(text)
		if err != nil || n < 64<<10 || n > 1<<40 {
			return refuse("--rate-limit-memory is %q, want a size from 64KiB on, such as 64MiB", text)
		}
		s.conf.Limits.RateLimitBytes = int64(n)
	}
	cacheBytes, err := s.setCache(ctx)
	if err != nil {
		return refuse("%v", err)
	}
	s.conf.Limits.BodyTimeout = ctx.Duration("body-timeout")
	if err := s.readManifest(ctx.String("config")); err != nil {
		return nil, err
	}
	if err := s.openConfig(ctx.String("data-dir")); err != nil {
		return nil, err
	}
	if err := s.openSecrets(ctx); err != nil {
		return nil, err
	}
	if err := s.openACLs(ctx.String("data-dir")); err != nil {
		return nil, err
	}
	if err := s.setTunnels(ctx); err != nil {
		return refuse("%v", err)
	}
	if err := s.addBackends(ctx.StringSlice("backend")); err != nil {
		return refuse("--backend: %v", err)
	}
	if err := s.openGeo(ctx.StringSlice("geo-db")); err != nil {
		return nil, err
	}
	if err := s.openLogs(ctx.String("log-dir")); err != nil {
		return nil, err
	}
	cfg.NoReset = ctx.Bool("rebuild")
	s.host, err = host.New(host.Options{
		MaxTunnels:   s.conf.Limits.Tunnels, // there is one service
		Engine:       ctx.String("engine"),
		EngineConfig: cfg,
		Queue:        s.conf.Limits.Queue, // there is one service
		CacheBytes:   cacheBytes,
		CacheDir:     ctx.String("cache-dir"),
		NoCache:      ctx.Bool("no-cache"),
		Progress:     progress(o, s.log),
		Log:          s.log,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// setCache takes over what the flags say of the cache for responses of backends, which are flags of serve alone: run has none.
func (s *session) setCache(ctx *cli.Context) (bytes int64, err error) {
	switch mode := ctx.String("cache"); mode {
	case "rfc":
	case "fastly":
		s.conf.FastlyCache = true
	case "off", "":
		s.conf.NoReadThrough = true
	default:
		return 0, fmt.Errorf("--cache is rfc, fastly or off, not %q", mode)
	}
	text := ctx.String("cache-size")
	if text == "" {
		return 0, nil
	}
	n, err := parseSize(text)
	if err != nil || n < 1<<20 || n > 1<<42 {
		return 0, fmt.Errorf("--cache-size is %q, want a size from 1MiB on, such as 256MiB", text)
	}
	return int64(n), nil
}

// setTunnels takes over what the flags say of clients that are handed off.
func (s *session) setTunnels(ctx *cli.Context) error {
	if port := ctx.Uint("local-pushpin-proxy-port"); port > 0 {
		s.conf.GRIPProxy = host.LocalGRIPProxy(uint16(port))
	}
	if !ctx.Bool("enable-local-websocket-passthrough") {
		s.conf.NoWebSockets = true
	}
	l := &s.conf.Limits
	l.Tunnels = ctx.Int("max-tunnels") // these are flags of serve alone
	if l.TunnelIdle = ctx.Duration("tunnel-idle"); l.TunnelIdle == 0 {
		l.TunnelIdle = -1
	}
	if l.TunnelTime = ctx.Duration("tunnel-time"); l.TunnelTime == 0 {
		l.TunnelTime = -1
	}
	if text := ctx.String("tunnel-bytes"); text != "" {
		n, err := parseSize(text)
		if err != nil || n < 1 || n > 1<<62 {
			return fmt.Errorf("--tunnel-bytes is %q, want a size such as 512MiB", text)
		}
		l.TunnelBytes = int64(n)
	}
	return nil
}

// readManifest takes from the manifest what a service needs.
func (s *session) readManifest(path string) error {
	if path == "" {
		s.conf.Geo.Loopback = true // as with a manifest that says nothing
		s.log.Warn("no manifest was given (-C fastly.toml): the guest has no stores but those of --data-dir, and no backends but those of --backend")
		return nil
	}
	m, err := manifest.Load(path)
	if err != nil {
		return err
	}
	for _, w := range m.Warnings {
		s.log.Warn(w.Error())
	}
	return s.conf.UseManifest(m)
}

// openGeo opens the geolocation databases.
func (s *session) openGeo(paths []string) (err error) {
	if len(paths) == 0 {
		return nil
	}
	s.geo, err = geo.Open(paths, geo.Options{
		Warn: func(err error) { s.log.Warn(err.Error()) },
		Reloaded: func(path string, built time.Time) {
			s.log.Info(fmt.Sprintf("%s has changed and was read again; it was built %s", path, built.UTC().Format(time.DateOnly)))
		},
	})
	if err != nil {
		return fmt.Errorf("--geo-db: %w", err)
	}
	for _, f := range s.geo.Files() {
		s.log.Info(fmt.Sprintf("geolocation from %s (%s, built %s)", f.Path, f.Type, f.Built.UTC().Format(time.DateOnly)))
	}
	s.conf.Geo.Database = s.geo
	return nil
}

// openLogs decides where log endpoints go.
func (s *session) openLogs(dir string) error {
	s.logs = telemetry.NewLines(s.stdout)
	if dir != "" {
		files, err := telemetry.NewFiles(dir, telemetry.FilesOptions{Warn: func(err error) { s.log.Error(err.Error()) }})
		if err != nil {
			return err
		}
		s.files, s.logs = files, files
	}
	s.conf.Logs = s.logs
	return nil
}

// load compiles the program. An engine that cannot be interrupted is left to itself when life ends: the process is
// about to end as well.
func (s *session) load(life context.Context, program []byte) (*host.Service, error) {
	type result struct {
		svc *host.Service
		err error
	}
	done := make(chan result, 1)
	go func() {
		svc, err := s.host.Load(life, program, s.conf)
		done <- result{svc, err}
	}()
	select {
	case r := <-done:
		return r.svc, r.err
	case <-life.Done():
		return nil, context.Cause(life)
	}
}

// reopenLogs follows a rotation of the files in --log-dir.
func (s *session) reopenLogs() {
	if s.files == nil {
		return
	}
	if err := s.files.Reopen(); err != nil {
		s.log.Error(err.Error())
	}
}

// close ends what openSession opened. Guests get until the grace is over.
func (s *session) close(grace time.Duration) error {
	ctx, cancel := contextWithin(grace)
	defer cancel()
	err := s.host.Close(ctx)
	if s.config != nil {
		s.config.Stop()
	}
	if s.secrets != nil {
		err = errors.Join(err, s.secrets.Close())
	}
	if s.geo != nil {
		s.geo.Close()
	}
	if s.files != nil {
		err = errors.Join(err, s.files.Close())
	}
	if s.kv != nil {
		err = errors.Join(err, s.kv.Close())
	}
	return err
}
