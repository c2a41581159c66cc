package acl

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d *Dir, name string) Info {
	t.Helper()
	info, err := d.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestDirKeepsACLs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acls")
	d := openDir(t, path)
	office, cafe := create(t, d, "office"), create(t, d, "Café / \"2\"")
	if office.Name != "office" || !isID(office.ID) || office.Created.IsZero() || office.Created != office.Updated {
		t.Errorf("%+v", office)
	}
	if _, err := d.Create("office"); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := d.Create(""); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
	c, err := d.Update(office.ID, []Op{{Create, entry(t, "10.0.0.0/8", Block)}, {Create, entry(t, "10.1.0.0/16", "o\"ther")}})
	if err != nil || c != (Changes{Created: 2}) {
		t.Fatal(c, err)
	}
	if err := d.Replace(cafe.ID, table(t, "2001:db8::/32", "ALLOW")); err != nil {
		t.Fatal(err)
	}

	again := openDir(t, path)
	list, err := again.List()
	if err != nil || len(list) != 2 || list[0].Name != cafe.Name || list[1].ID != office.ID || list[1].Created != office.Created {
		t.Fatalf("%+v, %v", list, err)
	}
	if info, err := again.Describe(office.ID); err != nil || info != list[1] {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := again.Find(cafe.Name); err != nil || info != list[0] {
		t.Errorf("%+v, %v", info, err)
	}
	a, err := again.Open("office")
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := a.Lookup(netip.MustParseAddr("10.1.2.3")); !ok || e.Action != "o\"ther" || a.Table().Len() != 2 {
		t.Errorf("%v %v", e, ok)
	}
	// The file is one that a manifest can name.
	f, err := os.Open(again.file(office.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if tab, err := ReadTable(f); err != nil || tab.Len() != 2 {
		t.Errorf("%v, %v", tab, err)
	}

	if err := again.Delete(office.ID); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"open":        second(again.Open("office")),
		"open by ID":  second(again.OpenID(office.ID)),
		"elsewhere":   second(d.Open("office")),
		"describe":    second(d.Describe(office.ID)),
		"find":        second(d.Find("office")),
		"delete":      d.Delete(office.ID),
		"update":      second(d.Update(office.ID, nil)),
		"replace":     d.Replace(office.ID, nil),
		"a bad ID":    second(d.OpenID("../" + office.ID[3:])),
		"another one": second(d.Describe("x")),
		"del bad":     d.Delete("../../etc"),
		"update bad":  second(d.Update("UPPER", nil)),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	if len(again.open) != 0 {
		t.Errorf("%d ACLs are kept that do not exist", len(again.open))
	}
	if a.Table().Len() != 2 {
		t.Error("who has opened it has lost it")
	}
	create(t, again, "office")
	if a, err := again.Open("office"); err != nil || a.Table().Len() != 0 {
		t.Errorf("made again it is not empty: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDirSeesWhatOthersChange(t *testing.T) {
	path := t.TempDir()
	ours, theirs := openDir(t, path), openDir(t, path)
	info := create(t, theirs, "a")
	acl, err := ours.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr("10.0.0.1")
	for i := range 20 { // more than one within a tick of the clock
		action := fmt.Sprint(i % 10)
		if _, err := theirs.Update(info.ID, []Op{{Update, entry(t, "10.0.0.0/8", action)}}); err != nil {
			t.Fatal(err)
		}
		again, err := ours.Open("a")
		if err != nil || again != acl {
			t.Fatal(again, err)
		}
		if e, _ := acl.Lookup(ip); e.Action != action {
			t.Fatalf("update %d: %q, want %q", i, e.Action, action)
		}
	}
	before := acl.Table()
	if _, err := ours.Open("a"); err != nil || acl.Table() != before {
		t.Error("the file was read again without need")
	}

	// A file that has gone bad: what was there stays, and the error tells where it is.
	file := ours.file(info.ID)
	if err := os.WriteFile(file, []byte(`{"name":"a","entries":[{"prefix":"10.0.0.0/8"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = ours.Open("a")
		if err == nil || !strings.Contains(err.Error(), file+": entry 0, at byte 46: not valid: the action is missing") {
			t.Errorf("%v", err)
		}
	}
	if _, ok := acl.Lookup(ip); !ok {
		t.Error("what was opened has lost its entries")
	}
	if _, err := ours.Update(info.ID, nil); err == nil {
		t.Error("a file that cannot be read was updated")
	}
	// Another ACL's file under this name is none.
	if err := os.WriteFile(file, []byte(`{"name":"b","entries":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open("a"); err == nil || !strings.Contains(err.Error(), `another name than "b"`) {
		t.Error(err)
	}
	if _, err := ours.List(); err == nil {
		t.Error("a bad file is no error in a list")
	}
	if err := os.WriteFile(file, []byte(`{"name":"a","entries":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open("a"); err != nil || acl.Table().Len() != 0 {
		t.Errorf("mended: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open("a"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}

func TestLargeFilesAreReadInTheBackground(t *testing.T) {
	path := t.TempDir()
	ours, theirs := openDir(t, path), openDir(t, path)
	info := create(t, theirs, "a")
	large := func(action string) *Table {
		entries := make([]Entry, 30_000)
		for i := range entries {
			entries[i] = Entry{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), action}
		}
		tab, err := NewTable(entries)
		if err != nil {
			t.Fatal(err)
		}
		return tab
	}
	if err := theirs.Replace(info.ID, large("first")); err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr("10.0.0.1")
	acl, err := ours.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := acl.Lookup(ip); e.Action != "first" {
		t.Fatalf("%v: the first reading is not waited for", e)
	}
	if err := theirs.Replace(info.ID, large("second")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := ours.Open("a"); err != nil {
			t.Fatal(err)
		}
		if e, ok := acl.Lookup(ip); !ok {
			t.Fatal("it is empty meanwhile")
		} else if e.Action == "second" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the second contents never come")
		}
	}
	// An update of our own waits for what it changes.
	if err := theirs.Replace(info.ID, large("third")); err != nil {
		t.Fatal(err)
	}
	if c, err := ours.Update(info.ID, []Op{{Update, entry(t, "10.0.0.1/32", "fourth")}}); err != nil || c.Updated != 1 {
		t.Fatal(c, err)
	}
	if e, _ := acl.Lookup(netip.MustParseAddr("10.0.0.2")); e.Action != "third" {
		t.Errorf("%v: another process's update was lost", e)
	}
	if err := os.WriteFile(ours.file(info.ID), append([]byte("{"), make([]byte, 2<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := ours.Open("a"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a bad file is never told of")
		}
	}
}

// An update that was reported as done is there after kill -9, whatever the process did at that moment.
func TestUpdatesSurviveKill(t *testing.T) {
	path := os.Getenv("ACL_TEST_WRITE")
	if path != "" {
		d := openDir(t, path)
		info, err := d.Find("a")
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			if _, err := d.Update(info.ID, []Op{{Create, Entry{p, Allow}}}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("wrote", p)
		}
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	path = t.TempDir()
	d := openDir(t, path)
	create(t, d, "a")
	written := map[netip.Prefix]bool{}
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUpdatesSurviveKill$")
		cmd.Env = append(os.Environ(), "ACL_TEST_WRITE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Skipf("cannot start a process: %v", err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "wrote "); ok {
				written[netip.MustParsePrefix(text)] = true
				if n++; n == 10+7*round {
					_ = cmd.Process.Kill()
				}
			}
		}
		_ = cmd.Wait() // it was killed
		again := openDir(t, path)
		a, err := again.Open("a")
		if err != nil {
			t.Fatal(err)
		}
		for p := range written {
			if _, ok := a.Table().Get(p); !ok {
				t.Errorf("round %d: %s is lost", round, p)
			}
		}
		if n := a.Table().Len(); n < len(written) || n > len(written)+1 {
			t.Errorf("round %d: %d entries after %d updates", round, n, len(written))
		}
	}
	if len(written) < 30 {
		t.Errorf("only %d updates were made", len(written))
	}
}

func TestChainAsksInTurn(t *testing.T) {
	first, second := new(Set), openDir(t, t.TempDir())
	create(t, second, "both")
	broken := create(t, second, "broken")
	only := create(t, second, "only")
	first.Put("both", New(table(t, "10.0.0.0/8", "first")))
	c := Chain{first, second}
	if a, err := c.Open("both"); err != nil || a.Table().Len() != 1 {
		t.Errorf("%v: not the first", err)
	}
	if a, err := c.Open("only"); err != nil || a.Table().Len() != 0 {
		t.Errorf("%v, of %s", err, only.Name)
	}
	for _, c := range []Chain{c, nil} {
		if _, err := c.Open("none"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if err := os.WriteFile(second.file(broken.ID), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Chain{second, first}).Open("broken"); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestUpdatesOfTwoDirsTakeTurns(t *testing.T) {
	path := t.TempDir()
	dirs := []*Dir{openDir(t, path), openDir(t, path)}
	info := create(t, dirs[0], "a")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(w), 0, byte(i)}), 32)
				if _, err := dirs[w%2].Update(info.ID, []Op{{Create, Entry{p, Allow}}}); err != nil {
					t.Error(err)
				}
				if a, err := dirs[(w+1)%2].Open("a"); err != nil {
					t.Error(err)
				} else if _, ok := a.Lookup(p.Addr()); !ok {
					t.Errorf("%s is not there after its update", p)
				}
			}
		})
	}
	wg.Wait()
	if a, err := dirs[0].Open("a"); err != nil || a.Table().Len() != 40 {
		t.Errorf("%d entries, %v: an update was lost", a.Table().Len(), err)
	}
}

func TestAnInterruptedWriteLeavesTheOldContents(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	info := create(t, d, "a")
	if err := d.Replace(info.ID, table(t, "10.0.0.0/8", "ALLOW")); err != nil {
		t.Fatal(err)
	}
	// What a process leaves that is killed while it writes: part of a file under a temporary name.
	half, err := os.ReadFile(d.file(info.ID))
	if err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(path, info.ID+"-1"+tempSuffix), filepath.Join(path, info.ID+"-2"+tempSuffix)
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, half[:len(half)/2], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * stale)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	d = openDir(t, path)
	if list, err := d.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if a, err := d.Open("a"); err != nil || a.Table().Len() != 1 {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old temporary file stays: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a temporary file that may be in use was removed: %v", err)
	}
	// A write that fails leaves no temporary file, and the old contents.
	if err := os.Remove(young); err != nil {
		t.Fatal(err)
	}
	long := &Table{routes: empty.routes}
	if err := os.Mkdir(filepath.Join(path, id("b")+fileSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.write(Info{ID: id("b"), Name: "b"}, long); err == nil {
		t.Error("a rename over a folder succeeds")
	}
	names, err := os.ReadDir(path)
	if err != nil || slices.ContainsFunc(names, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), tempSuffix) }) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := OpenDir(filepath.Join(path, lockName)); err == nil {
		t.Error("a file is opened as a directory")
	}
}
