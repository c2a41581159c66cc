//go:build linux

package secretstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleEnv makes the test binary a process of the tests below.
const roleEnv = "SECRETSTORE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "writer":
		fmt.Println(writeForEver(os.Getenv("DIR"), os.Getenv("KEY")))
		return
	case "searched":
		if err := searchMyself(os.Getenv("DIR"), os.Getenv("KEY")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child prepares a process with a directory that holds store s with secret k, and a key file. It is told key and plaintext in
// a masked form, and knows them from nowhere else.
func child(t *testing.T, role string) (cmd *exec.Cmd, dir string, key *Key) {
	t.Helper()
	dir, key = filepath.Join(t.TempDir(), "secrets"), NewKey()
	file := filepath.Join(t.TempDir(), "key")
	if err := WriteKeyFile(file, key); err != nil {
		t.Fatal(err)
	}
	s, _ := openTestDir(t, dir, key)
	plaintext := []byte(rand.Text() + rand.Text())
	put(t, create(t, s, "s"), "k", string(plaintext))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	var raw []byte
	if err := key.key.with(func(b []byte) error { raw = masked(b); return nil }); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "DIR="+dir, "KEY="+file,
		"MASKED="+hex.EncodeToString(raw), "PLAIN="+hex.EncodeToString(masked(plaintext)))
	return cmd, dir, key
}

func openAsChild(dir, keyFile string) (*Stores, *Store, error) {
	ring, err := KeyringFrom(context.Background(), []string{"file:" + keyFile}, nil)
	if err != nil {
		return nil, nil, err
	}
	s, err := OpenDir(dir, ring)
	if err != nil {
		return nil, nil, err
	}
	store, err := s.Open("s")
	return s, store, err
}

// writeForEver tells of each version once Put has returned.
func writeForEver(dir, keyFile string) error {
	_, store, err := openAsChild(dir, keyFile)
	for n := 1; err == nil; n++ {
		if _, err = store.Put("k", fmt.Appendf(nil, "%d", n), CreateOrRecreate); err == nil {
			fmt.Println(n)
			_, err = store.Prune("k", 3)
		}
	}
	return err
}

func TestAWriterThatIsKilledLosesNothingItHasAcknowledged(t *testing.T) {
	for round := range 5 {
		cmd, dir, key := child(t, "writer")
		out := new(strings.Builder)
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(150+17*round) * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s, _ := openTestDir(t, dir, key)
		store, err := s.Open("s")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(out.String())
		if len(lines) == 0 {
			continue // killed before its first
		}
		var last, got int
		if _, err := fmt.Sscan(lines[len(lines)-1], &last); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(reveal(store, "k"), &got); err != nil || got != last && got != last+1 {
			t.Errorf("round %d: acknowledged was %d, there is %q", round, last, reveal(store, "k"))
		}
		put(t, store, "k", "after")
		wantSecret(t, store, "k", "after")
	}
}

const mask = 0x5a

func masked(b []byte) []byte {
	m := bytes.Clone(b)
	for i := range m {
		m[i] ^= mask
	}
	return m
}

// TestKeysAndPlaintextStayOutOfCoreDumps lets a process use keys and secrets and then search what a core dump of it would
// hold.
func TestKeysAndPlaintextStayOutOfCoreDumps(t *testing.T) {
	cmd, _, _ := child(t, "searched")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func searchMyself(dir, keyFile string) error {
	s, store, err := openAsChild(dir, keyFile)
	if err != nil {
		return err
	}
	for range 200 {
		secret, err := store.Get("k")
		if err != nil {
			return err
		}
		if err := secret.Use(func([]byte) error { return nil }); err != nil {
			return err
		}
	}
	if _, err := s.Rotate(RotateOptions{DataKeys: true}); err != nil {
		return err
	}
	if _, err := store.Put("other", []byte("x"), Create); err != nil {
		return err
	}
	runtime.GC()
	wanted := map[string][]byte{}
	for name, variable := range map[string]string{"the master key": "MASKED", "the plaintext": "PLAIN"} {
		if wanted[name], err = hex.DecodeString(os.Getenv(variable)); err != nil {
			return err
		}
	}
	if err := store.state.Load().data.with(func(b []byte) error { wanted["the data key"] = masked(b); return nil }); err != nil {
		return err
	}
	control := bytes.Repeat([]byte("here it is! "), 3)[:32] // in memory that is dumped
	wanted["what is searched for to test the search"] = masked(control)
	inside, outside, err := search(wanted)
	if err != nil {
		return err
	}
	runtime.KeepAlive(control)
	runtime.KeepAlive(s)
	for _, name := range []string{"the master key", "the data key"} {
		if inside[name] > 0 {
			return fmt.Errorf("%s is in memory that is dumped", name)
		}
		if outside[name] == 0 {
			return fmt.Errorf("%s is not found where it belongs", name)
		}
	}
	if inside["the plaintext"]+outside["the plaintext"] > 0 {
		return fmt.Errorf("the plaintext is still in memory")
	}
	if inside["what is searched for to test the search"] == 0 {
		return fmt.Errorf("the search finds nothing")
	}
	return nil
}

// search counts masked strings in this process's memory: where it would be dumped, and where not. The latter is read last,
// because what is read is then in a buffer that would be dumped.
func search(wanted map[string][]byte) (inside, outside map[string]int, err error) {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil, nil, err
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return nil, nil, err
	}
	defer mem.Close()
	type region struct{ from, to uint64 }
	var dumped, kept []region
	head := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) r`)
	var r region
	for lines := bufio.NewScanner(bytes.NewReader(smaps)); lines.Scan(); {
		line := lines.Text()
		if m := head.FindStringSubmatch(line); m != nil {
			if _, err := fmt.Sscanf(m[1]+" "+m[2], "%x %x", &r.from, &r.to); err != nil {
				return nil, nil, err
			}
			continue
		}
		flags, ok := strings.CutPrefix(line, "VmFlags:")
		if !ok || r.to-r.from-1 >= 1<<32 { // none, or the race detector's shadow
			continue
		}
		if strings.Contains(flags+" ", " dd ") {
			kept = append(kept, r)
		} else {
			dumped = append(dumped, r)
		}
		r = region{}
	}
	const step = 1 << 20
	buf := make([]byte, step)
	look := func(regions []region) map[string]int {
		found := map[string]int{}
		for _, r := range regions {
			for at := r.from; at < r.to; at += step / 2 { // overlapping
				n, _ := mem.ReadAt(buf[:min(step, r.to-at)], int64(at))
				for name, w := range wanted {
					found[name] += countMasked(buf[:n], w)
				}
			}
		}
		return found
	}
	return look(dumped), look(kept), nil
}

// countMasked counts what w is the masked form of.
func countMasked(b, w []byte) (n int) {
	for {
		i := bytes.IndexByte(b, w[0]^mask)
		if i < 0 || len(b)-i < len(w) {
			return n
		}
		same := true
		for j := 1; j < len(w) && same; j++ {
			same = b[i+j]^mask == w[j]
		}
		if same {
			n++
		}
		b = b[i+1:]
	}
}
