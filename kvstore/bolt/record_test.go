package bolt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
)

func TestEveryBitOfRecordsAndChunksIsGuarded(t *testing.T) {
	key := storeKey(7, "key")
	for _, r := range []record{
		{header: header{generation: 1}},
		{header: header{generation: 7, expires: 5, size: 3, metadata: 2}, meta: []byte("me"), inline: []byte("abc")},
		{header: header{generation: 9, size: 1 << 20, metadata: 1, blob: true}, meta: []byte("m"), number: 4},
	} {
		whole := r.encode(key)
		got, err := decode(key, whole)
		if err != nil || !bytes.Equal(got.encode(key), whole) {
			t.Fatalf("%+v came back as %+v, %v", r, got, err)
		}
		for bit := range 8 * len(whole) {
			b := bytes.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			if _, err := decode(key, b); !errors.Is(err, kvstore.ErrCorrupt) || !strings.Contains(err.Error(), `"key"`) {
				t.Errorf("bit %d of %x: %v", bit, whole, err)
			}
		}
		for n := range whole {
			if _, err := decode(key, whole[:n]); !errors.Is(err, kvstore.ErrCorrupt) {
				t.Errorf("%d bytes of %x: %v", n, whole, err)
			}
		}
		for bit := range 8 * len(key) {
			k := bytes.Clone(key)
			k[bit/8] ^= 1 << (bit % 8)
			if _, err := decode(k, whole); !errors.Is(err, kvstore.ErrCorrupt) {
				t.Errorf("bit %d of the key: %v", bit, err)
			}
		}
		whole[0] = 9
		if _, err := decode(key, whole); err == nil || !strings.Contains(err.Error(), "version 9") {
			t.Errorf("another version: %v", err)
		}
	}
	ck := chunkKey(3, 4)
	chunk := append(make([]byte, chunkHeader), "value"...)
	sealChunk(ck, chunk)
	if b, err := openChunk(ck, chunk, 5); err != nil || string(b) != "value" {
		t.Fatal(string(b), err)
	}
	for bit := range 8 * len(chunk) {
		b := bytes.Clone(chunk)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := openChunk(ck, b, 5); !errors.Is(err, kvstore.ErrCorrupt) {
			t.Errorf("bit %d of a chunk: %v", bit, err)
		}
	}
	if _, err := openChunk(chunkKey(3, 5), chunk, 5); !errors.Is(err, kvstore.ErrCorrupt) {
		t.Errorf("a chunk in the place of another: %v", err)
	}
}
