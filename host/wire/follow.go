package wire

import (
	"bytes"
	"sync"
)

// limits bound what one request head may hold.
type limits struct {
	url     int // bytes of the request target
	method  int // bytes of the method
	head    int // bytes of the whole head
	headers int // header lines
}

const (
	// maxChunkLine bounds a chunk-size line with its extensions. Extensions have no use between a browser
	// and an edge, and hide bytes.
	maxChunkLine = 256
	// maxTrailers bounds the trailer section; net/http takes no more than its read buffer holds.
	maxTrailers = 4 << 10
	// maxQueued bounds the pipelined heads that net/http has read but not handled. Its read buffer of
	// 4 KiB holds fewer.
	maxQueued = 512
)

type followState byte

const (
	atRequestLine followState = iota
	atHeader
	inBody
	atChunkSize
	inChunk
	atChunkEnd
	atTrailer
	stopped // nothing more is followed: after a refusal, a hand-over, or for HTTP/2
)

// follower reads along with net/http on an HTTP/1 connection. Bytes go through feed in the order in which
// net/http gets them; requests come out of next in the order in which net/http hands them to the handler.
//
// A head that it refuses is still given to net/http, and the refusal comes out of next in the place of that
// request: net/http answers requests in order, so this is the only moment at which an answer can be written
// without cutting into an earlier one. A body that it refuses ends at the last good byte.
type follower struct {
	lim    *limits
	state  followState
	skip   int    // CR and LF bytes that net/http forgives at the start of a head
	line   []byte // beginning of a line whose end has not been read
	remain uint64 // bytes of body or chunk
	trail  int    // bytes of trailers
	head   head
	failed *BodyError

	mu    sync.Mutex // next is called while net/http reads ahead
	queue []*request
}

// request is what the follower found out about one request.
type request struct {
	refused *refusal
	names   []byte // header names as written, each followed by NUL
	count   int
	size    int
	tunnel  bool // the connection cannot be followed after this request

	facts Facts // here, and room for the names of most requests, to save allocations
	room  [192]byte
}

// feed follows p. Only the first n bytes may be handed on. n is 0 only with an error, which is for good.
func (f *follower) feed(p []byte) (n int, err error) {
	if f.failed != nil {
		return 0, f.failed
	}
	for i := 0; i < len(p); {
		switch f.state {
		case stopped:
			return len(p), nil
		case inBody, inChunk:
			n := min(f.remain, uint64(len(p)-i))
			i += int(n)
			if f.remain -= n; f.remain == 0 {
				if f.state == inChunk {
					f.state = atChunkEnd
				} else {
					f.endMessage()
				}
			}
			continue
		}
		if f.skip > 0 && f.state == atRequestLine {
			if p[i] == '\r' || p[i] == '\n' {
				f.skip--
				i++
				continue
			}
			f.skip = 0
		}
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			if bad := f.partial(p[i:]); bad != nil {
				return f.fail(i, bad)
			}
			return len(p), nil
		}
		line := p[i : i+j+1]
		if len(f.line) > 0 {
			f.line = append(f.line, line...)
			line = f.line
		}
		if bad := f.whole(line); bad != nil {
			return f.fail(i, bad)
		}
		f.line = f.line[:0]
		i += j + 1
	}
	return len(p), nil
}

// fail ends the body after the first n bytes of what is being fed.
func (f *follower) fail(n int, bad *BodyError) (int, error) {
	f.failed = bad
	if n == 0 {
		return 0, bad
	}
	return n, nil
}

// partial keeps the beginning of a line.
func (f *follower) partial(p []byte) *BodyError {
	n := len(f.line) + len(p)
	switch f.state {
	case atRequestLine:
		if n > f.lim.url+f.lim.method+len("  HTTP/1.1\r\n") {
			f.refuse(refuseURLTooLong)
			return nil
		}
	case atHeader:
		if f.head.size+n > f.lim.head {
			f.refuse(refuseHeadTooLarge)
			return nil
		}
	case atChunkSize:
		if n > maxChunkLine {
			return errChunkLong
		}
	case atChunkEnd:
		if n > len("\r") || p[0] != '\r' {
			return errChunkEnd
		}
	case atTrailer:
		if f.trail+n > maxTrailers {
			return errTrailerLarge
		}
	}
	f.line = append(f.line, p...)
	return nil
}

