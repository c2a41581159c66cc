package manifest

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// records describes a table that answers look-ups, geolocation or device_detection: its records are in an
// inline table or in a JSON file, as its format says.
type records struct {
	inline string             // key of the inline table
	nested bool               // inline records may hold tables
	name   func(string) error // checks the name of a record
	add    func(name string, record json.RawMessage)
	more   []field
}

func (r *reader) geolocation(g *Geolocation, v *value) {
	g.Addresses = map[netip.Addr]json.RawMessage{}
	rec := geolocationRecords(g.Addresses)
	rec.more = []field{key("use_default_loopback", r.bool(&g.UseDefaultLoopback))}
	g.File = r.records(v, rec)
}

func geolocationRecords(m map[netip.Addr]json.RawMessage) records {
	return records{
		inline: "addresses",
		name: func(name string) error {
			addr, err := netip.ParseAddr(name)
			if err == nil && addr.Zone() != "" {
				err = errors.New("an address with a zone")
			}
			return err
		},
		add: func(name string, record json.RawMessage) {
			m[netip.MustParseAddr(name)] = record // name has said yes
		},
	}
}

func (r *reader) deviceDetection(d *DeviceDetection, v *value) {
	d.UserAgents = map[string]json.RawMessage{}
	d.File = r.records(v, deviceRecords(d.UserAgents))
}

func deviceRecords(m map[string]json.RawMessage) records {
	return records{
		inline: "user_agents",
		nested: true,
		name:   func(string) error { return nil },
		add:    func(name string, record json.RawMessage) { m[name] = record },
	}
}

// records reads one such table and gives the path of its file, if it has one.
func (r *reader) records(v *value, rec records) (path string) {
	var format string
	fields := append([]field{
		key("format", r.enum(false, func(s string) { format = s }, "inline-toml", "json")),
		key(rec.inline, func(v *value) {
			if format == "inline-toml" {
				r.each(v, func(v *value) { r.inlineRecord(v, rec) })
			}
		}),
		key("file", func(v *value) {
			if format == "json" {
				path = r.recordFile(v, rec)
			}
		}),
	}, rec.more...)
	if !r.table(v, warn, fields...) {
		return ""
	}
	needs, other := rec.inline, "file"
	switch format {
	case "json":
		needs, other = other, needs
		fallthrough
	case "inline-toml":
		if v.field(needs) == nil {
			r.report(v.off, v.path(), "the key "+needs+" is missing, which format = "+strconv.Quote(format)+" needs", "")
		}
		if item := v.field(other); item != nil {
			r.advise(item, needs, "without effect beside format = %q", format)
		}
	default:
		for _, name := range []string{needs, other} {
			if item := v.field(name); item != nil && v.field("format") == nil {
				r.advise(item, `format = "inline-toml" or "json"`, "without effect, because there is no format")
			}
		}
	}
	return path
}

func (r *reader) inlineRecord(v *value, rec records) {
	if err := rec.name(v.name); err != nil {
		r.report(v.keyOff, v.path(), displayText(v.name)+" is no IP address", "an IPv4 or IPv6 address, in quotes")
		return
	}
	if v.kind != kindTable {
		r.fail(v, "a table", "this is %s", v.kind)
		return
	}
	object, ok := r.plain(v, rec.nested)
	if !ok {
		return
	}
	record, err := marshal(object)
	if err != nil {
		r.fail(v, "", "%s", err)
		return
	}
	rec.add(v.name, record)
}

// plain turns an inline record into what encoding/json writes as the platform's local server does.
func (r *reader) plain(v *value, nested bool) (object map[string]any, ok bool) {
	want := "a string, integer, float or boolean"
	if nested {
		want = "a string, integer, float, boolean or table"
	}
	object, ok = map[string]any{}, true
	for _, item := range v.items {
		switch item.kind {
		case kindString:
			object[item.name] = item.text
		case kindBool:
			object[item.name] = item.boolean
		case kindInteger:
			object[item.name] = item.integer
		case kindFloat:
			number, err := floatText(item.float)
			if err != nil {
				r.fail(item, want, "%s", err)
				ok = false
			}
			object[item.name] = number
		case kindTable:
			if !nested {
				r.fail(item, want, "this is a table")
				ok = false
				continue
			}
			inner, good := r.plain(item, nested)
			object[item.name] = inner
			ok = ok && good
		default:
			r.fail(item, want, "this is %s", item.kind)
			ok = false
		}
	}
	return object, ok
}

// floatText writes a float so that it stays one: with a point or an exponent.
func floatText(f float64) (json.Number, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "", errors.New("not a finite number")
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-5 || size >= 1e16) {
		format = 'e'
	}
	text := strconv.FormatFloat(f, format, -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.Number(text), nil
}

// recordFile reads a JSON object of objects and gives its path.
func (r *reader) recordFile(v *value, rec records) string {
	src, path, ok := r.file(v, maxJSONFile)
	if !ok {
		return ""
	}
	if err := readRecords(newJSONFile(src), rec); err != nil {
		r.badJSON(v, path, err)
		return ""
	}
	return path
}

func readRecords(f jsonFile, rec records) error {
	members, err := f.object()
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := rec.name(m.key); err != nil {
			return f.errorf(m.off, "%s is no IP address", displayText(m.key))
		}
		if jsonKind(m.raw) != "an object" {
			return f.errorf(m.off, "%s: want an object, not %s", displayKey(m.key), jsonKind(m.raw))
		}
		record, err := canonical(m.raw)
		if err != nil {
			return f.errorf(m.off, "%w", err)
		}
		rec.add(m.key, record)
	}
	return nil
}

// ParseGeolocation reads the JSON file of [local_server.geolocation]. Errors begin with line:column.
func ParseGeolocation(src []byte) (map[netip.Addr]json.RawMessage, error) {
	m := map[netip.Addr]json.RawMessage{}
	return m, readRecords(newJSONFile(src), geolocationRecords(m))
}

// ParseDeviceDetection reads the JSON file of [local_server.device_detection]. Errors begin with line:column.
func ParseDeviceDetection(src []byte) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	return m, readRecords(newJSONFile(src), deviceRecords(m))
}
