package abi

import "github.com/edgewasm/wasmedge/host/engine"

// maxSecret bounds a secret, in bytes; the platform's published limit.
const maxSecret = 64 << 10

// secretStoreCalls is the guest module fastly_secret_store.
var secretStoreCalls = calls{
	"from_bytes": {fn: secretFromBytes},
	"plaintext":  {fn: secretPlaintext},
}

// openSecret is a secret that the guest has a handle of. Its bytes are overwritten when the sandbox ends.
type openSecret struct{ plaintext []byte }

// secretFromBytes is from_bytes(buf, buf_len, out handle): a secret of the sandbox's own, which hostcalls take where they
// want one. LimitExceeded: it is too long, or there are too many.
func secretFromBytes(s *Sandbox, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(2))
	if st != OK {
		return st
	}
	if a.u32(1) > maxSecret {
		return LimitExceeded
	}
	b, st := in(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if int64(len(b)) > s.buffered {
		return LimitExceeded
	}
	h, st := s.secrets.add(&openSecret{append([]byte(nil), b...)})
	if st == OK {
		s.buffered -= int64(len(b)) // secrets are never closed
		out.put(h)
	}
	return st
}

// secretPlaintext is plaintext(secret, buf, buf_len, out nwritten).
func secretPlaintext(s *Sandbox, m engine.Memory, a args) Status {
	buf, st := bufferOut(m, a.u32(1), a.u32(2), a.u32(3))
	if st != OK {
		return st
	}
	secret, st := s.secrets.get(a.u32(0))
	if st != OK {
		return st
	}
	// Without a copy, for that could not be overwritten.
	buf.nwritten.put(uint32(len(secret.plaintext)))
	if len(secret.plaintext) > len(buf.dst) {
		return BufLen
	}
	copy(buf.dst, secret.plaintext)
	return OK
}

// forgetSecrets overwrites what the guest has left in secrets.
func (s *Sandbox) forgetSecrets() {
	for _, secret := range s.secrets.items {
		if secret != nil {
			clear(secret.plaintext)
		}
	}
	s.secrets.reset()
}
