package bolt

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/internal/value"
)

// payload is a new value: bytes in memory, or a blob that was uploaded.
type payload struct {
	bytes []byte
	blob  uint64 // 0 if bytes is the value
	size  uint64
}

// errRewrite is an append or prepend whose result does not fit into a record.
var errRewrite = errors.New("the value is written anew")

// Insert stores a value. Values of more than 248 KiB are written to the file while they are read.
func (s *Store) Insert(ctx context.Context, key string, from io.Reader, o kvstore.InsertOptions) (uint64, error) {
	if err := s.check(ctx, key); err != nil {
		return 0, err
	}
	if err := kvstore.CheckMetadata(o.Metadata); err != nil {
		return 0, err
	}
	if !o.Mode.Valid() {
		return 0, fmt.Errorf("unknown insert mode %d", o.Mode)
	}
	if s.s.opts.ReadOnly {
		return 0, fmt.Errorf("%w: %s was opened read-only", kvstore.ErrReadOnly, s.s.path)
	}
	p, err := s.receive(ctx, key, from, o)
	if err != nil {
		return 0, err
	}
	if p.blob != 0 {
		defer s.s.abandonUnlessUsed(&p)
	}
	if p.blob == 0 || o.Mode == kvstore.Overwrite || o.Mode == kvstore.Add {
		generation, err := s.publish(ctx, key, &p, o, nil)
		if err != errRewrite {
			return generation, err
		}
	}
	return s.rewrite(ctx, key, &p, o)
}

// receive reads a value: into memory if it is small, else into a blob.
func (s *Store) receive(ctx context.Context, key string, from io.Reader, o kvstore.InsertOptions) (p payload, err error) {
	limit := s.s.opts.MaxValue
	if from == nil {
		return p, nil
	}
	src := &source{ctx: ctx, r: from}
	var first []byte
	if body, ok := from.(*kvstore.Body); ok {
		if b, ok := body.Take(); ok {
			switch size := int64(len(b)); {
			case size > limit:
				return p, value.TooLarge(size, limit)
			case size <= batchMax:
				return payload{bytes: b, size: uint64(size)}, nil
			}
			first, src = b, nil
		} else if src.size = body.Size(); src.size > limit {
			return p, value.TooLarge(src.size, limit)
		}
	}
	if src != nil {
		// A part is read into memory to know whether that is all. It grows with what has come, so that clients which have
		// sent little hold little.
		first = make([]byte, 0, inlineMax)
		for {
			n, err := src.fill(first[len(first):cap(first)])
			first = first[:len(first)+n]
			if int64(len(first)) > limit {
				return p, value.TooLarge(int64(len(first)), limit)
			}
			if err == io.EOF {
				return payload{bytes: first, size: uint64(len(first))}, nil
			}
			if err != nil {
				return p, err
			}
			if len(first) > batchMax {
				break
			}
			first = append(make([]byte, 0, min(4*cap(first), batchMax+1)), first...)
		}
	}
	// Do not write what will be refused.
	if o.Mode == kvstore.Add || o.HasIfGeneration {
		if err := s.precheck(key, o); err != nil {
			return p, err
		}
	}
	p.blob, p.size, err = s.s.upload(ctx, first, src)
	return p, err
}

// source is a value that is read.
type source struct {
	ctx  context.Context
	r    io.Reader
	size int64 // bytes that were announced; 0 if none were
	n    int64
}

// fill reads as many bytes as fit; the error is io.EOF if there were fewer.
func (s *source) fill(p []byte) (n int, err error) {
	for idle := 0; n < len(p); {
		if err := s.ctx.Err(); err != nil {
			return n, err
		}
		m, err := s.r.Read(p[n:])
		n += m
		s.n += int64(m)
		// A reader may end because the context did: what it gave is not the value then.
		if err := s.ctx.Err(); err != nil {
			return n, err
		}
		switch {
		case err == io.EOF && s.n < s.size:
			return n, fmt.Errorf("reading the value: %w after %d of %d bytes", io.ErrUnexpectedEOF, s.n, s.size)
		case err == io.EOF:
			return n, err
		case err != nil:
			return n, fmt.Errorf("reading the value: %w", err)
		}
		if idle++; m > 0 {
			idle = 0
		} else if idle == 100 {
			return n, fmt.Errorf("reading the value: %w", io.ErrNoProgress)
		}
	}
	return n, nil
}

// precheck tells early of a condition that does not hold.
func (s *Store) precheck(key string, o kvstore.InsertOptions) error {
	v, err := s.lookup(key, false)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return err
	}
	return condition(key, err == nil, v.Generation, o)
}

