package manifest

import "math"

func (r *reader) setup(s *Setup, v *value) {
	dictionaries := func(v *value) {
		r.advise(v, "", "without effect since manifest_version 3: the name is config_stores")
	}
	r.table(v, warn,
		key("backends", r.named(func(v *value) { r.setupBackend(s, v) })),
		key("config_stores", r.named(func(v *value) { r.setupConfigStore(s, v) })),
		key("dictionaries", dictionaries),
		key("kv_stores", r.named(func(v *value) { r.setupKVStore(s, v) }), "object_stores"),
		key("secret_stores", r.named(func(v *value) { r.setupSecretStore(s, v) })),
		key("log_endpoints", r.named(func(v *value) { r.setupLogEndpoint(s, v) })),
		key("products", r.named(func(v *value) { r.setupProduct(s, v) })),
	)
}

func (r *reader) setupBackend(s *Setup, v *value) {
	b := SetupBackend{Pos: r.pos(v.keyOff), Name: v.name}
	r.table(v, warn,
		key("address", r.string(&b.Address)),
		key("port", r.integer(1, math.MaxUint16, func(n int64) { b.Port = uint16(n) })),
		key("description", r.string(&b.Description)),
	)
	s.Backends = append(s.Backends, b)
}

func (r *reader) setupConfigStore(s *Setup, v *value) {
	c := SetupConfigStore{Pos: r.pos(v.keyOff), Name: v.name}
	item := func(v *value) {
		i := SetupItem{Key: v.name}
		r.table(v, warn,
			key("value", r.setupValue(&i)),
			key("description", r.string(&i.Description)),
		)
		c.Items = append(c.Items, i)
	}
	r.table(v, warn,
		key("description", r.string(&c.Description)),
		key("items", r.named(item)),
	)
	s.ConfigStores = append(s.ConfigStores, c)
}

func (r *reader) setupKVStore(s *Setup, v *value) {
	k := SetupKVStore{Pos: r.pos(v.keyOff), Name: v.name}
	item := func(v *value) {
		i := SetupItem{Key: v.name}
		r.table(v, warn,
			key("value", r.setupValue(&i)),
			key("file", r.string(&i.File)),
			key("description", r.string(&i.Description)),
		)
		r.apart(v, "value", "file")
		k.Items = append(k.Items, i)
	}
	r.table(v, warn,
		key("description", r.string(&k.Description)),
		key("file", r.string(&k.File)),
		key("items", r.named(item)),
	)
	r.apart(v, "file", "items")
	s.KVStores = append(s.KVStores, k)
}

func (r *reader) setupValue(i *SetupItem) func(*value) {
	return func(v *value) {
		r.string(&i.Value)(v)
		i.HasValue = true
	}
}

// apart reports two keys of a table that exclude each other.
func (r *reader) apart(v *value, a, b string) {
	if x, y := v.field(a), v.field(b); x != nil && y != nil {
		if y.keyOff < x.keyOff {
			x, y = y, x
		}
		r.report(y.keyOff, y.path(), y.name+" cannot stand beside "+x.name, "one of them")
	}
}

func (r *reader) setupSecretStore(s *Setup, v *value) {
	c := SetupSecretStore{Pos: r.pos(v.keyOff), Name: v.name}
	entry := func(v *value) {
		e := SetupSecretEntry{Key: v.name}
		r.table(v, warn, key("description", r.string(&e.Description)))
		c.Entries = append(c.Entries, e)
	}
	r.table(v, warn,
		key("description", r.string(&c.Description)),
		key("entries", r.named(entry)),
	)
	s.SecretStores = append(s.SecretStores, c)
}

func (r *reader) setupLogEndpoint(s *Setup, v *value) {
	e := SetupLogEndpoint{Pos: r.pos(v.keyOff), Name: v.name}
	r.table(v, warn, key("provider", r.string(&e.Provider)))
	s.LogEndpoints = append(s.LogEndpoints, e)
}

// products lists the products that publishing can switch on, each with the option that it then needs.
var products = []struct{ name, option string }{
	{"api_discovery", ""},
	{"bot_management", "contentguard"},
	{"brotli_compression", ""},
	{"ddos_protection", "mode"},
	{"domain_inspector", ""},
	{"fanout", ""},
	{"image_optimizer", ""},
	{"log_explorer_insights", ""},
	{"ngwaf", "workspace_id"},
	{"origin_inspector", ""},
	{"websockets", ""},
}

func (r *reader) setupProduct(s *Setup, v *value) {
	known := make([]field, len(products))
	for i, product := range products {
		known[i] = field{name: product.name}
		if product.name == v.name {
			r.setupKnownProduct(s, v, product.option)
			return
		}
	}
	r.advise(v, accepted(known), "unknown product, without effect%s", meant(v.name, known))
}

func (r *reader) setupKnownProduct(s *Setup, v *value, option string) {
	p := SetupProduct{Pos: r.pos(v.keyOff), Name: v.name}
	fields := []field{key("enable", r.bool(&p.Enable))}
	if option != "" {
		fields = append(fields, key(option, func(v *value) {
			if r.is(v, kindString) {
				p.Options = map[string]string{option: v.text}
			}
		}))
	}
	if r.table(v, warn, fields...) && p.Enable && option != "" && v.field(option) == nil {
		r.report(v.off, v.path(), "the key "+option+" is missing, which this product needs", "a string")
	}
	s.Products = append(s.Products, p)
}
