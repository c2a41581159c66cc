package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

// errMoved is a blob that was replaced between the look at its record and the hold on it.
var errMoved = errors.New("the value was replaced")

// check tells whether a call on a key may go on.
func (s *Store) check(ctx context.Context, key string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return kvstore.CheckKey(key)
}

func (s *Store) usable(ctx context.Context) error {
	if err := s.s.usable(ctx); err != nil {
		return err
	}
	if s.st.dropped.Load() {
		return noStore(s.st.name)
	}
	return nil
}

func notFound(key string) error { return fmt.Errorf("%w: %s", kvstore.ErrNotFound, short(key)) }

// Lookup gives the value of key. One of up to 62 KiB is in memory; a larger one is read from the file as its Body is
// read, and kept there until the Body is closed.
func (s *Store) Lookup(ctx context.Context, key string) (kvstore.Value, error) {
	if err := s.check(ctx, key); err != nil {
		return kvstore.Value{}, err
	}
	return s.lookup(key, true)
}

// PromptLookup reports that Lookup waits for nothing but, where the file is not in memory, for a page of it.
func (s *Store) PromptLookup() bool { return true }

// PromptWrite reports that writes wait for the disk.
func (s *Store) PromptWrite() bool { return false }

// lookup gives the value of key; without its body if that is not wanted.
func (s *Store) lookup(key string, body bool) (v kvstore.Value, err error) {
	var held uint64
	for {
		v, number, err := s.look(key, body, held)
		switch {
		case err == errMoved:
			s.s.blobs.release(held)
			held = 0
		case err == nil && number != 0 && number != held:
			// The hold counts only if the record names the blob still once it is there: then whoever removes blobs sees
			// the hold, in whatever order the two went on.
			s.s.blobs.hold(number)
			held = number
			continue
		case err != nil && held != 0:
			s.s.blobs.release(held)
			return v, err
		default:
			return v, err
		}
	}
}

// look makes one attempt. It gives the number of the blob that has to be held for the value's body, if there is one
// and it is not the one that is held.
func (s *Store) look(key string, body bool, held uint64) (v kvstore.Value, number uint64, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.s.begin()
	if err != nil {
		return v, 0, err
	}
	defer tx.Rollback()
	var room [4 + kvstore.MaxKey]byte
	binary.BigEndian.PutUint32(room[:], s.st.id)
	k := room[:4+copy(room[4:], key)]
	raw := tx.Bucket(bucketRecords).Get(k)
	if raw == nil {
		if held != 0 {
			return v, 0, errMoved
		}
		return v, 0, notFound(key)
	}
	r, err := decode(k, raw)
	if err != nil {
		return v, 0, err
	}
	if r.expired(s.s.now().UnixNano()) {
		if held != 0 {
			return v, 0, errMoved
		}
		return v, 0, notFound(key)
	}
	if held != 0 && r.number != held {
		return v, 0, errMoved
	}
	v.Generation = r.generation
	if r.expires != 0 {
		v.Expires = time.Unix(0, r.expires)
	}
	switch {
	case !body:
		v.Metadata = bytes.Clone(r.meta)
	case !r.blob:
		// One copy holds both.
		b := make([]byte, len(r.inline)+len(r.meta))
		n := copy(b, r.inline)
		copy(b[n:], r.meta)
		v.Body = kvstore.BytesBody(b[:n:n])
		v.Metadata = b[n:]
	case r.size <= partMax:
		b := make([]byte, r.size)
		if _, err := readChunks(tx, k, r.number, r.size, 0, b); err != nil {
			return v, 0, err
		}
		v.Body = kvstore.BytesBody(b)
		v.Metadata = bytes.Clone(r.meta)
	case held == 0:
		return v, r.number, nil
	default:
		v.Body = kvstore.StreamBody(&blobReader{s: s.s, key: bytes.Clone(k), number: r.number, size: r.size}, int64(r.size))
		v.Metadata = bytes.Clone(r.meta)
		number = r.number
	}
	if r.metadata == 0 {
		v.Metadata = nil
	}
	return v, number, nil
}

