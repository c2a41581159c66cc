package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openFiles(t *testing.T, dir string, max int) (*Files, *[]string) {
	t.Helper()
	warned := new([]string)
	f, err := NewFiles(dir, FilesOptions{Max: max, Warn: func(err error) { *warned = append(*warned, err.Error()) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, warned
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

func TestEachEndpointAppendsToItsFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "logs")
	f, _ := openFiles(t, dir, 0)
	f.Endpoint("a").Write([]byte("one\ntwo\n"))
	f.Endpoint("a").Write([]byte(""))
	f.Endpoint("b").Write([]byte("x"))
	f.Close()
	f, warned := openFiles(t, dir, 0)
	f.Endpoint("a").Write([]byte("three"))
	wantFile(t, filepath.Join(dir, "a.log"), "one\\ntwo\nthree\n")
	wantFile(t, filepath.Join(dir, "b.log"), "x\n")
	if len(*warned) != 0 || f.Dropped() != 0 {
		t.Errorf("warnings %q, %d dropped", *warned, f.Dropped())
	}
}

func TestReopenFollowsARotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	f, _ := openFiles(t, dir, 0)
	e := f.Endpoint("a")
	e.Write([]byte("1"))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	e.Write([]byte("2"))
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	e.Write([]byte("3"))
	wantFile(t, path+".old", "1\n2\n")
	wantFile(t, path, "3\n")
}

func TestANameCannotLeaveTheDirectory(t *testing.T) {
	tests := []struct{ name, file string }{
		{"plain-Name_1.x", "plain-Name_1.x.log"},
		{"", ".log"},
		{"..", "%2E..log"},
		{".hidden", "%2Ehidden.log"},
		{"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.log"},
		{"a/b\\c", "a%2Fb%5Cc.log"},
		{"nul\x00%é ", "nul%00%25%C3%A9%20.log"},
	}
	for _, tt := range tests {
		if got := fileName(tt.name); got != tt.file {
			t.Errorf("file of %q is %q, want %q", tt.name, got, tt.file)
		}
	}
	long := strings.Repeat("x", 1000)
	if a, b := fileName(long+"a"), fileName(long+"b"); len(a) > 255 || a == b {
		t.Errorf("files of two long names: %s, %s", a, b)
	}
}

func TestALinkPlantedInTheDirectoryIsNotFollowedOut(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(outside, filepath.Join(dir, "a.log")); err != nil {
		t.Skip(err)
	}
	f, warned := openFiles(t, dir, 0)
	f.Endpoint("a").Write([]byte("x"))
	if _, err := os.Stat(outside); err == nil {
		t.Error("wrote outside of the directory")
	}
	if len(*warned) != 1 || f.Dropped() != 1 {
		t.Errorf("warnings %q, %d dropped", *warned, f.Dropped())
	}
}

func TestEndpointsAboveTheBoundAreDropped(t *testing.T) {
	dir := t.TempDir()
	f, warned := openFiles(t, dir, 2)
	for i := range 5 {
		f.Endpoint(fmt.Sprint(i)).Write([]byte("x"))
		f.Endpoint("0").Write([]byte("y"))
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 2 || f.Dropped() != 3 || len(*warned) != 1 {
		t.Errorf("%d files, %d dropped, warnings %q", len(list), f.Dropped(), *warned)
	}
}

func TestWritingAfterCloseIsCountedAsDropped(t *testing.T) {
	f, _ := openFiles(t, t.TempDir(), 0)
	e := f.Endpoint("a")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	e.Write([]byte("x"))
	f.Endpoint("b").Write([]byte("x"))
	if f.Dropped() != 2 {
		t.Errorf("%d dropped, want 2", f.Dropped())
	}
}
