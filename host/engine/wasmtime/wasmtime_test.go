//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime_test

import (
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/enginetest"
	"github.com/edgewasm/wasmedge/host/engine/wasmtime"
)

func open(t testing.TB, cfg engine.Config) engine.Engine {
	t.Helper()
	e, err := wasmtime.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, cfg engine.Config) engine.Engine { return open(t, cfg) })
}
