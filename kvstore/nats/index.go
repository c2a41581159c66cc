package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/btree"

	"github.com/edgewasm/wasmedge/kvstore"
)

// index is a process's copy of what a store holds, without the values: it follows the stream, message by message. It serves
// List and Stat, and knows which parts no key has.
type index struct {
	st      *store
	link    context.Context // of the connection
	consume jetstream.ConsumeContext

	mu     sync.Mutex
	keys   btree.Map[string, indexed]
	bytes  int64 // of values and metadata
	parts  map[string]*parts
	seen   uint64        // the stream's sequence up to which it has come
	moved  chan struct{} // closed when seen grows, and made anew
	loaded bool          // it was once up to date
	broken error         // it may have missed something
}

// indexed is what is known of a key.
type indexed struct {
	expires int64
	size    int64
	parts   string // token of their name
}

// parts are those of one value.
type parts struct {
	used   bool      // by a key
	unused time.Time // since when not
}

// follow gives the store's index. Unless eventual, it has come as far as the stream had when follow was called.
func (st *store) follow(ctx context.Context, eventual bool) (*index, error) {
	x, err := st.following(ctx)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	loaded := x.loaded
	x.mu.Unlock()
	if eventual && loaded {
		return x, nil
	}
	return x, x.catchUp(ctx)
}

// following gives the index, a new one if there is none or it may have missed something.
func (st *store) following(ctx context.Context) (*index, error) {
	link := st.all.connection()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.life.Err() != nil {
		return nil, st.reason()
	}
	if x := st.index; x != nil {
		x.mu.Lock()
		broken := x.broken
		x.mu.Unlock()
		if broken == nil && x.link.Err() == nil {
			return x, nil
		}
		x.stop()
		if errors.Is(broken, kvstore.ErrBusy) {
			return nil, broken
		}
		st.index = nil
	}
	x := &index{st: st, link: link, parts: map[string]*parts{}, moved: make(chan struct{})}
	var consumer jetstream.Consumer
	err := st.all.retry(ctx, func(ctx context.Context) (err error) {
		consumer, err = st.all.js.OrderedConsumer(ctx, st.stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{st.root + ".>"},
			DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
			HeadersOnly:    true,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	x.consume, err = consumer.Consume(x.take, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		x.fail(fmt.Errorf("following the stream: %w", err))
	}))
	if err != nil {
		return nil, err
	}
	st.index = x
	if st.tends.CompareAndSwap(false, true) {
		st.all.goes(st.sweeps)
	}
	return x, nil
}

// stop ends following. No lock of the index may be held.
func (x *index) stop() {
	x.consume.Stop()
	x.fail(errors.New("it was stopped"))
}

func (x *index) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken == nil {
		x.broken = err
		close(x.moved)
	}
}

// take notes a message. They come in the order of the stream.
func (x *index) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		x.fail(err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken != nil || meta.Sequence.Stream <= x.seen {
		return
	}
	kind, token, _ := strings.Cut(strings.TrimPrefix(m.Subject(), x.st.root+"."), ".")
	switch kind {
	case "k":
		if key, err := tokens.DecodeString(token); err == nil {
			x.note(string(key), m.Headers())
		}
	case "p":
		name, _, _ := strings.Cut(token, ".")
		if x.parts[name] == nil {
			x.parts[name] = &parts{unused: time.Now()}
		}
	}
	if most := x.st.all.o.MaxKeys; x.keys.Len() > most {
		x.broken = fmt.Errorf("%w: the store has more keys than this process may hold, MaxKeys is %d", kvstore.ErrBusy, most)
		x.keys.Clear()
		clear(x.parts)
	}
	x.seen = meta.Sequence.Stream
	close(x.moved)
	x.moved = make(chan struct{})
}

// note notes a key's message.
func (x *index) note(key string, h client.Header) {
	if h.Get(headerDeleted) != "" {
		x.drop(key)
		return
	}
	var i indexed
	i.expires, _ = strconv.ParseInt(h.Get(headerExpires), 10, 64)
	i.size, _ = strconv.ParseInt(h.Get(headerSize), 10, 64)
	i.parts = h.Get(headerParts)
	if past(i.expires) {
		x.drop(key)
		return
	}
	old, _ := x.keys.Set(key, i)
	x.bytes += i.size - old.size
	x.use(i.parts, true)
	if old.parts != i.parts {
		x.use(old.parts, false)
	}
}

func (x *index) drop(key string) {
	if old, ok := x.keys.Delete(key); ok {
		x.bytes -= old.size
		x.use(old.parts, false)
	}
}

