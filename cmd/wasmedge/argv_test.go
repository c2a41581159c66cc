package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func normalizeLine(line string) (string, error) {
	o := world{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	var args []string
	for _, a := range strings.Fields(line) {
		if a == "''" {
			a = ""
		}
		args = append(args, a)
	}
	words, err := normalize(args, syntaxes(newApp(o)))
	return strings.Join(words, " "), err
}

func TestCommandLinesMeanWhatTheReferenceServerMakesOfThem(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"bare input is serve", "app.wasm", "serve -- app.wasm"},
		{"serve by name", "serve app.wasm", "serve -- app.wasm"},
		{"flags before the input", "-C f.toml --addr 1.2.3.4:5 app.wasm", "serve --config=f.toml --addr=1.2.3.4:5 -- app.wasm"},
		{"flags after the input", "app.wasm -v -C f.toml --addr=1.2.3.4:5", "serve --verbose --config=f.toml --addr=1.2.3.4:5 -- app.wasm"},
		{"as the platform's tool calls it", "-v -C /abs/fastly.toml --addr 127.0.0.1:7676 ./bin/main.wasm --local-pushpin-proxy-port=0 --enable-local-websocket-passthrough=false",
			"serve --verbose --config=/abs/fastly.toml --addr=127.0.0.1:7676 --local-pushpin-proxy-port=0 --enable-local-websocket-passthrough=false -- ./bin/main.wasm"},
		{"a cluster of switches", "app.wasm -vvv", "serve --verbose --verbose --verbose -- app.wasm"},
		{"a cluster that ends in a value", "app.wasm -vvC f.toml", "serve --verbose --verbose --config=f.toml -- app.wasm"},
		{"a value that sticks to its letter", "-Cf.toml app.wasm", "serve --config=f.toml -- app.wasm"},
		{"a value behind letter and equals sign", "-C=f.toml app.wasm", "serve --config=f.toml -- app.wasm"},
		{"an empty value", "--config= app.wasm", "serve --config= -- app.wasm"},
		{"a value with a dash needs the equals sign", "--config=-odd app.wasm", "serve --config=-odd -- app.wasm"},
		{"two dashes end the flags", "-v -- -odd.wasm", "serve --verbose -- -odd.wasm"},
		{"a dash alone is an input", "-", "serve -- -"},
		{"an input that is named like a command, behind two dashes", "-v -- run", "serve --verbose -- run"},
		{"no input is seen later", "-v", "serve --verbose --"},
		{"nothing is help", "", "help"},
		{"help of the program", "--help", "help"},
		{"help of the program by letter", "-h", "help"},
		{"help of a command", "run --help", "help run"},
		{"help wins behind other flags", "serve -v -h --nonsense", "help serve"},
		{"help in words", "help run", "help -- run"},
		{"version", "--version", "version"},
		{"version by letter", "-V", "version"},
		{"version of a command", "run -V", "version"},
		{"version in a cluster", "-vV", "version"},
		{"version in words, in full", "version -v", "version --verbose --"},
		{"inspect", "inspect app.wasm --json", "inspect --json -- app.wasm"},
		{"a switch may be set", "--http2=false app.wasm", "serve --http2=false -- app.wasm"},
		{"adapt", "adapt -o out.wasm -v in.wasm", "adapt --output=out.wasm --verbose -- in.wasm"},

		{"run: arguments", "run m.wasm a b", "run -- m.wasm a b"},
		{"run: known flags after the input are ours until the first unknown word", "run m.wasm -v x -v", "run --verbose -- m.wasm x -v"},
		{"run: a flag's value is not the first unknown word", "run m.wasm -C f.toml x -C y", "run --config=f.toml -- m.wasm x -C y"},
		{"run: an unknown long flag is the guest's", "run m.wasm --exact -v", "run -- m.wasm --exact -v"},
		{"run: a cluster with an unknown letter is the guest's as a whole", "run m.wasm -test.v=true -v", "run -- m.wasm -test.v=true -v"},
		{"run: so is a switch with a value", "run m.wasm -v=true", "run -- m.wasm -v=true"},
		{"run: serve's flags are the guest's", "run m.wasm --addr x", "run -- m.wasm --addr x"},
		{"run: our own flags after the input are the guest's", "run m.wasm --timeout 5s", "run -- m.wasm --timeout 5s"},
		{"run: and ours before it", "run --timeout 5s m.wasm", "run --timeout=5s -- m.wasm"},
		{"run: two dashes before the input", "run -C f.toml -- m.wasm --exact t", "run --config=f.toml -- m.wasm --exact t"},
		{"run: two dashes after the input", "run m.wasm -- -v", "run -- m.wasm -v"},
		{"run: two dashes among the arguments are an argument", "run m.wasm x -- -v", "run -- m.wasm x -- -v"},
		{"run: only the first two dashes are ours", "run -- m.wasm -- -v", "run -- m.wasm -- -v"},
		{"run: as go test calls it", "run -C fastly.toml -- /tmp/pkg.test -test.paniconexit0 -test.timeout=10m0s -test.v=true -test.run=X",
			"run --config=fastly.toml -- /tmp/pkg.test -test.paniconexit0 -test.timeout=10m0s -test.v=true -test.run=X"},
		{"run: as nextest calls it", "run -C fastly.toml -- t.wasm --list --format terse", "run --config=fastly.toml -- t.wasm --list --format terse"},
		{"run: an empty argument ends ours", "run m.wasm '' -v", "run -- m.wasm  -v"},
		{"run: help after the input is ours", "run m.wasm --help", "help run"},
		{"run: help behind the first argument is the guest's", "run m.wasm x --help", "run -- m.wasm x --help"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := normalizeLine(tt.line)
			if err != nil || got != tt.want {
				t.Errorf("%q\n got %q (%v)\nwant %q", tt.line, got, err, tt.want)
			}
		})
	}
}

