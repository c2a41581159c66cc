package host

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/edgewasm/wasmedge/host/geo"
	"github.com/edgewasm/wasmedge/host/manifest"
)

// geoDatabase makes a database file that knows one network.
func geoDatabase(t *testing.T) *geo.Database {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	_, network, err := net.ParseCIDR("198.51.100.0/24")
	if err != nil {
		t.Fatal(err)
	}
	type m = mmdbtype.Map
	name := func(s string) m { return m{"en": mmdbtype.String(s)} }
	err = tree.Insert(network, m{
		"city": m{"names": name("Mumbai")}, "continent": m{"code": mmdbtype.String("AS")},
		"country":      m{"iso_code": mmdbtype.String("IN"), "names": name("India")},
		"location":     m{"latitude": mmdbtype.Float64(19), "longitude": mmdbtype.Float64(72.5), "time_zone": mmdbtype.String("Asia/Kolkata")},
		"subdivisions": mmdbtype.Slice{m{"iso_code": mmdbtype.String("MH")}},
		"traits":       m{"autonomous_system_number": mmdbtype.Uint32(64500), "connection_type": mmdbtype.String("Cellular"), "is_anonymous_vpn": mmdbtype.Bool(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := geo.Open([]string{path}, geo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestGuestsLookUpAddressesAndDevices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "devices.json")
	if err := os.WriteFile(file, []byte(`{"my program": {"device": {"name": "mine", "is_desktop": false}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	name, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse("fastly.toml", []byte(`[local_server.geolocation]
format = "inline-toml"
[local_server.geolocation.addresses."192.0.2.1"]
as_name = "Fastly Test"
as_number = 12345
area_code = 123
city = "Test City"
conn_speed = "broadband"
conn_type = "wired"
continent = "NA"
country_code = "CA"
country_code3 = "CAN"
country_name = "Canada"
latitude = 12.345
longitude = 54.321
metro_code = 1
postal_code = "12345"
proxy_description = "?"
proxy_type = "?"
region = "BC"
utc_offset = 100
[local_server.device_detection]
format = "json"
file = `+string(name)+`
`))
	if err != nil {
		t.Fatal(err)
	}
	database := geoDatabase(t)
	const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
	eachEngine(t, func(t *testing.T, h *testHost) {
		cfg := ServiceConfig{ExposeErrors: true}
		if err := cfg.UseManifest(m); err != nil {
			t.Fatal(err)
		}
		cfg.Geo.Database = database
		url := "http://" + listen(t, load(t, h, "rust/lookups", cfg), nil)
		for _, tt := range []struct{ path, agent, want string }{
			{"/geo/192.0.2.1", "", `["Fastly Test",12345,123,"Test City","Broadband Wired","NorthAmerica","CA","CAN","Canada",12.345,54.321,1,"12345","Unknown Unknown","BC",60]`},
			{"/geo/198.51.100.7", "", `["?",64500,0,"mumbai","Mobile Mobile","Asia","IN","IND","india",19.0,72.5,0,"?","Vpn Anonymous","MH",330]`},
			{"/geo/::ffff:198.51.100.7", "", `["?",64500,0,"mumbai","Mobile Mobile","Asia","IN","IND","india",19.0,72.5,0,"?","Vpn Anonymous","MH",330]`},
			{"/geo/203.0.113.1", "", `null`},
			{"/geo/2001:db8::1", "", `null`},
			{"/geo/127.0.0.1", "", `["Fastly, Inc",54113,415,"San Francisco","Broadband Wired","NorthAmerica","US","USA","United States of America",37.77869,-122.39557,0,"94107","Unknown Unknown","CA",null]`},
			{"/device", phone, `[["iPhone","Apple","iPhone","Mobile Phone"],[false,false,false,false,true,false,false,true,false],["Mobile Safari","17","5",null,null],[false,false,false,true],["iOS","17","5",null]]`},
			{"/device", "my program", `[["mine",null,null,null],[false,null,null,null,null,null,null,null,null],[null,null,null,null,null],[null,null,null,null],[null,null,null,null]]`},
			{"/device", "whoopty doopty doo", `null`},
			{"/uap", phone, `["Mobile Safari","17","5",""]`},
			{"/uap", "whoopty doopty doo", `["Other","","",""]`},
			{"/uap", strings.Repeat("long ", 1000), `["Other","","",""]`},
		} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", url+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", tt.agent)
			if a := fetch(t, plainClient, req); a.StatusCode != 200 || a.body != tt.want {
				t.Errorf("%s %.20q: %d %s\nwant %s", tt.path, tt.agent, a.StatusCode, a.body, tt.want)
			}
		}
	})
}
