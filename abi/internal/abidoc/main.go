// Command abidoc writes docs/ABI.md, the hostcall table for people.
package main

import (
	"fmt"
	"os"

	"github.com/edgewasm/wasmedge/abi"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: abidoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(abi.Document()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
