package configstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/configstore"
)

// old is a modification time that no longer hides a second write.
var old = time.Now().Add(-time.Hour)

// put writes a file in place, with a given modification time.
func put(t testing.TB, path, text string, when time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsReadAgainWhenItHasChanged(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *testing.T, path string)
		want   string
	}{
		{"nothing changes", func(*testing.T, string) {}, "1"},
		{"another time, same size", func(t *testing.T, path string) { put(t, path, `{"k":"2"}`, old.Add(time.Second)) }, "2"},
		{"an older time", func(t *testing.T, path string) { put(t, path, `{"k":"2"}`, old.Add(-time.Second)) }, "2"},
		{"another size, same time", func(t *testing.T, path string) { put(t, path, `{"k":"22"}`, old) }, "22"},
		{"another file of same time and size, renamed over it", func(t *testing.T, path string) {
			put(t, path+".new", `{"k":"2"}`, old)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, "2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.json")
			put(t, path, `{"k":"1"}`, old)
			store, err := configstore.Open(configstore.NewFile(path, configstore.Limits{}), configstore.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			test.change(t, path)
			for range 2 {
				if err := store.Refresh(); err != nil {
					t.Fatal(err)
				}
				if value, _ := store.Lookup("k"); value != test.want {
					t.Errorf("looked up %q, want %q", value, test.want)
				}
			}
		})
	}
}

func TestAnUnchangedFileIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	put(t, path, `{"k":"1"}`, old)
	file := configstore.NewFile(path, configstore.Limits{})
	if !file.Changed() {
		t.Error("a file never read counts as unchanged")
	}
	if _, err := file.Load(); err != nil {
		t.Fatal(err)
	}
	if file.Changed() {
		t.Error("a file just read counts as changed")
	}
	put(t, path, "broken", old)
	if _, err := file.Load(); err == nil {
		t.Fatal("no error")
	}
	if file.Changed() {
		t.Error("a broken file just read counts as changed")
	}
}

func TestAYoungFileIsReadAgain(t *testing.T) {
	// Two writes within one tick of the file system's clock look alike; the time of now stands for that.
	path := filepath.Join(t.TempDir(), "c.json")
	now := time.Now()
	put(t, path, `{"k":"1"}`, now)
	store, err := configstore.Open(configstore.NewFile(path, configstore.Limits{}), configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, `{"k":"2"}`, now)
	if err := store.Refresh(); err != nil {
		t.Fatal(err)
	}
	if value, _ := store.Lookup("k"); value != "2" {
		t.Errorf("looked up %q", value)
	}
}

func TestAFileGoneBadFailsTheOpenAndIsTakenBackWhenMended(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.json")
	put(t, path, `{"k":"1"}`, old)
	store, err := configstore.Open(configstore.NewFile(path, configstore.Limits{}), configstore.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var set configstore.Set
	set.Put("s", store)
	for _, step := range []struct{ name, text, want string }{
		{"broken syntax", "{\n  \"k\" 1 }", path + `:2:7: invalid character '1' after object key`},
		{"a value of another type", "{\n  \"é\": 1 }", path + `:2:8: value of key "é": want a string, not a number`},
		{"a value over the limits", `{"k":"` + strings.Repeat("x", 8001) + `"}`, "over the limit of 8000"},
		{"mended", `{"k":"2"}`, ""},
		{"removed", "", "no such file"},
		{"there again", `{"k":"3"}`, ""},
	} {
		if step.text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, path, step.text, old)
		}
		for range 2 {
			_, err := set.Open("s")
			if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
				t.Errorf("%s: %v, want an error with %q", step.name, err, step.want)
			}
		}
	}
	if value, _ := store.Lookup("k"); value != "3" {
		t.Errorf("at last %q", value)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, configstore.MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:        "not a regular file",
		os.DevNull: "not a regular file",
		big:        "larger than 33554432 bytes",
	} {
		_, err := configstore.Open(configstore.NewFile(path, configstore.Limits{}), configstore.Limits{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error with %q", path, err, want)
		}
	}
	if _, err := configstore.Open(configstore.NewFile(filepath.Join(dir, "none"), configstore.Limits{}), configstore.Limits{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func BenchmarkOpenOfAnUnchangedFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c.json")
	put(b, path, `{"k":"1"}`, old)
	store, err := configstore.Open(configstore.NewFile(path, configstore.Limits{}), configstore.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	var set configstore.Set
	set.Put("s", store)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Open("s"); err != nil {
			b.Fatal(err)
		}
	}
}
