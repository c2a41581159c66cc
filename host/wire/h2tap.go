package wire

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strconv"
	"sync"

	"golang.org/x/net/http2/hpack"
)

// HTTP/2 frame types and flags that the tap looks at (RFC 9113 section 6).
const (
	frameHeaderLen = 9

	frameHeaders      = 0x1
	framePriority     = 0x2
	frameSettings     = 0x4
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	// maxPriorities and maxSettings bound what goes into a fingerprint.
	maxPriorities = 32
	maxSettings   = 32
	// maxPendingBlocks bounds the header blocks, in bytes, that wait to be decoded for their names.
	maxPendingBlocks = 64 << 10
	// maxUnclaimed bounds the memory, in bytes, for streams that were opened but reached no handler.
	maxUnclaimed = 4 << 20
	// maxH2Names bounds the header names that are kept of one request.
	maxH2Names = 1 << 10
)

// markerName is a header that the tap adds to each HTTP/2 request, to tell the handler its stream. The name
// is random, so that no client can send it, and Server takes it off before the handler runs.
var markerName = func() string {
	b := make([]byte, 16)
	rand.Read(b)
	return "x-stream-" + hex.EncodeToString(b)
}()

// h2Tap reads along on an HTTP/2 connection. It passes every frame on as it came, except that a request's
// last header frame gets one more field, the marker; that field is never indexed, so the compression state
// of the connection stays as the client made it.
//
// Read belongs to one goroutine. The other methods are safe for concurrent use.
type h2Tap struct {
	src      io.Reader
	maxFrame int // longest frame the server accepts

	buf     []byte // read but not yet passed on: buf[start:end]
	start   int
	end     int
	ready   int    // bytes of buf, from start on, that may be passed on
	extra   []byte // passed on after those ready
	opaque  int    // payload bytes of the current frame that are passed on unseen
	preface int    // bytes of the client preface still to come
	lost    bool   // the frames make no sense any more; bytes pass unseen

	block      []byte // header block that is being assembled
	blockID    uint32 // its stream
	blockOpen  bool   // END_HEADERS has not come
	blockNew   bool   // it opens a stream
	lastStream uint32
	maxBlock   int
	sawFrame   bool
	print      h2Print

	mu      sync.Mutex
	streams map[uint32]*h2Stream // not claimed by a handler yet
	waiting int                  // cost of streams
	pending []*h2Stream          // in the order of the connection; not decoded yet
	bytes   int                  // of their blocks
	decoder *hpack.Decoder       // nil once the blocks can no longer be followed
	first   *h2Stream
	frozen  h2Print
}

// h2Stream is the header block of one request, or of trailers.
type h2Stream struct {
	block   []byte
	decoded bool
	known   bool // names and pseudo are right
	size    int
	names   []string
	pseudo  []byte // first letter of each pseudo-header, in order
}

// cost is the memory that the stream may come to hold, in bytes: an index of one byte can name a header.
func (s *h2Stream) cost() int { return 128 + s.size + 16*min(s.size, maxH2Names) }

// h2Print is what precedes the first request of a connection.
type h2Print struct {
	settings   []byte // "id:value;id:value"
	nSettings  int
	window     uint32
	priorities []byte
	nPriority  int
	done       bool
}

// newH2Tap reads from src, which is at the client preface unless sawPreface.
func newH2Tap(src io.Reader, maxFrame, maxBlock int) *h2Tap {
	return &h2Tap{
		src:      src,
		maxFrame: maxFrame,
		maxBlock: maxBlock,
		preface:  len(h2Preface),
		buf:      make([]byte, 4<<10),
		streams:  make(map[uint32]*h2Stream),
		decoder:  hpack.NewDecoder(h2TableSize, nil),
	}
}

// h2TableSize is the compression table that the server offers: the protocol's initial value.
const h2TableSize = 4096

