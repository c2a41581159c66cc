package abi

// maxHandles bounds how many objects of one kind a sandbox may have open at once, and maxIssued how many it may
// ever open: a handle number is never given out twice, so that a stale one is always BadF.
const (
	maxHandles = 16384
	maxIssued  = 1 << 24
)

// table maps handles to objects of one kind. Handles count from 1: 0 means "none" to one SDK's cache options.
type table[T any] struct {
	items []*T // index is handle-1-base; nil once closed
	base  uint32
	live  int
}

// add gives a new object its handle.
func (t *table[T]) add(v *T) (uint32, Status) {
	if t.live >= maxHandles || uint64(t.base)+uint64(len(t.items)) >= maxIssued {
		return InvalidHandle, LimitExceeded
	}
	t.items = append(t.items, v)
	t.live++
	return t.base + uint32(len(t.items)), OK
}

func (t *table[T]) get(h uint32) (*T, Status) {
	i := h - 1 - t.base
	if h <= t.base || uint64(i) >= uint64(len(t.items)) || t.items[i] == nil {
		return nil, BadF
	}
	return t.items[i], OK
}

// take removes the object from the table.
func (t *table[T]) take(h uint32) (*T, Status) {
	v, st := t.get(h)
	if st != OK {
		return nil, st
	}
	t.items[h-1-t.base] = nil
	t.live--
	if t.live == 0 { // nothing open: forget the closed ones, keep counting
		t.base += uint32(len(t.items))
		t.items = t.items[:0]
	}
	return v, OK
}

func (t *table[T]) reset() {
	clear(t.items)
	t.items, t.base, t.live = t.items[:0], 0, 0
}
