package main

import (
	"runtime"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	categoryGuest  = "Program"
	categoryServer = "Server"
	categoryLimits = "Limits"
	categoryOutput = "Output"
	categoryCompat = "Without effect here, accepted for compatibility"
)

// verboseFlag is taken by every command.
func verboseFlag() cli.Flag {
	return &cli.BoolFlag{Name: "verbose", DisableDefaultText: true, Aliases: []string{"v"}, Category: categoryOutput, Count: new(int),
		Usage: "print more: -v what happens, -vv details, -vvv everything; WASMEDGE_LOG or RUST_LOG overrides it"}
}

// guestFlags are those of the reference server that serve and run share. After INPUT, run takes these alone as its
// own: whatever else stands there is the guest's.
func guestFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"C"}, Category: categoryGuest,
			Usage: "read backends, stores and the like from the manifest `FILE` (fastly.toml or wasmedge.toml)"},
		&cli.StringFlag{Name: "unknown-import-behavior", Category: categoryGuest, Value: "link-error",
			Usage: "what an import does that the platform lacks: `link-error`, or trap when it is called"},
		&cli.BoolFlag{Name: "wasm-exceptions", DisableDefaultText: true, Category: categoryGuest, Usage: "switch on the exception handling proposal, where the engine has it"},
		&cli.BoolFlag{Name: "wasm-gc", DisableDefaultText: true, Category: categoryGuest, Usage: "switch on the garbage collection proposal, where the engine has it"},
		&cli.StringFlag{Name: "profile", Category: categoryGuest,
			Usage: "`KIND` is perfmap: let perf name the guest's functions; guest[,PATH[,PERIOD]], jitdump and vtune are not available yet"},
		&cli.BoolFlag{Name: "log-stdout", DisableDefaultText: true, Category: categoryOutput, Usage: "print the guest's standard output as log endpoint stdout"},
		&cli.BoolFlag{Name: "log-stderr", DisableDefaultText: true, Category: categoryOutput, Usage: "print the guest's standard error as log endpoint stderr"},
		verboseFlag(),
		&cli.UintFlag{Name: "local-pushpin-proxy-port", Category: categoryGuest, DefaultText: "none", Usage: "hand GRIP (Fanout) requests to the proxy at `PORT` of this machine, such as Pushpin"},
		&cli.StringSliceFlag{Name: "experimental_modules", Category: categoryCompat, Usage: "`NAME` is wasi-nn; it has no effect"},
		&cli.BoolFlag{Name: "adapt", DisableDefaultText: true, Category: categoryCompat, Usage: "core modules run as they are, there is nothing to adapt"},
		&cli.BoolFlag{Name: "wasm-cm-gc", DisableDefaultText: true, Category: categoryCompat, Usage: "concerns components, which are not run"},
		&cli.BoolFlag{Name: "enable-local-websocket-passthrough", DisableDefaultText: true, Category: categoryGuest, Value: true, Usage: "let the program hand WebSockets to backends (=false does not)"},
		&cli.BoolFlag{Name: "debug", DisableDefaultText: true, Category: categoryCompat, Hidden: true},
	}
}

// engineFlags are our own that serve and run share.
func engineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "backend", Category: categoryGuest, Usage: "`NAME=URL` gives the program a backend besides those of the manifest, or in place of one of that name; repeatable"},
		&cli.StringSliceFlag{Name: "geo-db", Category: categoryGuest, Usage: "tell the program where IP addresses are, from the database `FILE` in MaxMind's format (City, ASN, ...), read again when it changes; repeatable"},
		&cli.StringFlag{Name: "data-dir", Category: categoryGuest, DefaultText: "in memory", EnvVars: []string{"WASMEDGE_DATA_DIR"},
			Usage: "keep what the program stores in `DIR`, over restarts, and give it the stores that are there; the manifest then fills in only KV keys that are absent"},
		&cli.StringFlag{Name: "kv", Category: categoryGuest, DefaultText: "in the data directory", EnvVars: []string{"WASMEDGE_KV"},
			Usage: "keep the program's KV stores in the JetStream server at `URL` (nats://HOST:PORT, several with commas)"},
		&cli.StringFlag{Name: "kv-credentials", Category: categoryGuest, Usage: "`FILE` with the JWT and key to show to that server", EnvVars: []string{"WASMEDGE_KV_CREDENTIALS"}},
		&cli.StringSliceFlag{Name: "secret-key", Category: categoryGuest,
			Usage: "open the secret stores in the data directory with the key of `SOURCE`: file:PATH, env:NAME or exec:PROGRAM[,FILE]; repeatable: the first key seals, all open"},
		&cli.StringFlag{Name: "engine", Category: categoryGuest, Usage: "run on `ENGINE`: wasmtime or wazero (default: the first that this build has)"},
		&cli.StringFlag{Name: "cache-dir", Category: categoryGuest, Usage: "keep compiled modules in `DIR` (default: the user's cache directory)", EnvVars: []string{"WASMEDGE_CACHE_DIR"}},
		&cli.BoolFlag{Name: "rebuild", DisableDefaultText: true, Category: categoryGuest, Usage: "rebuild every sandbox instead of setting it back where that is complete"},
		&cli.BoolFlag{Name: "no-cache", DisableDefaultText: true, Category: categoryGuest, Usage: "compile anew, keep nothing"},
		&cli.StringFlag{Name: "max-memory", Category: categoryLimits, Value: "128MiB", Usage: "linear memory of a sandbox: `SIZE` with KiB, MiB or GiB"},
		&cli.StringFlag{Name: "max-stack", Category: categoryLimits, Value: "1MiB", Usage: "call stack of a sandbox: `SIZE` with KiB or MiB"},
		&cli.DurationFlag{Name: "max-cpu", Category: categoryLimits, DefaultText: "10s in serve, none in run", Usage: "computing `TIME` of a sandbox, waiting excluded; 0 means no limit"},
		&cli.DurationFlag{Name: "timeout", Category: categoryLimits, DefaultText: "2m in serve, none in run", Usage: "wall-clock `TIME` of a sandbox"},
		&cli.StringFlag{Name: "log-dir", Category: categoryOutput, Usage: "write each log endpoint to a file of its own in `DIR`, not to standard output; SIGUSR1 reopens the files"},
		&cli.StringFlag{Name: "log-format", Category: categoryOutput, Value: "text", Usage: "`FORMAT` of the server's log: text or json"},
	}
}

func serveFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "addr", Category: categoryServer, Value: "127.0.0.1:7676", Usage: "listen on `IP:PORT`; IPv6 in brackets, port 0 picks a free one"},
		&cli.StringFlag{Name: "tls-cert", Category: categoryServer, Usage: "serve HTTPS with the certificate chain in the PEM `FILE`"},
		&cli.StringFlag{Name: "tls-key", Category: categoryServer, Usage: "private key of --tls-cert, a PEM `FILE`"},
		&cli.BoolFlag{Name: "tls-self-signed", DisableDefaultText: true, Category: categoryServer, Usage: "serve HTTPS with a certificate made for this run"},
		&cli.BoolFlag{Name: "http2", Category: categoryServer, Value: true, Usage: "offer HTTP/2 (--http2=false does not), over TLS and with prior knowledge in clear text"},
		&cli.IntFlag{Name: "warm", Category: categoryServer, Value: runtime.GOMAXPROCS(0), DefaultText: "one for each CPU", Usage: "make `NUMBER` sandboxes ready before the first request"},
		&cli.StringFlag{Name: "metrics-addr", Category: categoryServer, DefaultText: "off", Usage: "serve Prometheus metrics at /metrics on `IP:PORT`, such as 127.0.0.1:9090"},
		&cli.DurationFlag{Name: "drain-timeout", Category: categoryServer, Value: 30 * time.Second, Usage: "`TIME` that requests under way get after SIGINT, SIGTERM or SIGHUP"},
		&cli.IntFlag{Name: "max-concurrent", Category: categoryLimits, Value: 1000, Usage: "`NUMBER` of sandboxes at once; further requests wait, then get 503"},
		&cli.IntFlag{Name: "sandbox-requests", Category: categoryLimits, Value: 100, Usage: "`NUMBER` of requests that one sandbox serves when the program asks for more; 1 means that none is used again"},
		&cli.IntFlag{Name: "max-queue", Category: categoryLimits, DefaultText: "four times --max-concurrent", Usage: "`NUMBER` of requests that may wait for a sandbox; 0 means none"},
		&cli.DurationFlag{Name: "queue-timeout", Category: categoryLimits, Value: 2 * time.Second, Usage: "`TIME` that a request waits for a sandbox at most"},
		&cli.IntFlag{Name: "max-tunnels", Category: categoryLimits, Value: 4096, Usage: "`NUMBER` of WebSockets and other clients that the program may have handed off at once"},
		&cli.DurationFlag{Name: "tunnel-idle", Category: categoryLimits, Value: 10 * time.Minute, Usage: "`TIME` for which such a client and its origin may both be silent; 0 means no limit"},
		&cli.DurationFlag{Name: "tunnel-time", Category: categoryLimits, Value: 24 * time.Hour, Usage: "`TIME` that it may last; 0 means no limit"},
		&cli.StringFlag{Name: "tunnel-bytes", Category: categoryLimits, DefaultText: "no limit", Usage: "`SIZE` that may pass through one WebSocket, both ways together"},
		&cli.StringFlag{Name: "rate-limit-memory", Category: categoryLimits, Value: "64MiB", Usage: "memory of rate counters and penalty boxes: `SIZE` with KiB, MiB or GiB; what was used least is forgotten beyond that"},
		&cli.StringFlag{Name: "cache", Category: categoryServer, Value: "rfc", Usage: "keep responses of backends by the rules of `RULES`: rfc (RFC 9111), fastly (the platform's, where they differ), or off"},
		&cli.StringFlag{Name: "cache-size", Category: categoryLimits, Value: "256MiB", Usage: "memory of what is cached: `SIZE` with MiB or GiB"},
		&cli.DurationFlag{Name: "body-timeout", Category: categoryLimits, Value: time.Minute, Usage: "`TIME` that one read of the client's body may take"},
		&cli.StringFlag{Name: "access-log", Category: categoryOutput, Value: "stdout", Usage: "one line for each request to `TARGET`: stdout or off"},
		&cli.StringFlag{Name: "guest-output", Category: categoryOutput, Value: "prefixed", Usage: "`FORM` of the guest's standard output and error: prefixed with the request's number, or raw"},
		&cli.BoolFlag{Name: "hide-errors", DisableDefaultText: true, Category: categoryOutput, Usage: "do not tell clients why a guest failed"},
	}
	return append(append(flags, engineFlags()...), guestFlags()...)
}

func runFlags() []cli.Flag { return append(engineFlags(), guestFlags()...) }
