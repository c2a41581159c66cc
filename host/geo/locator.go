package geo

import (
	"encoding/json"
	"net/netip"
	"sync/atomic"

	"github.com/edgewasm/wasmedge/host/freshfile"
	"github.com/edgewasm/wasmedge/host/manifest"
)

// loopbackRecord is the record of the loopback addresses, the one that the platform's local server has for them.
const loopbackRecord = `{"area_code":415,"as_name":"Fastly, Inc","as_number":54113,"city":"San Francisco","conn_speed":"broadband",` +
	`"conn_type":"wired","continent":"NA","country_code":"US","country_code3":"USA","country_name":"United States of America",` +
	`"latitude":37.77869,"longitude":-122.39557,"metro_code":0,"postal_code":"94107","proxy_description":"?","proxy_type":"?",` +
	`"region":"CA","utc_offset":-700}`

// Locator answers from overrides and a database. The zero value knows no address.
type Locator struct {
	// Overrides are the first to be asked; nil is none.
	Overrides *Overrides
	// Loopback gives loopback addresses without an override a built-in record.
	Loopback bool
	// Database is the last to be asked; nil is none.
	Database *Database
}

// AppendGeo appends the record of an address to dst as JSON, and nothing when the address is not known.
func (l *Locator) AppendGeo(dst []byte, addr netip.Addr) []byte {
	if l.Overrides != nil {
		if record, ok := l.Overrides.lookup(addr); ok {
			return append(dst, record...)
		}
	}
	if l.Loopback && addr.Unmap().IsLoopback() {
		return append(dst, loopbackRecord...)
	}
	if l.Database != nil {
		return l.Database.AppendGeo(dst, addr)
	}
	return dst
}

// Overrides are records by address.
type Overrides struct {
	records map[netip.Addr]json.RawMessage
	file    *freshfile.File[map[netip.Addr]json.RawMessage] // in place of records
	warn    atomic.Pointer[func(error)]
}

// NewOverrides makes overrides of the records of a manifest. Those from a file are read again whenever the file has changed; a
// lookup pays one call of the system for that. While the file cannot be used, its last good contents count.
func NewOverrides(m *manifest.Geolocation) *Overrides {
	o := &Overrides{records: m.Addresses}
	if m.File != "" {
		o.file = freshfile.New(m.File, m.Addresses, freshfile.Options[map[netip.Addr]json.RawMessage]{
			Parse: manifest.ParseGeolocation,
			Warn: func(err error) {
				if warn := o.warn.Load(); warn != nil {
					(*warn)(err)
				}
			},
		})
	}
	return o
}

// OnProblem says who is told, once for each state of the file, that it cannot be used. It takes the place of whoever was
// told before.
func (o *Overrides) OnProblem(warn func(error)) { o.warn.Store(&warn) }

func (o *Overrides) lookup(addr netip.Addr) (json.RawMessage, bool) {
	records := o.records
	if o.file != nil {
		records = o.file.Get()
	}
	record, ok := records[addr]
	if !ok && addr.Is4In6() {
		record, ok = records[addr.Unmap()]
	}
	return record, ok
}
