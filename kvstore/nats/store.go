package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/internal/cursor"
	"github.com/edgewasm/wasmedge/kvstore/internal/value"
)

// store implements kvstore.Store.
type store struct {
	all    *Stores
	name   string
	root   string // of the subjects
	stream string

	life   context.Context // ends when the store is dropped or closed, with the reason
	finish context.CancelCauseFunc

	// joining holds a place for each key, by hash, on which this process appends: its own appends do not come into each other's way.
	joining [64]chan struct{}

	mu    sync.Mutex
	index *index // what follows the stream, nil until it is needed; see index.go
	tends atomic.Bool
}

func newStore(all *Stores, name, root, stream string) *store {
	st := &store{all: all, name: name, root: root, stream: stream}
	st.life, st.finish = context.WithCancelCause(all.life)
	for i := range st.joining {
		st.joining[i] = make(chan struct{}, 1)
	}
	return st
}

// end makes every later call answer with why.
func (st *store) end(why error) {
	st.finish(why)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.index != nil {
		st.index.stop()
		st.index = nil
	}
}

func (st *store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if st.life.Err() != nil {
		return st.reason()
	}
	return nil
}

func (st *store) reason() error {
	if why := context.Cause(st.life); !errors.Is(why, kvstore.ErrNoStore) {
		return kvstore.ErrClosed
	}
	return fmt.Errorf("%.64q was dropped: %w", st.name, kvstore.ErrNoStore)
}

// noticed looks at the error of a call, and notes that the store was dropped by another process.
func (st *store) noticed(err error) error {
	if errors.Is(err, kvstore.ErrNoStore) {
		st.all.forget(st.stream)
		st.end(kvstore.ErrNoStore)
		return st.reason()
	}
	return err
}

func (st *store) subject(key string) string {
	return st.root + ".k." + tokens.EncodeToString([]byte(key))
}

// current is what a key's last message says. Without one, or if the key was deleted or has expired, it is not live.
type current struct {
	record
	live     bool
	sequence uint64 // of the message, 0 if there is none
	message  string // its id
}

func (c *current) generation() uint64 {
	if !c.live {
		return 0
	}
	return c.sequence
}

