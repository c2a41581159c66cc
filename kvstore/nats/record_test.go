package nats

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

func someRecords() []record {
	return []record{
		{kind: inline},
		{kind: inline, size: 5, data: []byte("value"), expires: 1, metadata: []byte("metadata")},
		{kind: inline, size: 1000, data: make([]byte, 1000), expires: math.MaxInt64, metadata: make([]byte, kvstore.MaxMetadata)},
		{kind: inParts, size: 1, parts: strings.Repeat("p", partsName), partSize: 1},
		{kind: inParts, size: kvstore.DefaultMaxValue, parts: strings.Repeat("\x00", partsName), partSize: partSize, metadata: []byte("m")},
		{kind: deleted, expires: 5},
	}
}

func sameRecord(a, b record) bool {
	return a.kind == b.kind && a.expires == b.expires && bytes.Equal(a.metadata, b.metadata) && a.size == b.size && bytes.Equal(a.data, b.data) &&
		a.parts == b.parts && a.partSize == b.partSize
}

func TestRecordsComeBack(t *testing.T) {
	for _, r := range someRecords() {
		got, err := decodeRecord("key", r.encode("key"))
		if err != nil || !sameRecord(got, r) {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
		if _, err := decodeRecord("kex", r.encode("key")); !errors.Is(err, kvstore.ErrCorrupt) {
			t.Errorf("of another key: %v", err)
		}
	}
}

func TestTokensSortAsTheirBytes(t *testing.T) {
	list := []string{"", "\x00", "\x00\x00", "\x01", "a", "aa", "ab", "b", "é", "\xff", "\xff\xff", "a\xff", "ab\x00", "abc", "abcd", "abce"}
	slices.Sort(list)
	var made []string
	for _, s := range list {
		token := tokens.EncodeToString([]byte(s))
		if strings.ContainsAny(token, ".*> \t\r\n") {
			t.Errorf("%q is no subject token", token)
		}
		made = append(made, token)
	}
	if !slices.IsSorted(made) {
		t.Errorf("%q are not in order", made)
	}
}

// FuzzDecodeRecord gives the decoder what a damaged or hostile stream could hold: with a right checksum, so that what lies behind it
// is reached.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range someRecords() {
		b := r.encode("k")
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeRecord("k", b); err != nil && !errors.Is(err, kvstore.ErrCorrupt) {
			t.Errorf("got %v", err)
		}
		sum := recordSum("k", b)
		b = append(bytes.Clone(b), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		r, err := decodeRecord("k", b)
		if err != nil {
			if !errors.Is(err, kvstore.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			return
		}
		if r.kind == inParts && (r.count() <= 0 || r.count() > math.MaxUint32) {
			t.Errorf("%d parts", r.count())
		}
		if !bytes.Equal(r.encode("k"), b) {
			t.Errorf("%x decodes and encodes to %x", b, r.encode("k"))
		}
	})
}
