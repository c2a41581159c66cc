package secretstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A store's file, numbers in little-endian order:
//
//	8   magic "SECRETS" and the format's number, 1
//	1+n the store's name, its length first
//	16  random: which store of that name it is
//	8   when it was made, in nanoseconds since 1970
//	8   the version given last
//	8   ID of the master key
//	24  nonce and
//	48  box of the data key
//	4   number of records, which are sorted by name, then version:
//	    1+n the secret's name, 8 version, 8 time, 24 nonce, 4 length and n bytes of box
//	24  nonce and
//	16  box of nothing, bound to the SHA-256 digest of all before it
//
// A box is what XChaCha20-Poly1305 makes of a plaintext. Boxes are bound to what *AD says.
const (
	magic       = "SECRETS\x01"
	maxFile     = 256 << 20
	wrappedSize = keySize + tagSize
	trailerSize = nonceSize + tagSize
	minRecord   = 1 + 1 + 8 + 8 + nonceSize + 4 + tagSize
)

// storeFile is a store as its file has it.
type storeFile struct {
	name      string
	id        [16]byte
	created   int64
	last      uint64 // version given last
	master    keyID
	wrapNonce [nonceSize]byte
	wrapped   [wrappedSize]byte
	secrets   map[string][]*sealed // versions ascending, at least one
}

func appendName(b []byte, name string) []byte { return append(append(b, byte(len(name))), name...) }

func wrapAD(f *storeFile) []byte {
	b := append([]byte("secretstore data key\x00"), f.master[:]...)
	return append(appendName(b, f.name), f.id[:]...)
}

func recordAD(store, secret string, version uint64, created int64) []byte {
	b := make([]byte, 0, 64+len(store)+len(secret))
	b = appendName(append(b, "secretstore record\x00"...), store)
	b = appendName(b, secret)
	b = binary.LittleEndian.AppendUint64(b, version)
	return binary.LittleEndian.AppendUint64(b, uint64(created))
}

func trailerAD(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append([]byte("secretstore file\x00"), sum[:]...)
}

// wrap seals the data key with a master key.
func (f *storeFile) wrap(data *lockedKey, master *Key) error {
	f.master = master.id
	return data.with(func(key []byte) error {
		box, err := master.key.seal(&f.wrapNonce, key, wrapAD(f))
		copy(f.wrapped[:], box)
		return err
	})
}

// unwrap gives the data key.
func (f *storeFile) unwrap(master *Key) (*lockedKey, error) {
	data := newLockedKey()
	if err := master.key.open(data.slot[:], &f.wrapNonce, f.wrapped[:], wrapAD(f)); err != nil {
		data.destroy()
		return nil, err
	}
	return data, nil
}

// encode gives the file's bytes, authenticated by the data key.
func (f *storeFile) encode(data *lockedKey) ([]byte, error) {
	size := len(magic) + 1 + len(f.name) + 16 + 8 + 8 + 8 + nonceSize + wrappedSize + 4 + trailerSize
	count := 0
	for name, versions := range f.secrets {
		for _, s := range versions {
			size += minRecord - 1 + len(name) + s.size()
			count++
		}
	}
	if size > maxFile {
		return nil, fmt.Errorf("%w: the store would take %d bytes, more than %d: prune old versions or use a second store", ErrTooLarge, size, maxFile)
	}
	le := binary.LittleEndian
	b := make([]byte, 0, size)
	b = appendName(append(b, magic...), f.name)
	b = append(b, f.id[:]...)
	b = le.AppendUint64(b, uint64(f.created))
	b = le.AppendUint64(b, f.last)
	b = append(b, f.master[:]...)
	b = append(b, f.wrapNonce[:]...)
	b = append(b, f.wrapped[:]...)
	b = le.AppendUint32(b, uint32(count))
	for _, name := range slices.Sorted(maps.Keys(f.secrets)) {
		for _, s := range f.secrets[name] {
			b = appendName(b, name)
			b = le.AppendUint64(b, s.version)
			b = le.AppendUint64(b, uint64(s.created))
			b = append(b, s.nonce[:]...)
			b = le.AppendUint32(b, uint32(len(s.box)))
			b = append(b, s.box...)
		}
	}
	var nonce [nonceSize]byte
	box, err := data.seal(&nonce, nil, trailerAD(b))
	if err != nil {
		return nil, err
	}
	return append(append(b, nonce[:]...), box...), nil
}

// authenticate checks that the bytes are those that encode gave.
func authenticate(b []byte, data *lockedKey) error {
	body, nonce := b[:len(b)-trailerSize], [nonceSize]byte(b[len(b)-trailerSize:])
	return data.open(nil, &nonce, b[len(b)-tagSize:], trailerAD(body))
}

// decode reads what encode wrote. It authenticates nothing. Boxes are parts of b. When it fails, what it has read so far is
// in the result.
func decode(b []byte) (*storeFile, error) {
	f := &storeFile{secrets: map[string][]*sealed{}}
	r := reader{rest: b, size: len(b)}
	if string(r.take(len(magic)-1)) != magic[:len(magic)-1] {
		return f, errors.New("it is no file of a secret store")
	}
	if n := r.u8(); r.err == nil && n != magic[len(magic)-1] {
		return f, fmt.Errorf("it has format %d, and this program knows format %d", n, magic[len(magic)-1])
	}
	f.name = r.name()
	copy(f.id[:], r.take(16))
	f.created = int64(r.u64())
	f.last = r.u64()
	copy(f.master[:], r.take(8))
	copy(f.wrapNonce[:], r.take(nonceSize))
	copy(f.wrapped[:], r.take(wrappedSize))
	count := r.u32()
	if r.err != nil {
		return f, r.err
	}
	if int64(count)*minRecord > int64(len(r.rest)) {
		return f, fmt.Errorf("it is cut off: %d bytes cannot hold %d records", r.size, count)
	}
	previous := &sealed{}
	for range count {
		s := &sealed{name: r.name(), version: r.u64(), created: int64(r.u64())}
		copy(s.nonce[:], r.take(nonceSize))
		n := r.u32()
		if r.err == nil && (n < tagSize || n > MaxSecret+tagSize) {
			r.fail("a secret has %d bytes", int64(n)-tagSize)
		}
		s.box = r.take(int(min(n, MaxSecret+tagSize)))
		if r.err != nil {
			return f, r.err
		}
		if s.version == 0 || s.version > f.last {
			return f, fmt.Errorf("a record has version %d, and the last one is %d", s.version, f.last)
		}
		if s.name < previous.name || s.name == previous.name && s.version <= previous.version {
			return f, errors.New("its records are not in order")
		}
		if s.name == previous.name {
			s.name = previous.name // one string for all versions
		}
		s.ad = recordAD(f.name, s.name, s.version, s.created)
		f.secrets[s.name] = append(f.secrets[s.name], s)
		previous = s
	}
	if len(r.rest) != trailerSize {
		return f, fmt.Errorf("%d bytes stand where %d are due at its end", len(r.rest), trailerSize)
	}
	return f, nil
}

// reader takes things from the front of bytes. After an error it gives zeros.
type reader struct {
	rest []byte
	size int
	err  error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format+" (at byte %d)", append(a, r.size-len(r.rest))...)
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.fail("it is cut off")
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) name() string {
	name := string(r.take(int(r.u8())))
	if r.err == nil && CheckName(name) != nil {
		r.fail("a name is not a valid one")
		return ""
	}
	return name
}