// whole takes a line with its LF.
func (f *follower) whole(line []byte) *BodyError {
	switch f.state {
	case atRequestLine:
		f.head.reset()
		f.head.size = len(line)
		if why := f.head.requestLine(line, f.lim); why != nil {
			f.refuse(why)
			return nil
		}
		f.state = atHeader
	case atHeader:
		f.head.size += len(line)
		switch {
		case f.head.size > f.lim.head:
			f.refuse(refuseHeadTooLarge)
		case len(line) == 2 && line[0] == '\r':
			f.endHead()
		case len(line) == 1:
			f.refuse(refuseLineEnd)
		default:
			if why := f.head.header(line, f.lim); why != nil {
				f.refuse(why)
			}
		}
	case atChunkSize:
		return f.chunkSize(line)
	case atChunkEnd:
		if string(line) != "\r\n" {
			return errChunkEnd
		}
		f.state = atChunkSize
	case atTrailer:
		return f.trailer(line)
	}
	return nil
}

func (f *follower) endHead() {
	h := &f.head
	if why := h.end(); why != nil {
		f.refuse(why)
		return
	}
	r := &request{count: h.count, size: h.size, tunnel: h.tunnel}
	r.names = append(r.room[:0], h.names...)
	f.push(r)
	switch {
	case h.chunked:
		f.state = atChunkSize
	case h.length > 0:
		f.state, f.remain = inBody, h.length
	default:
		f.endMessage()
	}
}

func (f *follower) endMessage() {
	f.state = atRequestLine
	if f.head.tunnel {
		f.state = stopped
	}
	if f.head.post {
		f.skip = 4 // what net/http forgives after a POST
	}
}

// chunkSize reads "size [; extension]".
func (f *follower) chunkSize(line []byte) *BodyError {
	if len(line) > maxChunkLine {
		return errChunkLong
	}
	line, ok := cutLineEnd(line)
	if !ok {
		return errChunkLine
	}
	size, ext, hasExt := bytes.Cut(line, []byte{';'})
	if hasExt {
		if !validValue(ext) {
			return errChunkExt
		}
		for len(size) > 0 && (size[len(size)-1] == ' ' || size[len(size)-1] == '\t') {
			size = size[:len(size)-1]
		}
	}
	if len(size) == 0 || len(size) > 15 {
		return errChunkSize
	}
	var n uint64
	for _, c := range size {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return errChunkSize
		}
		n = n<<4 | uint64(c)
	}
	if n == 0 {
		f.state, f.trail = atTrailer, 0
		return nil
	}
	f.state, f.remain = inChunk, n
	return nil
}

// trailer takes a line after the last chunk.
func (f *follower) trailer(line []byte) *BodyError {
	if f.trail += len(line); f.trail > maxTrailers {
		return errTrailerLarge
	}
	if string(line) == "\r\n" {
		f.endMessage()
		return nil
	}
	if len(line) < 2 {
		return errTrailer
	}
	name, _, why := headerLine(line)
	if why != nil || forbiddenTrailer(name) {
		return errTrailer
	}
	return nil
}

// forbiddenTrailer names fields that would change how the message is framed or routed (RFC 9110 section
// 6.5.1).
func forbiddenTrailer(name []byte) bool {
	return equalFold(name, "content-length") || equalFold(name, "transfer-encoding") ||
		equalFold(name, "host") || equalFold(name, "trailer")
}

// refuse puts a refusal in the place of the request whose head is being read.
func (f *follower) refuse(why *refusal) {
	f.state = stopped
	f.line = nil
	f.push(&request{refused: why})
}

func (f *follower) push(r *request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) >= maxQueued {
		f.state = stopped
		return // next runs dry, which is a refusal
	}
	f.queue = append(f.queue, r)
}

// next gives the oldest request not yet given. It refuses when there is none: net/http saw a request where
// the follower saw none.
func (f *follower) next() *request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return &request{refused: refuseDesync}
	}
	r := f.queue[0]
	n := copy(f.queue, f.queue[1:])
	f.queue[n] = nil
	f.queue = f.queue[:n]
	return r
}
