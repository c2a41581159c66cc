package abi

import (
	"crypto/subtle"

	"github.com/edgewasm/wasmedge/host/engine"
)

// fact answers one question about a client request. a starts at the argument after the request handle.
type fact func(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status

// of makes the call that names the request by its handle. Error: not a client's request. BadF: no such handle.
// Facts stay readable after the handle was consumed.
func of(f fact) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		h := a.u32(0)
		for _, c := range s.clients {
			if c.handle == h {
				return f(s, c.client, m, a[1:])
			}
		}
		if _, st := s.requests.get(h); st != OK {
			return st
		}
		return Error
	}
}

// current makes the older call, which means the current client request. Error: there is none.
func current(f fact) handler {
	return func(s *Sandbox, m engine.Memory, a args) Status {
		if s.client == nil {
			return Error
		}
		return f(s, s.client, m, a)
	}
}

// httpDownstreamCalls is the guest module fastly_http_downstream.
var httpDownstreamCalls = calls{
	"downstream_original_header_names":         {fn: of(originalHeaderNames)},
	"downstream_original_header_count":         {fn: of(originalHeaderCount)},
	"downstream_client_ip_addr":                {fn: of(clientIP)},
	"downstream_server_ip_addr":                {fn: of(serverIP)},
	"downstream_client_h2_fingerprint":         {fn: of(h2Fingerprint)},
	"downstream_client_request_id":             {fn: of(requestID)},
	"downstream_client_oh_fingerprint":         {fn: of(ohFingerprint)},
	"downstream_client_ddos_detected":          {fn: of(ddosDetected)},
	"downstream_tls_cipher_openssl_name":       {fn: of(tlsCipher)},
	"downstream_tls_protocol":                  {fn: of(tlsProtocol)},
	"downstream_tls_client_hello":              {fn: of(tlsClientHello)},
	"downstream_tls_raw_client_certificate":    {fn: of(tlsClientCertificate)},
	"downstream_tls_client_cert_verify_result": {fn: of(tlsClientVerify)},
	"downstream_tls_client_servername":         {fn: of(tlsServerName)},
	"downstream_tls_ja3_md5":                   {fn: of(tlsJA3)},
	"downstream_tls_ja4":                       {fn: of(tlsJA4)},
	"downstream_compliance_region":             {fn: of(complianceRegion)},
	"fastly_key_is_valid":                      {fn: of(fastlyKeyIsValid)},
	"next_request":                             {fn: nextRequestPromise},
	"next_request_wait":                        {fn: nextRequestWait, ready: nextRequestReady},
	"next_request_abandon":                     {fn: nextRequestAbandon},
	"downstream_visits_this_service":           {fn: current(visitsThisService)},
	"downstream_visits_this_pop":               {fn: current(visitsThisPop)},

	"downstream_bot_analyzed":      {fn: of(noFlag)},
	"downstream_bot_detected":      {fn: of(noFlag)},
	"downstream_bot_name":          {fn: of(noText)},
	"downstream_bot_category":      {fn: of(noText)},
	"downstream_bot_category_kind": {fn: of(noNumber)},
	"downstream_bot_verified":      {fn: of(noNumber)},

	"downstream_resvpnproxy_is_anonymous":         {fn: of(noNumber)},
	"downstream_resvpnproxy_is_anonymous_vpn":     {fn: of(noNumber)},
	"downstream_resvpnproxy_is_hosting_provider":  {fn: of(noNumber)},
	"downstream_resvpnproxy_is_proxy_over_vpn":    {fn: of(noNumber)},
	"downstream_resvpnproxy_is_public_proxy":      {fn: of(noNumber)},
	"downstream_resvpnproxy_is_relay_proxy":       {fn: of(noNumber)},
	"downstream_resvpnproxy_is_residential_proxy": {fn: of(noNumber)},
	"downstream_resvpnproxy_is_smart_dns_proxy":   {fn: of(noNumber)},
	"downstream_resvpnproxy_is_tor_exit_node":     {fn: of(noNumber)},
	"downstream_resvpnproxy_is_vpn_datacenter":    {fn: of(noNumber)},
	"downstream_resvpnproxy_vpn_service_name":     {fn: of(noText)},
}

// originalHeaderNames: as received, with case, order and repeats. Where the connection did not tell, the names
// of the header section stand in.
func originalHeaderNames(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	l, st := listOut(m, a.u32(0), a.u32(1), a.u32(2), a.u32(3), a.u32(4))
	if st != OK {
		return st
	}
	names := c.originalNames()
	return l.put(len(names), func(i int) string { return names[i] })
}

