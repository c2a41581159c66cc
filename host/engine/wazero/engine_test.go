package wazero

import (
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/engine/enginetest"
)

func open(t *testing.T, cfg engine.Config) engine.Engine {
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestConformance(t *testing.T) { enginetest.Run(t, open) }
