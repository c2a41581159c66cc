package freshfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAFileIsReadAgainWhenItHasChangedAndKeptWhenItIsBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	parsed := 0
	var warnings []string
	f := New(path, "first", Options[string]{
		Limit: 10,
		Parse: func(src []byte) (string, error) {
			parsed++
			if string(src) == "bad" {
				return "", errors.New("1:1: bad")
			}
			return string(src), nil
		},
		Warn: func(err error) { warnings = append(warnings, err.Error()) },
	})
	at := time.Now().Add(-time.Hour)
	write := func(text string) func() { // a file that is old enough for one reading to do
		return func() {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			at = at.Add(time.Minute)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		name   string
		do     func()
		want   string
		parses int
		warn   string
	}{
		{"there is no file yet", func() {}, "first", 0, "no such file"},
		{"there is still none", func() {}, "first", 0, ""},
		{"a file", write("one"), "one", 1, ""},
		{"the same file", func() {}, "one", 0, ""},
		{"other contents", write("two"), "two", 1, ""},
		{"contents that do not parse", write("bad"), "two", 1, f.path + ":1:1: bad"},
		{"they are not parsed again", func() {}, "two", 0, ""},
		{"a file that is too large", write("0123456789a"), "two", 0, "larger than 10 bytes"},
		{"it goes away", func() { _ = os.Remove(path) }, "two", 0, "no such file"},
		{"a folder in its place", func() { _ = os.Mkdir(path, 0o700) }, "two", 0, "not a regular file"},
		{"mended", func() { _ = os.Remove(path); write("three")() }, "three", 1, ""},
	} {
		step.do()
		parsed, warnings = 0, nil
		for range 3 {
			if got := f.Get(); got != step.want {
				t.Errorf("%s: got %q, want %q", step.name, got, step.want)
			}
		}
		if parsed != step.parses {
			t.Errorf("%s: parsed %d times, want %d", step.name, parsed, step.parses)
		}
		if got := strings.Join(warnings, "|"); (step.warn == "") != (got == "") || !strings.Contains(got, step.warn) || len(warnings) > 1 {
			t.Errorf("%s: warned %q, want %q", step.name, got, step.warn)
		}
	}
}

func TestAYoungFileIsReadAgainAlthoughItLooksTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := New(path, "", Options[string]{Parse: func(src []byte) (string, error) { return string(src), nil }})
	at := time.Now()
	for _, text := range []string{"one", "two", "six"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if got := f.Get(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
}

func TestManyReadersSeeOldOrNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := New(path, strings.Repeat("a", 1000), Options[string]{Parse: func(src []byte) (string, error) { return string(src), nil }})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v := f.Get(); len(v) != 1000 || strings.Count(v, v[:1]) != 1000 {
					t.Errorf("a value of both: %.20q (%d)", v, len(v))
					return
				}
			}
		})
	}
	for i := range 50 {
		tmp := path + ".new"
		if err := os.WriteFile(tmp, []byte(strings.Repeat(string(rune('b'+i%20)), 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	close(stop)
	wg.Wait()
}
