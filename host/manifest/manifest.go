// Package manifest reads fastly.toml, the file that describes a Compute program and the world it runs in
// during local development; wasmedge.toml is the same file under another name. Manifest versions 2 and 3
// are understood and mean the same.
//
// A file is checked completely before anything is built from it: a Manifest that Parse returns has typed,
// validated contents, certificates that parse, keys within their limits, and data files that were there
// and well-formed. What is wrong is reported all at once, as an Errors list with the line, the column, the
// dotted key and the accepted values of each entry. Keys that the platform's own local server ignores are
// not errors but Warnings; keys that it refuses (in a backend and in a config store) are errors.
//
// # Relative paths
//
// A relative path is taken from the working directory of the process, as the platform's tools do. Only
// when nothing is there, it is taken from the folder of the manifest itself, so that a manifest given by
// its path works from anywhere. Data files are read once, by Parse; those whose edits should show later
// (JSON config stores, geolocation, device detection) keep their resolved path in the result.
//
// # Secrets
//
// Secret values, private keys and key-check keys never appear in an error, in a warning, or in what fmt,
// encoding/json and log/slog print of a Manifest.
package manifest

import (
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"time"
)

// Manifest is one parsed file. It does not change after Parse, so it may be shared between goroutines.
// Lists keep the order of the file.
type Manifest struct {
	Path        string   // as given to Parse or Load
	Version     int      // manifest_version: 1 to 3; 3 when absent or 0
	Name        string   // of the package; needed to build and publish only
	Description string   //
	Authors     []string //
	Language    string   // lower case, without spaces: rust, javascript, go, cpp, python, other; "" when absent
	ServiceID   string   // see EditServiceID
	ClonedFrom  string   // the starter kit's address
	Profile     string   // name of a stored API token
	Scripts     Scripts
	Setup       Setup
	LocalServer LocalServer
	Warnings    []*Problem // sorted by line; keys that have no effect, and the like
}

// Scripts is the [scripts] table: shell commands of the build. EnvVars entries are "NAME=value" and may be
// confidential.
type Scripts struct {
	Build, PostBuild, PostInit string
	EnvVars                    []string
	EnvFile                    string
}

// Setup is the [setup] table: what publishing creates together with a new service. Files named here are
// read when they are uploaded, not by Parse.
type Setup struct {
	Backends     []SetupBackend
	ConfigStores []SetupConfigStore
	KVStores     []SetupKVStore
	SecretStores []SetupSecretStore
	LogEndpoints []SetupLogEndpoint
	Products     []SetupProduct
}

// SetupBackend is [setup.backends.NAME]. Port 0 and an empty Address mean that the file gives none.
type SetupBackend struct {
	Pos         Pos
	Name        string
	Address     string
	Port        uint16
	Description string
}

// SetupConfigStore is [setup.config_stores.NAME].
type SetupConfigStore struct {
	Pos         Pos
	Name        string
	Description string
	Items       []SetupItem
}

// SetupKVStore is [setup.kv_stores.NAME]: either File, a JSON object, or Items.
type SetupKVStore struct {
	Pos         Pos
	Name        string
	Description string
	File        string
	Items       []SetupItem
}

// SetupItem is a first entry of a store. At most one of Value and File is set; with neither, publishing
// asks for the value.
type SetupItem struct {
	Key         string
	Value       string
	HasValue    bool // tells an empty value from none
	File        string
	Description string
}

// SetupSecretStore is [setup.secret_stores.NAME]; the values are asked for, never written in the file.
type SetupSecretStore struct {
	Pos         Pos
	Name        string
	Description string
	Entries     []SetupSecretEntry
}

// SetupSecretEntry names a secret.
type SetupSecretEntry struct{ Key, Description string }

// SetupLogEndpoint is [setup.log_endpoints.NAME].
type SetupLogEndpoint struct {
	Pos      Pos
	Name     string
	Provider string
}

// SetupProduct is [setup.products.NAME]. Options holds the product's own settings, all of them strings.
type SetupProduct struct {
	Pos     Pos
	Name    string
	Enable  bool
	Options map[string]string
}