// readChunks reads as many whole chunks of a blob as fit into p. key is the record's.
func readChunks(tx *bbolt.Tx, key []byte, number, size, index uint64, p []byte) (n int, err error) {
	var room [12]byte
	binary.BigEndian.PutUint64(room[:], number)
	binary.BigEndian.PutUint32(room[8:], uint32(index))
	c := tx.Bucket(bucketBlobs).Cursor()
	k, v := c.Seek(room[:])
	for ; index < chunks(size) && n+chunkLen(size, index) <= len(p); index++ {
		binary.BigEndian.PutUint32(room[8:], uint32(index))
		if !bytes.Equal(k, room[:]) {
			v = nil
		}
		b, err := openChunk(room[:], v, chunkLen(size, index))
		if err != nil {
			return 0, fmt.Errorf("key %s: %w", quoteKey(key), err)
		}
		n += copy(p[n:], b)
		k, v = c.Next()
	}
	return n, nil
}

// blobRefs counts the readers of each blob.
type blobRefs struct {
	mu   sync.Mutex
	refs map[uint64]int
}

func (b *blobRefs) hold(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refs == nil {
		b.refs = map[uint64]int{}
	}
	b.refs[number]++
}

func (b *blobRefs) release(number uint64) (last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refs[number]--
	if last = b.refs[number] == 0; last {
		delete(b.refs, number)
	}
	return last
}

func (b *blobRefs) held(number uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refs[number] != 0
}

// blobReader reads a blob, each part in a transaction of its own.
type blobReader struct {
	s      *Stores
	key    []byte // of the record, for errors
	number uint64
	size   uint64
	unheld bool // Close releases nothing

	mu     sync.Mutex // Close may come at any time
	closed bool
	index  uint64 // of the next chunk
	rest   []byte // of the last part
	buf    *[partMax]byte
	err    error
}

var partPool = sync.Pool{New: func() any { return new([partMax]byte) }}

var errBodyClosed = errors.New("the value's body is closed")

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rest) == 0 && len(p) != 0 {
		if err := r.ready(); err != nil {
			return 0, err
		}
		if len(p) >= partMax/2 {
			return r.next(p)
		}
		if r.buf == nil {
			r.buf = partPool.Get().(*[partMax]byte)
		}
		n, err := r.next(r.buf[:])
		if err != nil {
			return 0, err
		}
		r.rest = r.buf[:n]
	}
	if r.closed {
		return 0, errBodyClosed
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *blobReader) WriteTo(w io.Writer) (n int64, err error) {
	// The buffer is this call's own: Close may come while w waits.
	buf := partPool.Get().(*[partMax]byte)
	defer partPool.Put(buf)
	for {
		m, err := r.Read(buf[:])
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err = w.Write(buf[:m])
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// ready tells whether there is more to read.
func (r *blobReader) ready() error {
	switch {
	case r.closed:
		return errBodyClosed
	case r.err != nil:
		return r.err
	case r.index*chunkSize >= r.size:
		return io.EOF
	}
	return nil
}

// next reads the next chunks into p, which has room for one at least.
func (r *blobReader) next(p []byte) (n int, err error) {
	if n, err = r.s.readPart(p[:min(len(p), partMax)], r.key, r.number, r.size, r.index); err != nil {
		r.err = err
		return 0, err
	}
	r.index += chunks(uint64(n))
	return n, nil
}

func (s *Stores) readPart(p, key []byte, number, size, index uint64) (n int, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	return readChunks(tx, key, number, size, index, p)
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed, r.rest = true, nil
	if r.buf != nil {
		partPool.Put(r.buf)
		r.buf = nil
	}
	if !r.unheld && r.s.blobs.release(r.number) {
		r.s.wake()
	}
	return nil
}
