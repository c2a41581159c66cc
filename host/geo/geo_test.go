package geo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"golang.org/x/text/language"

	"github.com/edgewasm/wasmedge/host/manifest"
)

type (
	m   = mmdbtype.Map
	str = mmdbtype.String
)

// build makes a database file of records by network.
func build(t testing.TB, kind string, networks map[string]mmdbtype.DataType) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, RecordSize: 28, IncludeReservedNetworks: true, BuildEpoch: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	for network, rec := range networks {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, rec); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, src []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	if err := os.WriteFile(path, src, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens databases that are only looked at when the test says so.
func open(t testing.TB, o Options, paths ...string) *Database {
	t.Helper()
	o.Interval = -1
	d, err := Open(paths, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func names(s string) m { return m{"en": str(s), "de": str("ein anderer Name")} }

var london = m{
	"city":      m{"names": names("London"), "geoname_id": mmdbtype.Uint32(2643743)},
	"continent": m{"code": str("EU"), "names": names("Europe")},
	"country":   m{"iso_code": str("GB"), "names": names("United Kingdom")},
	"location": m{"latitude": mmdbtype.Float64(51.5142), "longitude": mmdbtype.Float64(-0.0931),
		"time_zone": str("Asia/Kolkata"), "accuracy_radius": mmdbtype.Uint16(10)},
	"postal":       m{"code": str("EC1A")},
	"subdivisions": mmdbtype.Slice{m{"iso_code": str("ENG"), "names": names("England")}, m{"iso_code": str("LND")}},
}

// unknown is the answer for an address of which a database knows nothing that is of use.
var unknown = map[string]any{
	"area_code": 0., "as_name": "?", "as_number": 0., "city": "?", "conn_speed": "?", "conn_type": "?", "continent": "?",
	"country_code": "?", "country_code3": "?", "country_name": "?", "gmt_offset": 9999., "latitude": 0., "longitude": 0.,
	"metro_code": 0., "postal_code": "?", "proxy_description": "?", "proxy_type": "?", "region": nil, "utc_offset": 9999.,
}

func with(changes map[string]any) map[string]any {
	all := map[string]any{}
	for k, v := range unknown {
		all[k] = v
	}
	for k, v := range changes {
		all[k] = v
	}
	return all
}

func TestRecordsOfEveryKindOfDatabase(t *testing.T) {
	inLondon := map[string]any{"city": "london", "continent": "EU", "country_code": "GB", "country_code3": "GBR",
		"country_name": "united kingdom", "gmt_offset": 530., "utc_offset": 530., "latitude": 51.5142, "longitude": -0.0931,
		"postal_code": "ec1a", "region": "LND"}
	for _, test := range []struct {
		name  string
		files []mmdbtype.DataType
		want  map[string]any // nil: not known
	}{
		{"a city", []mmdbtype.DataType{london}, with(inLondon)},
		{"a city, an autonomous system and a kind of connection from three files",
			[]mmdbtype.DataType{london,
				m{"autonomous_system_number": mmdbtype.Uint32(5607), "autonomous_system_organization": str("Sky UK Limited")},
				m{"connection_type": str("Cable/DSL")}},
			func() map[string]any {
				all := with(inLondon)
				all["as_number"], all["as_name"] = 5607., "sky uk limited"
				all["conn_type"], all["conn_speed"] = "wired", "broadband"
				return all
			}()},
		{"a country", []mmdbtype.DataType{m{"country": m{"iso_code": str("AX"), "names": names("Åland Islands")}}},
			with(map[string]any{"country_code": "AX", "country_code3": "ALA", "country_name": "åland islands"})},
		{"only where the network is registered", []mmdbtype.DataType{m{"registered_country": m{"iso_code": str("US"), "names": names("United States")}}},
			with(map[string]any{"country_code": "US", "country_code3": "USA", "country_name": "united states"})},
		{"a military base abroad is of the country that it represents", []mmdbtype.DataType{m{
			"country":             m{"iso_code": str("DE"), "names": names("Germany")},
			"represented_country": m{"iso_code": str("US"), "names": names("United States"), "type": str("military")}}},
			with(map[string]any{"country_code": "US", "country_code3": "USA", "country_name": "united states"})},
		{"the first file that knows the place counts", []mmdbtype.DataType{
			m{"country": m{"iso_code": str("DE"), "names": names("Germany")}}, london},
			with(map[string]any{"country_code": "DE", "country_code3": "DEU", "country_name": "germany"})},
		{"an Internet provider", []mmdbtype.DataType{m{"autonomous_system_number": mmdbtype.Uint32(4294967295), "isp": str("Telstra"), "organization": str("x")}},
			with(map[string]any{"as_number": 4294967295., "as_name": "telstra"})},
		{"traits", []mmdbtype.DataType{m{"traits": m{"autonomous_system_number": mmdbtype.Uint32(1), "isp": str("A"), "connection_type": str("Cellular"),
			"is_anonymous": mmdbtype.Bool(true), "is_anonymous_vpn": mmdbtype.Bool(true), "user_count": mmdbtype.Int32(4)}}},
			with(map[string]any{"as_number": 1., "as_name": "a", "conn_type": "mobile", "conn_speed": "mobile",
				"proxy_type": "anonymous", "proxy_description": "vpn"})},
		{"a satellite provider of an old database", []mmdbtype.DataType{m{"traits": m{"is_satellite_provider": mmdbtype.Bool(true)}}},
			with(map[string]any{"conn_type": "satellite", "conn_speed": "satellite"})},
		{"a Tor exit in a data centre", []mmdbtype.DataType{m{"is_anonymous": mmdbtype.Bool(true), "is_hosting_provider": mmdbtype.Bool(true), "is_tor_exit_node": mmdbtype.Bool(true)}},
			with(map[string]any{"proxy_type": "anonymous", "proxy_description": "tor-exit"})},
		{"a public proxy", []mmdbtype.DataType{m{"is_public_proxy": mmdbtype.Bool(true)}}, with(map[string]any{"proxy_type": "public"})},
		{"a residential proxy", []mmdbtype.DataType{m{"is_residential_proxy": mmdbtype.Bool(true)}}, with(map[string]any{"proxy_type": "anonymous"})},
		{"a data centre", []mmdbtype.DataType{m{"is_hosting_provider": mmdbtype.Bool(true)}}, with(map[string]any{"proxy_type": "hosting"})},
		{"anonymous in some way", []mmdbtype.DataType{m{"is_anonymous": mmdbtype.Bool(true)}}, with(map[string]any{"proxy_type": "anonymous"})},
		{"a line of the telephone", []mmdbtype.DataType{m{"connection_type": str("Dialup")}}, with(map[string]any{"conn_type": "dialup", "conn_speed": "dialup"})},
		{"a connection of a kind to come", []mmdbtype.DataType{m{"connection_type": str("Quantum")}}, with(nil)},
		{"a region in America with its metro code", []mmdbtype.DataType{m{"country": m{"iso_code": str("US")}, "subdivisions": mmdbtype.Slice{m{"iso_code": str("TX")}},
			"location": m{"metro_code": mmdbtype.Uint16(623), "time_zone": str("America/St_Johns"), "latitude": mmdbtype.Float64(91), "longitude": mmdbtype.Float64(4)}}},
			with(map[string]any{"country_code": "US", "country_code3": "USA", "region": "TX", "metro_code": 623.,
				"utc_offset": stJohns(), "gmt_offset": stJohns()})},
		{"a zone that does not exist, or leads elsewhere", []mmdbtype.DataType{m{"country": m{"iso_code": str("QQ")}, "location": m{"time_zone": str("../../etc/passwd")}}},
			with(map[string]any{"country_code": "QQ"})},
		{"nothing of use", []mmdbtype.DataType{m{"domain": str("example.com")}}, with(nil)},
		{"texts that JSON must quote", []mmdbtype.DataType{m{"city": m{"names": names("a\"b\\c\n\x00<é>\xff" + strings.Repeat("z", 300))}, "continent": m{"code": str("X")}}},
			with(map[string]any{"continent": "X", "city": "a\"b\\c\n\x00<é>�" + strings.Repeat("z", 256-14)})},
		{"no file", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var paths []string
			for _, rec := range test.files {
				paths = append(paths, write(t, build(t, "Test", map[string]mmdbtype.DataType{"192.0.2.0/24": rec, "2001:db8::/32": rec})))
			}
			for _, mapped := range []bool{false, true} {
				d := open(t, Options{Map: mapped, Warn: func(err error) { t.Error(err) }}, paths...)
				for _, addr := range []string{"192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1::1"} {
					got := d.AppendGeo(nil, netip.MustParseAddr(addr))
					if test.want == nil {
						if len(got) != 0 {
							t.Errorf("%s: got %s", addr, got)
						}
						continue
					}
					if diff := cmp.Diff(test.want, parse(t, got)); diff != "" {
						t.Errorf("%s: %s", addr, diff)
					}
					if keys := sortedKeys(t, got); !keys {
						t.Errorf("the keys are not sorted: %s", got)
					}
				}
				for _, addr := range []string{"198.51.100.1", "2001:db9::", "127.0.0.1"} {
					if got := d.AppendGeo([]byte("x"), netip.MustParseAddr(addr)); string(got) != "x" {
						t.Errorf("%s: got %s", addr, got)
					}
				}
			}
		})
	}
}

// stJohns has half an hour in its offset, and daylight saving time.
func stJohns() float64 {
	loc, err := time.LoadLocation("America/St_Johns")
	if err != nil {
		panic(err)
	}
	if time.Now().In(loc).IsDST() {
		return -230
	}
	return -330
}

func parse(t testing.TB, src []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(src, &v); err != nil {
		t.Fatalf("%v: %s", err, src)
	}
	return v
}

func sortedKeys(t testing.TB, src []byte) bool {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(src))
	last := ""
	for i := 0; ; i++ {
		tok, err := dec.Token()
		if err != nil {
			return true
		}
		if key, ok := tok.(string); ok && i%2 == 1 {
			if key <= last {
				return false
			}
			last = key
		}
	}
}

func TestOffsetsChangeWithTheSeason(t *testing.T) {
	var z zones
	winter, summer := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		zone           string
		winter, summer int
	}{
		{"Europe/Berlin", 100, 200}, {"America/Los_Angeles", -800, -700}, {"America/St_Johns", -330, -230},
		{"Asia/Kathmandu", 545, 545}, {"UTC", 0, 0}, {"Pacific/Marquesas", -930, -930},
		{"", 9999, 9999}, {"Local", 9999, 9999}, {"Nowhere/At_All", 9999, 9999}, {"/etc/localtime", 9999, 9999},
	} {
		for range 2 {
			if w, s := z.offset(test.zone, winter), z.offset(test.zone, summer); w != test.winter || s != test.summer {
				t.Errorf("%q: %d in winter, %d in summer, want %d and %d", test.zone, w, s, test.winter, test.summer)
			}
		}
	}
	for i := range 3 * maxZones {
		z.offset(fmt.Sprint("X/", i), winter)
	}
	if n := z.count.Load(); n > maxZones {
		t.Errorf("%d zones are remembered", n)
	}
}

