package manifest

import "regexp"

// defaults is what holds without a [local_server] table.
func (l *LocalServer) defaults() {
	l.Geolocation.UseDefaultLoopback = true
	l.WebsocketPassthrough = true
	l.Pushpin.ProxyPort, l.Pushpin.PublishPort = 7677, 5561
}

func (r *reader) localServer(l *LocalServer, v *value) {
	r.table(v, warn,
		key("acls", r.named(func(v *value) { r.acl(l, v) })),
		key("backends", r.named(func(v *value) { r.backend(l, v) })),
		key("device_detection", func(v *value) { r.deviceDetection(&l.DeviceDetection, v) }),
		key("geolocation", func(v *value) { r.geolocation(&l.Geolocation, v) }),
		key("config_stores", r.named(func(v *value) { r.configStore(l, v) }), "dictionaries"),
		key("kv_stores", r.named(func(v *value) { r.kvStore(l, v) }), "object_stores", "object_store"),
		key("secret_stores", r.named(func(v *value) { r.secretStore(l, v) })),
		key("shielding_sites", r.named(func(v *value) { r.shieldingSite(l, v) })),
		key("fake_valid_fastly_keys", r.strings(func(v *value) {
			l.FakeValidFastlyKeys = append(l.FakeValidFastlyKeys, newSecret([]byte(v.text)))
		})),
		key("pushpin", func(v *value) { r.pushpin(&l.Pushpin, v) }),
		key("websockets_passthrough", func(v *value) {
			r.table(v, warn, key("enable", r.bool(&l.WebsocketPassthrough)))
		}),
		key("viceroy_version", func(v *value) { r.viceroyVersion(l, v) }),
	)
}

func (r *reader) pushpin(p *Pushpin, v *value) {
	r.table(v, warn,
		key("enable", r.bool(&p.Enable)),
		key("pushpin_path", r.string(&p.Path)),
		key("proxy_port", r.port(&p.ProxyPort)),
		key("publish_port", r.port(&p.PublishPort)),
	)
}

// semanticVersion is the form of semver.org, which the platform's command line insists on.
var semanticVersion = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func (r *reader) viceroyVersion(l *LocalServer, v *value) {
	if !r.is(v, kindString) {
		return
	}
	if !semanticVersion.MatchString(v.text) {
		r.fail(v, `a semantic version such as "0.20.2"`, "%s is none", displayText(v.text))
		return
	}
	l.ViceroyVersion = v.text
}
