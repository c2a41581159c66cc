package host

import (
	"fmt"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/configstore"
	"github.com/edgewasm/wasmedge/host/acl"
	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/device"
	"github.com/edgewasm/wasmedge/host/geo"
	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/secretstore"
)

// UseManifest takes over the surroundings that a manifest's [local_server] describes. It replaces ConfigStores,
// SecretStores, ACLs, Backends, Shields, GRIPProxy, NoWebSockets, FastlyKeys and the overrides in Geo and Devices, and
// the name and service ID where the manifest has them. KVStores, if set, get what the manifest has and they lack:
// stores, and keys in them. If not, they are made in memory.
func (c *ServiceConfig) UseManifest(m *manifest.Manifest) error {
	if m.Name != "" {
		c.Name = m.Name
	}
	if m.ServiceID != "" {
		c.ID = m.ServiceID
	}
	c.ConfigStores = new(configstore.Set)
	for _, s := range m.LocalServer.ConfigStores {
		store, err := openConfigStore(&s)
		if err != nil {
			return fmt.Errorf("%s:%d: config store %q: %w", m.Path, s.Pos.Line, s.Name, err)
		}
		c.ConfigStores.Put(s.Name, store)
	}
	secrets := secretstore.NewMemory()
	for i := range m.LocalServer.SecretStores {
		l := &m.LocalServer.SecretStores[i]
		if err := seedSecrets(secrets, l); err != nil {
			return fmt.Errorf("%s:%d: secret store %q: %w", m.Path, l.Pos.Line, l.Name, err)
		}
	}
	c.SecretStores = secrets
	if err := c.seedKVStores(m); err != nil {
		return err
	}
	lists := new(acl.Set)
	for i := range m.LocalServer.ACLs {
		l := &m.LocalServer.ACLs[i]
		opened, err := openACL(l)
		if err != nil {
			return fmt.Errorf("%s:%d: ACL %q: %w", m.Path, l.Pos.Line, l.Name, err)
		}
		lists.Put(l.Name, opened)
	}
	c.ACLs = lists
	c.Geo.Overrides = geo.NewOverrides(&m.LocalServer.Geolocation)
	c.Geo.Loopback = m.LocalServer.Geolocation.UseDefaultLoopback
	c.Devices.Overrides = device.NewOverrides(&m.LocalServer.DeviceDetection)
	c.Backends = nil
	for i := range m.LocalServer.Backends {
		c.Backends = append(c.Backends, backend.FromManifest(&m.LocalServer.Backends[i]))
	}
	c.Shields = make(map[string]abi.Shield, len(m.LocalServer.ShieldingSites))
	for _, site := range m.LocalServer.ShieldingSites {
		c.Shields[site.Name] = abi.Shield{Here: site.Local, Plain: site.Unencrypted, TLS: site.Encrypted}
	}
	c.NoWebSockets = !m.LocalServer.WebsocketPassthrough
	c.GRIPProxy = nil
	if p := m.LocalServer.Pushpin; p.Enable {
		c.GRIPProxy = LocalGRIPProxy(p.ProxyPort)
	}
	c.FastlyKeys = nil
	for i := range m.LocalServer.FakeValidFastlyKeys {
		c.FastlyKeys = append(c.FastlyKeys, string(m.LocalServer.FakeValidFastlyKeys[i].Reveal()))
	}
	return nil
}

// LocalGRIPProxy is a GRIP proxy such as Pushpin that runs on this machine.
func LocalGRIPProxy(port uint16) *backend.Config {
	return &backend.Config{Name: "the GRIP proxy", Host: "127.0.0.1", Port: port}
}

func openConfigStore(s *manifest.ConfigStore) (*configstore.Store, error) {
	if s.File != "" {
		return configstore.Open(configstore.NewFile(s.File, configstore.Limits{}), configstore.Limits{})
	}
	return configstore.New(s.Contents, configstore.Limits{})
}

// openACL takes over the entries as they were read with the manifest.
func openACL(l *manifest.ACL) (*acl.ACL, error) {
	entries := make([]acl.Entry, len(l.Entries))
	for i, e := range l.Entries {
		entries[i] = acl.Entry{Prefix: e.Prefix, Action: e.Action}
	}
	t, err := acl.NewTable(entries)
	if err != nil {
		return nil, err
	}
	return acl.New(t), nil
}

// seedSecrets makes a store of a manifest's, with its secrets sealed.
func seedSecrets(stores *secretstore.Stores, l *manifest.SecretStore) error {
	store, err := stores.Create(l.Name)
	if err != nil {
		return err
	}
	for i := range l.Items {
		if _, err := store.Put(l.Items[i].Key, l.Items[i].Value.Reveal(), secretstore.Create); err != nil {
			return fmt.Errorf("secret %q: %w", l.Items[i].Key, err)
		}
	}
	return nil
}
