package abi

import "github.com/edgewasm/wasmedge/host/engine"

// Devices tells from User-Agent texts what clients are. It is asked by many guests at once.
type Devices interface {
	// Ready reports whether the other methods would answer at once. While it is false, they may wait.
	Ready() bool
	// Device gives the record of a text, a JSON object; false when nothing is known of it.
	Device(userAgent string) (record string, ok bool)
	// Program gives the program that a text names, and its version as far as it is known.
	Program(userAgent string) (family, major, minor, patch string)
}

// deviceDetectionCalls is the guest module fastly_device_detection.
var deviceDetectionCalls = calls{
	"lookup": {fn: deviceLookup, ready: devicesReady},
}

// maxUserAgent bounds a User-Agent text, in bytes: more than any client of this host can have sent in one header line.
const maxUserAgent = 128 << 10

// devicesReady: what a lookup computes is counted to the guest, but not what the host has to load before the first.
func devicesReady(s *Sandbox, a args) bool { return s.env.Devices == nil || s.env.Devices.Ready() }

// deviceLookup is lookup(user_agent, user_agent_len, buf, buf_len, out nwritten): what is known of a client by the text of
// its user-agent field, as JSON. None: nothing. Inval: not UTF-8, or longer than any header.
func deviceLookup(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	userAgent, st := userAgentIn(m, a)
	if st != OK {
		return st
	}
	if s.env.Devices == nil {
		return buf.optional("", false)
	}
	record, ok := s.env.Devices.Device(userAgent)
	return buf.optional(record, ok)
}

// userAgentIn reads the first two arguments.
func userAgentIn(m engine.Memory, a args) (string, Status) {
	if a.u32(1) > maxUserAgent {
		return "", Inval
	}
	return text(m, a.u32(0), a.u32(1))
}
