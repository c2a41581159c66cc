package wire

import (
	"encoding/binary"
	"errors"
)

// maxHello bounds the ClientHello message that is kept, its 4-byte header included. crypto/tls refuses
// longer handshake messages.
const maxHello = 64 << 10

const (
	recordHandshake     = 22 // ContentType, RFC 8446 section 5.1
	handshakeHello      = 1  // HandshakeType, RFC 8446 section 4
	maxRecordPlaintext  = 1 << 14
	extServerName       = 0x0000
	extSupportedGroups  = 0x000a
	extPointFormats     = 0x000b
	extSignatureAlgs    = 0x000d
	extALPN             = 0x0010
	extSupportedVersion = 0x002b
)

// helloRecorder assembles the first handshake message of a client from TLS records, however it is split
// over records and reads. The zero value is ready.
type helloRecorder struct {
	header [5]byte // of the record that is being read
	have   int     // bytes of header seen
	remain int     // payload bytes left in the record
	want   int     // length of the message with its header, 0 while unknown
	msg    []byte
	done   bool // the message is complete, or there is none worth keeping
}

// feed takes the next bytes from the client.
func (r *helloRecorder) feed(p []byte) {
	for len(p) > 0 && !r.done {
		if r.remain == 0 {
			n := copy(r.header[r.have:], p)
			r.have += n
			p = p[n:]
			if r.have < len(r.header) {
				return
			}
			r.have = 0
			r.remain = int(binary.BigEndian.Uint16(r.header[3:]))
			if r.header[0] != recordHandshake || r.remain == 0 || r.remain > maxRecordPlaintext {
				r.giveUp()
				return
			}
			continue
		}
		n := min(r.remain, len(p))
		r.msg = append(r.msg, p[:n]...)
		r.remain -= n
		p = p[n:]
		if r.want == 0 && len(r.msg) >= 4 {
			r.want = 4 + int(r.msg[1])<<16 + int(r.msg[2])<<8 + int(r.msg[3])
			if r.msg[0] != handshakeHello || r.want > maxHello {
				r.giveUp()
				return
			}
		}
		if r.want != 0 && len(r.msg) >= r.want {
			r.msg = r.msg[:r.want:r.want]
			r.done = true
		}
	}
}

func (r *helloRecorder) giveUp() { r.msg, r.done = nil, true }

// message is the ClientHello with its handshake header, nil when there was none.
func (r *helloRecorder) message() []byte {
	if !r.done {
		return nil
	}
	return r.msg
}

// clientHello is what the fingerprints need of a ClientHello, in the order the client sent it, GREASE
// included.
type clientHello struct {
	version           uint16 // legacy_version
	ciphers           []uint16
	extensions        []uint16
	groups            []uint16
	pointFormats      []byte
	signatureAlgs     []uint16
	supportedVersions []uint16
	hasServerName     bool
	alpn              []byte // first protocol; empty when there is none
}

var errBadHello = errors.New("wire: malformed ClientHello")

// cursor reads big-endian values off a byte slice; after running out it stays failed.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) u16() int {
	if b := c.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// u16s reads a list of 16-bit values that fills b.
func u16s(b []byte) []uint16 {
	out := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		out = append(out, binary.BigEndian.Uint16(b))
	}
	return out
}

// parseHello reads a ClientHello message with its 4-byte handshake header (RFC 8446 section 4.1.2).
func parseHello(msg []byte) (*clientHello, error) {
	c := cursor{b: msg}
	if c.u8() != handshakeHello {
		return nil, errBadHello
	}
	n := c.u8()<<16 | c.u16()
	if c.bad || n != len(c.b) {
		return nil, errBadHello
	}
	h := &clientHello{version: uint16(c.u16())}
	c.take(32)     // random
	c.take(c.u8()) // session id
	h.ciphers = u16s(c.take(c.u16()))
	c.take(c.u8()) // compression methods
	if c.bad {
		return nil, errBadHello
	}
	if len(c.b) == 0 {
		return h, nil // SSL 3.0 and TLS 1.0 clients may leave the extensions out
	}
	exts := cursor{b: c.take(c.u16())}
	if c.bad || len(c.b) != 0 {
		return nil, errBadHello
	}
	for len(exts.b) > 0 {
		id := uint16(exts.u16())
		body := cursor{b: exts.take(exts.u16())}
		if exts.bad {
			return nil, errBadHello
		}
		h.extensions = append(h.extensions, id)
		// A malformed body leaves its own list short; crypto/tls decides about the connection.
		switch id {
		case extServerName:
			h.hasServerName = true
		case extSupportedGroups:
			h.groups = u16s(body.take(body.u16()))
		case extPointFormats:
			h.pointFormats = body.take(body.u8())
		case extSignatureAlgs:
			h.signatureAlgs = u16s(body.take(body.u16()))
		case extSupportedVersion:
			h.supportedVersions = u16s(body.take(body.u8()))
		case extALPN:
			list := cursor{b: body.take(body.u16())}
			h.alpn = list.take(list.u8())
		}
	}
	return h, nil
}

// isGREASE reports a reserved value of RFC 8701: both bytes equal, low nibbles 0xa.
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && byte(v>>8) == byte(v) }
