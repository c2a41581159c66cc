//go:build !cgo || !(linux || darwin) || !(amd64 || arm64)

package wasmtime

import "github.com/edgewasm/wasmedge/host/engine"

// Available says whether this build has the engine.
const Available = false

// New returns ErrUnavailable.
func New(engine.Config) (engine.Engine, error) { return nil, ErrUnavailable }

// WatToWasm returns ErrUnavailable.
func WatToWasm([]byte) ([]byte, error) { return nil, ErrUnavailable }

// Version is empty: this build has no wasmtime.
func Version() string { return "" }
