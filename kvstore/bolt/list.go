package bolt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"strings"

	"github.com/edgewasm/wasmedge/kvstore"
)

// listExpired is how many expired keys a page skips at most; it ends short of its limit then.
const listExpired = 4096

// List gives one page of keys, always as they are now: Eventual changes nothing. A page can be shorter than its limit, or
// empty, and not the last, where many keys in a row have expired and are not reclaimed yet.
func (s *Store) List(ctx context.Context, o kvstore.ListOptions) (page kvstore.Page, err error) {
	if err := s.usable(ctx); err != nil {
		return page, err
	}
	limit := o.Limit
	switch {
	case limit < 0:
		return page, fmt.Errorf("a list of %d keys", limit)
	case limit == 0:
		limit = kvstore.DefaultListLimit
	}
	limit = min(limit, kvstore.MaxListLimit)
	if len(o.Prefix) > kvstore.MaxKey {
		if o.Cursor != "" {
			return page, fmt.Errorf("%w: it is not one of this listing", kvstore.ErrCursor)
		}
		return page, nil // no key is as long
	}
	from := storeKey(s.st.id, o.Prefix)
	prefix := from
	if o.Cursor != "" {
		after, err := s.openCursor(o.Cursor, o.Prefix)
		if err != nil {
			return page, err
		}
		from = storeKey(s.st.id, after+"\x00")
	}

	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.s.begin()
	if err != nil {
		return page, err
	}
	defer tx.Rollback()
	now := s.s.now().UnixNano()
	c := tx.Bucket(bucketRecords).Cursor()
	expired := 0
	var last string
	for k, v := c.Seek(from); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if len(page.Keys) == limit || expired == listExpired {
			page.NextCursor = s.sealCursor(last, o.Prefix)
			break
		}
		h, err := decodeHeader(k, v)
		if err != nil {
			return kvstore.Page{}, err
		}
		if h.expired(now) {
			if expired++; expired == listExpired {
				last = string(k[4:])
			}
			continue
		}
		last = string(k[4:])
		page.Keys = append(page.Keys, last)
	}
	return page, nil
}

// A cursor is a version, a checksum that binds it to the store and the prefix, and the key that the page ended with.
const cursorVersion = 1

func (s *Store) cursorSum(after, prefix string) uint32 {
	b := storeKey(s.st.id, "cursor")
	b = binary.BigEndian.AppendUint32(b, uint32(len(prefix)))
	b = append(append(b, prefix...), after...)
	return crc32.Checksum(b, castagnoli)
}

func (s *Store) sealCursor(after, prefix string) string {
	b := binary.BigEndian.AppendUint32([]byte{cursorVersion}, s.cursorSum(after, prefix))
	return base64.RawURLEncoding.EncodeToString(append(b, after...))
}

func (s *Store) openCursor(cursor, prefix string) (after string, err error) {
	if len(cursor) > base64.RawURLEncoding.EncodedLen(5+kvstore.MaxKey) {
		return "", fmt.Errorf("%w: it is too long", kvstore.ErrCursor)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 6 || b[0] != cursorVersion {
		return "", fmt.Errorf("%w: it is none of this program's", kvstore.ErrCursor)
	}
	after = string(b[5:])
	if binary.BigEndian.Uint32(b[1:]) != s.cursorSum(after, prefix) || !strings.HasPrefix(after, prefix) {
		return "", fmt.Errorf("%w: it is not one of this listing", kvstore.ErrCursor)
	}
	return after, nil
}

// statSlice is how many records one transaction of Stat looks at.
const statSlice = 4096

// Stat counts what is there by a walk over all records, in many short transactions. Expired keys are left out.
func (s *Store) Stat(ctx context.Context) (sum kvstore.Stat, err error) {
	from := storeKey(s.st.id, "")
	for from != nil {
		if err := s.usable(ctx); err != nil {
			return kvstore.Stat{}, err
		}
		if from, err = s.stat(&sum, from); err != nil {
			return kvstore.Stat{}, err
		}
	}
	return sum, nil
}

// stat counts a slice of records, and gives where the next begins.
func (s *Store) stat(sum *kvstore.Stat, from []byte) (next []byte, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	tx, err := s.s.begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	prefix := from[:4]
	now := s.s.now().UnixNano()
	c := tx.Bucket(bucketRecords).Cursor()
	n := 0
	for k, v := c.Seek(from); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if n++; n > statSlice {
			return bytes.Clone(k), nil
		}
		h, err := decodeHeader(k, v)
		if err != nil {
			return nil, err
		}
		if !h.expired(now) {
			sum.Keys++
			sum.Bytes += int64(h.size) + int64(h.metadata)
		}
	}
	return nil, nil
}
