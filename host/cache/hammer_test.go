package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNothingIsLostWhenEveryoneWantsTheSame lets goroutines run into each other on a few keys: each waits for its transaction as a
// guest does, and does something random with what it gets. Nobody may wait for ever, no two may be obliged for the same
// variant, and a body is whole and of its key, or an error.
func TestNothingIsLostWhenEveryoneWantsTheSame(t *testing.T) {
	before := runtime.NumGoroutine()
	c, err := New(Options{MaxBytes: 1 << 20, MaxObject: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	sp := c.Space("test", SpaceOptions{})
	const keys, langs = 3, 2
	var obliged [keys][langs]atomic.Int32
	for k := range keys { // so that the rule is known from the beginning, and one variant has one obligation
		for l := range langs {
			put(t, sp, fmt.Sprint("k", k), "", headers("l", fmt.Sprint(l)), WriteOptions{Vary: []string{"l"}, MaxAge: 0})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasting(t)+time.Minute)
	defer cancel()
	end := time.Now().Add(lasting(t))
	var wg sync.WaitGroup
	for g := range uint64(16) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(g, uint64(end.UnixNano())))
			for time.Now().Before(end) && !t.Failed() {
				k, l := rnd.IntN(keys), rnd.IntN(langs)
				key, h := []byte(fmt.Sprint("k", k)), headers("l", fmt.Sprint(l))
				tx, err := sp.Begin(key, h)
				if err != nil {
					t.Error(err)
					return
				}
				if rnd.IntN(10) == 0 {
					tx.Close() // maybe while it waits
					continue
				}
				if err := tx.Wait(ctx); err != nil {
					t.Errorf("waited: %v", err)
					return
				}
				if e := tx.Entry(); e != nil {
					checkBody(t, ctx, e, string(key))
				}
				if tx.State()&MustInsertOrUpdate != 0 && !tx.Pass() {
					// The rule of a key is forgotten with its last object, so only the same rule is held to account.
					tx.s.mu.Lock()
					strict := tx.flight.rec.rule != nil
					tx.s.mu.Unlock()
					if strict {
						if n := obliged[k][l].Add(1); n > 1 {
							t.Errorf("%d are obliged for %s, %d", n, key, l)
						}
						runtime.Gosched()
						obliged[k][l].Add(-1)
					}
				}
				o := WriteOptions{
					MaxAge: time.Duration(rnd.IntN(200)) * time.Microsecond, StaleWhileRevalidate: time.Duration(rnd.IntN(200)) * time.Microsecond,
					StaleIfError: time.Millisecond, Vary: []string{"l"}, SurrogateKeys: []string{"s", string(key)},
				}
				switch rnd.IntN(8) {
				case 0:
					tx.Cancel()
				case 1:
					_ = tx.Update(o)
				case 2:
					_ = tx.RecordUncacheable(o)
				case 3:
					_ = tx.ChooseStale()
				case 4:
					sp.PurgeKey(string(key), rnd.IntN(2) == 0)
				case 5:
					sp.PurgeAll(rnd.IntN(2) == 0)
				default:
					w, e, err := tx.InsertAndStreamBack(o)
					if err != nil {
						if !errors.Is(err, ErrNoObligation) {
							t.Error(err)
						}
						break
					}
					var r *Reader
					if rnd.IntN(2) == 0 {
						r, _ = e.Open(Whole)
					}
					line := string(key) + "\n"
					for n := rnd.IntN(30); n > 0; n-- {
						io.WriteString(w, strings.Repeat(line, 1+rnd.IntN(200)))
						if r != nil {
							for p, ready, err := r.Next(); ready && err == nil; p, ready, err = r.Next() {
								r.Skip(len(p))
							}
						}
						if rnd.IntN(50) == 0 {
							break
						}
					}
					if rnd.IntN(5) == 0 {
						w.Abandon()
					} else {
						_ = w.Close()
					}
					if r != nil {
						r.Close()
					}
				}
				tx.Close()
			}
		}()
	}
	wg.Wait()
	if st := sp.Stats(); st.Waiting != 0 || st.Collapsed == 0 || st.Hits == 0 {
		t.Errorf("%+v", st)
	}
	t.Logf("%+v", sp.Stats())
	c.Close()
	if n := c.Bytes(); n != 0 {
		t.Errorf("%d bytes are charged after Close", n)
	}
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func checkBody(t *testing.T, ctx context.Context, e *Entry, key string) {
	r, err := e.Open(Whole)
	if err != nil {
		return
	}
	defer r.Close()
	var pos int
	line := key + "\n"
	for {
		p, ready, err := r.Next()
		switch {
		case !ready:
			if err := r.Wait(ctx); err != nil {
				t.Errorf("a reader waited: %v", err)
				return
			}
			continue
		case err == io.EOF && pos%len(line) != 0:
			t.Errorf("the body of %s ends within a line", key)
			return
		case err != nil:
			return
		}
		for i, c := range p {
			if c != line[(pos+i)%len(line)] {
				t.Errorf("the body of %s has other bytes", key)
				return
			}
		}
		pos += len(p)
		r.Skip(len(p))
	}
}
