package geo

// record is what is read of the records of a database, whatever its kind: the fields of City, Country and Enterprise
// databases are tables, those of ASN, ISP, Connection-Type and Anonymous-IP ones stand at the top, and Enterprise and
// Insights ones have them again below traits. A record may hold much else.
type record struct {
	City        named       `maxminddb:"city"`
	Continent   continent   `maxminddb:"continent"`
	Country     country     `maxminddb:"country"`
	Registered  country     `maxminddb:"registered_country"`
	Represented represented `maxminddb:"represented_country"`
	Location    location    `maxminddb:"location"`
	Postal      struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"postal"`
	Subdivisions []country `maxminddb:"subdivisions"`

	// The fields of traits, at the top.
	ASNumber       uint32 `maxminddb:"autonomous_system_number"`
	ASName         string `maxminddb:"autonomous_system_organization"`
	ISP            string `maxminddb:"isp"`
	Organization   string `maxminddb:"organization"`
	ConnectionType string `maxminddb:"connection_type"`
	Anonymous      bool   `maxminddb:"is_anonymous"`
	VPN            bool   `maxminddb:"is_anonymous_vpn"`
	Hosting        bool   `maxminddb:"is_hosting_provider"`
	PublicProxy    bool   `maxminddb:"is_public_proxy"`
	Residential    bool   `maxminddb:"is_residential_proxy"`
	TorExit        bool   `maxminddb:"is_tor_exit_node"`

	Traits traits `maxminddb:"traits"`
}

type traits struct {
	ASNumber       uint32 `maxminddb:"autonomous_system_number"`
	ASName         string `maxminddb:"autonomous_system_organization"`
	ISP            string `maxminddb:"isp"`
	Organization   string `maxminddb:"organization"`
	ConnectionType string `maxminddb:"connection_type"`
	Anonymous      bool   `maxminddb:"is_anonymous"`
	VPN            bool   `maxminddb:"is_anonymous_vpn"`
	Hosting        bool   `maxminddb:"is_hosting_provider"`
	PublicProxy    bool   `maxminddb:"is_public_proxy"`
	Residential    bool   `maxminddb:"is_residential_proxy"`
	TorExit        bool   `maxminddb:"is_tor_exit_node"`
	// Older databases have these alone.
	AnonymousProxy bool `maxminddb:"is_anonymous_proxy"`
	Satellite      bool `maxminddb:"is_satellite_provider"`
}

type named struct {
	Names struct {
		English string `maxminddb:"en"`
	} `maxminddb:"names"`
}

type continent struct {
	Code string `maxminddb:"code"`
}

// country is one, or a part of one.
type country struct {
	Code  string `maxminddb:"iso_code"`
	Names struct {
		English string `maxminddb:"en"`
	} `maxminddb:"names"`
}

type represented struct {
	Code  string `maxminddb:"iso_code"`
	Type  string `maxminddb:"type"`
	Names struct {
		English string `maxminddb:"en"`
	} `maxminddb:"names"`
}

type location struct {
	Latitude  float64 `maxminddb:"latitude"`
	Longitude float64 `maxminddb:"longitude"`
	Metro     uint32  `maxminddb:"metro_code"`
	Zone      string  `maxminddb:"time_zone"`
}

// facts is what is known of an address, from all databases together. An empty text and a zero are what is not known.
type facts struct {
	asName            string
	asNumber          uint32
	city              string
	connection        string
	continent         string
	country           string
	countryName       string
	latitude, longit  float64
	metro             uint32
	postal            string
	region            string
	zone              string
	proxyType, proxyd string
}

// add takes from a record what is not known yet. Place and network are taken as a whole each, so that a city never comes
// from another database than its country.
func (f *facts) add(r *record) {
	if f.country == "" && f.continent == "" {
		f.place(r)
	}
	t := &r.Traits
	if f.asNumber == 0 && f.asName == "" {
		f.asNumber = or(r.ASNumber, t.ASNumber)
		f.asName = or(or(r.ASName, t.ASName), or(or(r.ISP, t.ISP), or(r.Organization, t.Organization)))
	}
	f.connection = or(f.connection, or(r.ConnectionType, t.ConnectionType))
	if f.connection == "" && t.Satellite {
		f.connection = "Satellite"
	}
	if f.proxyType == "" {
		f.proxyType, f.proxyd = proxy(r)
	}
}

func (f *facts) place(r *record) {
	f.continent = r.Continent.Code
	switch {
	case r.Represented.Code != "" && r.Represented.Type == "military":
		f.country, f.countryName = r.Represented.Code, r.Represented.Names.English
	case r.Country.Code != "":
		f.country, f.countryName = r.Country.Code, r.Country.Names.English
	default:
		f.country, f.countryName = r.Registered.Code, r.Registered.Names.English
	}
	f.city = r.City.Names.English
	f.postal = r.Postal.Code
	f.metro = r.Location.Metro
	f.zone = r.Location.Zone
	// NaN is refused as well.
	if lat, long := r.Location.Latitude, r.Location.Longitude; lat >= -90 && lat <= 90 && long >= -180 && long <= 180 {
		f.latitude, f.longit = lat, long
	}
	for i := len(r.Subdivisions) - 1; i >= 0 && f.region == ""; i-- {
		f.region = r.Subdivisions[i].Code
	}
}

// proxy gives proxy_type and proxy_description, most telling first.
func proxy(r *record) (kind, description string) {
	t := &r.Traits
	switch {
	case r.TorExit || t.TorExit:
		return "anonymous", "tor-exit"
	case r.VPN || t.VPN:
		return "anonymous", "vpn"
	case r.PublicProxy || t.PublicProxy:
		return "public", ""
	case r.Residential || t.Residential:
		return "anonymous", ""
	case r.Hosting || t.Hosting:
		return "hosting", ""
	case r.Anonymous || t.Anonymous || t.AnonymousProxy:
		return "anonymous", ""
	}
	return "", ""
}

// connection gives conn_type and conn_speed for a connection type of the databases.
func connection(name string) (kind, speed string) {
	switch name {
	case "Cable/DSL", "Corporate":
		return "wired", "broadband"
	case "Cellular":
		return "mobile", "mobile"
	case "Dialup":
		return "dialup", "dialup"
	case "Satellite":
		return "satellite", "satellite"
	}
	return "", ""
}

func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}
