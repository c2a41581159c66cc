package modcache_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgewasm/wasmedge/host"
	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/modcache"
	"github.com/edgewasm/wasmedge/testdata/guests"
)

func TestARealEnginesModulesComeBackFromDisk(t *testing.T) {
	for _, name := range host.Engines() {
		t.Run(name, func(t *testing.T) {
			eng, err := host.NewEngine(name, engine.Config{MaxInstances: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer eng.Close()
			dir := t.TempDir()
			warn := func(msg string) { t.Errorf("warning: %s", msg) }
			program := guests.Wasm(t, "rust/hello")
			get := func() (mod engine.Module, hit bool) {
				c, err := modcache.Open(dir, modcache.Options{Warn: warn})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				mod, hit, err = c.Module(t.Context(), eng, program)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(mod.Close)
				return mod, hit
			}
			first, hit := get()
			if hit {
				t.Fatal("a hit in an empty directory")
			}
			if _, err := first.Serialize(); errors.Is(err, engine.ErrNoArtifact) {
				t.Skip("this engine has no artifacts")
			}
			second, hit := get()
			if !hit {
				t.Fatal("compiled a second time")
			}
			if len(second.Exports()) != len(first.Exports()) || len(second.Imports()) != len(first.Imports()) {
				t.Error("the module from disk has other imports or exports")
			}
			template, err := second.Link(nil, engine.LinkOptions{UnknownImports: engine.TrapUnknown})
			if err != nil {
				t.Fatal(err)
			}
			defer template.Close()
			inst, err := template.Instantiate(engine.InstanceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer inst.Close()

			// What is mapped stays usable when its file has gone.
			files, err := filepath.Glob(filepath.Join(dir, "*.module"))
			if err != nil || len(files) != 1 {
				t.Fatalf("files %q, %v", files, err)
			}
			if err := os.Remove(files[0]); err != nil {
				t.Fatal(err)
			}
			var unknown *engine.UnknownImportError
			if err := inst.Call(t.Context(), host.EntryPoint); !errors.As(err, &unknown) {
				t.Errorf("the guest ended with %v, want its first unknown import", err)
			}
		})
	}
}