// LocalServer is the [local_server] table: the stores, backends and other surroundings of a program that
// runs from a folder instead of being published.
type LocalServer struct {
	Backends             []Backend
	ConfigStores         []ConfigStore
	KVStores             []KVStore
	SecretStores         []SecretStore
	ACLs                 []ACL
	Geolocation          Geolocation
	DeviceDetection      DeviceDetection
	ShieldingSites       []ShieldingSite
	FakeValidFastlyKeys  []Secret // request header fastly-key is valid when equal to one of these
	Pushpin              Pushpin
	WebsocketPassthrough bool   // websockets_passthrough.enable; true when absent
	ViceroyVersion       string // without effect here
}

// Health is what a guest is told of a backend; nothing is probed because of it.
type Health uint8

// Health values as the manifest may give them.
const (
	HealthUnknown Health = iota
	HealthHealthy
	HealthUnhealthy
)

// Backend is [local_server.backends.NAME], an origin that the guest may send requests to by its name.
type Backend struct {
	Pos  Pos
	Name string
	URL  string // as written; may hold user-info, so keep it out of logs
	// The parts of URL that are used; its query and user-info are not.
	TLS        bool   // https, and wss for WebSocket hand-off; every other scheme is plain TCP
	Scheme     string // lower case
	Host       string // name or address, IPv6 without brackets
	Port       uint16 // explicit, or the scheme's own
	PathPrefix string // as written and still escaped; joined to request paths with exactly one "/"

	OverrideHost string // sent as Host; "" means the request's own
	CertHost     string // name that the certificate must hold; Host when not given
	UseSNI       bool   // true when absent
	GRPC         bool   // HTTP/2 only
	Health       Health

	CACertificates    []*x509.Certificate // when not empty, these replace the system roots
	ClientCertificate *ClientCertificate  // nil: none

	FirstByteTimeout    time.Duration // 0: none
	BetweenBytesTimeout time.Duration // 0: none
}

// ConfigStore is [local_server.config_stores.NAME] (or dictionaries). With a File, its contents are to be
// read again when a guest opens the store; Contents is what it held during Parse.
type ConfigStore struct {
	Pos      Pos
	Name     string
	File     string // resolved; "" for inline-toml
	Contents map[string]string
}

// KVStore is [local_server.kv_stores.NAME] (or object_stores, object_store). A key appears once in Items,
// with its last value.
type KVStore struct {
	Pos   Pos
	Name  string
	Items []KVItem
}

// KVItem is the first content of one key. Value holds any bytes and belongs to the Manifest: do not write
// to it.
type KVItem struct {
	Key         string
	Value       []byte
	Metadata    string
	HasMetadata bool // tells empty metadata from none
}

// SecretStore is [local_server.secret_stores.NAME]. A key appears once in Items, with its last value.
type SecretStore struct {
	Pos   Pos
	Name  string
	Items []SecretItem
}

// SecretItem is one named secret.
type SecretItem struct {
	Key   string
	Value Secret
}

// ACL is [local_server.acls.NAME], read from its JSON file.
type ACL struct {
	Pos     Pos
	Name    string
	File    string // resolved
	Entries []ACLEntry
}

// ACLEntry is one rule. The longest matching prefix wins, among equal ones the last. Prefix has its host
// bits cleared; IPv4 addresses and their IPv6-mapped forms do not match each other.
type ACLEntry struct {
	Prefix netip.Prefix
	Action string // "ALLOW", "BLOCK", or another text as written
}

// Geolocation is [local_server.geolocation]. With a File, it is to be read again when it has changed;
// Addresses is what it held during Parse. A record is JSON with sorted keys.
type Geolocation struct {
	UseDefaultLoopback bool   // loopback addresses without a record get a built-in one; true when absent
	File               string // resolved; "" for inline-toml or none
	Addresses          map[netip.Addr]json.RawMessage
}

// DeviceDetection is [local_server.device_detection]; user agents match exactly. See Geolocation.
type DeviceDetection struct {
	File       string
	UserAgents map[string]json.RawMessage
}

// ShieldingSite is [local_server.shielding_sites.NAME]: Local, or two absolute URLs in normalised form.
type ShieldingSite struct {
	Pos                    Pos
	Name                   string
	Local                  bool
	Encrypted, Unencrypted string
}

// Pushpin is [local_server.pushpin], the GRIP proxy that the platform's command line starts beside its
// local server.
type Pushpin struct {
	Enable      bool
	Path        string // pushpin_path
	ProxyPort   uint16 // 7677 when absent
	PublishPort uint16 // 5561 when absent; this and the three above it are used
}
