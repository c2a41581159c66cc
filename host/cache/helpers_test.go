package cache

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"
)

// clock is a clock that only a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB, o Options) (*Space, *clock) {
	t.Helper()
	ck := &clock{now: time.Unix(1e9, 0)}
	o.Clock = ck.Now
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	sp := c.Space("test", SpaceOptions{})
	t.Cleanup(func() {
		c.Close()
		if n := c.Bytes(); n != 0 {
			t.Errorf("%d bytes are charged after Close", n)
		}
		if st := sp.Stats(); st.Objects != 0 || st.Waiting != 0 {
			t.Errorf("after Close: %+v", st)
		}
	})
	return sp, ck
}

// headers is a Header from pairs.
func headers(pairs ...string) Header {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func put(t testing.TB, sp *Space, key, body string, h Header, o WriteOptions) {
	t.Helper()
	w, err := sp.Insert([]byte(key), h, o)
	finish(t, w, err, body)
}

func finish(t testing.TB, w *Writer, err error, body string) {
	t.Helper()
	if err == nil {
		_, err = io.WriteString(w, body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// text gives an entry's body, or what went wrong.
func text(e *Entry) string { return part(e, Whole) }

func part(e *Entry, r Range) string {
	if e == nil {
		return "<none>"
	}
	rd, err := e.Open(r)
	if err != nil {
		return fmt.Sprintf("<%v>", err)
	}
	defer rd.Close()
	b, err := io.ReadAll(rd)
	if err != nil {
		return fmt.Sprintf("%s<%v>", b, err)
	}
	return string(b)
}

func begin(t testing.TB, sp *Space, key string, h Header) *Transaction {
	t.Helper()
	tx, err := sp.Begin([]byte(key), h)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func (s State) String() string {
	out := ""
	for i, name := range []string{"found", "usable", "stale", "must", "if-error"} {
		if s&(1<<i) != 0 {
			out += " " + name
		}
	}
	if out == "" {
		return "nothing"
	}
	return out[1:]
}

func want(t testing.TB, tx *Transaction, state, body string) {
	t.Helper()
	if !tx.Ready(nil) {
		t.Helper()
		if state != "waiting" {
			t.Errorf("waiting, want %s", state)
		}
		return
	}
	if got := tx.State().String(); got != state {
		t.Errorf("state %q, want %q", got, state)
	}
	if got := text(tx.Entry()); got != body {
		t.Errorf("body %q, want %q", got, body)
	}
}
