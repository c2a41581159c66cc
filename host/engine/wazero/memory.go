package wazero

import "github.com/tetratelabs/wazero/experimental"

// linearMemory is the memory of one instance: addresses reserved up to its limit, so that it never moves,
// of which the guest sees buf. It is a wazero allocator that gives itself out once.
type linearMemory struct {
	region []byte // reserved; not accessible beyond buf
	buf    []byte
}

// Allocate gives the memory to wazero.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate grows the memory; nil refuses.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(l.region)) || commit(l.region, len(l.buf), int(size)) != nil {
		return nil
	}
	l.buf = l.region[:size:size]
	return l.buf
}

// Free does nothing: the instance frees the memory itself, when nothing refers to it any more.
func (l *linearMemory) Free() {}

func (l *linearMemory) release() {
	unreserve(l.region)
	l.region, l.buf = nil, nil
}