// load asks the stream's leader for a key.
func (st *store) load(ctx context.Context, key string) (current, error) {
	var answer struct {
		Message struct {
			Sequence uint64 `json:"seq"`
			Headers  []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	err := st.all.ask(ctx, "STREAM.MSG.GET."+st.stream, map[string]string{"last_by_subj": st.subject(key)}, &answer)
	if errors.Is(err, kvstore.ErrNotFound) {
		return current{}, nil
	}
	if err != nil {
		return current{}, st.noticed(err)
	}
	c := current{sequence: answer.Message.Sequence}
	if c.sequence == 0 {
		return current{}, fmt.Errorf("%w: the server's answer holds no sequence", kvstore.ErrCorrupt)
	}
	if c.record, err = decodeRecord(key, answer.Message.Data); err != nil {
		return current{}, err
	}
	if h, err := client.DecodeHeadersMsg(answer.Message.Headers); err == nil {
		c.message = h.Get(headerMessage)
	}
	c.live = c.kind != deleted && !past(c.expires)
	return c, nil
}

// past tells whether what expires then has expired.
func past(expires int64) bool { return expires != 0 && time.Now().UnixNano() >= expires }

// Lookup implements kvstore.Store. It asks the leader of the store's stream.
func (st *store) Lookup(ctx context.Context, key string) (kvstore.Value, error) {
	if err := st.begin(ctx); err != nil {
		return kvstore.Value{}, err
	}
	if err := kvstore.CheckKey(key); err != nil {
		return kvstore.Value{}, err
	}
	c, err := st.load(ctx, key)
	if err != nil {
		return kvstore.Value{}, fmt.Errorf("looking up a key: %w", err)
	}
	if !c.live {
		return kvstore.Value{}, kvstore.ErrNotFound
	}
	v := kvstore.Value{Body: st.body(&c.record), Metadata: c.metadata, Generation: c.sequence}
	if c.expires != 0 {
		v.Expires = time.Unix(0, c.expires)
	}
	return v, nil
}

// body gives the value of a record.
func (st *store) body(r *record) *kvstore.Body {
	if r.kind == inline {
		return kvstore.BytesBody(r.data)
	}
	return kvstore.StreamBody(st.readParts(r), r.size)
}

// check tells whether an insert may follow what is there.
func check(c *current, o *kvstore.InsertOptions) error {
	if o.Mode == kvstore.Add && c.live {
		return fmt.Errorf("%w: the key exists", kvstore.ErrPrecondition)
	}
	return checkGeneration(c, o.IfGeneration, o.HasIfGeneration)
}

func checkGeneration(c *current, want uint64, has bool) error {
	if has && c.generation() != want {
		return fmt.Errorf("%w: the key is at generation %d, not %d", kvstore.ErrPrecondition, c.generation(), want)
	}
	return nil
}

// Insert implements kvstore.Store. It fails with kvstore.ErrBusy if a key changes so often that an append, a prepend or a
// conditional write does not come through; with kvstore.ErrUnknown if it was sent and the answer never came.
func (st *store) Insert(ctx context.Context, key string, r io.Reader, o kvstore.InsertOptions) (uint64, error) {
	if err := st.begin(ctx); err != nil {
		return 0, err
	}
	if err := kvstore.CheckKey(key); err != nil {
		return 0, err
	}
	if err := kvstore.CheckMetadata(o.Metadata); err != nil {
		return 0, err
	}
	if !o.Mode.Valid() {
		return 0, fmt.Errorf("there is no insert mode %d", o.Mode)
	}
	joins := o.Mode == kvstore.Append || o.Mode == kvstore.Prepend
	conditional := joins || o.Mode == kvstore.Add || o.HasIfGeneration
	var c current
	var err error
	if conditional && (!joins || o.HasIfGeneration) {
		// An insert that is in vain need not read its value.
		if c, err = st.load(ctx, key); err != nil {
			return 0, fmt.Errorf("looking at the present value: %w", err)
		}
		if err := check(&c, &o); err != nil {
			return 0, err
		}
	}
	if joins {
		return st.join(ctx, key, r, &o)
	}
	rec, err := st.keep(ctx, r)
	if err != nil {
		return 0, err
	}
	if !conditional {
		g, err := st.write(ctx, key, &rec, &o, nil)
		if err != nil && !errors.Is(err, kvstore.ErrUnknown) {
			st.discard(&rec)
		}
		return g, err
	}
	for try := 0; ; try++ {
		g, err := st.write(ctx, key, &rec, &o, &c)
		if err == nil {
			return g, nil
		}
		if errors.Is(err, errConflict) {
			if err = st.backOff(ctx, try); err == nil {
				if c, err = st.load(ctx, key); err == nil {
					if err = check(&c, &o); err == nil {
						continue
					}
				}
			}
		}
		if !errors.Is(err, kvstore.ErrUnknown) {
			st.discard(&rec)
		}
		return 0, err
	}
}

// join is an insert that appends or prepends to the present value.
func (st *store) join(ctx context.Context, key string, r io.Reader, o *kvstore.InsertOptions) (uint64, error) {
	part, err := value.Read(ctx, r, st.all.o.MaxValue)
	if err != nil {
		return 0, err
	}
	place := st.joining[maphash.String(hashSeed, key)%uint64(len(st.joining))]
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-st.life.Done():
		return 0, st.reason()
	}
	for try := 0; ; try++ {
		c, err := st.load(ctx, key)
		if err != nil {
			return 0, fmt.Errorf("looking at the present value: %w", err)
		}
		if err := check(&c, o); err != nil {
			return 0, err
		}
		whole := part
		if c.live && c.size > 0 {
			if size := c.size + int64(len(part)); size > st.all.o.MaxValue {
				return 0, value.TooLarge(size, st.all.o.MaxValue)
			}
			body := st.body(&c.record)
			old, err := io.ReadAll(io.LimitReader(body, c.size))
			_ = body.Close()
			if err != nil {
				return 0, fmt.Errorf("reading the present value: %w", err)
			}
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if o.Mode == kvstore.Append {
				whole = slices.Concat(old, part)
			} else {
				whole = slices.Concat(part, old)
			}
		}
		rec, err := st.keep(ctx, bytes.NewReader(whole))
		if err != nil {
			return 0, err
		}
		g, err := st.write(ctx, key, &rec, o, &c)
		if err == nil {
			return g, nil
		}
		if !errors.Is(err, kvstore.ErrUnknown) {
			st.discard(&rec)
		}
		if !errors.Is(err, errConflict) {
			return 0, err
		}
		if err := st.backOff(ctx, try); err != nil {
			return 0, err
		}
	}
}

var hashSeed = maphash.MakeSeed()

// backOff waits before the next try of a write that others came before.
func (st *store) backOff(ctx context.Context, try int) error {
	const most = 100
	if try >= most {
		return fmt.Errorf("%w: the key changed before each of %d tries", kvstore.ErrBusy, most)
	}
	d := time.Duration(rand.Int64N(int64(min(time.Millisecond<<min(try, 10), 100*time.Millisecond))))
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-st.life.Done():
		return st.reason()
	}
}

