package bolt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

const (
	crashFile    = "KVSTORE_BOLT_CRASH_FILE" // tells a process of the test to be the one that is killed
	crashStart   = "KVSTORE_BOLT_CRASH_START"
	crashWorkers = 8
)

// crashStep does the step of that number of a worker. Each worker has five keys of its own, and does one step at a time.
func crashStep(ctx context.Context, st kvstore.Store, worker, step int, m model) (model, error) {
	r := rand.New(rand.NewPCG(uint64(worker), uint64(step)))
	key := fmt.Sprintf("w%d/%d", worker, step%5)
	size := []int{10, 500, 5000, 70_000, batchMax + 100_000}[r.IntN(20)*r.IntN(20)/80]
	value := content(uint64(worker*100_000+step), size)
	after := maps.Clone(m)
	o := kvstore.InsertOptions{}
	switch r.IntN(6) {
	case 0:
		delete(after, key)
		if st == nil {
			return after, nil
		}
		err := st.Delete(ctx, key, kvstore.DeleteOptions{})
		if errors.Is(err, kvstore.ErrNotFound) {
			err = nil
		}
		return after, err
	case 1:
		o.Mode = kvstore.Append
		after[key] += string(value)
	case 2:
		o.TTL = time.Hour
		fallthrough
	default:
		after[key] = string(value)
	}
	if len(after[key]) > 1<<20 {
		o.Mode = kvstore.Overwrite
		after[key] = string(value)
	}
	if st == nil {
		return after, nil
	}
	_, err := st.Insert(ctx, key, struct{ io.Reader }{bytes.NewReader(value)}, o)
	return after, err
}

// TestMain lets the test's program be the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := crashStorm(path, os.Getenv(crashStart)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// crashStorm writes until it is killed, and tells of each write that was acknowledged.
func crashStorm(path, start string) error {
	s, err := Open(path, Options{SweepInterval: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	st, err := s.Open(context.Background(), "a")
	if err != nil {
		return err
	}
	var out sync.Mutex
	failed := make(chan error)
	for w, from := range strings.Fields(start) {
		go func() {
			step, _ := strconv.Atoi(from)
			m := model{}
			p, err := st.List(context.Background(), kvstore.ListOptions{Prefix: fmt.Sprintf("w%d/", w)})
			for _, key := range p.Keys {
				v, err2 := st.Lookup(context.Background(), key)
				if err2 != nil {
					failed <- err2
					return
				}
				b, _ := io.ReadAll(v.Body)
				v.Body.Close()
				m[key] = string(b)
			}
			for ; err == nil; step++ {
				if m, err = crashStep(context.Background(), st, w, step, m); err == nil {
					out.Lock()
					fmt.Printf("%d %d\n", w, step)
					out.Unlock()
				}
			}
			failed <- err
		}()
	}
	return <-failed
}

// TestAKilledProcessLosesNoAcknowledgedWrite kills a process that writes as fast as it can, again and again.
func TestAKilledProcessLosesNoAcknowledgedWrite(t *testing.T) {
	path := tempPath(t)
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	makeStore(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var next [crashWorkers]int // step
	var models [crashWorkers]model
	for w := range models {
		models[w] = model{}
	}
	acknowledged := 0
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashFile+"="+path, crashStart+"="+strings.Trim(fmt.Sprint(next), "[]"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var kill *time.Timer
		for lines.Scan() {
			if kill == nil {
				kill = time.AfterFunc(time.Duration(100+rand.IntN(900))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			var w, step int
			if n, err := fmt.Sscanf(lines.Text(), "%d %d", &w, &step); n != 2 || err != nil || step != next[w] {
				t.Errorf("it said %q", lines.Text())
				continue
			}
			models[w], _ = crashStep(ctx, nil, w, step, models[w])
			next[w]++
			acknowledged++
		}
		cmd.Wait()

		s := openAt(t, path, Options{Verify: true})
		st, err := s.Open(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		for w := range models {
			have := model{}
			p, err := st.List(ctx, kvstore.ListOptions{Prefix: fmt.Sprintf("w%d/", w)})
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range p.Keys {
				have[key] = string(get(t, st, key))
			}
			// The step under way may have taken effect or not.
			after, _ := crashStep(ctx, nil, w, next[w], models[w])
			switch {
			case maps.Equal(have, models[w]):
			case maps.Equal(have, after):
				models[w] = after
				next[w]++
			default:
				t.Errorf("worker %d, step %d: what is there is neither what it was before nor after", w, next[w])
				for key := range models[w] {
					t.Logf("%s: %d bytes; before %d, after %d", key, len(have[key]), len(models[w][key]), len(after[key]))
				}
			}
		}
		if t.Failed() {
			return
		}
		closeWell(t, s)
	}
	t.Logf("%d writes were acknowledged", acknowledged)
	if acknowledged < 50 {
		t.Errorf("only %d writes were acknowledged", acknowledged)
	}
}
