package abi

import "github.com/edgewasm/wasmedge/host/engine"

// uapCalls is the guest module fastly_uap, which old guests import; fastly_device_detection tells the same and more.
var uapCalls = calls{
	"parse": {fn: uapParse, ready: devicesReady},
}

// uapParse is parse(user_agent, user_agent_len, then buf, buf_len, out nwritten for each of family, major, minor and patch):
// the program that a User-Agent text names. The family of one that is not known is "Other", and what is not known of the
// version is empty. BufLen: one of the buffers is too small, and none is written to. Inval: not UTF-8, or longer than
// any header.
func uapParse(s *Sandbox, m engine.Memory, a args) Status {
	var parts [4]buffer
	for i := range parts {
		var st Status
		if parts[i], st = bufferOut(m, a.u32(2+3*i), a.u32(3+3*i), a.u32(4+3*i)); st != OK {
			return st
		}
	}
	userAgent, st := userAgentIn(m, a)
	if st != OK {
		return st
	}
	values := [4]string{"Other"}
	if s.env.Devices != nil {
		values[0], values[1], values[2], values[3] = s.env.Devices.Program(userAgent)
	}
	for i, v := range values {
		parts[i].nwritten.put(uint32(len(v)))
		if len(v) > len(parts[i].dst) {
			st = BufLen
		}
	}
	if st != OK {
		return st
	}
	for i, v := range values {
		copy(parts[i].dst, v)
	}
	return OK
}