// condition checks what an insert asks of the present value.
func condition(key string, exists bool, generation uint64, o kvstore.InsertOptions) error {
	if o.Mode == kvstore.Add && exists {
		return fmt.Errorf("%w: key %s exists", kvstore.ErrPrecondition, short(key))
	}
	if o.HasIfGeneration && o.IfGeneration != generation {
		return fmt.Errorf("%w: key %s has generation %d, not %d", kvstore.ErrPrecondition, short(key), generation, o.IfGeneration)
	}
	return nil
}

// publish makes a value that of a key. If base is not nil the key must have that generation still, else errRewrite.
func (s *Store) publish(ctx context.Context, key string, p *payload, o kvstore.InsertOptions, base *uint64) (generation uint64, err error) {
	k := storeKey(s.st.id, key)
	w := &write{size: len(k) + len(p.bytes) + len(o.Metadata)}
	var replaced bool
	w.apply = func(t *txn) error {
		if !t.has(s.st) {
			return noStore(s.st.name)
		}
		old, err := t.get(k)
		if err != nil && (o.Mode == kvstore.Append || o.Mode == kvstore.Prepend || o.HasIfGeneration || o.Mode == kvstore.Add) {
			return err
		}
		if err != nil {
			// An overwrite mends a damaged record. What it named is found by Check.
			old = nil
		}
		present := old
		if old != nil && old.expired(t.now) {
			present = nil
		}
		now := uint64(0)
		if present != nil {
			now = present.generation
		}
		if err := condition(key, present != nil, now, o); err != nil {
			return err
		}
		if base != nil && now != *base {
			return errRewrite
		}
		r := record{meta: o.Metadata, inline: p.bytes, number: p.blob}
		r.blob, r.size, r.metadata = p.blob != 0, p.size, len(o.Metadata)
		if base == nil && present != nil && (o.Mode == kvstore.Append || o.Mode == kvstore.Prepend) {
			if present.size+p.size > uint64(s.s.opts.MaxValue) {
				return value.TooLarge(int64(present.size+p.size), s.s.opts.MaxValue)
			}
			if present.blob || present.size+p.size > inlineMax {
				return errRewrite
			}
			a, b := present.inline, p.bytes
			if o.Mode == kvstore.Prepend {
				a, b = b, a
			}
			r.inline = append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
			r.size = uint64(len(r.inline))
		}
		if !r.blob && r.size > inlineMax {
			r.blob, r.number = true, sequence(t.blobs)
			t.chunks(r.number, 0, r.inline)
			r.inline = nil
		}
		r.generation = sequence(t.records)
		r.expires = expires(t.now, o.TTL)
		if p.blob != 0 {
			t.del(t.loose, blobKey(p.blob))
		}
		t.replace(k, old, &r)
		generation, replaced = r.generation, old != nil && old.blob
		return nil
	}
	w.after = func() {
		p.blob = 0 // it is the record's now
		if replaced {
			s.s.wake()
		}
	}
	if err := s.s.do(ctx, w); err != nil {
		if errors.Is(err, kvstore.ErrReadOnly) {
			s.s.wake() // there may be something to reclaim
		}
		return 0, err
	}
	return generation, nil
}

// expires gives when a key ends that is inserted now.
func expires(now int64, ttl time.Duration) int64 {
	switch {
	case ttl == 0:
		return 0
	case ttl < 0:
		return max(now+int64(ttl), 1)
	case now > math.MaxInt64-int64(ttl):
		return math.MaxInt64
	}
	return now + int64(ttl)
}

// chunks writes bytes as the chunks of a blob, from that index on. All but the last call for a blob write whole chunks.
func (t *txn) chunks(number uint64, index uint32, b []byte) {
	all := make([]byte, 0, len(b)+int(chunks(uint64(len(b))))*chunkHeader) // bbolt keeps them until the commit
	for ; len(b) > 0; index++ {
		n, at := min(len(b), chunkSize), len(all)
		all = append(append(all, 0, 0, 0, 0), b[:n]...)
		key, chunk := chunkKey(number, index), all[at:len(all):len(all)]
		sealChunk(key, chunk)
		t.put(t.blobs, key, chunk)
		b = b[n:]
	}
}

