package host

import "github.com/edgewasm/wasmedge/host/wire"

// facts are a request's wire facts in the form that package abi wants.
type facts struct{ *wire.Facts }

// TLS reports whether the client came over TLS.
func (f facts) TLS() bool { return f.Facts.TLS() != nil }

// ClientVerify is the ABI's client_cert_verify_result.
func (f facts) ClientVerify() (uint32, bool) {
	r, ok := f.ClientCertResult()
	return uint32(r), ok
}
