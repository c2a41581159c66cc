package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.etcd.io/bbolt"

	"github.com/edgewasm/wasmedge/configstore"
)

const (
	// look is how often the file is looked at where nobody tells of changes: network file systems, lost notices.
	look = time.Second
	// settle is how long notices are gathered: a transaction makes several.
	settle = 5 * time.Millisecond
)

// Follower keeps a Mirror the same as a file.
type Follower struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Follow loads all stores of the file into the mirror, now, where an error fails the call, and again milliseconds after each
// change until Stop. A file that is not there is one without stores. When the file cannot be read later, the mirror
// keeps what it has, warn (if not nil) is told once for each new kind of failure, and reading is tried again with every change and
// every second.
func (f *File) Follow(m *configstore.Mirror, warn func(error)) (*Follower, error) {
	ctx, stop := context.WithCancel(context.Background())
	r := &reading{file: f, mirror: m, warn: warn}
	if err := r.load(ctx); err != nil {
		stop()
		return nil, err
	}
	w := &Follower{stop: stop}
	// Without a watcher, looking every second does.
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(filepath.Dir(f.path))
	}
	if err != nil && warn != nil {
		warn(fmt.Errorf("%s: changes show after a second only: %w", f.path, err))
	}
	w.done.Go(func() {
		if watcher != nil {
			defer func() { _ = watcher.Close() }()
		}
		r.follow(ctx, watcher)
	})
	return w, nil
}

// Stop ends the following; the mirror keeps what it has. It waits for a loading under way.
func (w *Follower) Stop() {
	w.stop()
	w.done.Wait()
}

// reading is what is known of the file.
type reading struct {
	file   *File
	mirror *configstore.Mirror
	warn   func(error)

	seen     fs.FileInfo // nil: there is no file, or it could not be read
	versions map[string]version
	told     string // the last failure
}

// version tells whether a store has changed.
type version struct{ created, updated time.Time }

func (r *reading) follow(ctx context.Context, watcher *fsnotify.Watcher) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var events chan fsnotify.Event
	var failures chan error
	if watcher != nil {
		events, failures = watcher.Events, watcher.Errors
	}
	var soon <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if filepath.Base(e.Name) == filepath.Base(r.file.path) && soon == nil {
				soon = time.After(settle)
			}
			continue
		case <-failures: // an overflow; the ticker does
			continue
		case <-soon:
			soon = nil
		case <-tick.C:
			if !r.changed() {
				continue
			}
		}
		if err := r.load(ctx); err != nil && ctx.Err() == nil {
			if !errors.Is(err, configstore.ErrDamaged) { // what is damaged does not get better by itself
				r.seen = nil
			}
			if text := err.Error(); text != r.told && r.warn != nil {
				r.warn(err)
				r.told = text
			}
		}
	}
}

func (r *reading) changed() bool {
	info, err := os.Stat(r.file.path)
	if errors.Is(err, fs.ErrNotExist) {
		return len(r.versions) > 0
	}
	if err != nil || r.seen == nil {
		return true
	}
	// Young files are read again: a second write can leave size and time alone.
	return info.Size() != r.seen.Size() || !info.ModTime().Equal(r.seen.ModTime()) || !os.SameFile(info, r.seen) || r.told == "" && time.Since(info.ModTime()) < 3*look
}

// load brings the mirror to what the file holds. Stores that have not changed since the last time are not read. Those with
// entries over the limits stay as they are, and the error tells of them.
func (r *reading) load(ctx context.Context) error {
	info, err := os.Stat(r.file.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.seen = info
	versions := map[string]version{}
	var bad error
	err = r.file.view(ctx, func(root *bbolt.Bucket) error {
		if root == nil {
			return nil
		}
		return root.ForEachBucket(func(k []byte) error {
			name := string(k)
			b, err := store(root, name)
			if err != nil {
				return err
			}
			v := version{stamped(b, createdKey), stamped(b, updatedKey)}
			versions[name] = v
			if old, ok := r.versions[name]; ok && old == v {
				return nil
			}
			contents, err := entries(b)
			if err != nil {
				return err
			}
			if err := r.mirror.Update(name, contents); err != nil {
				bad = errors.Join(bad, fmt.Errorf("%s: config store %q: %w", r.file.path, name, err))
				versions[name] = version{}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	r.mirror.Keep(func(name string) bool { _, ok := versions[name]; return ok })
	r.versions = versions
	if bad == nil {
		r.told = ""
	}
	return bad
}
