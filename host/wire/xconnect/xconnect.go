// Package xconnect lets this process's HTTP/2 servers take WebSockets: extended CONNECT (RFC 8441). It is imported for
// that effect alone, by programs that serve a wire.Server:
//
//	import _ "github.com/edgewasm/wasmedge/host/wire/xconnect"
//
// net/http has extended CONNECT built in and switched off, unless the environment variable GODEBUG holds
// http2xconnect=1 when net/http is initialised. This package adds that to GODEBUG, and leaves alone what stands there
// already, so GODEBUG=http2xconnect=0 keeps it off.
//
// It is not part of package wire because it concerns all of a process: any other HTTP/2 server in it offers extended
// CONNECT as well, and its handlers meet requests with the method CONNECT and a header named ":protocol".
package xconnect

import (
	"os"
	"strings"
)

const (
	variable = "GODEBUG"
	setting  = "http2xconnect="
)

// The language orders this before net/http's own initialisation: of the packages whose imports are initialised, the
// one with the first import path is next, and all that this one waits for is package os, for which net/http waits too.
func init() {
	value := os.Getenv(variable)
	if strings.Contains(value, setting) {
		return
	}
	if value != "" {
		value += ","
	}
	os.Setenv(variable, value+setting+"1")
}
