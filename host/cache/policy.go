package cache

import "sync"

// policy decides which object goes when memory is full, after S3-FIFO: new objects enter a small queue, of a tenth of
// the room; those that were asked for again while in it move to the main queue, the others go and leave a trace, by
// which they enter the main queue when they come back soon. A hit costs no more than a counter. Only whole
// objects are in a queue, so what is being written is never evicted.
type policy struct {
	mu          sync.Mutex
	small, main queue
	ghost       []uint32 // traces of objects that went, by hash; a later trace overwrites an earlier one
}

// Where an object is.
const (
	unqueued = iota
	inSmall
	inMain
	dropped // out of the index: it is never queued again
)

const (
	maxFreq   = 3
	minGhosts = 1 << 8
	maxGhosts = 1 << 22 // 16 MiB
	maxTurns  = 1 << 10 // objects that one eviction spares
)

// queue is a list of objects, oldest last.
type queue struct {
	first, last *object
	n           int
	bytes       int64
}

func (q *queue) push(o *object, where uint8) {
	o.where = where
	o.before, o.after = nil, q.first
	if q.first != nil {
		q.first.before = o
	} else {
		q.last = o
	}
	q.first = o
	q.n++
	q.bytes += o.weight
}

func (q *queue) remove(o *object) {
	if o.before != nil {
		o.before.after = o.after
	} else {
		q.first = o.after
	}
	if o.after != nil {
		o.after.before = o.before
	} else {
		q.last = o.before
	}
	o.before, o.after = nil, nil
	o.where = unqueued
	q.n--
	q.bytes -= o.weight
}

func (p *policy) trace(hash uint64) (at *uint32, mark uint32) {
	return &p.ghost[hash&uint64(len(p.ghost)-1)], uint32(hash>>32) | 1
}

// add queues a whole object of the weight given.
func (p *policy) add(o *object, weight int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.where != unqueued {
		return
	}
	o.weight = weight
	if n := len(p.ghost); p.main.n > n && n < maxGhosts || n == 0 {
		p.ghost = make([]uint32, max(2*n, minGhosts)) // the old traces are lost, which costs a few misses
	}
	if at, mark := p.trace(o.identity()); *at == mark {
		*at = 0
		p.main.push(o, inMain)
	} else {
		p.small.push(o, inSmall)
	}
}

// restore queues an object again that a victim call gave and that has to stay.
func (p *policy) restore(o *object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.where == unqueued {
		p.main.push(o, inMain)
	}
}

// remove takes out an object that has left the index.
func (p *policy) remove(o *object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unlink(o)
	o.where = dropped
}

func (p *policy) unlink(o *object) {
	switch o.where {
	case inSmall:
		p.small.remove(o)
	case inMain:
		p.main.remove(o)
	}
}

// victim takes the object out of its queue that goes next, nil if there is none. limit is the room for all, in bytes.
func (p *policy) victim(limit int64) *object {
	p.mu.Lock()
	defer p.mu.Unlock()
	for turn := 0; ; turn++ {
		if p.small.n > 0 && (p.small.bytes > limit/10 || p.main.n == 0) {
			o := p.small.last
			p.small.remove(o)
			if o.freq.Load() > 0 && turn < maxTurns {
				o.freq.Store(0)
				p.main.push(o, inMain)
				continue
			}
			at, mark := p.trace(o.identity())
			*at = mark
			return o
		}
		o := p.main.last
		if o == nil {
			return nil
		}
		p.main.remove(o)
		if f := o.freq.Load(); f > 0 && turn < maxTurns {
			o.freq.Store(f - 1)
			p.main.push(o, inMain)
			continue
		}
		return o
	}
}

// touch counts a hit. Two at once may count as one.
func (o *object) touch() {
	if f := o.freq.Load(); f < maxFreq {
		o.freq.Store(f + 1)
	}
}
