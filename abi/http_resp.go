package abi

import (
	"net/http"

	"github.com/edgewasm/wasmedge/host/engine"
	"github.com/edgewasm/wasmedge/host/httpfield"
)

// httpRespCalls is the guest module fastly_http_resp.
var httpRespCalls = calls{
	"new":                      {fn: respNew},
	"header_names_get":         {fn: respHeaderNamesGet},
	"header_value_get":         {fn: respHeaderValueGet},
	"header_values_get":        {fn: respHeaderValuesGet},
	"header_values_set":        {fn: respHeaderValuesSet},
	"header_insert":            {fn: respHeaderInsert},
	"header_append":            {fn: respHeaderAppend},
	"header_remove":            {fn: respHeaderRemove},
	"version_get":              {fn: respVersionGet},
	"version_set":              {fn: respVersionSet},
	"send_downstream":          {fn: respSendDownstream},
	"send_downstream_pending":  {fn: respSendDownstreamPending},
	"status_get":               {fn: respStatusGet},
	"status_set":               {fn: respStatusSet},
	"close":                    {fn: respClose},
	"framing_headers_mode_set": {fn: respFramingHeadersModeSet},
	"http_keepalive_mode_set":  {fn: respKeepaliveModeSet},
	"get_addr_dest_ip":         {fn: respAddrDestIP},
	"get_addr_dest_port":       {fn: respAddrDestPort},
}

func (s *Sandbox) responseSection(h uint32) (section, Status) {
	r, st := s.responses.get(h)
	if st != OK {
		return section{}, st
	}
	return section{&r.header, &r.size}, OK
}

// respNew is new(out handle): status 200, HTTP/1.1, no headers.
func respNew(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	r := new(struct {
		Response
		room [4]httpfield.Field // for the few fields that most responses have
	})
	r.Status, r.Version = http.StatusOK, HTTP11
	r.header.Use(r.room[:0])
	h, st := s.responses.add(&r.Response)
	if st == OK {
		out.put(h)
	}
	return st
}

// respHeaderNamesGet is header_names_get(handle, buf, buf_len, cursor, out next, out nwritten): distinct names in lower case.
func respHeaderNamesGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerNamesGet(m, a[1:], a.u32(0), (*Sandbox).responseSection)
}

// respHeaderValueGet is header_value_get(handle, name, name_len, buf, buf_len, out nwritten): the first value. Inval: absent.
func respHeaderValueGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValueGet(m, a[1:], a.u32(0), (*Sandbox).responseSection)
}

// respHeaderValuesGet is header_values_get(handle, name, name_len, buf, buf_len, cursor, out next, out nwritten).
func respHeaderValuesGet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValuesGet(m, a[1:], a.u32(0), (*Sandbox).responseSection)
}

// respHeaderValuesSet is header_values_set(handle, name, name_len, values, values_len): replaces all lines of the name.
func respHeaderValuesSet(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerValuesSet(m, a[1:], a.u32(0), (*Sandbox).responseSection)
}

// respHeaderInsert is header_insert(handle, name, name_len, value, value_len): replaces all lines of the name by one.
func respHeaderInsert(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerPut(m, a[1:], a.u32(0), (*Sandbox).responseSection, true)
}

// respHeaderAppend is header_append(handle, name, name_len, value, value_len).
func respHeaderAppend(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerPut(m, a[1:], a.u32(0), (*Sandbox).responseSection, false)
}

// respHeaderRemove is header_remove(handle, name, name_len). Inval: absent.
func respHeaderRemove(s *Sandbox, m engine.Memory, a args) Status {
	return s.headerRemove(m, a[1:], a.u32(0), (*Sandbox).responseSection)
}

// respVersionGet is version_get(handle, out http_version).
func respVersionGet(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(1))
	if st != OK {
		return st
	}
	r, st := s.responses.get(a.u32(0))
	if st == OK {
		out.put(uint32(r.Version))
	}
	return st
}

// respVersionSet is version_set(handle, http_version).
func respVersionSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	return setVersion(&r.Version, a.u32(1))
}

func setVersion(dst *Version, v uint32) Status {
	if v > uint32(HTTP3) {
		return Inval
	}
	*dst = Version(v)
	return OK
}

