package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// bbolt trusts the pages of its tree: one that names itself, or an element that reaches beyond its page, makes it recurse
// without end or read what is not there. So the tree is walked before bbolt sees it: its branches whenever a file
// is opened, its leaves too when it is checked.

const (
	boltBranch  = 0x01
	boltLeaf    = 0x02
	boltBucket  = 0x01 // flag of a leaf's element
	boltElement = 16   // bytes of an element, on branches and leaves
	boltInline  = 16   // bytes of a bucket's header; the page of a small one follows

	maxDepth = 32
	maxPage  = 1 << 20 // bytes; this program writes none of half that
)

// tree is a walk under way.
type tree struct {
	f    io.ReaderAt
	h    boltHeader
	used []uint64 // bits of the pages seen, free ones included
	deep bool
	step func(bytes int) error
}

// inspectTree walks the tree under a header, of a file that nobody writes to. Unless it is to be deep, leaves are not read,
// but for those that hold the buckets.
func inspectTree(f io.ReaderAt, h boltHeader, deep bool, step func(int) error) error {
	t := &tree{f: f, h: h, used: make([]uint64, h.pages/64+1), deep: deep, step: step}
	t.use(0)
	t.use(1)
	if h.freelist != boltNoFreelist {
		if err := inspectFreelist(f, h, t.use); err != nil {
			return fmt.Errorf("the list of free pages: %w", err)
		}
	}
	if err := t.walk(h.root, -1, 0, nil, nil, true); err != nil {
		return err
	}
	if deep && h.freelist != boltNoFreelist {
		for id := range h.pages {
			if t.use(id) == nil {
				return fmt.Errorf("page %d is neither free nor used", id)
			}
		}
	}
	return nil
}

// use marks a page; none may be marked twice.
func (t *tree) use(id uint64) error {
	if id >= t.h.pages {
		return fmt.Errorf("page %d is beyond the last, %d", id, t.h.pages-1)
	}
	if t.used[id/64]&(1<<(id%64)) != 0 {
		return fmt.Errorf("page %d is used twice, or used and free", id)
	}
	t.used[id/64] |= 1 << (id % 64)
	return nil
}

// read gives a whole page, its overflow included, which it marks; the page itself is marked already.
func (t *tree) read(id uint64) ([]byte, error) {
	var head [boltPageHeader]byte
	at := int64(id) * t.h.pageSize
	if _, err := t.f.ReadAt(head[:], at); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(head[12:]))
	size := int64(overflow+1) * t.h.pageSize
	if order.Uint64(head[:]) != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, order.Uint64(head[:]))
	}
	if size > max(maxPage, t.h.pageSize) {
		return nil, fmt.Errorf("page %d is %d bytes long", id, size)
	}
	for i := range overflow {
		if err := t.use(id + 1 + i); err != nil {
			return nil, err
		}
	}
	b := make([]byte, size)
	if _, err := t.f.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, t.step(len(b))
}