// write makes rec the key's, if after is nil or still the key's present message; else errConflict.
func (st *store) write(ctx context.Context, key string, rec *record, o *kvstore.InsertOptions, after *current) (uint64, error) {
	if rec.kind == inParts && time.Since(rec.began) > st.all.o.ReadGrace/2 {
		return 0, fmt.Errorf("the value took %v to write, more than half of ReadGrace, %v: its first parts may be gone already",
			time.Since(rec.began).Round(time.Second), st.all.o.ReadGrace)
	}
	rec.expires = 0
	if len(o.Metadata) > 0 {
		rec.metadata = o.Metadata
	}
	header := client.Header{}
	if o.TTL != 0 {
		now := time.Now().UnixNano()
		if o.TTL < 0 || int64(o.TTL) < math.MaxInt64-now {
			rec.expires = now + int64(o.TTL)
			if o.TTL < 0 { // whatever the clock says
				rec.expires = 1
			}
			header.Set(headerExpires, strconv.FormatInt(rec.expires, 10))
			header.Set(headerTTL, ttl(max(o.TTL, 0)))
		}
	}
	header.Set(headerSize, strconv.FormatInt(rec.size+int64(len(rec.metadata)), 10))
	if rec.kind == inParts {
		header.Set(headerParts, tokens.EncodeToString([]byte(rec.parts)))
	}
	return st.put(ctx, key, rec, header, after)
}

// ttl is when the server removes a message that has no use after d.
func ttl(d time.Duration) string {
	const most = 100 * 365 * 24 * time.Hour
	if d > most {
		return "never"
	}
	return strconv.FormatInt(int64((d+removeAfter+time.Second-1)/time.Second), 10)
}

// put publishes a key's record.
func (st *store) put(ctx context.Context, key string, rec *record, header client.Header, after *current) (uint64, error) {
	id := nuid.Next()
	header.Set(headerMessage, id)
	if after != nil {
		header.Set(headerExpectSequence, strconv.FormatUint(after.sequence, 10))
	}
	m := &client.Msg{Subject: st.subject(key), Header: header, Data: rec.encode(key)}
	sequence, was, err := st.all.publish(ctx, m, st.stream)
	switch {
	case err == nil:
		return sequence, nil
	case !was:
		return 0, st.noticed(err)
	case errors.Is(err, errConflict):
		// An earlier attempt, whose answer was lost, may be what changed the key.
		c, err := st.load(ctx, key)
		if err == nil && c.message == id {
			return c.sequence, nil
		}
		return 0, fmt.Errorf("%w: an answer of the server was lost, and the key was written again since", kvstore.ErrUnknown)
	}
	return 0, fmt.Errorf("%w: %w", kvstore.ErrUnknown, st.noticed(err))
}

// Delete implements kvstore.Store. Errors are as those of Insert.
func (st *store) Delete(ctx context.Context, key string, o kvstore.DeleteOptions) error {
	if err := st.begin(ctx); err != nil {
		return err
	}
	if err := kvstore.CheckKey(key); err != nil {
		return err
	}
	for try := 0; ; try++ {
		c, err := st.load(ctx, key)
		if err != nil {
			return fmt.Errorf("looking at the present value: %w", err)
		}
		if err := checkGeneration(&c, o.IfGeneration, o.HasIfGeneration); err != nil {
			return err
		}
		if !c.live {
			return kvstore.ErrNotFound
		}
		header := client.Header{}
		header.Set(headerDeleted, "1")
		header.Set(headerTTL, ttl(0))
		_, err = st.put(ctx, key, &record{kind: deleted}, header, &c)
		if !errors.Is(err, errConflict) {
			return err
		}
		if err := st.backOff(ctx, try); err != nil {
			return err
		}
	}
}

// List implements kvstore.Store; see the package comment for what it costs.
func (st *store) List(ctx context.Context, o kvstore.ListOptions) (kvstore.Page, error) {
	if err := st.begin(ctx); err != nil {
		return kvstore.Page{}, err
	}
	last, err := cursor.Decode(o.Prefix, o.Cursor)
	if err != nil {
		return kvstore.Page{}, err
	}
	x, err := st.follow(ctx, o.Eventual)
	if err != nil {
		return kvstore.Page{}, fmt.Errorf("listing: %w", st.noticed(err))
	}
	var page kvstore.Page
	size := o.PageSize()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keys.Ascend(max(o.Prefix, last), func(key string, i indexed) bool {
		if !strings.HasPrefix(key, o.Prefix) {
			return false
		}
		if key == last || past(i.expires) {
			return true
		}
		if len(page.Keys) == size {
			page.NextCursor = cursor.Encode(o.Prefix, page.Keys[size-1])
			return false
		}
		page.Keys = append(page.Keys, key)
		return true
	})
	return page, nil
}

// Stat implements kvstore.Store. It costs what a first List costs; keys that expired within some minutes may be counted.
func (st *store) Stat(ctx context.Context) (kvstore.Stat, error) {
	if err := st.begin(ctx); err != nil {
		return kvstore.Stat{}, err
	}
	x, err := st.follow(ctx, false)
	if err != nil {
		return kvstore.Stat{}, fmt.Errorf("counting: %w", st.noticed(err))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return kvstore.Stat{Keys: int64(x.keys.Len()), Bytes: x.bytes}, nil
}
