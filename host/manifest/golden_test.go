package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected files under testdata from what Parse gives now")

// TestGolden parses each testdata/NAME.toml. What comes out stands beside it: NAME.json for a manifest that
// is accepted, with its warnings, and NAME.txt for the errors of one that is refused. Run with -update after
// a change on purpose, and read the difference.
func TestGolden(t *testing.T) {
	t.Setenv("MANIFEST_TEST_SECRET", "from the environment")
	manifests, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifests in testdata: %v", err)
	}
	for _, path := range manifests {
		name := strings.TrimSuffix(filepath.Base(path), ".toml")
		t.Run(name, func(t *testing.T) {
			m, err := Load(filepath.ToSlash(path))
			if refused := strings.HasPrefix(name, "bad-"); refused != (err != nil) {
				t.Errorf("refused: %v, want %v, as the file's name says", err != nil, refused)
			}
			var got, file, stale string
			base := strings.TrimSuffix(path, ".toml")
			if err != nil {
				got, file, stale = err.Error()+"\n", base+".txt", base+".json"
			} else {
				got, file, stale = dump(t, m), base+".json", base+".txt"
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				_ = os.Remove(stale) // mostly not there
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v\nexpected files are made by: go test ./host/manifest -run TestGolden -update", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s is not what Parse gives (- expected, + now):\n%s", file, diff)
			}
		})
	}
}

// dump writes a manifest as JSON for people: without what is empty or as by default, bytes as text,
// positions as line:column, certificates as their subjects.
func dump(t *testing.T, m *Manifest) string {
	t.Helper()
	subjects := map[string][]string{}
	plain := *m
	plain.LocalServer.Backends = nil
	for _, b := range m.LocalServer.Backends {
		for _, cert := range b.CACertificates {
			subjects[b.Name] = append(subjects[b.Name], cert.Subject.String())
		}
		b.CACertificates = nil
		plain.LocalServer.Backends = append(plain.LocalServer.Backends, b)
	}
	src, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	local, _ := tree["LocalServer"].(map[string]any)
	backends, _ := local["Backends"].([]any)
	for _, b := range backends {
		b := b.(map[string]any)
		if names := subjects[b["Name"].(string)]; names != nil {
			b["CACertificates"] = names
		}
	}
	stores, _ := local["KVStores"].([]any)
	for i, s := range m.LocalServer.KVStores {
		items, _ := stores[i].(map[string]any)["Items"].([]any)
		for j, item := range s.Items {
			items[j].(map[string]any)["Value"] = string(item.Value)
		}
	}
	stores, _ = local["SecretStores"].([]any)
	for i, s := range m.LocalServer.SecretStores {
		items, _ := stores[i].(map[string]any)["Items"].([]any)
		for j, item := range s.Items {
			items[j].(map[string]any)["Value"] = "revealed: " + string(item.Value.Reveal())
		}
	}
	// Records exactly as they are, for their spelling of numbers matters to guests.
	addresses := map[string]string{}
	for addr, record := range m.LocalServer.Geolocation.Addresses {
		addresses[addr.String()] = string(record)
	}
	agents := map[string]string{}
	for agent, record := range m.LocalServer.DeviceDetection.UserAgents {
		agents[agent] = string(record)
	}
	if len(addresses) > 0 {
		local["Geolocation"].(map[string]any)["Addresses"] = addresses
	}
	if len(agents) > 0 {
		local["DeviceDetection"].(map[string]any)["UserAgents"] = agents
	}
	var warnings []string
	for _, w := range m.Warnings {
		warnings = append(warnings, w.Error())
	}
	tree["Warnings"] = warnings
	if warnings == nil {
		delete(tree, "Warnings")
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(prune(tree)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// prune drops what is empty, and shortens positions.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if line, ok := v["Line"]; ok {
			return fmt.Sprintf("%v:%v", line, v["Col"])
		}
		for k, item := range v {
			if k == "Contents" && item != nil { // the user's own keys
				continue
			}
			item = prune(item)
			if item == nil || item == "" || item == false || item == json.Number("0") {
				delete(v, k)
				continue
			}
			if m, ok := item.(map[string]any); ok && len(m) == 0 {
				delete(v, k)
				continue
			}
			v[k] = item
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}