// upload writes what src gives, if it is not nil, after first, into a new blob, which is loose until it is published. It holds batchMax
// bytes in memory, and occupies the writer only to write them.
func (s *Stores) upload(ctx context.Context, first []byte, src *source) (number, size uint64, err error) {
	limit := s.opts.MaxValue
	buf := pool.Get().(*[batchMax]byte)
	defer pool.Put(buf)
	have := copy(buf[:], first)
	first = first[have:]
	live := false
	defer func() {
		if err != nil && errors.Is(err, kvstore.ErrReadOnly) {
			s.wake() // there may be something to reclaim
		}
		if err != nil && live {
			s.abandon(number)
			number = 0
		}
	}()
	for end := false; !end; {
		for have < batchMax && len(first) > 0 {
			n := copy(buf[have:], first)
			have, first = have+n, first[n:]
		}
		if have < batchMax && src != nil {
			var n int
			n, err = src.fill(buf[have:])
			have += n
			if end = err == io.EOF; err != nil && !end {
				return number, 0, err
			}
		} else {
			end = src == nil && len(first) == 0
		}
		if total := int64(size) + int64(have); total > limit {
			err = value.TooLarge(total, limit)
			return number, 0, err
		}
		if have == 0 && live {
			break
		}
		index, next := uint32(size/chunkSize), number
		err = s.do(ctx, &write{
			size: have,
			apply: func(t *txn) error {
				if next = number; next == 0 {
					next = sequence(t.blobs)
					t.put(t.loose, blobKey(next), []byte{looseUpload})
				}
				t.chunks(next, index, buf[:have])
				return nil
			},
			after: func() { number, live = next, true },
		})
		if err != nil {
			return number, 0, err
		}
		size += uint64(have)
		have = 0
	}
	return number, size, nil
}

var pool = sync.Pool{New: func() any { return new([batchMax]byte) }}

// rewrite appends or prepends where the result is a blob: it is copied into a new one, and published if the key has not
// changed meanwhile. Rewrites of a key take turns.
func (s *Store) rewrite(ctx context.Context, key string, p *payload, o kvstore.InsertOptions) (uint64, error) {
	turn := s.s.appends[maphash.String(seed, key)%uint64(len(s.s.appends))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for range 16 {
		generation, err := s.rewriteOnce(ctx, key, p, o)
		if err != errRewrite {
			return generation, err
		}
	}
	return 0, fmt.Errorf("%w: key %s changes faster than it can be appended to", kvstore.ErrBusy, short(key))
}

var seed = maphash.MakeSeed()

func (s *Store) rewriteOnce(ctx context.Context, key string, p *payload, o kvstore.InsertOptions) (uint64, error) {
	v, err := s.lookup(key, true)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return 0, err
	}
	missing := err != nil
	if err := condition(key, !missing, v.Generation, o); err != nil {
		return 0, err
	}
	base := v.Generation
	if missing {
		return s.publish(ctx, key, p, o, &base)
	}
	defer v.Body.Close()
	if uint64(v.Body.Size())+p.size > uint64(s.s.opts.MaxValue) {
		return 0, value.TooLarge(v.Body.Size()+int64(p.size), s.s.opts.MaxValue)
	}
	added := io.Reader(kvstore.BytesBody(p.bytes))
	if p.blob != 0 {
		// It is this call's own, and stays until it is abandoned.
		added = &blobReader{s: s.s, key: storeKey(s.st.id, key), number: p.blob, size: p.size, unheld: true}
	}
	both := io.MultiReader(v.Body, added)
	if o.Mode == kvstore.Prepend {
		both = io.MultiReader(added, v.Body)
	}
	sum := uint64(v.Body.Size()) + p.size
	whole := payload{size: sum}
	if sum <= batchMax {
		whole.bytes = make([]byte, sum)
		if _, err := io.ReadFull(both, whole.bytes); err != nil {
			return 0, err
		}
	} else if whole.blob, whole.size, err = s.s.upload(ctx, nil, &source{ctx: ctx, r: both}); err != nil {
		return 0, err
	}
	defer s.s.abandonUnlessUsed(&whole)
	return s.publish(ctx, key, &whole, o, &base)
}

// abandonUnlessUsed gives up an upload that was not published.
func (s *Stores) abandonUnlessUsed(p *payload) {
	if p.blob != 0 {
		s.abandon(p.blob)
	}
}

// Delete removes a key.
func (s *Store) Delete(ctx context.Context, key string, o kvstore.DeleteOptions) error {
	if err := s.check(ctx, key); err != nil {
		return err
	}
	k := storeKey(s.st.id, key)
	return s.s.do(ctx, &write{
		size:  len(k),
		frees: true,
		apply: func(t *txn) error {
			if !t.has(s.st) {
				return noStore(s.st.name)
			}
			old, err := t.get(k)
			if err != nil && o.HasIfGeneration {
				return err
			}
			if err == nil && (old == nil || old.expired(t.now)) {
				if o.HasIfGeneration && o.IfGeneration != 0 {
					return fmt.Errorf("%w: key %s is missing, and has not generation %d", kvstore.ErrPrecondition, short(key), o.IfGeneration)
				}
				return notFound(key)
			}
			if o.HasIfGeneration && o.IfGeneration != old.generation {
				return fmt.Errorf("%w: key %s has generation %d, not %d", kvstore.ErrPrecondition, short(key), old.generation, o.IfGeneration)
			}
			t.replace(k, old, nil)
			return nil
		},
		after: s.s.wake,
	})
}
