package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/configstore/bolt"
)

const (
	firstWait = 5 * time.Second
	// gather is how long changes are collected before they show: each costs a copy of its store.
	gather = 2 * time.Millisecond
	// again is how long to wait after a failure.
	again = 500 * time.Millisecond
	// snapshotEvery is how often the snapshot is written at most.
	snapshotEvery = time.Second
)

// FollowOptions says what a node follows.
type FollowOptions struct {
	Options
	// Wait is how long Follow waits for the bucket; 0 means 5 seconds.
	Wait time.Duration
	// Snapshot, if set, is a file of this follower's own, which holds what it has seen, a second old at most. It is what a
	// node starts with when the bucket cannot be reached.
	Snapshot *bolt.File
	// Warn, if set, is told of what went wrong meanwhile, once for each new kind of failure.
	Warn func(error)
}

// Follower keeps a Mirror the same as a bucket.
type Follower struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Follow brings the mirror to what the bucket holds, and keeps it so until Stop. When the bucket cannot be reached now, it takes
// the snapshot if there is one and goes on trying, and fails otherwise. When it cannot be reached later, the mirror keeps
// what it has. The connection should reconnect for ever (nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true)); it stays the
// caller's.
func Follow(nc *nats.Conn, m *configstore.Mirror, o FollowOptions) (*Follower, error) {
	ctx, stop := context.WithCancel(context.Background())
	w := &Follower{stop: stop}
	first := make(chan error, 64) // more than there are attempts in any sensible time
	f := &following{nc: nc, mirror: m, o: o, first: first, unsaved: map[string]map[string]string{}}
	w.done.Go(func() { f.run(ctx) })
	wait := o.Wait
	if wait == 0 {
		wait = firstWait
	}
	var err error
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case e := <-first:
			if e == nil {
				return w, nil
			}
			err = e
			continue
		case <-timer.C:
		}
		break
	}
	if err == nil {
		err = errors.New("no answer")
	}
	err = fmt.Errorf("bucket %s cannot be reached within %s: %w", o.bucket(), wait, err)
	took, e := f.takeSnapshot(ctx)
	if e != nil || !took {
		w.Stop()
		return nil, errors.Join(err, e)
	}
	if o.Warn != nil {
		o.Warn(fmt.Errorf("%w; it goes on with what was there before", err))
	}
	return w, nil
}

// Stop ends the following; the mirror keeps what it has.
func (w *Follower) Stop() {
	w.stop()
	w.done.Wait()
}

type following struct {
	nc     *nats.Conn
	mirror *configstore.Mirror
	o      FollowOptions
	first  chan<- error // told of each attempt until one has succeeded
	told   string

	mu   sync.Mutex // held while the mirror is brought to the bucket's first contents, or to the snapshot
	live bool       // the bucket's contents have been taken

	stores  map[string]*followed
	dirty   map[string]bool
	unsaved map[string]map[string]string // nil contents: dropped
	saved   time.Time
}

// followed is a store as its bucket has it.
type followed struct {
	record      record // zero when there is none
	generations map[string]map[string]string
}

func (f *following) run(ctx context.Context) {
	connected := f.nc.StatusChanged(nats.CONNECTED)
	defer f.nc.RemoveStatusListener(connected)
	for {
		err := f.session(ctx, connected)
		if ctx.Err() != nil {
			f.save(context.WithoutCancel(ctx))
			return
		}
		if err != nil {
			select {
			case f.first <- err:
			default:
			}
			if text := err.Error(); text != f.told && f.o.Warn != nil && f.live {
				f.told = text
				f.o.Warn(fmt.Errorf("bucket %s: %w", f.o.bucket(), err))
			}
			select {
			case <-ctx.Done():
			case <-connected:
			case <-time.After(again):
			}
		}
	}
}

// session follows the bucket until the connection is made anew, with nil, or something fails. It begins with all of
// the bucket, because what was removed while nobody listened leaves no trace.
func (f *following) session(ctx context.Context, connected <-chan nats.Status) error {
	if !f.nc.IsConnected() {
		return nats.ErrConnectionReconnecting
	}
	opening, cancel := context.WithTimeout(ctx, firstWait)
	s, err := Open(opening, f.nc, f.o.Options)
	cancel()
	if err != nil {
		return err
	}
	watcher, err := s.kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }()
	f.stores, f.dirty = map[string]*followed{}, map[string]bool{}
	begun := false
	var soon, later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-connected:
			return nil
		case <-later:
			later = nil
			f.save(ctx)
		case <-soon:
			soon = nil
			if err := f.flush(ctx, s); err != nil {
				return err
			}
			if len(f.unsaved) > 0 && later == nil {
				later = time.After(max(0, snapshotEvery-time.Since(f.saved)))
			}
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return errors.New("the server has ended the watch")
			case e == nil:
				if err := f.begin(ctx, s); err != nil {
					return err
				}
				begun = true
				if len(f.unsaved) > 0 {
					later = time.After(0)
				}
			default:
				f.take(e)
				if begun && soon == nil {
					soon = time.After(gather)
				}
			}
		}
	}
}