func TestCountryCodes(t *testing.T) {
	if len(alpha3) != 250*6 {
		t.Fatalf("%d bytes", len(alpha3))
	}
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string([]rune{a, b})
			got := countryCode3(code)
			if got == "" || code == "XK" {
				continue
			}
			if r, err := language.ParseRegion(code); err != nil || r.ISO3() != got {
				t.Errorf("%s: %s, want %s", code, got, r.ISO3())
			}
		}
	}
	for code, want := range map[string]string{"AD": "AND", "ZW": "ZWE", "GB": "GBR", "XK": "XKX", "ZZ": "", "AA": "", "": "", "G": "", "GBR": "", "R ": "", "ND": ""} {
		if got := countryCode3(code); got != want {
			t.Errorf("%q: %q, want %q", code, got, want)
		}
	}
}

// replace puts a file in place of another, with a time that differs from any before.
func replace(t testing.TB, path string, src []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", src, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func inCountry(t testing.TB, code string) []byte {
	return build(t, "Test", map[string]mmdbtype.DataType{"0.0.0.0/0": m{"country": m{"iso_code": str(code), "names": names(strings.Repeat(code, 40))}}})
}

func TestAChangedFileIsReadAgainAndABadOneIsNot(t *testing.T) {
	path := write(t, inCountry(t, "DE"))
	var warnings []string
	reloads := 0
	d := open(t, Options{Warn: func(err error) { warnings = append(warnings, err.Error()) }, Reloaded: func(string, time.Time) { reloads++ }}, path)
	good := inCountry(t, "FR")
	wrong := build(t, "Test", map[string]mmdbtype.DataType{"0.0.0.0/0": m{"country": str("FR")}})
	deep := bytes.Clone(good)
	copy(deep[:40], bytes.Repeat([]byte{0xff}, 40))
	for _, step := range []struct {
		name string
		do   func()
		want string
		warn string
	}{
		{"nothing happens", func() {}, "DE", ""},
		{"a new file", func() { replace(t, path, good) }, "FR", ""},
		{"half a file", func() { replace(t, path, good[:len(good)/2]) }, "FR", "cannot be used"},
		{"an empty file", func() { replace(t, path, nil) }, "FR", "cannot be used"},
		{"a file of another shape", func() { replace(t, path, wrong) }, "FR", "cannot be used"},
		{"a file with a broken tree", func() { replace(t, path, deep) }, "FR", "cannot be used"},
		{"no file", func() { _ = os.Remove(path) }, "FR", ""},
		{"a good one at last", func() { replace(t, path, inCountry(t, "IT")) }, "IT", ""},
	} {
		warnings = nil
		step.do()
		for range 4 {
			d.Refresh()
		}
		if got := parse(t, d.AppendGeo(nil, netip.MustParseAddr("192.0.2.1")))["country_code"]; got != step.want {
			t.Errorf("%s: answers %v, want %s", step.name, got, step.want)
		}
		if got := strings.Join(warnings, "|"); (got == "") != (step.warn == "") || !strings.Contains(got, step.warn) || len(warnings) > 1 {
			t.Errorf("%s: warned %q, want %q once", step.name, got, step.warn)
		}
	}
	if reloads != 2 {
		t.Errorf("%d reloads, want 2", reloads)
	}
	if f := d.Files(); len(f) != 1 || f[0].Path != path || f[0].Type != "Test" || f[0].Built.Unix() != 1_700_000_000 {
		t.Errorf("files %+v", f)
	}
}

