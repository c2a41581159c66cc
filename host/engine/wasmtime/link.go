//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"runtime/debug"
	"strings"
	"sync"

	// Brings libwasmtime.a into the binary by its own link flags; nothing of its Go API is used. Our C code refers
	// to symbols of it, which the go command cannot resolve when it looks at this package alone: it then
	// leaves the package to the external linker, which sees both.
	_ "github.com/bytecodealliance/wasmtime-go/v39"
)

// libraryModule begins the path of the Go module that carries the library; a major version follows.
const libraryModule = "github.com/bytecodealliance/wasmtime-go/v"

// testedVersion is the version in go.mod, for binaries that do not record their modules (those of go test).
const testedVersion = "39.0.1"

// Version is that of the wasmtime library in this binary, for example "39.0.1".
func Version() string { return version() }

var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return testedVersion
	}
	for _, m := range info.Deps {
		if strings.HasPrefix(m.Path, libraryModule) {
			if m.Replace != nil {
				m = m.Replace
			}
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return testedVersion
})
