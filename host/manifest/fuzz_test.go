package manifest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// FuzzParse feeds Parse any text. The files that it may read are those of testdata/data and testdata/tls,
// held in memory, so that a mutated path reaches nothing else.
func FuzzParse(f *testing.F) {
	files := map[string][]byte{}
	for _, pattern := range []string{"testdata/*.toml", "testdata/data/*", "testdata/tls/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if strings.HasSuffix(path, ".toml") {
				f.Add(src)
			} else {
				files[filepath.ToSlash(strings.TrimPrefix(path, "testdata/"))] = src
			}
		}
	}
	open := func(path string, limit int64) ([]byte, error) {
		src, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return src, nil
	}
	env := func(name string) (string, bool) { return name, name != "" && name[0] == 'M' }
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 64<<10 {
			return
		}
		before := slices.Clone(src)
		m, err := parse("fastly.toml", src, open, env, true)
		if !slices.Equal(before, src) {
			t.Fatal("the source has been written to")
		}
		if (m == nil) == (err == nil) {
			t.Fatalf("manifest %v with error %v", m, err)
		}
		var problems []*Problem
		if err != nil {
			list, ok := err.(Errors)
			if !ok || len(list) == 0 {
				t.Fatalf("error of type %T: %v", err, err)
			}
			problems = list
		} else {
			problems = m.Warnings
		}
		lines := strings.Count(string(src), "\n") + 1
		for i, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Line > lines || p.Pos.Col < 1 || p.Pos.Col > len(src)+1 {
				t.Errorf("a problem outside of the file: %v", p)
			}
			if i > 0 && p.Pos.Line < problems[i-1].Pos.Line {
				t.Errorf("problems out of order: %v, then %v", problems[i-1], p)
			}
			if strings.ContainsAny(p.Key, "\r\n\x00\x1b") {
				t.Errorf("control characters in a message: %q", p.Key)
			}
		}
		pack, packErr := ParsePackage("fastly.toml", src)
		if err == nil && packErr != nil {
			t.Errorf("fine as a file, but not in a package: %v", packErr)
		}
		_ = pack
		checkTree(t, src)
		checkEdit(t, src)
	})
}

// checkTree compares what is TOML here with what is TOML to the library's own decoder.
func checkTree(t *testing.T, src []byte) {
	body := trimMark(src)
	root, err := readTOML(body)
	var want map[string]any
	libErr := toml.Unmarshal(slices.Clone(body), &want)
	if err != nil {
		if libErr == nil && !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "more than") {
			t.Errorf("refused here only: %v", err)
		}
		return
	}
	if libErr != nil {
		t.Errorf("refused by the library only: %v", libErr)
		return
	}
	if diff := cmp.Diff(keysOf(want), root.keys()); diff != "" {
		t.Errorf("other keys than the library finds (- library, + here):\n%s", diff)
	}
}

// keys gives the shape of a value: tables and lists with what is in them, and strings.
func (v *value) keys() any {
	switch v.kind {
	case kindTable:
		m := map[string]any{}
		for _, item := range v.items {
			m[item.name] = item.keys()
		}
		return m
	case kindList:
		list := make([]any, len(v.items))
		for i, item := range v.items {
			list[i] = item.keys()
		}
		return list
	case kindString:
		return v.text
	case kindInteger:
		return v.integer
	case kindBool:
		return v.boolean
	}
	return nil
}

func keysOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, item := range v {
			m[key] = keysOf(item)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = keysOf(item)
		}
		return list
	case string, int64, bool:
		return v
	}
	return nil
}

func checkEdit(t *testing.T, src []byte) {
	const id = "new\"id"
	edited, err := EditServiceID(src, id)
	if err != nil {
		return
	}
	before, _ := readTOML(trimMark(src))
	after, err := readTOML(trimMark(edited))
	if err != nil {
		t.Fatalf("the edited file is broken: %v\n%q", err, edited)
	}
	was, is := before.keys().(map[string]any), after.keys().(map[string]any)
	if is["service_id"] != id {
		t.Errorf("service_id is %v", is["service_id"])
	}
	delete(was, "service_id")
	delete(is, "service_id")
	if diff := cmp.Diff(was, is); diff != "" {
		t.Errorf("the edit changed other keys:\n%s", diff)
	}
	again, err := EditServiceID(edited, id)
	if err != nil || string(again) != string(edited) {
		t.Errorf("a second edit gives %q, %v", again, err)
	}
}
