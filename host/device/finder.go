package device

import (
	"encoding/json"
	"sync/atomic"

	"github.com/edgewasm/wasmedge/host/freshfile"
	"github.com/edgewasm/wasmedge/host/manifest"
)

// Finder answers from overrides and a Detector. The zero value knows no device.
type Finder struct {
	// Overrides are the first to be asked; nil is none.
	Overrides *Overrides
	// Detector is the last to be asked; nil is none.
	Detector *Detector
}

// Device gives the record of a User-Agent text as JSON; false when nothing is known of it.
func (f *Finder) Device(userAgent string) (record string, ok bool) {
	if f.Overrides != nil {
		if record, ok := f.Overrides.lookup(userAgent); ok {
			return string(record), true
		}
	}
	if f.Detector == nil {
		return "", false
	}
	return f.Detector.Lookup(userAgent)
}

// Program gives the program that a text names, as Detector.Parse does; overrides have no part in it.
func (f *Finder) Program(userAgent string) (family, major, minor, patch string) {
	if f.Detector == nil {
		return other, "", "", ""
	}
	a := f.Detector.Parse(userAgent)
	return a.Family, a.Major, a.Minor, a.Patch
}

// Ready reports whether questions are answered without loading anything first.
func (f *Finder) Ready() bool { return f.Detector == nil || f.Detector.Ready() }

// Overrides are records by the exact User-Agent text.
type Overrides struct {
	records map[string]json.RawMessage
	file    *freshfile.File[map[string]json.RawMessage] // in place of records
	warn    atomic.Pointer[func(error)]
}

// NewOverrides makes overrides of the records of a manifest. Those from a file are read again whenever the file has changed; a
// lookup pays one call of the system for that. While the file cannot be used, its last good contents count.
func NewOverrides(m *manifest.DeviceDetection) *Overrides {
	o := &Overrides{records: m.UserAgents}
	if m.File != "" {
		o.file = freshfile.New(m.File, m.UserAgents, freshfile.Options[map[string]json.RawMessage]{
			Parse: manifest.ParseDeviceDetection,
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

func (o *Overrides) lookup(userAgent string) (json.RawMessage, bool) {
	records := o.records
	if o.file != nil {
		records = o.file.Get()
	}
	record, ok := records[userAgent]
	return record, ok
}
