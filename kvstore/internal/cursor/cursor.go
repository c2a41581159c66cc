// Package cursor makes the opaque cursors of listings, for every driver alike: the key that a page ended with, bound to the
// prefix that was listed. A cursor says nothing of the store and stays good while keys come and go. What was not made by
// Encode for the same prefix is refused; it is no secret and no signature, so whoever made it can only list what
// the prefix lets them list anyway.
package cursor

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/edgewasm/wasmedge/kvstore"
)

const (
	form    = 1 // first byte; another one is another layout
	sumSize = 8
)

// longest is the most bytes of a cursor: what is longer is refused unread.
var longest = base64.RawURLEncoding.EncodedLen(1 + sumSize + kvstore.MaxKey)

// Encode gives the cursor of a page of prefix that ended with the key last.
func Encode(prefix, last string) string {
	b := make([]byte, 0, 1+sumSize+len(last))
	b = append(b, form)
	b = binary.BigEndian.AppendUint64(b, sum(prefix, last))
	b = append(b, last...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Decode gives the key after which the page of prefix begins, "" for the first page. The error wraps kvstore.ErrCursor.
func Decode(prefix, cursor string) (last string, err error) {
	if cursor == "" {
		return "", nil
	}
	if len(cursor) > longest {
		return "", fmt.Errorf("%w: it has %d bytes, more than any", kvstore.ErrCursor, len(cursor))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor) // which skips line breaks
	if err != nil || strings.ContainsAny(cursor, "\r\n") || len(b) <= 1+sumSize || b[0] != form {
		return "", fmt.Errorf("%w: it is none of a listing", kvstore.ErrCursor)
	}
	last = string(b[1+sumSize:])
	if binary.BigEndian.Uint64(b[1:]) != sum(prefix, last) || !strings.HasPrefix(last, prefix) {
		return "", fmt.Errorf("%w: it is none of a listing with this prefix", kvstore.ErrCursor)
	}
	return last, nil
}

// sum tells apart what differs by chance or mistake.
func sum(prefix, last string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(prefix))))
	_, _ = h.Write([]byte(prefix))
	_, _ = h.Write([]byte(last))
	return h.Sum64()
}
