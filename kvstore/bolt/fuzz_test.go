package bolt

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/edgewasm/wasmedge/kvstore"
	"go.etcd.io/bbolt"
)

func FuzzDecode(f *testing.F) {
	key := storeKey(1, "key")
	for _, r := range []record{
		{header: header{generation: 1}},
		{header: header{generation: 7, expires: 5, size: 3, metadata: 2}, meta: []byte("me"), inline: []byte("abc")},
		{header: header{generation: 9, size: 1 << 20, blob: true}, number: 4},
	} {
		f.Add(key, r.encode(key))
	}
	f.Fuzz(func(t *testing.T, key, b []byte) {
		r, err := decode(key, b)
		if err != nil {
			if !errors.Is(err, kvstore.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if again := r.encode(key); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// FuzzInspectTree changes the pages of a file behind its headers. What is taken must be a tree that bbolt can walk.
func FuzzInspectTree(f *testing.F) {
	path := tempPath(f)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024})
	if err != nil {
		f.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			b, err := tx.CreateBucket(name)
			if err != nil {
				return err
			}
			for i := range 40 {
				if err := b.Put(chunkKey(uint64(len(name)), uint32(i)), content(1, i*5)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	h, err := readHeader(bytes.NewReader(whole), 0)
	if h2, err2 := readHeader(bytes.NewReader(whole), 1024); err2 == nil && (err != nil || h2.txid > h.txid) {
		h, err = h2, nil
	}
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:h.pages*1024]
	f.Add(uint32(3000), []byte{1, 2, 3})
	f.Add(uint32(h.root*1024+8), []byte{1})
	f.Add(uint32(h.freelist*1024+16), []byte{9})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		b := bytes.Clone(whole)
		at = 2048 + at%uint32(len(b)-2048)
		copy(b[at:], change)
		if inspectTree(bytes.NewReader(b), h, true, func(int) error { return nil }) != nil {
			return
		}
		p := tempPath(t)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(p, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("bbolt finds %v", err)
			}
			return nil
		})
	})
}