// walk checks a page and what is below it. leaf is the depth of the leaves, -1 while it is not known; low and high are what
// the keys must be within. root is the bucket of buckets.
func (t *tree) walk(id uint64, leaf, depth int, low, high []byte, root bool) error {
	if id < 2 || depth > maxDepth {
		return fmt.Errorf("page %d cannot be in the tree", id)
	}
	if err := t.use(id); err != nil {
		return err
	}
	if leaf == -1 {
		d, err := t.depth(id)
		if err != nil {
			return err
		}
		leaf = depth + d
	}
	if depth == leaf && !t.deep && !root {
		return nil
	}
	b, err := t.read(id)
	if err != nil {
		return err
	}
	kind := uint16(boltBranch)
	if depth == leaf {
		kind = boltLeaf
	}
	if have := binary.NativeEndian.Uint16(b[8:]); have != kind {
		return fmt.Errorf("page %d is of kind %d, not %d", id, have, kind)
	}
	if depth == leaf {
		if err := t.leaf(b, low, high, root); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	}
	n, err := count(b)
	if err == nil && n == 0 {
		err = errors.New("it names no others")
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i := range n {
		key, err := branchKey(b, i)
		if err == nil {
			err = ordered(key, low, high, i == 0)
		}
		next := high
		if err == nil && i+1 < n {
			next, err = branchKey(b, i+1)
		}
		if err != nil {
			return fmt.Errorf("page %d: element %d: %w", id, i, err)
		}
		child := binary.NativeEndian.Uint64(b[boltPageHeader+i*boltElement+8:])
		if err := t.walk(child, leaf, depth+1, key, next, root); err != nil {
			return err
		}
		low = key
	}
	return nil
}

// depth gives how far below a page its leaves are: bbolt keeps all of a bucket equally deep.
func (t *tree) depth(id uint64) (int, error) {
	for d := range maxDepth {
		var b [boltPageHeader + boltElement]byte
		if id >= t.h.pages {
			break
		}
		if _, err := t.f.ReadAt(b[:], int64(id)*t.h.pageSize); err != nil {
			return 0, err
		}
		switch binary.NativeEndian.Uint16(b[8:]) {
		case boltLeaf:
			return d, nil
		case boltBranch:
			id = binary.NativeEndian.Uint64(b[boltPageHeader+8:])
		default:
			return 0, fmt.Errorf("page %d is none of a tree", id)
		}
	}
	return 0, errors.New("the tree has no leaves")
}

// count gives the number of a page's elements.
func count(b []byte) (int, error) {
	n := int(binary.NativeEndian.Uint16(b[10:]))
	if boltPageHeader+n*boltElement > len(b) {
		return 0, errors.New("it has more elements than fit")
	}
	return n, nil
}

// branchKey gives the key of an element of a branch.
func branchKey(b []byte, i int) ([]byte, error) {
	at := boltPageHeader + i*boltElement
	order := binary.NativeEndian
	return span(b, uint64(at), uint64(order.Uint32(b[at:])), uint64(order.Uint32(b[at+4:])))
}

// leafElement gives the parts of an element of a leaf.
func leafElement(b []byte, i int) (flags uint32, key, value []byte, err error) {
	at := boltPageHeader + i*boltElement
	order := binary.NativeEndian
	size := uint64(order.Uint32(b[at+8:]))
	both, err := span(b, uint64(at), uint64(order.Uint32(b[at+4:])), size+uint64(order.Uint32(b[at+12:])))
	if err != nil {
		return 0, nil, nil, err
	}
	return order.Uint32(b[at:]), both[:size], both[size:], nil
}

// span gives what an element says is its own; pos counts from the element.
func span(b []byte, at, pos, size uint64) ([]byte, error) {
	if pos < boltElement || at+pos+size > uint64(len(b)) {
		return nil, errors.New("it reaches beyond the page")
	}
	return b[at+pos : at+pos+size], nil
}

func ordered(key, low, high []byte, first bool) error {
	if c := bytes.Compare(key, low); c < 0 || c == 0 && !first || high != nil && bytes.Compare(key, high) >= 0 {
		return errors.New("its key is out of order")
	}
	return nil
}

// leaf checks the elements of a leaf. Those of the bucket of buckets are walked.
func (t *tree) leaf(b []byte, low, high []byte, root bool) error {
	n, err := count(b)
	if err != nil {
		return err
	}
	for i := range n {
		flags, key, value, err := leafElement(b, i)
		switch {
		case err != nil:
		case len(key) == 0:
			err = errors.New("it has no key")
		case flags&^boltBucket != 0 || (flags == boltBucket) != root:
			err = errors.New("it is of the wrong kind")
		default:
			err = ordered(key, low, high, i == 0)
		}
		if err == nil && root {
			err = t.bucket(value)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		low = key
	}
	return nil
}

// bucket walks a bucket that is not the root; b is what is stored for it.
func (t *tree) bucket(b []byte) error {
	if len(b) < boltInline {
		return errors.New("a bucket without a header")
	}
	if page := binary.NativeEndian.Uint64(b); page != 0 {
		return t.walk(page, -1, 0, nil, nil, false)
	}
	b = b[boltInline:]
	if len(b) < boltPageHeader || binary.NativeEndian.Uint16(b[8:]) != boltLeaf {
		return errors.New("a small bucket that is no leaf")
	}
	return t.leaf(b, nil, nil, false)
}