// begin shows the first contents.
func (f *following) begin(ctx context.Context, s *Stores) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.flush(ctx, s); err != nil {
		return err
	}
	f.mirror.Keep(func(name string) bool { st := f.stores[name]; return st != nil && st.record.Generation != "" })
	if f.o.Snapshot != nil {
		names, err := f.o.Snapshot.Names(ctx)
		if err != nil {
			f.warn(err)
		}
		for _, name := range names {
			if st := f.stores[name]; st == nil || st.record.Generation == "" {
				f.unsaved[name] = nil
			}
		}
	}
	f.live, f.told = true, ""
	select {
	case f.first <- nil:
	default:
	}
	return nil
}

// take notes one change. Records that are not of this package's making are left alone.
func (f *following) take(e jetstream.KeyValueEntry) {
	p, ok := parseKey(e.Key())
	if !ok {
		return
	}
	st := f.stores[p.store]
	if st == nil {
		st = &followed{generations: map[string]map[string]string{}}
		f.stores[p.store] = st
	}
	put := e.Operation() == jetstream.KeyValuePut
	if p.generation == "" {
		f.dirty[p.store] = true
		st.record = record{}
		if put {
			r, err := parseRecord(e.Value())
			if err != nil {
				f.warn(fmt.Errorf("config store %q: %w", p.store, err))
				return
			}
			st.record = r
		}
		return
	}
	contents := st.generations[p.generation]
	if contents == nil {
		contents = map[string]string{}
		st.generations[p.generation] = contents
	}
	if put {
		contents[p.key] = string(e.Value())
	} else {
		delete(contents, p.key)
	}
	if p.generation == st.record.Generation {
		f.dirty[p.store] = true
	}
}

// flush shows what has changed.
func (f *following) flush(ctx context.Context, s *Stores) error {
	for name := range f.dirty {
		delete(f.dirty, name)
		st := f.stores[name]
		generation := st.record.Generation
		if generation == "" {
			delete(f.stores, name)
			f.mirror.Remove(name)
			f.unsaved[name] = nil
			continue
		}
		contents := st.generations[generation]
		if contents == nil {
			contents = map[string]string{}
		}
		if len(st.generations) > 1 || st.generations[generation] == nil {
			// A replacement. Entries of its generation came before its record, unless they were taken for those of one that
			// nobody has named, which were let go: then they are asked for.
			if len(contents) < st.record.Entries {
				asked, err := s.generation(ctx, name, generation)
				if err != nil {
					return err
				}
				contents = asked
			}
			st.generations = map[string]map[string]string{generation: contents}
		}
		if err := f.mirror.Update(name, contents); err != nil {
			f.warn(fmt.Errorf("config store %q: %w", name, err))
			continue
		}
		if f.o.Snapshot != nil {
			f.unsaved[name] = contents
		}
	}
	if f.o.Snapshot == nil {
		clear(f.unsaved)
	}
	return nil
}

func (f *following) warn(err error) {
	if text := err.Error(); text != f.told && f.o.Warn != nil {
		f.told = text
		f.o.Warn(err)
	}
}

// save writes what has changed to the snapshot.
func (f *following) save(ctx context.Context) {
	f.saved = time.Now()
	for name, contents := range f.unsaved {
		delete(f.unsaved, name)
		var err error
		if contents == nil {
			err = f.o.Snapshot.Drop(ctx, name)
		} else if err = f.o.Snapshot.Replace(ctx, name, contents); errors.Is(err, configstore.ErrNotFound) {
			if err = f.o.Snapshot.Create(ctx, name); err == nil {
				err = f.o.Snapshot.Replace(ctx, name, contents)
			}
		}
		if err != nil && !errors.Is(err, configstore.ErrNotFound) {
			f.warn(fmt.Errorf("snapshot: %w", err))
		}
	}
}

// takeSnapshot shows what the snapshot holds, unless the bucket has answered meanwhile.
func (f *following) takeSnapshot(ctx context.Context) (took bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live {
		return true, nil
	}
	if f.o.Snapshot == nil {
		return false, nil
	}
	names, err := f.o.Snapshot.Names(ctx)
	if err != nil {
		return false, err
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		contents, err := f.o.Snapshot.Contents(ctx, name)
		if err != nil {
			return false, err
		}
		if err := f.mirror.Update(name, contents); err != nil {
			return false, fmt.Errorf("snapshot: config store %q: %w", name, err)
		}
	}
	return len(names) > 0, nil
}
