package abi

import (
	"errors"
	"io"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// httpBodyCalls is the guest module fastly_http_body.
var httpBodyCalls = calls{
	"append":             {fn: bodyAppend, ready: bodyAppendReady},
	"new":                {fn: bodyNew},
	"read":               {fn: bodyRead, ready: bodyReadReady},
	"write":              {fn: bodyWrite, ready: bodyWriteReady},
	"close":              {fn: bodyClose},
	"abandon":            {fn: bodyAbandon},
	"trailer_append":     {fn: bodyTrailerAppend},
	"trailer_names_get":  {fn: bodyTrailerNamesGet},
	"trailer_value_get":  {fn: bodyTrailerValueGet},
	"trailer_values_get": {fn: bodyTrailerValuesGet},
	"known_length":       {fn: bodyKnownLength},
}

// bodyStatus turns what a body's methods return into a status.
func (s *Sandbox) bodyStatus(err error) Status {
	switch {
	case err == nil:
		return OK
	case s.stopped():
		return Error
	case errors.Is(err, ErrIncomplete):
		return HTTPIncomplete
	case errors.Is(err, errBodyLimit):
		s.warn("a body was cut", err)
		return LimitExceeded
	}
	return Error
}

// bodyNew is new(out handle).
func bodyNew(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	h, st := s.addBody(s.newBody())
	if st == OK {
		out.put(h)
	}
	return st
}

// bodyAppend is append(dest, src): moves src's content and trailers to the end of dest; src is consumed, also
// when the call fails later. BadF: dest is src, src is the write end of a stream.
func bodyAppend(s *Sandbox, m engine.Memory, a args) Status {
	dest, st := s.body(a.u32(0))
	if st != OK {
		return st
	}
	src, st := s.plainBody(a.u32(1))
	if st != OK {
		return st
	}
	s.items.take(a.u32(1))
	if dest == src {
		src.drop()
		return BadF
	}
	return s.bodyStatus(dest.appendBody(s.ctx(), src))
}

func bodyAppendReady(s *Sandbox, a args) bool {
	dest, st := s.body(a.u32(0))
	return st != OK || !dest.isStreaming() || dest.writable()
}

// bodyRead is read(handle, buf, buf_len, out n): waits for content, 0 bytes only at the end.
// HTTPIncomplete: the message ended early. BadF: the write end of a stream.
func bodyRead(s *Sandbox, m engine.Memory, a args) Status {
	n, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	buf, st := out(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	b, st := s.plainBody(a.u32(0))
	if st != OK {
		return st
	}
	got, err := b.Read(s.ctx(), buf)
	if err != nil && err != io.EOF {
		return s.bodyStatus(err)
	}
	n.put(uint32(got))
	return OK
}

func bodyReadReady(s *Sandbox, a args) bool {
	b, st := s.plainBody(a.u32(0))
	return st != OK || b.inMemory()
}

// bodyWrite is write(handle, buf, buf_len, end, out n): takes everything, waiting for room on a stream.
// BadF: front of a stream, or the stream's reader went away.
func bodyWrite(s *Sandbox, m engine.Memory, a args) Status {
	n, st := u32Out(m, a.u32(4))
	if st != OK {
		return st
	}
	buf, st := in(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	end := a.u32(3)
	if end > 1 {
		return Inval
	}
	b, st := s.body(a.u32(0))
	if st != OK {
		return st
	}
	if !b.isStreaming() {
		if err := b.write(buf, end == 1); err != nil {
			return s.bodyStatus(err)
		}
	} else {
		if end == 1 {
			return BadF
		}
		if err := b.writeStream(s.ctx(), buf); err != nil {
			return s.bodyStatus(err)
		}
	}
	n.put(uint32(len(buf)))
	return OK
}

func bodyWriteReady(s *Sandbox, a args) bool {
	b, st := s.body(a.u32(0))
	return st != OK || b.fits(int(a.u32(2)))
}

// bodyClose is close(handle): ends a stream well; frees a plain body.
func bodyClose(s *Sandbox, m engine.Memory, a args) Status { return s.endBody(a.u32(0), nil) }

// bodyAbandon is abandon(handle): breaks a stream off, so that its reader sees an incomplete message.
func bodyAbandon(s *Sandbox, m engine.Memory, a args) Status {
	return s.endBody(a.u32(0), ErrIncomplete)
}

func (s *Sandbox) endBody(h uint32, err error) Status {
	b, st := s.body(h)
	if st != OK {
		return st
	}
	s.items.take(h)
	switch {
	case b.isStreaming():
		b.finish(err)
	case err == nil && s.keepUnread(h, b):
	default:
		b.drop()
	}
	return OK
}

// bodyTrailerAppend is trailer_append(handle, name, name_len, value, value_len).
func bodyTrailerAppend(s *Sandbox, m engine.Memory, a args) Status {
	name, st := fieldName(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	value, st := fieldValue(m, a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	b, st := s.body(a.u32(0))
	if st != OK {
		return st
	}
	if !b.addTrailer(name, value) {
		return HTTPHeadTooLarge
	}
	return OK
}

// receivedTrailers gives the trailers of a body that was read to its end. Again: it was not. Inval: the write
// end of a stream.
func (s *Sandbox) receivedTrailers(h uint32) (*httpfield.List, Status) {
	b, st := s.body(h)
	switch {
	case st != OK:
		return nil, st
	case b.isStreaming():
		return nil, Inval
	case !b.ended():
		return nil, Again
	}
	return b.Trailers(), OK
}

// bodyTrailerNamesGet is trailer_names_get(handle, buf, buf_len, cursor, out next, out nwritten).
func bodyTrailerNamesGet(s *Sandbox, m engine.Memory, a args) Status {
	l, st := listOut(m, a.u32(1), a.u32(2), a.u32(3), a.u32(4), a.u32(5))
	if st != OK {
		return st
	}
	t, st := s.receivedTrailers(a.u32(0))
	if st != OK {
		return st
	}
	return s.putNames(l, t)
}

// bodyTrailerValueGet is trailer_value_get(handle, name, name_len, buf, buf_len, out nwritten). None: absent.
func bodyTrailerValueGet(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(3), a.u32(4), a.u32(5))
	if st != OK {
		return st
	}
	name, st := fieldName(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	t, st := s.receivedTrailers(a.u32(0))
	if st != OK {
		return st
	}
	v, ok := t.Get(name)
	return buf.optional(v, ok)
}

// bodyTrailerValuesGet is trailer_values_get(handle, name, name_len, buf, buf_len, cursor, out next, out nwritten).
func bodyTrailerValuesGet(s *Sandbox, m engine.Memory, a args) Status {
	l, st := listOut(m, a.u32(3), a.u32(4), a.u32(5), a.u32(6), a.u32(7))
	if st != OK {
		return st
	}
	name, st := fieldName(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	t, st := s.receivedTrailers(a.u32(0))
	if st != OK {
		return st
	}
	return s.putValues(l, t, name)
}

// bodyKnownLength is known_length(handle, out u64). None: not known.
func bodyKnownLength(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u64Out(m, a.u32(1))
	if st != OK {
		return st
	}
	b, st := s.body(a.u32(0))
	if st != OK {
		return st
	}
	n, ok := b.Length()
	if !ok {
		return None
	}
	out.put(uint64(n))
	return OK
}