func originalHeaderCount(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st == OK {
		out.put(uint32(len(c.originalNames())))
	}
	return st
}

func (c *ClientRequest) originalNames() []string {
	if names, ok := c.Facts.OriginalHeaderNames(); ok {
		return names
	}
	var r Request
	r.client = c
	fields := r.Header().Fields()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func clientIP(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := addressOut(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	return out.address(c.Facts.RemoteAddr())
}

func serverIP(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := addressOut(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	return out.address(c.Facts.LocalAddr())
}

func requestID(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return putText(m, a, c.ID, true)
}

// visitsThisService is downstream_visits_this_service(out u32): how often the request has passed this service before, on
// whatever node. Only marks that the host can trust count.
func visitsThisService(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return putCount(m, a, c.Passed.Service)
}

// visitsThisPop is downstream_visits_this_pop(out u32): how often it has passed services of this POP.
func visitsThisPop(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return putCount(m, a, c.Passed.Pop)
}

func putCount(m engine.Memory, a args, n int) Status {
	out, st := u32Out(m, a.u32(0))
	if st == OK {
		out.put(uint32(n))
	}
	return st
}

func h2Fingerprint(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, ok := c.Facts.H2Fingerprint()
	return putText(m, a, v, ok)
}

func ohFingerprint(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, ok := c.Facts.OHFingerprint()
	return putText(m, a, v, ok)
}

// ddosDetected: no attack detection runs in front of this host, so none was detected.
func ddosDetected(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return noFlag(s, c, m, a)
}

// complianceRegion: the host is in no region with rules of its own.
func complianceRegion(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return putText(m, a, "none", true)
}

func putText(m engine.Memory, a args, v string, ok bool) Status {
	buf, st := bufferOut(m, a.u32(0), a.u32(1), a.u32(2))
	if st != OK {
		return st
	}
	return buf.optional(v, ok)
}

// putTLS answers a fact of the TLS handshake. One SDK gives up on a TLS request for which protocol, client
// hello, server name, cipher, JA3 or JA4 answers anything but ok, so over TLS what is not known is empty.
func putTLS(c *ClientRequest, m engine.Memory, a args, v string) Status {
	return putText(m, a, v, c.Facts.TLS())
}

func tlsCipher(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, _ := c.Facts.TLSCipher()
	return putTLS(c, m, a, v)
}

func tlsProtocol(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, _ := c.Facts.TLSProtocol()
	return putTLS(c, m, a, v)
}

func tlsServerName(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, _ := c.Facts.TLSServerName()
	return putTLS(c, m, a, v)
}

func tlsJA4(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, _ := c.Facts.JA4()
	return putTLS(c, m, a, v)
}

func tlsClientHello(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, _ := c.Facts.ClientHello()
	return putTLS(c, m, a, string(v))
}

func tlsClientCertificate(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	v, ok := c.Facts.ClientCertificate()
	return putText(m, a, string(v), ok)
}

func tlsClientVerify(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	v, ok := c.Facts.ClientVerify()
	if !ok {
		return None
	}
	out.put(v)
	return OK
}

func tlsJA3(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := addressOut(m, a.u32(0), a.u32(1))
	if st != OK {
		return st
	}
	if !c.Facts.TLS() {
		return None
	}
	if v, ok := c.Facts.JA3(); ok {
		out.put(v[:])
	} else {
		out.put(nil)
	}
	return OK
}

// fastlyKeyIsValid: whether the request carries a fastly-key that the service accepts.
func fastlyKeyIsValid(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st != OK {
		return st
	}
	valid := 0
	for _, key := range s.env.FastlyKeys {
		valid |= subtle.ConstantTimeCompare([]byte(key), []byte(c.FastlyKey))
	}
	out.putBool(valid == 1 && c.FastlyKey != "")
	return OK
}

// noFlag, noNumber and noText answer what nothing in this host finds out: flags are 0, the rest is absent.

func noFlag(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	out, st := u32Out(m, a.u32(0))
	if st == OK {
		out.putBool(false)
	}
	return st
}

func noNumber(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	if _, st := u32Out(m, a.u32(0)); st != OK {
		return st
	}
	return None
}

func noText(s *Sandbox, c *ClientRequest, m engine.Memory, a args) Status {
	return putText(m, a, "", false)
}