// use notes whether a key has the parts.
func (x *index) use(token string, used bool) {
	if token == "" {
		return
	}
	p := x.parts[token]
	if p == nil {
		p = &parts{}
		x.parts[token] = p
	}
	if p.used = used; !used {
		p.unused = time.Now()
	}
}

// catchUp waits until the index has come as far as the stream has now, by its leader.
func (x *index) catchUp(ctx context.Context) error {
	st := x.st
	var info streamInfo
	if err := st.all.ask(ctx, "STREAM.INFO."+st.stream, struct{}{}, &info); err != nil {
		return err
	}
	x.mu.Lock()
	if x.seen == 0 && info.State.Messages == 0 {
		x.loaded = true
		x.mu.Unlock()
		return nil
	}
	x.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, st.all.o.Timeout, errSlow)
	defer cancel()
	// The last message may have been removed before it came here; then the next one tells. If none comes, one is made.
	const patience = 100 * time.Millisecond
	seen, quiet := uint64(0), 0
	for {
		short, cancel := context.WithTimeout(ctx, patience)
		err := x.wait(short, info.State.Last)
		cancel()
		switch cause := context.Cause(ctx); {
		case err == nil:
			return nil
		case errors.Is(cause, errSlow):
			return fmt.Errorf("%w within Timeout, %v: %w", errSlow, st.all.o.Timeout, context.DeadlineExceeded)
		case cause != nil:
			return cause
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		x.mu.Lock()
		progress := x.seen != seen
		seen = x.seen
		x.mu.Unlock()
		if progress {
			quiet = 0
			continue
		}
		if quiet++; quiet%10 != 1 {
			continue
		}
		m := &client.Msg{Subject: st.root + ".b", Header: client.Header{}}
		m.Header.Set(headerTTL, ttl(0))
		if _, _, err := st.all.publish(ctx, m, st.stream); err != nil {
			return err
		}
	}
}

var errSlow = errors.New("the keys were not loaded")

// wait waits until the index has seen the sequence.
func (x *index) wait(ctx context.Context, sequence uint64) error {
	for {
		x.mu.Lock()
		seen, moved, broken := x.seen, x.moved, x.broken
		if seen >= sequence && broken == nil {
			x.loaded = true
		}
		x.mu.Unlock()
		switch {
		case broken != nil:
			return broken
		case seen >= sequence:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-x.st.life.Done():
			return x.st.reason()
		}
	}
}

// tend makes sure that unused parts of the store are found.
func (st *store) tend() {
	if st.tends.CompareAndSwap(false, true) {
		st.all.goes(st.sweeps)
	}
}

// sweeps removes unused parts and forgets expired keys, until the store ends.
func (st *store) sweeps() {
	every := max(st.all.o.ReadGrace/4, 10*time.Millisecond)
	for {
		select {
		case <-st.life.Done():
			return
		case <-time.After(every):
		}
		st.sweep(st.life)
	}
}

func (st *store) sweep(ctx context.Context) {
	x, err := st.follow(ctx, false)
	if err != nil {
		_ = st.noticed(err)
		return
	}
	x.forgetExpired()
	x.mu.Lock()
	var names []string
	for name, p := range x.parts {
		if !p.used && time.Since(p.unused) >= st.all.o.ReadGrace {
			names = append(names, name)
		}
	}
	x.mu.Unlock()
	if len(names) == 0 {
		return
	}
	// What was unused when the grace began may be in use now: a value is written within half of it, so all that could have happened
	// has happened, and is known here once the index has come as far as the stream.
	if err := x.catchUp(ctx); err != nil {
		return
	}
	for _, token := range names {
		x.mu.Lock()
		p := x.parts[token]
		unused := p != nil && !p.used && x.broken == nil
		x.mu.Unlock()
		name, err := tokens.DecodeString(token)
		if !unused || err != nil {
			continue
		}
		if st.purge(ctx, string(name)) != nil {
			return
		}
		x.mu.Lock()
		delete(x.parts, token)
		x.mu.Unlock()
	}
}

// forgetExpired drops the keys that have expired, a thousand at a time.
func (x *index) forgetExpired() {
	const batch = 1000
	for at, done := "", false; !done; {
		x.mu.Lock()
		var expired []string
		n := 0
		done = true
		x.keys.Ascend(at, func(key string, i indexed) bool {
			if n++; n > batch {
				at, done = key, false
				return false
			}
			if past(i.expires) {
				expired = append(expired, key)
			}
			return true
		})
		for _, key := range expired {
			x.drop(key)
		}
		x.mu.Unlock()
	}
}
