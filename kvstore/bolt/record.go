package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/edgewasm/wasmedge/kvstore"
)

const (
	recordVersion = 1
	recordHeader  = 36
	flagBlob      = 1
	blobNumber    = 8 // bytes
	chunkHeader   = 4 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the part of a record that lists and sweeps need.
type header struct {
	blob       bool
	metadata   int
	generation uint64
	expires    int64 // Unix nanoseconds; 0 is never
	size       uint64
	sum        uint32
}

func (h *header) expired(now int64) bool { return h.expires != 0 && h.expires <= now }

// record is a whole one. Its slices are those of what was decoded.
type record struct {
	header
	meta   []byte
	inline []byte // the value, unless it is in a blob
	number uint64 // of the blob
}

func corrupt(key []byte, format string, args ...any) error {
	return fmt.Errorf("%w: key %s: %s", kvstore.ErrCorrupt, quoteKey(key), fmt.Sprintf(format, args...))
}

// quoteKey makes the key of a record fit for an error.
func quoteKey(key []byte) string {
	if len(key) < 4 {
		return fmt.Sprintf("%x", key)
	}
	return short(string(key[4:]))
}

// short makes a key or a name fit for an error.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// decodeHeader reads and verifies the header of the record at that key of the bucket.
func decodeHeader(key, b []byte) (h header, err error) {
	if len(b) == 0 {
		return h, corrupt(key, "its record is empty")
	}
	if b[0] != recordVersion {
		return h, corrupt(key, "its record has version %d; this program knows %d", b[0], recordVersion)
	}
	if len(b) < recordHeader {
		return h, corrupt(key, "its record has %d bytes", len(b))
	}
	h.sum = crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, b[:28])
	if want := binary.BigEndian.Uint32(b[28:]); h.sum != want {
		return h, corrupt(key, "its record's checksum is %08x, not %08x", h.sum, want)
	}
	h.blob = b[1]&flagBlob != 0
	h.metadata = int(binary.BigEndian.Uint16(b[2:]))
	h.generation = binary.BigEndian.Uint64(b[4:])
	h.expires = int64(binary.BigEndian.Uint64(b[12:]))
	h.size = binary.BigEndian.Uint64(b[20:])
	if b[1]&^flagBlob != 0 || h.generation == 0 || h.expires < 0 || h.size > 1<<62 {
		return h, corrupt(key, "its record makes no sense")
	}
	return h, nil
}

// decode reads and verifies a record.
func decode(key, b []byte) (r record, err error) {
	if r.header, err = decodeHeader(key, b); err != nil {
		return r, err
	}
	sum := crc32.Update(r.sum, castagnoli, b[recordHeader:])
	if want := binary.BigEndian.Uint32(b[32:]); sum != want {
		return r, corrupt(key, "its value's checksum is %08x, not %08x", sum, want)
	}
	body := b[recordHeader:]
	if len(body) < r.metadata {
		return r, corrupt(key, "its record has %d bytes", len(b))
	}
	r.meta, body = body[:r.metadata:r.metadata], body[r.metadata:]
	switch {
	case !r.blob && uint64(len(body)) == r.size:
		r.inline = body
	case r.blob && len(body) == blobNumber:
		r.number = binary.BigEndian.Uint64(body)
	default:
		return r, corrupt(key, "its record has %d bytes", len(b))
	}
	return r, nil
}

// encode makes the record for that key of the bucket.
func (r *record) encode(key []byte) []byte {
	n := recordHeader + len(r.meta) + len(r.inline)
	if r.blob {
		n += blobNumber
	}
	b := make([]byte, recordHeader, n)
	b[0] = recordVersion
	if r.blob {
		b[1] |= flagBlob
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(r.meta)))
	binary.BigEndian.PutUint64(b[4:], r.generation)
	binary.BigEndian.PutUint64(b[12:], uint64(r.expires))
	binary.BigEndian.PutUint64(b[20:], r.size)
	sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, b[:28])
	binary.BigEndian.PutUint32(b[28:], sum)
	b = append(b, r.meta...)
	if r.blob {
		b = binary.BigEndian.AppendUint64(b, r.number)
	} else {
		b = append(b, r.inline...)
	}
	binary.BigEndian.PutUint32(b[32:], crc32.Update(sum, castagnoli, b[recordHeader:]))
	return b
}

// storeKey is the key of a record; alone, that of a store.
func storeKey(id uint32, key string) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(key)), id), key...)
}

// expiryKey is the entry of the expiry bucket for a record's key.
func expiryKey(expires int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(expires)), key...)
}

func blobKey(number uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 12), number) }

func chunkKey(number uint64, index uint32) []byte {
	return binary.BigEndian.AppendUint32(blobKey(number), index)
}

// sealChunk writes the checksum of a chunk whose first chunkHeader bytes are room for it.
func sealChunk(key, chunk []byte) {
	sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, chunk[chunkHeader:])
	binary.BigEndian.PutUint32(chunk, sum)
}

// openChunk verifies a chunk and gives its bytes; want is how many there must be.
func openChunk(key, chunk []byte, want int) ([]byte, error) {
	blob, index := binary.BigEndian.Uint64(key), binary.BigEndian.Uint32(key[8:])
	if chunk == nil {
		return nil, fmt.Errorf("%w: part %d of blob %d is missing", kvstore.ErrCorrupt, index, blob)
	}
	if len(chunk) != chunkHeader+want {
		return nil, fmt.Errorf("%w: part %d of blob %d has %d bytes, not %d", kvstore.ErrCorrupt, index, blob, len(chunk), chunkHeader+want)
	}
	sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, chunk[chunkHeader:])
	if have := binary.BigEndian.Uint32(chunk); sum != have {
		return nil, fmt.Errorf("%w: the checksum of part %d of blob %d is %08x, not %08x", kvstore.ErrCorrupt, index, blob, sum, have)
	}
	return chunk[chunkHeader:], nil
}

// chunks is how many a value of that size has.
func chunks(size uint64) uint64 { return (size + chunkSize - 1) / chunkSize }

// chunkLen is how many bytes of a value of that size the chunk holds.
func chunkLen(size uint64, index uint64) int {
	return int(min(size-index*chunkSize, chunkSize))
}