func TestCommandLinesThatAreRefused(t *testing.T) {
	tests := []struct{ name, line, command, want string }{
		{"a flag before the command", "-v serve app.wasm", "serve", "flags stand after the command"},
		{"a flag with a value before the command", "-C f.toml run app.wasm", "run", "flags stand after the command"},
		{"two inputs", "serve a.wasm b.wasm", "serve", `unexpected argument "b.wasm" after "a.wasm"`},
		{"two inputs without a command", "a.wasm b.wasm", "serve", `unexpected argument "b.wasm" after "a.wasm"`},
		{"two inputs behind two dashes", "-- a.wasm -v", "serve", `unexpected argument "-v" after "a.wasm"`},
		{"an argument of version", "version x", "version", `unexpected argument "x"`},
		{"an unknown flag", "--nonsense app.wasm", "serve", "unknown flag --nonsense"},
		{"an unknown flag that is nearly one", "--adr 1 app.wasm", "serve", "did you mean --addr?"},
		{"an unknown letter", "-x app.wasm", "serve", "unknown flag -x"},
		{"an unknown letter in a cluster", "-vx app.wasm", "serve", `unknown flag -x in "-vx"`},
		{"a letter as a long flag", "--v app.wasm", "serve", "unknown flag --v"},
		{"a missing value", "app.wasm --addr", "serve", "--addr wants a value"},
		{"a flag in place of a value", "--addr -v app.wasm", "serve", "--addr wants a value"},
		{"a value of a switch", "--log-stdout=yes app.wasm", "serve", "--log-stdout is a switch"},
		{"run: an unknown flag before the input", "run --exact m.wasm", "run", "unknown flag --exact"},
		{"run: serve's flag before the input", "run --addr 127.0.0.1:1 m.wasm", "run", "unknown flag --addr"},
		{"run: a missing value after the input", "run m.wasm -C", "run", "--config wants a value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := normalizeLine(tt.line)
			var usage *usageError
			if !errors.As(err, &usage) || usage.command != tt.command || !strings.Contains(usage.text, tt.want) {
				t.Errorf("%q gives %q, error %v (of %+v)", tt.line, got, err, usage)
			}
		})
	}
}

func FuzzNormalize(f *testing.F) {
	for _, line := range []string{"run m.wasm -v x -v", "-vvC f.toml a.wasm", "-v serve x", "-- -", "help run", "run -- m -- -"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := normalizeLine(line)
		if err == nil && words == "" {
			t.Errorf("%q gives nothing", line)
		}
	})
}
