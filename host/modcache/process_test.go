//go:build unix

package modcache

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of this file run the test binary again as further processes on one directory; childDir tells such a
// process its directory, childMode what to do there.
const (
	childDir  = "MODCACHE_TEST_DIR"
	childMode = "MODCACHE_TEST_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childMode)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir, mode string) error {
	var warned []string
	c, err := Open(filepath.Join(dir, "cache"), Options{Warn: func(msg string) { warned = append(warned, msg) }})
	if err != nil {
		return err
	}
	switch mode {
	case "share": // ten modules, each compilation leaves a line
		log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		e := &fakeEngine{delay: 30 * time.Millisecond, pad: 3 << 20, onCompile: func() { log.WriteString("compiled\n") }}
		for i := range 10 {
			if _, _, err := c.Module(context.Background(), e, fmt.Appendf(nil, "module %d", i)); err != nil {
				return err
			}
		}
	case "write": // until killed
		e := &fakeEngine{pad: 3 << 20}
		for i := 0; ; i++ {
			if _, _, err := c.Module(context.Background(), e, fmt.Appendf(nil, "module %d of %d", i%20, os.Getpid())); err != nil {
				return err
			}
			fmt.Println("wrote")
		}
	}
	if len(warned) > 0 {
		return fmt.Errorf("warnings: %q", warned)
	}
	return nil
}

func startChild(t *testing.T, dir, mode string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"="+mode)
	return cmd
}

func TestProcessesThatNeedTheSameModulesCompileEachOnce(t *testing.T) {
	dir := t.TempDir()
	var children []*exec.Cmd
	var outputs []*strings.Builder
	for range 4 {
		cmd := startChild(t, dir, "share")
		out := new(strings.Builder)
		cmd.Stdout, cmd.Stderr = out, out
		must(t, cmd.Start())
		children, outputs = append(children, cmd), append(outputs, out)
	}
	for i, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outputs[i])
		}
	}
	mustBe(t, "compilations", strings.Count(string(read(t, filepath.Join(dir, "log"))), "compiled"), 10)
	checkAllSound(t, filepath.Join(dir, "cache"), 10)
}

func TestAKilledWriterLeavesOnlyWholeEntries(t *testing.T) {
	dir := t.TempDir()
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		cmd := startChild(t, dir, "write")
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		out.Read(make([]byte, 1)) // it is writing by now
		time.Sleep(time.Duration(rand.IntN(20000)) * time.Microsecond)
		must(t, cmd.Process.Kill())
		cmd.Wait()
	}
	checkAllSound(t, filepath.Join(dir, "cache"), 1)
}

// checkAllSound opens the directory and checks that it holds sound entries, at least atLeast, and nothing half done.
func checkAllSound(t *testing.T, dir string, atLeast int) {
	t.Helper()
	c, w := open(t, dir, Options{})
	found := 0
	for _, name := range names(t, dir) {
		switch {
		case isEntry(name):
			found++
			var k key
			_, err := hex.Decode(k[:], []byte(name[:2*len(k)]))
			must(t, err)
			f, err := c.store.openVerified(k, name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			f.Close()
		case name != secretName:
			t.Errorf("%s is left behind", name)
		}
	}
	if found < atLeast {
		t.Errorf("%d entries, want %d or more", found, atLeast)
	}
	mustBe(t, "warnings", w.take(), "[]")
}