// respStatusGet is status_get(handle, out u16).
func respStatusGet(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u16Out(m, a.u32(1))
	if st != OK {
		return st
	}
	r, st := s.responses.get(a.u32(0))
	if st == OK {
		out.put(uint16(r.Status))
	}
	return st
}

// respStatusSet is status_set(handle, status): 100 to 999.
func respStatusSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	code := a.u32(1)
	if code < 100 || code > 999 {
		return Inval
	}
	r.Status = int(code)
	return OK
}

// respClose is close(handle).
func respClose(s *Sandbox, m engine.Memory, a args) Status {
	_, st := s.responses.take(a.u32(0))
	return st
}

// respFramingHeadersModeSet is framing_headers_mode_set(handle, mode).
func respFramingHeadersModeSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	return setFlag(&r.ManualFraming, a.u32(1))
}

// respKeepaliveModeSet is http_keepalive_mode_set(handle, mode): 1 closes the client connection afterwards.
func respKeepaliveModeSet(s *Sandbox, m engine.Memory, a args) Status {
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	return setFlag(&r.NoKeepAlive, a.u32(1))
}

// setFlag sets a two-valued enum.
func setFlag(dst *bool, v uint32) Status {
	if v > 1 {
		return Inval
	}
	*dst = v == 1
	return OK
}

// respAddrDestIP is get_addr_dest_ip(handle, out 16 bytes, out length). None: the response came from no backend.
func respAddrDestIP(s *Sandbox, m engine.Memory, a args) Status {
	out, st := addressOut(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	if !r.Origin.IsValid() {
		return None
	}
	return out.address(r.Origin, true)
}

// respAddrDestPort is get_addr_dest_port(handle, out u16). None: the response came from no backend.
func respAddrDestPort(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u16Out(m, a.u32(1))
	if st != OK {
		return st
	}
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	if !r.Origin.IsValid() {
		return None
	}
	out.put(r.Origin.Port())
	return OK
}

// respSendDownstream is send_downstream(response, body, streaming). With streaming the body's handle stays and
// becomes the write end of the stream; else body and response are consumed. A 103 may be sent any number of
// times before the final response and consumes nothing. Error: a final response was sent already, or there is
// no client. Inval: another interim status. LimitExceeded: too many interim responses wait for the client.
func respSendDownstream(s *Sandbox, m engine.Memory, a args) Status {
	streaming := a.u32(2)
	if streaming > 1 {
		return Inval
	}
	r, st := s.responses.get(a.u32(0))
	if st != OK {
		return st
	}
	b, st := s.plainBody(a.u32(1))
	if st != OK {
		return st
	}
	if s.client == nil || s.client.responded {
		return Error
	}
	if r.Status < 200 {
		if r.Status != http.StatusEarlyHints {
			return Inval
		}
		if !s.client.Client.Inform(r.Status, &r.header) {
			return LimitExceeded
		}
		return OK
	}
	s.responses.take(a.u32(0))
	if streaming == 1 {
		b.stream(s.wakeFn)
	} else {
		s.items.take(a.u32(1))
	}
	b.leave()
	s.client.responded = true
	s.dropUnread()
	s.client.Client.Respond(r, b)
	return OK
}

// respSendDownstreamPending is send_downstream_pending(pending): the host sends the response on when it comes, or 504
// for a timeout, 502 for other trouble with the backend, else 500. It does not wait, and the guest may end
// meanwhile. The handle is consumed. Error: a final response was sent already, or there is no client.
func respSendDownstreamPending(s *Sandbox, m engine.Memory, a args) Status {
	p, st := s.pendingRequest(a.u32(0))
	if st != OK {
		return st
	}
	if s.client == nil || s.client.responded {
		return Error
	}
	s.items.take(a.u32(0))
	s.client.responded = true
	s.dropUnread()
	client := s.client.Client
	client.Promise(func() { p.cancel(ErrReaderGone) })
	go func() {
		<-p.done
		if p.err != nil {
			client.Respond(p.synthesised())
		} else {
			client.Respond(p.message())
		}
	}()
	return OK
}
