package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/edgewasm/wasmedge/kvstore"
)

// What bbolt's file begins with: two pages, each with a header; the valid one with the higher transaction counts.
const (
	boltMagic       = 0xED0CDAED
	boltVersion     = 2
	boltPageHeader  = 16
	boltHeaderSize  = 64 // bytes of the header, its checksum last
	boltFreelist    = 0x10
	boltNoFreelist  = 1<<64 - 1
	boltMaxPageSize = 1 << 24
)

// boltHeader is a header of the file.
type boltHeader struct {
	pageSize                    int64
	root, freelist, pages, txid uint64
}

// readHeader reads the header at an offset; the error says what is wrong with it.
func readHeader(f io.ReaderAt, page int64) (h boltHeader, err error) {
	var b [boltPageHeader + boltHeaderSize]byte
	if _, err := f.ReadAt(b[:], page); err != nil {
		if err == io.EOF {
			return h, errors.New("the file is too short")
		}
		return h, err
	}
	m := b[boltPageHeader:]
	order := binary.NativeEndian // bbolt writes its structures as they are in memory
	switch {
	case order.Uint32(m) != boltMagic:
		return h, errors.New("it is not a bbolt file")
	case order.Uint32(m[4:]) != boltVersion:
		return h, fmt.Errorf("it is of bbolt version %d, not %d", order.Uint32(m[4:]), boltVersion)
	}
	sum := fnv.New64a()
	sum.Write(m[:boltHeaderSize-8])
	if sum.Sum64() != order.Uint64(m[boltHeaderSize-8:]) {
		return h, errors.New("its checksum is wrong")
	}
	h = boltHeader{
		pageSize: int64(order.Uint32(m[8:])), root: order.Uint64(m[16:]), freelist: order.Uint64(m[32:]),
		pages: order.Uint64(m[40:]), txid: order.Uint64(m[48:]),
	}
	if h.pageSize < 512 || h.pageSize > boltMaxPageSize || h.pageSize&(h.pageSize-1) != 0 || h.pages > 1<<40 || h.root >= h.pages {
		return h, errors.New("it makes no sense")
	}
	return h, nil
}

// depthOfLook is how much of a file inspect looks at.
type depthOfLook int

const (
	lookHeaders  depthOfLook = iota // what can be told while another process may write to the file
	lookBranches                    // and the list of free pages, the branches of the tree
	lookLeaves                      // and its leaves
)

// inspect looks at what bbolt trusts when it opens a file: it would read beyond the file's end, panic, recurse without end,
// or take an older state for the newest. step is told of the bytes read, and ends the look by an error; it may be nil.
func inspect(path string, acceptOlder bool, depth depthOfLook, step func(int) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %w: %w", path, kvstore.ErrCorrupt, fmt.Errorf(format, args...))
	}
	if info.Size() == 0 {
		return bad("the file is empty; if it never held data, remove it")
	}
	first, err := readHeader(f, 0)
	var second boltHeader
	var err2 error
	if err == nil {
		second, err2 = readHeader(f, first.pageSize)
	} else {
		for size := int64(1024); size <= boltMaxPageSize; size *= 2 {
			if second, err2 = readHeader(f, size); err2 == nil && second.pageSize == size {
				break
			}
			err2 = err
		}
	}
	switch {
	case err != nil && err2 != nil:
		return bad("%w", err)
	case (err != nil || err2 != nil) && !acceptOlder:
		return bad("one of the file's two headers is damaged (%w): the newest write may be missing in what the other one names; restore a backup, or open it with AcceptOlder", errors.Join(err, err2))
	}
	h := first
	if err != nil || err2 == nil && second.txid > first.txid {
		h = second
	}
	if need := int64(h.pages) * h.pageSize; need > info.Size() {
		return bad("the file was cut off: it has %d bytes and needs %d", info.Size(), need)
	}
	if depth == lookHeaders {
		return nil
	}
	if step == nil {
		step = func(int) error { return nil }
	}
	var stop error
	err = inspectTree(f, h, depth == lookLeaves, func(n int) error { stop = step(n); return stop })
	if err != nil && stop == nil {
		return bad("%w", err)
	}
	return err
}

// inspectFreelist checks that the list is one, in order, and within the file, and gives its pages and those that hold it to
// use: a page that is free and used would be written over.
func inspectFreelist(f io.ReaderAt, h boltHeader, use func(uint64) error) error {
	if h.freelist < 2 || h.freelist >= h.pages {
		return fmt.Errorf("page %d is not in the file", h.freelist)
	}
	at := int64(h.freelist) * h.pageSize
	var head [boltPageHeader + 8]byte
	if _, err := f.ReadAt(head[:], at); err != nil {
		return err
	}
	order := binary.NativeEndian
	count, overflow := uint64(order.Uint16(head[10:])), uint64(order.Uint32(head[12:]))
	if order.Uint64(head[:]) != h.freelist || order.Uint16(head[8:]) != boltFreelist {
		return fmt.Errorf("page %d is none", h.freelist)
	}
	at += boltPageHeader
	room := (overflow+1)*uint64(h.pageSize) - boltPageHeader
	if count == 0xFFFF {
		count = order.Uint64(head[boltPageHeader:])
		at, room = at+8, room-8
	}
	if count > room/8 || h.freelist+overflow >= h.pages {
		return fmt.Errorf("it is longer than its page")
	}
	for id := h.freelist; id <= h.freelist+overflow; id++ {
		if err := use(id); err != nil {
			return err
		}
	}
	r := io.NewSectionReader(f, at, int64(count*8))
	var buf [8192]byte
	last := uint64(1)
	for count > 0 {
		b := buf[:min(count*8, uint64(len(buf)))]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[8:] {
			id := order.Uint64(b)
			if id <= last {
				return errors.New("it is out of order")
			}
			if err := use(id); err != nil {
				return err
			}
			last = id
			count--
		}
	}
	return nil
}
