// Command wasmedge runs programs built for the Fastly Compute guest ABI: "wasmedge app.wasm" serves one on
// 127.0.0.1:7676, "wasmedge run app.wasm" runs one once, "wasmedge inspect app.wasm" tells what it needs.
//
// The command line is that of the platform's own local test server, so that its tools can call this program in
// that one's place; options of our own are told in the help. Exit codes: 0 when the guest ended well, the guest's
// own code modulo 256, 134 when it trapped, 1 for errors of the manifest, the host or the network, 2 for
// mistakes in the command line.
package main

import (
	"os"
)

func main() {
	os.Exit(mainWith(os.Args[1:], world{
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv,
	}))
}
