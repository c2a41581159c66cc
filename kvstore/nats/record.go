package nats

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/edgewasm/wasmedge/kvstore"
)

// A record is the payload of a key's message:
//
//	byte    form, 1
//	byte    kind
//	int64   when it expires: nanoseconds since 1970, 0 for never
//	uint16  length of the metadata, and the metadata
//	int64   size of the value
//	inline: the value; parts: 16 bytes naming the parts, uint32 size of each but the last; deleted: nothing
//	uint32  CRC-32C of the key, a zero byte, and all of the above
//
// Integers are big-endian.
type record struct {
	kind     recordKind
	expires  int64
	metadata []byte
	size     int64
	data     []byte // of kind inline
	parts    string // of kind inParts: the name
	partSize uint32

	began time.Time // of writing the parts; not in the record
}

type recordKind byte

const (
	inline recordKind = iota + 1
	inParts
	deleted // a key was there; the message keeps others from writing as if it had not been
)

const (
	recordForm = 1
	partsName  = 16 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordSum binds a record to its key.
func recordSum(key string, b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(key))
	sum = crc32.Update(sum, castagnoli, []byte{0})
	return crc32.Update(sum, castagnoli, b)
}

func (r *record) encode(key string) []byte {
	b := make([]byte, 0, 64+len(r.metadata)+len(r.data))
	b = append(b, recordForm, byte(r.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(r.expires))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.metadata)))
	b = append(b, r.metadata...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	switch r.kind {
	case inline:
		b = append(b, r.data...)
	case inParts:
		b = append(b, r.parts...)
		b = binary.BigEndian.AppendUint32(b, r.partSize)
	}
	return binary.BigEndian.AppendUint32(b, recordSum(key, b))
}

// decodeRecord reads a key's record. The error wraps kvstore.ErrCorrupt. The record keeps b.
func decodeRecord(key string, b []byte) (record, error) {
	damaged := func(what string) (record, error) {
		return record{}, fmt.Errorf("%w: the message of the key %.64q %s", kvstore.ErrCorrupt, key, what)
	}
	const head, tail = 2 + 8 + 2 + 8, 4
	if len(b) < head+tail {
		return damaged("is too short")
	}
	body := b[:len(b)-tail]
	if binary.BigEndian.Uint32(b[len(body):]) != recordSum(key, body) {
		return damaged("does not match its checksum")
	}
	if b[0] != recordForm {
		return damaged(fmt.Sprintf("has the unknown form %d", b[0]))
	}
	r := record{kind: recordKind(b[1]), expires: int64(binary.BigEndian.Uint64(b[2:]))}
	n := int(binary.BigEndian.Uint16(b[10:]))
	if n > len(body)-head {
		return damaged("is cut short")
	}
	if n > 0 {
		r.metadata = b[12 : 12+n : 12+n]
	}
	r.size = int64(binary.BigEndian.Uint64(b[12+n:]))
	rest := body[head+n:]
	switch {
	case r.size < 0:
		return damaged("has no sensible size")
	case r.kind == inline && int64(len(rest)) == r.size:
		r.data = rest
	case r.kind == inParts && len(rest) == partsName+4:
		r.parts, r.partSize = string(rest[:partsName]), binary.BigEndian.Uint32(rest[partsName:])
		if r.partSize == 0 || r.size == 0 || r.size > math.MaxUint32*int64(r.partSize) {
			return damaged("has no sensible parts")
		}
	case r.kind == deleted && len(rest) == 0 && r.size == 0:
	default:
		return damaged("is not what its kind says")
	}
	return r, nil
}

// count is how many parts the value has.
func (r *record) count() int64 { return (r.size + int64(r.partSize) - 1) / int64(r.partSize) }

// A part is the CRC-32C of the parts' name, its number as uint32, and its bytes; then the bytes.
func partSum(name string, number uint32, data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(name))
	sum = crc32.Update(sum, castagnoli, binary.BigEndian.AppendUint32(nil, number))
	return crc32.Update(sum, castagnoli, data)
}

// decodePart gives the bytes of a part that should have size.
func decodePart(name string, number uint32, size int64, b []byte) ([]byte, error) {
	if int64(len(b)) != size+4 || binary.BigEndian.Uint32(b) != partSum(name, number, b[4:]) {
		return nil, fmt.Errorf("%w: part %d of the value does not match its checksum", kvstore.ErrCorrupt, number)
	}
	return b[4:], nil
}

// tokens makes subject tokens of bytes: base64 with an alphabet in the order of ASCII, so that tokens sort as what they stand for.
var tokens = base64.NewEncoding("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz").WithPadding(base64.NoPadding).Strict()