func (t *h2Tap) Read(p []byte) (int, error) {
	for {
		if t.ready > 0 {
			n := copy(p, t.buf[t.start:t.start+t.ready])
			t.start += n
			t.ready -= n
			return n, nil
		}
		if len(t.extra) > 0 {
			n := copy(p, t.extra)
			t.extra = t.extra[n:]
			return n, nil
		}
		if held := t.end - t.start; t.opaque > 0 || t.lost {
			if held == 0 {
				n, err := t.src.Read(p[:t.passable(len(p))])
				t.pass(n)
				return n, err
			}
			t.ready = t.passable(held)
			t.pass(t.ready)
			continue
		}
		if t.scan() {
			continue
		}
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
}

// passable is how many of n bytes may pass unseen.
func (t *h2Tap) passable(n int) int {
	if t.lost {
		return n
	}
	return min(n, t.opaque)
}

func (t *h2Tap) pass(n int) {
	if !t.lost {
		t.opaque -= n
	}
}

// fill reads more, growing the buffer as far as a header frame needs it.
func (t *h2Tap) fill() error {
	if t.start > 0 {
		copy(t.buf, t.buf[t.start:t.end])
		t.end -= t.start
		t.start = 0
	}
	if t.end == len(t.buf) {
		// scan keeps a frame only up to maxFrame.
		grown := make([]byte, min(2*len(t.buf), max(t.maxFrame+frameHeaderLen, len(t.buf)+1)))
		copy(grown, t.buf)
		t.buf = grown
	}
	n, err := t.src.Read(t.buf[t.end:])
	t.end += n
	if n > 0 {
		return nil // the error, if there is one, comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if t.end > 0 && (err == io.EOF || err == io.ErrUnexpectedEOF) {
		t.lost = true // pass on the beginning of the frame that was cut
		return nil
	}
	return err
}

// scan looks at what is held and decides what may be passed on. It reports false when more bytes are needed.
func (t *h2Tap) scan() bool {
	held := t.buf[t.start:t.end]
	if t.preface > 0 {
		if len(held) == 0 {
			return false
		}
		t.ready = min(t.preface, len(held))
		t.preface -= t.ready
		return true
	}
	if len(held) < frameHeaderLen {
		return false
	}
	length := int(held[0])<<16 | int(held[1])<<8 | int(held[2])
	kind, flags := held[3], held[4]
	id := binary.BigEndian.Uint32(held[5:]) & (1<<31 - 1)
	if length > t.maxFrame {
		t.lose() // the server ends the connection for this
		return true
	}
	if t.blockOpen && (kind != frameContinuation || id != t.blockID) {
		t.lose() // likewise
		return true
	}
	first := !t.sawFrame
	switch kind {
	case frameHeaders, frameContinuation:
	case frameSettings:
		if !first || flags&flagAck != 0 {
			t.skip(length)
			return true
		}
	case frameWindowUpdate, framePriority:
		if t.print.done {
			t.skip(length)
			return true
		}
	default:
		t.skip(length)
		return true
	}
	if len(held) < frameHeaderLen+length {
		return false
	}
	t.sawFrame = true
	payload := held[frameHeaderLen : frameHeaderLen+length]
	t.ready = frameHeaderLen + length
	switch kind {
	case frameHeaders:
		t.headers(held, payload, flags, id)
	case frameContinuation:
		if !t.blockOpen {
			t.lose()
			return true
		}
		t.fragment(held, payload, len(payload), flags)
	case frameSettings:
		t.print.addSettings(payload)
	case frameWindowUpdate:
		if id == 0 && length == 4 && t.print.window == 0 {
			t.print.window = binary.BigEndian.Uint32(payload) & (1<<31 - 1)
		}
	case framePriority:
		if length == 5 {
			t.print.addPriority(id, payload)
		}
	}
	return true
}

// skip passes a frame on unseen.
func (t *h2Tap) skip(length int) {
	t.sawFrame = true
	t.opaque = frameHeaderLen + length
}

// lose gives up on the connection: nothing after this point is known.
func (t *h2Tap) lose() {
	t.lost = true
	t.ready = 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

// forget stops the decoding of names after what is pending. t.mu is held.
func (t *h2Tap) forget() {
	if t.decoder != nil {
		t.decode(nil)
	}
	t.decoder, t.pending, t.bytes = nil, nil, 0
}

func (t *h2Tap) headers(frame, payload []byte, flags byte, id uint32) {
	end := len(payload)
	fragment := payload
	if flags&flagPadded != 0 {
		if len(fragment) == 0 || int(fragment[0]) >= len(fragment) {
			t.lose()
			return
		}
		end -= int(fragment[0])
		fragment = fragment[1 : len(fragment)-int(fragment[0])]
	}
	if flags&flagPriority != 0 {
		if len(fragment) < 5 {
			t.lose()
			return
		}
		fragment = fragment[5:]
	}
	t.block = t.block[:0]
	t.blockID = id
	t.blockOpen = true
	t.blockNew = id&1 == 1 && id > t.lastStream
	if t.blockNew {
		t.lastStream = id
	}
	t.fragment(frame, fragment, end, flags)
}

// fragment takes a part of a header block. end is the offset in the frame's payload behind which padding
// begins.
func (t *h2Tap) fragment(frame, fragment []byte, end int, flags byte) {
	if len(t.block)+len(fragment) > t.maxBlock {
		t.lose()
		t.block = nil
		return
	}
	t.block = append(t.block, fragment...)
	if flags&flagEndHeaders == 0 {
		return
	}
	t.blockOpen = false
	whole := blockEndsWhole(t.block)
	marked := false
	if t.blockNew && whole {
		marker := appendLiteral(nil, markerName, strconv.FormatUint(uint64(t.blockID), 10))
		length := t.ready - frameHeaderLen
		if grown := length + len(marker); grown <= t.maxFrame {
			frame[0], frame[1], frame[2] = byte(grown>>16), byte(grown>>8), byte(grown)
			padding := frame[frameHeaderLen+end : t.ready]
			t.extra = append(marker, padding...)
			t.ready -= len(padding)
			// The padding stays in the buffer behind what is ready; drop it there.
			t.end = t.start + t.ready + copy(t.buf[t.start+t.ready:], t.buf[t.start+t.ready+len(padding):t.end])
			marked = true
		}
	}
	t.keep(whole, marked)
}

// keep files a complete header block.
func (t *h2Tap) keep(whole, marked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.blockNew && !t.print.done {
		t.print.done = true
		t.frozen = t.print
	}
	if !whole {
		t.forget() // the server ends the connection with COMPRESSION_ERROR
		return
	}
	if t.decoder == nil && !marked {
		return
	}
	s := &h2Stream{size: len(t.block)}
	if t.decoder != nil {
		s.block = append([]byte(nil), t.block...)
		t.pending = append(t.pending, s)
		t.bytes += len(s.block) + 64
		if t.bytes > maxPendingBlocks {
			t.decode(nil)
		}
	} else {
		s.decoded = true
	}
	if !t.blockNew {
		return
	}
	if t.first == nil {
		t.first = s
	}
	if marked {
		if t.waiting += s.cost(); t.waiting > maxUnclaimed {
			clear(t.streams) // mostly requests that never reach a handler; the others answer "unknown"
			t.waiting = s.cost()
		}
		t.streams[t.blockID] = s
	}
}

// claim gives the stream that a marker names.
func (t *h2Tap) claim(marker string) *h2Stream {
	id, err := strconv.ParseUint(marker, 10, 31)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.streams[uint32(id)]
	if s != nil {
		delete(t.streams, uint32(id))
		t.waiting -= s.cost()
	}
	return s
}

// decode works through the pending blocks up to and with s, or all of them. t.mu is held.
func (t *h2Tap) decode(s *h2Stream) {
	for len(t.pending) > 0 && (s == nil || !s.decoded) {
		next := t.pending[0]
		t.pending[0] = nil
		t.pending = t.pending[1:]
		t.bytes -= len(next.block) + 64
		next.decoded = true
		next.known = true
		t.decoder.SetEmitFunc(func(f hpack.HeaderField) {
			switch {
			case len(f.Name) > 1 && f.Name[0] == ':':
				next.pseudo = append(next.pseudo, f.Name[1])
			case next.known && len(next.names) < maxH2Names:
				next.names = append(next.names, f.Name)
			default:
				next.names, next.known = nil, false
			}
		})
		_, err := t.decoder.Write(next.block)
		if err == nil {
			err = t.decoder.Close()
		}
		next.block = nil
		if err != nil {
			next.known = false
			t.decoder, t.pending, t.bytes = nil, nil, 0
			return
		}
	}
}

// names gives the header names of s in the client's order, without the pseudo-headers.
func (t *h2Tap) names(s *h2Stream) ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.decoded && t.decoder != nil {
		t.decode(s)
	}
	return s.names, s.known
}

// fingerprint gives the connection's HTTP/2 fingerprint.
func (t *h2Tap) fingerprint() (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		return "", false
	}
	if !t.first.decoded && t.decoder != nil {
		t.decode(t.first)
	}
	if !t.first.known {
		return "", false
	}
	return t.frozen.text(t.first.pseudo), true
}