func TestAFileThatIsBeingWrittenIsLeftAlone(t *testing.T) {
	path := write(t, inCountry(t, "DE"))
	d := open(t, Options{Warn: func(err error) { t.Error(err) }}, path)
	next := inCountry(t, "FR")
	f, err := os.Create(path) // cut short in place
	if err != nil {
		t.Fatal(err)
	}
	for part := range 10 {
		d.Refresh()
		if _, err := f.Write(next[part*len(next)/10 : (part+1)*len(next)/10]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d.Refresh()
	if got := parse(t, d.AppendGeo(nil, netip.MustParseAddr("192.0.2.1")))["country_code"]; got != "DE" {
		t.Errorf("answers %v", got)
	}
	d.Refresh()
	if got := parse(t, d.AppendGeo(nil, netip.MustParseAddr("192.0.2.1")))["country_code"]; got != "FR" {
		t.Errorf("answers %v", got)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	good := inCountry(t, "DE")
	for _, test := range []struct{ name, path, want string }{
		{"no file", filepath.Join(t.TempDir(), "none.mmdb"), "none.mmdb"},
		{"a folder", t.TempDir(), "not a regular file"},
		{"text", write(t, []byte("hello")), "cannot be used as a geolocation database"},
		{"cut short", write(t, good[:len(good)-20]), "cannot be used as a geolocation database"},
		{"another shape", write(t, build(t, "Test", map[string]mmdbtype.DataType{"0.0.0.0/0": m{"country": str("FR")}})), "cannot be used as a geolocation database"},
	} {
		for _, mapped := range []bool{false, true} {
			d, err := Open([]string{write(t, good), test.path}, Options{Map: mapped})
			if err == nil {
				d.Close()
				t.Errorf("%s is accepted", test.name)
				continue
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), filepath.Base(test.path)) {
				t.Errorf("%s: %v, want %q", test.name, err, test.want)
			}
		}
	}
}

// Under load, every answer is of one file as a whole.
func TestReloadUnderLoad(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		t.Run(fmt.Sprint("mapped ", mapped), func(t *testing.T) {
			files := [][]byte{inCountry(t, "DE"), inCountry(t, "FR"), inCountry(t, "IT")}
			path := write(t, files[0])
			d, err := Open([]string{path}, Options{Map: mapped, Interval: time.Millisecond, Warn: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var wg sync.WaitGroup
			var stop atomic.Bool
			for range 4 {
				wg.Go(func() {
					var b []byte
					for !stop.Load() {
						b = d.AppendGeo(b[:0], netip.MustParseAddr("192.0.2.1"))
						v := parse(t, b)
						code := v["country_code"].(string)
						if v["country_name"] != strings.ToLower(strings.Repeat(code, 40)) {
							t.Errorf("mixed: %s", b)
							return
						}
					}
				})
			}
			seen := 0
			for i := range 30 {
				want := []string{"DE", "FR", "IT"}[(i+1)%3]
				replace(t, path, files[(i+1)%3])
				for range 2000 {
					if strings.Contains(string(d.AppendGeo(nil, netip.MustParseAddr("192.0.2.1"))), `"`+want+`"`) {
						seen++
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
			stop.Store(true)
			wg.Wait()
			if seen != 30 {
				t.Errorf("%d of 30 files were taken over", seen)
			}
			if mapped && runtime.GOOS == "linux" {
				// The old ones' mappings go when nobody uses them.
				count := func() int {
					maps, err := os.ReadFile("/proc/self/maps")
					if err != nil {
						t.Fatal(err)
					}
					return strings.Count(string(maps), filepath.Base(filepath.Dir(path))+"/geo.mmdb")
				}
				for range 200 {
					if count() <= 1 {
						break
					}
					runtime.GC()
					time.Sleep(10 * time.Millisecond)
				}
				if n := count(); n > 1 {
					t.Errorf("%d files are still mapped", n)
				}
			}
		})
	}
}

func TestOverridesComeFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "geo.json")
	if err := os.WriteFile(file, []byte(`{"192.0.2.1": {"city": "from a file", "as_number": 1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	warn := func(err error) { warnings = append(warnings, err.Error()) }
	db := open(t, Options{}, write(t, inCountry(t, "DE")))
	inline := NewOverrides(&manifest.Geolocation{Addresses: map[netip.Addr]json.RawMessage{
		netip.MustParseAddr("192.0.2.1"): json.RawMessage(`{"city":"inline"}`),
		netip.MustParseAddr("127.0.0.1"): json.RawMessage(`{"city":"home"}`),
		netip.MustParseAddr("::1"):       json.RawMessage(`{"city":"home6"}`),
	}})
	fromFile := NewOverrides(&manifest.Geolocation{File: file})
	fromFile.OnProblem(warn)
	for _, test := range []struct {
		name    string
		locator Locator
		addr    string
		want    string // part of the answer, "" for none
	}{
		{"nothing at all", Locator{}, "192.0.2.1", ""},
		{"an override", Locator{Overrides: inline, Loopback: true, Database: db}, "192.0.2.1", `{"city":"inline"}`},
		{"an override asked for by its IPv6 form", Locator{Overrides: inline, Database: db}, "::ffff:192.0.2.1", `{"city":"inline"}`},
		{"an override of a loopback address", Locator{Overrides: inline, Loopback: true}, "127.0.0.1", `{"city":"home"}`},
		{"the database when there is no override", Locator{Overrides: inline, Loopback: true, Database: db}, "192.0.2.2", `"country_code":"DE"`},
		{"another loopback address", Locator{Overrides: inline, Loopback: true, Database: db}, "127.0.0.9", `"city":"San Francisco"`},
		{"another loopback address, in its IPv6 form", Locator{Loopback: true}, "::ffff:127.0.0.9", `"city":"San Francisco"`},
		{"loopback without the built-in record", Locator{Overrides: inline}, "127.0.0.9", ""},
		{"loopback of IPv6", Locator{Loopback: true}, "::1", `"as_number":54113`},
		{"an override from a file", Locator{Overrides: fromFile, Database: db}, "192.0.2.1", `{"as_number":1,"city":"from a file"}`},
		{"no override in the file", Locator{Overrides: fromFile}, "192.0.2.2", ""},
	} {
		got := string(test.locator.AppendGeo(nil, netip.MustParseAddr(test.addr)))
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if !json.Valid([]byte(loopbackRecord)) || !sortedKeys(t, []byte(loopbackRecord)) {
		t.Error("the built-in record is not what it should be")
	}

	l := Locator{Overrides: fromFile}
	for _, step := range []struct{ file, want, warn string }{
		{`{"192.0.2.1": {"city": "changed"}}`, `{"city":"changed"}`, ""},
		{`{"192.0.2.1": {`, `{"city":"changed"}`, file + ":1:"},
		{`{"192.0.2.1": "a city"}`, `{"city":"changed"}`, "want an object"},
		{`{}`, "", ""},
	} {
		warnings = nil
		if err := os.WriteFile(file, []byte(step.file), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := string(l.AppendGeo(nil, netip.MustParseAddr("192.0.2.1"))); got != step.want {
				t.Errorf("%s: got %s", step.file, got)
			}
		}
		if got := strings.Join(warnings, "|"); len(warnings) > 1 || (got == "") != (step.warn == "") || !strings.Contains(got, step.warn) {
			t.Errorf("%s: warned %q, want %q", step.file, got, step.warn)
		}
	}
}

func TestLookupsAllocateLittle(t *testing.T) {
	d := open(t, Options{}, write(t, build(t, "Test", map[string]mmdbtype.DataType{"0.0.0.0/0": london})))
	b := make([]byte, 0, 1024)
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() { b = d.AppendGeo(b[:0], addr) }); n > 6 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDatabase feeds damaged files: none may panic, and every answer is JSON.
func FuzzDatabase(f *testing.F) {
	city := build(f, "GeoLite2-City", map[string]mmdbtype.DataType{"192.0.0.0/16": london, "2001:db8::/32": london})
	asn := build(f, "GeoLite2-ASN", map[string]mmdbtype.DataType{"192.0.2.0/24": m{"autonomous_system_number": mmdbtype.Uint32(1), "autonomous_system_organization": str("a")}})
	f.Add(city, uint32(0xc0000201), uint16(0), uint16(0), byte(0))
	f.Add(asn, uint32(0xc0000201), uint16(30), uint16(3), byte(0xff))
	f.Add(city[:len(city)-3], uint32(0), uint16(10), uint16(200), byte(0x80))
	f.Fuzz(func(t *testing.T, src []byte, ip uint32, at, cut uint16, flip byte) {
		src = bytes.Clone(src)
		if len(src) > 0 {
			src[int(at)%len(src)] ^= flip
		}
		if int(cut) < len(src) && cut%2 == 1 {
			src = src[:len(src)-int(cut)]
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open([]string{path}, Options{Interval: -1})
		if err != nil {
			return
		}
		defer d.Close()
		for _, addr := range []netip.Addr{
			netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)}),
			netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), {},
		} {
			if b := d.AppendGeo(nil, addr); len(b) > 0 && (!json.Valid(b) || len(b) > 16*6*maxText) {
				t.Errorf("%s: %s", addr, b)
			}
		}
	})
}

// The walk over a new file is bounded by its size, and this shows how long it takes.
func BenchmarkOpen(b *testing.B) {
	networks := map[string]mmdbtype.DataType{}
	for i := range 200 << 8 {
		rec := m{"city": m{"names": names(fmt.Sprint("city ", i))}, "country": london["country"], "location": london["location"]}
		networks[fmt.Sprintf("%d.%d.0.0/18", 1+i>>8, i&255)] = rec
		networks[fmt.Sprintf("2400:%x::/48", i)] = rec
	}
	path := write(b, build(b, "GeoLite2-City", networks))
	b.ResetTimer()
	for b.Loop() {
		d, err := Open([]string{path}, Options{Interval: -1})
		if err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(networks)), "ns/network")
}

func BenchmarkLookup(b *testing.B) {
	d := open(b, Options{}, write(b, build(b, "GeoLite2-City", map[string]mmdbtype.DataType{"0.0.0.0/0": london})),
		write(b, build(b, "GeoLite2-ASN", map[string]mmdbtype.DataType{"0.0.0.0/0": m{"autonomous_system_number": mmdbtype.Uint32(1), "autonomous_system_organization": str("an organization")}})))
	addr := netip.MustParseAddr("192.0.2.1")
	b.Run("database", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, 0, 1024)
			for pb.Next() {
				buf = d.AppendGeo(buf[:0], addr)
			}
		})
	})
	file := filepath.Join(b.TempDir(), "geo.json")
	if err := os.WriteFile(file, []byte(`{"192.0.2.1": {"city": "from a file", "as_number": 1}}`), 0o600); err != nil {
		b.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.Chtimes(file, old, old)); err != nil {
		b.Fatal(err)
	}
	l := Locator{Overrides: NewOverrides(&manifest.Geolocation{File: file}), Database: d}
	b.Run("file of overrides", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = l.AppendGeo(buf[:0], addr)
		}
	})
}
