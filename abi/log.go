package abi

import (
	"strings"

	"github.com/edgewasm/wasmedge/host/engine"
)

// LogEndpoint takes a guest's log messages. Write must not block for long, must not keep the slice, and is
// safe for concurrent use.
type LogEndpoint interface{ Write(message []byte) }

// Logs gives the endpoint of a name; any name works.
type Logs interface{ Endpoint(name string) LogEndpoint }

// maxEndpointName bounds an endpoint's name, in bytes.
const maxEndpointName = 255

// logCalls is the guest module fastly_log.
var logCalls = calls{
	"endpoint_get": {fn: logEndpointGet},
	"write":        {fn: logWrite},
}

type openEndpoint struct {
	name string
	sink LogEndpoint
}

// ReservedEndpoint reports whether a guest may not open an endpoint of that name (ABI notes, section 12).
func ReservedEndpoint(name string) bool {
	name = strings.ToLower(name)
	return name == "stdout" || name == "stderr" || strings.HasPrefix(name, "fst_managed_")
}

// logEndpointGet is endpoint_get(name, name_len, out handle): the same name gives the same handle.
// Inval: reserved or not UTF-8. LimitExceeded: name too long, or too many endpoints.
func logEndpointGet(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > maxEndpointName {
		return LimitExceeded
	}
	name, st := text(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if name == "" || ReservedEndpoint(name) {
		return Inval
	}
	for i, e := range s.endpoints.items {
		if e.name == name {
			out.put(s.endpoints.base + uint32(i) + 1)
			return OK
		}
	}
	h, st := s.endpoints.add(&openEndpoint{name, s.env.Logs.Endpoint(name)})
	if st == OK {
		out.put(h)
	}
	return st
}

// logWrite is write(handle, msg, msg_len, out nwritten): always takes the whole message.
func logWrite(s *Sandbox, m engine.Memory, a args) Status {
	n, st := u32Out(m, a.u32(3))
	if st != OK {
		return st
	}
	msg, st := in(m, a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	e, st := s.endpoints.get(a.u32(0))
	if st != OK {
		return st
	}
	e.sink.Write(msg)
	n.put(uint32(len(msg)))
	return OK
}