func (p *h2Print) addSettings(payload []byte) {
	for ; len(payload) >= 6 && p.nSettings < maxSettings; payload = payload[6:] {
		if p.nSettings++; p.nSettings > 1 {
			p.settings = append(p.settings, ';')
		}
		p.settings = strconv.AppendUint(p.settings, uint64(binary.BigEndian.Uint16(payload)), 10)
		p.settings = append(p.settings, ':')
		p.settings = strconv.AppendUint(p.settings, uint64(binary.BigEndian.Uint32(payload[2:])), 10)
	}
}

// addPriority writes stream:exclusive:depends-on:weight; the weight is one more than its byte.
func (p *h2Print) addPriority(id uint32, payload []byte) {
	if p.nPriority >= maxPriorities {
		return
	}
	if p.nPriority++; p.nPriority > 1 {
		p.priorities = append(p.priorities, ',')
	}
	depends := binary.BigEndian.Uint32(payload)
	p.priorities = strconv.AppendUint(p.priorities, uint64(id), 10)
	p.priorities = append(p.priorities, ':', '0'+byte(depends>>31), ':')
	p.priorities = strconv.AppendUint(p.priorities, uint64(depends&(1<<31-1)), 10)
	p.priorities = append(p.priorities, ':')
	p.priorities = strconv.AppendUint(p.priorities, uint64(payload[4])+1, 10)
}

// text is the fingerprint in the form that Akamai published ("Passive Fingerprinting of HTTP/2 Clients",
// 2017): settings|window update|priorities|pseudo-header order.
func (p *h2Print) text(pseudo []byte) string {
	b := append([]byte(nil), p.settings...)
	b = append(b, '|')
	if p.window == 0 {
		b = append(b, "00"...)
	} else {
		b = strconv.AppendUint(b, uint64(p.window), 10)
	}
	b = append(b, '|')
	if p.nPriority == 0 {
		b = append(b, '0')
	} else {
		b = append(b, p.priorities...)
	}
	b = append(b, '|')
	for i, c := range pseudo {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, c)
	}
	return string(b)
}
