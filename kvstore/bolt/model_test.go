package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// script is a series of writes of all kinds.
var script = []struct {
	key  string
	size int
	o    kvstore.InsertOptions
	del  bool
}{
	{key: "a", size: 100},
	{key: "b", size: 5000, o: kvstore.InsertOptions{Metadata: []byte("meta")}},
	{key: "c", size: batchMax + 5000},
	{key: "a", size: 10_000},
	{key: "c", size: 50, o: kvstore.InsertOptions{Mode: kvstore.Append}},
	{key: "d", size: 10, o: kvstore.InsertOptions{TTL: time.Hour}},
	{key: "b", del: true},
	{key: "d", size: 20, o: kvstore.InsertOptions{Mode: kvstore.Prepend}},
	{key: "c", del: true},
	{key: "b", size: 70_000, o: kvstore.InsertOptions{Mode: kvstore.Add}},
}

type model map[string]string

// step runs one step of the script, and gives what the model is if it took effect.
func step(st kvstore.Store, i int, m model) (after model, err error) {
	s := script[i]
	value := content(uint64(i), s.size)
	after = maps.Clone(m)
	switch {
	case s.del:
		err = st.Delete(ctx, s.key, kvstore.DeleteOptions{})
		delete(after, s.key)
		return after, err
	case s.o.Mode == kvstore.Append:
		after[s.key] += string(value)
	case s.o.Mode == kvstore.Prepend:
		after[s.key] = string(value) + after[s.key]
	default:
		after[s.key] = string(value)
	}
	_, err = st.Insert(ctx, s.key, struct{ io.Reader }{bytes.NewReader(value)}, s.o)
	return after, err
}

// holds tells how a store differs from a model.
func holds(st kvstore.Store, m model) error {
	p, err := st.List(ctx, kvstore.ListOptions{})
	if err != nil {
		return err
	}
	if len(p.Keys) != len(m) {
		return fmt.Errorf("it has keys %q, not %d", p.Keys, len(m))
	}
	for _, key := range p.Keys {
		v, err := st.Lookup(ctx, key)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		b, err := io.ReadAll(v.Body)
		v.Body.Close()
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		if want, ok := m[key]; !ok || string(b) != want {
			return fmt.Errorf("%q has %d bytes, not %d, or wrong ones", key, len(b), len(want))
		}
	}
	return nil
}

func holdsOne(st kvstore.Store, models ...model) error {
	var errs []error
	for _, m := range models {
		err := holds(st, m)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// reopened opens a copy of the file as it is now, as after a crash, and checks it against the models.
func reopened(t testing.TB, path string, models ...model) {
	t.Helper()
	s, err := Open(path, Options{SweepInterval: time.Hour, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Open(ctx, "a")
	if err == nil {
		err = holdsOne(st, models...)
	}
	if err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
