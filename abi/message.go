package abi

import (
	"net/netip"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// Version is an HTTP version in the ABI's numbering.
type Version uint32

// The HTTP versions.
const (
	HTTP09 Version = iota
	HTTP10
	HTTP11
	HTTP2
	HTTP3
)

// Limits of a message head. A guest's head is held in memory, so it has to end somewhere.
const (
	maxURI         = 8192      // bytes of a URI or a method; the platform's published limit
	maxFieldName   = 65535     // bytes
	maxFieldValue  = 128 << 10 // bytes; the platform's published limit
	maxFieldLines  = 1000      // lines of a header section
	maxFieldsBytes = 1 << 20   // names and values of a header section together
)

// CacheOverride is what cache_override_set asked for.
type CacheOverride struct {
	Pass, PCI        bool
	TTL, StaleWhile  uint32 // seconds; valid with the flags below
	HasTTL, HasStale bool
	SurrogateKey     string
	LookupTimeout    uint32 // milliseconds; valid with HasLookupTimeout
	HasLookupTimeout bool
	Set              bool
}

// Request is a request that a guest holds.
type Request struct {
	Method, URI   string
	Version       Version
	ManualFraming bool // framing headers as the guest set them, when they are sane
	Gunzip        bool // decode a gzip response on the fly
	Cache         CacheOverride

	header httpfield.List
	size   int            // bytes of names and values in header
	client *ClientRequest // set for a client request whose header was not converted yet
}

// Header is the header section.
func (r *Request) Header() *httpfield.List {
	if c := r.client; c != nil {
		r.client = nil
		c.fields(&r.header)
		for _, f := range r.header.Fields() {
			r.size += len(f.Name) + len(f.Value)
		}
	}
	return &r.header
}

// Response is a response that a guest holds.
type Response struct {
	Status        int
	Version       Version
	ManualFraming bool           // framing headers as the guest set them, when they are sane
	NoKeepAlive   bool           // close the client connection afterwards
	Origin        netip.AddrPort // the backend it came from; invalid when none

	header httpfield.List
	size   int
}

// Header is the header section.
func (r *Response) Header() *httpfield.List { return &r.header }
