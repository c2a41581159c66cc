package bolt

import (
	"bytes"
	"context"
	"runtime/debug"

	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/internal/cursor"
)

// listExpired is how many expired keys a page skips at most; it ends short of its limit then.
const listExpired = 4096

// List gives one page of keys, always as they are now: Eventual changes nothing. A page can be shorter than its limit, or
// empty, and not the last, where many keys in a row have expired and are not reclaimed yet.
func (s *Store) List(ctx context.Context, o kvstore.ListOptions) (page kvstore.Page, err error) {
	if err := s.usable(ctx); err != nil {
		return page, err
	}
	limit := o.PageSize()
	after, err := cursor.Decode(o.Prefix, o.Cursor)
	if err != nil {
		return page, err
	}
	if len(o.Prefix) > kvstore.MaxKey {
		return page, nil // no key is as long
	}
	prefix := storeKey(s.st.id, o.Prefix)
	from := prefix
	if o.Cursor != "" {
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
			page.NextCursor = cursor.Encode(o.Prefix, last)
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
