package abi

import (
	"os"
	"testing"

	"github.com/edgewasm/wasmedge/host/engine"
)

func TestEveryHandlerHasItsPlaceInTheSpec(t *testing.T) {
	known := make(map[string]bool)
	for _, e := range spec {
		key := e.module + "." + e.name
		if known[key] {
			t.Errorf("%s stands twice in the spec", key)
		}
		known[key] = true
	}
	if len(spec) != 307 {
		t.Errorf("the spec has %d calls, want 307", len(spec))
	}
	for module, maps := range modules {
		seen := make(map[string]bool)
		for _, calls := range maps {
			for name, c := range calls {
				if !known[module+"."+name] {
					t.Errorf("%s.%s has code but is not in the spec", module, name)
				}
				if c.fn == nil {
					t.Errorf("%s.%s has no code", module, name)
				}
				if seen[name] {
					t.Errorf("%s.%s has code twice", module, name)
				}
				seen[name] = true
			}
		}
	}
	for _, e := range spec {
		if _, ok := e.code(); !ok && missingReasons[e.module] == "" && e.alias == "" {
			t.Errorf("%s.%s is missing without a reason", e.module, e.name)
		}
		if e.alias != "" && !known[e.alias] {
			t.Errorf("%s.%s is an alias of the unknown %s", e.module, e.name, e.alias)
		}
	}
}

func TestAliasesHaveTheSignatureOfTheirTarget(t *testing.T) {
	byName := make(map[string]engine.FuncType)
	for i := range spec {
		byName[spec[i].module+"."+spec[i].name] = spec[i].signature()
	}
	for i := range spec {
		e := &spec[i]
		if e.alias != "" && !e.signature().Equal(byName[e.alias]) {
			t.Errorf("%s.%s is %s, its target %s is %s", e.module, e.name, e.signature(), e.alias, byName[e.alias])
		}
	}
}

func TestReadyIsOnlyGivenToCallsThatMayBlock(t *testing.T) {
	for i := range spec {
		e := &spec[i]
		if c, ok := e.code(); ok && c.ready != nil && e.flags&blocks == 0 {
			t.Errorf("%s.%s has a ready function but is not marked as blocking", e.module, e.name)
		}
	}
}

func TestDocumentIsUpToDate(t *testing.T) {
	got, err := os.ReadFile("../docs/ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Document() {
		t.Error("docs/ABI.md is stale: run go generate ./abi")
	}
}
