package manifest

import (
	"fmt"
	"strings"

	"github.com/edgewasm/wasmedge/configstore"
)

func (r *reader) configStore(l *LocalServer, v *value) {
	c := ConfigStore{Pos: r.pos(v.keyOff), Name: v.name}
	var format string
	ok := r.table(v, refuse,
		required("format", `"inline-toml" or "json"`, r.enum(false, func(s string) { format = s }, "inline-toml", "json")),
		key("contents", func(v *value) {
			if format == "inline-toml" {
				c.Contents = r.inlineContents(v)
			}
		}),
		key("file", func(v *value) {
			if format == "json" {
				r.jsonContents(&c, v)
			}
		}),
	)
	if !ok {
		return
	}
	switch format {
	case "inline-toml":
		r.goesWith(v, format, "contents", "file", "a table of strings")
	case "json":
		r.goesWith(v, format, "file", "contents", "the path of a JSON file")
	}
	l.ConfigStores = append(l.ConfigStores, c)
}

// goesWith reports that a table of some format lacks the key that the format needs, or has that of another.
func (r *reader) goesWith(v *value, format, needs, not, want string) {
	if item := v.field(not); item != nil {
		r.report(item.keyOff, item.path(), fmt.Sprintf("%s cannot stand beside format = %q", not, format), needs)
	}
	if v.field(needs) == nil {
		r.report(v.off, v.path(), fmt.Sprintf("the key %s is missing, which format = %q needs", needs, format), want)
	}
}

func (r *reader) inlineContents(v *value) map[string]string {
	contents := map[string]string{}
	r.each(v, func(v *value) {
		if !r.is(v, kindString) {
			return
		}
		if err := (configstore.Limits{}).Check(v.name, v.text); err != nil {
			r.fail(v, "", "%s", err)
			return
		}
		contents[v.name] = v.text
	})
	return contents
}

func (r *reader) jsonContents(c *ConfigStore, v *value) {
	src, path, ok := r.file(v, configstore.MaxFileSize)
	if !ok {
		return
	}
	contents, err := configstore.ParseJSON(src, configstore.Limits{})
	if err != nil {
		r.badJSON(v, path, err)
		return
	}
	c.File, c.Contents = path, contents
}

// fileTable reads { file = PATH, format = "json" }, the other form of a KV or secret store, and gives the
// JSON file, or false when v is something else or wrong.
func (r *reader) fileTable(v *value, items string) (f jsonFile, at *value, path string, ok bool) {
	file, format := v.field("file"), v.field("format")
	if v.kind != kindTable || file == nil && format == nil {
		r.fail(v, items+`, or { file = PATH, format = "json" }`, "this is %s", v.kind)
		return f, nil, "", false
	}
	json := false
	var src []byte
	r.table(v, warn,
		required("format", `"json"`, r.enum(false, func(string) { json = true }, "json")),
		required("file", "the path of a JSON file", func(v *value) { src, path, ok = r.file(v, maxJSONFile) }),
	)
	if !ok || !json {
		return f, nil, "", false
	}
	return newJSONFile(src), file, path, true
}

func (r *reader) kvStore(l *LocalServer, v *value) {
	k := KVStore{Pos: r.pos(v.keyOff), Name: v.name}
	places := map[string]int{}
	add := func(item KVItem) (again bool) {
		i, again := places[item.Key]
		if again {
			k.Items[i] = item
			return true
		}
		places[item.Key] = len(k.Items)
		k.Items = append(k.Items, item)
		return false
	}
	if v.kind == kindList {
		for _, item := range v.items {
			r.kvItem(item, add)
		}
	} else if f, at, path, ok := r.fileTable(v, "a list of items such as { key = \"k\", data = \"text\" }"); ok {
		if err := r.kvFile(f, add); err != nil {
			r.badJSON(at, path, err)
		}
	}
	l.KVStores = append(l.KVStores, k)
}

func (r *reader) kvItem(v *value, add func(KVItem) bool) {
	var item KVItem
	good := true
	open := func(v *value) {
		var ok bool
		item.Value, _, ok = r.file(v, maxDataFile)
		good = good && ok
	}
	file := v.field("file")
	ok := r.table(v, warn,
		required("key", "a string", func(v *value) {
			if good = r.is(v, kindString); !good {
				return
			}
			item.Key = v.text
			if fault := kvKeyFault(v.text); fault != "" {
				r.fail(v, "", "the key %s %s", displayText(v.text), fault)
				good = false
			}
		}),
		key("data", func(v *value) {
			if r.is(v, kindString) {
				item.Value = []byte(v.text)
			}
		}),
		key("file", open),
		key("path", func(v *value) { // the old name of file
			if file == nil {
				file = v
				open(v)
				return
			}
			r.advise(v, "", "without effect beside file")
		}),
		key("metadata", func(v *value) {
			if r.is(v, kindString) {
				item.Metadata, item.HasMetadata = v.text, true
			}
		}),
	)
	if !ok {
		return
	}
	if !r.onlyOne(v, "data", foundName(file, "file")) {
		return
	}
	if good && v.field("key") != nil && add(item) {
		r.advise(v.field("key"), "", "the key %s is in this store twice; the later item counts", displayText(item.Key))
	}
}

// foundName gives the name under which a key was found, or else the usual one.
func foundName(v *value, usual string) string {
	if v == nil {
		return usual
	}
	return v.name
}

// onlyOne tells whether a table has exactly one of the keys that give an item's value, and reports it when
// not.
func (r *reader) onlyOne(v *value, names ...string) bool {
	var have []string
	for _, name := range names {
		if v.field(name) != nil {
			have = append(have, name)
		}
	}
	if len(have) == 1 {
		return true
	}
	text := "the item has no value"
	if len(have) > 1 {
		text = "the item has " + strings.Join(have, " and ")
	}
	r.report(v.off, v.path(), text, "exactly one of "+oneOf(names...))
	return false
}

// kvFile reads the JSON form of a KV store: strings, { "data", "metadata" } or { "file", "metadata" }.
func (r *reader) kvFile(f jsonFile, add func(KVItem) bool) error {
	members, err := f.object()
	if err != nil {
		return err
	}
	for _, m := range members {
		if fault := kvKeyFault(m.key); fault != "" {
			return f.errorf(m.off, "the key %s %s", displayText(m.key), fault)
		}
		item := KVItem{Key: m.key}
		switch jsonKind(m.raw) {
		case "a string":
			text, err := f.string(m)
			if err != nil {
				return err
			}
			item.Value = []byte(text)
		case "an object":
			if err := r.kvObject(f, m, &item); err != nil {
				return err
			}
		default:
			return f.errorf(m.off, "%s: want a string or an object, not %s", displayKey(m.key), jsonKind(m.raw))
		}
		add(item)
	}
	return nil
}

func (r *reader) kvObject(f jsonFile, m member, item *KVItem) error {
	fields, err := f.members(m.raw, m.off)
	if err != nil {
		return err
	}
	var data, file *string
	fileAt := m.off
	for _, field := range fields {
		if field.key != "data" && field.key != "file" && field.key != "metadata" {
			continue
		}
		text, err := f.string(field)
		if err != nil {
			return err
		}
		switch field.key {
		case "data":
			data = &text
		case "file":
			file, fileAt = &text, field.off
		case "metadata":
			item.Metadata, item.HasMetadata = text, true
		}
	}
	switch {
	case (data == nil) == (file == nil):
		return f.errorf(m.off, "%s: want exactly one of data and file", displayKey(m.key))
	case data != nil:
		item.Value = []byte(*data)
	default:
		src, _, err := r.open(*file, maxDataFile)
		if err != nil {
			return f.errorf(fileAt, "%s: %w", displayKey(m.key), err)
		}
		item.Value = src
	}
	return nil
}

// kvKeyFault tells what is wrong with the key of a KV item, as the end of a sentence, or gives "". The
// rules are the platform's own.
func kvKeyFault(key string) string {
	switch {
	case key == "":
		return "is empty"
	case len(key) > 1024:
		return fmt.Sprintf("has %d bytes, over the limit of 1024", len(key))
	case strings.HasPrefix(key, ".well-known/acme-challenge"):
		return "begins with .well-known/acme-challenge, which is reserved"
	case key == "." || key == "..":
		return "is a relative path"
	case strings.Contains(key, "./"): // and so "../"
		return `holds "./" or "../"`
	case strings.HasSuffix(key, "/.") || strings.HasSuffix(key, "/.."):
		return `ends in "/." or "/.."`
	}
	if i := strings.IndexAny(key, "\r\n#;?^|"); i >= 0 {
		return fmt.Sprintf("holds %q, and none of line ends and # ; ? ^ | may be in a key", key[i])
	}
	if alone := []rune(key); len(alone) == 1 && (alone[0] <= ' ' || alone[0] == 0x7f || alone[0] == 0xfffe || alone[0] == 0xffff) {
		return "is one control or space character alone"
	}
	return ""
}

func (r *reader) secretStore(l *LocalServer, v *value) {
	s := SecretStore{Pos: r.pos(v.keyOff), Name: v.name}
	if fault := secretNameFault(v.name); fault != "" {
		r.report(v.keyOff, v.path(), "the store's name "+fault, wantSecretName)
	}
	places := map[string]int{}
	add := func(item SecretItem) (again bool) {
		i, again := places[item.Key]
		if again {
			s.Items[i] = item
			return true
		}
		places[item.Key] = len(s.Items)
		s.Items = append(s.Items, item)
		return false
	}
	if v.kind == kindList {
		for _, item := range v.items {
			r.secretItem(item, add)
		}
	} else if f, at, path, ok := r.fileTable(v, "a list of items such as { key = \"k\", env = \"NAME\" }"); ok {
		if err := secretFile(f, add); err != nil {
			r.badJSON(at, path, err)
		}
	}
	l.SecretStores = append(l.SecretStores, s)
}

func (r *reader) secretItem(v *value, add func(SecretItem) bool) {
	var item SecretItem
	good := true
	ok := r.table(v, warn,
		required("key", "a string", func(v *value) {
			if good = r.is(v, kindString); !good {
				return
			}
			item.Key = v.text
			if fault := secretNameFault(v.text); fault != "" {
				r.fail(v, wantSecretName, "the secret's name %s", fault)
				good = false
			}
		}),
		key("data", func(v *value) {
			if r.is(v, kindString) {
				item.Value = newSecret([]byte(v.text))
			}
		}),
		key("file", func(v *value) {
			if src, _, ok := r.file(v, maxSecret); ok {
				item.Value = newSecret(src)
			}
		}),
		key("env", func(v *value) {
			name, ok := r.nonBlank(v)
			if !ok {
				return
			}
			text, set := r.env(name)
			if !set {
				r.advise(v, "", "the environment variable %s is not set, so the secret is empty", displayText(name))
			}
			item.Value = newSecret([]byte(text))
		}),
	)
	if !ok {
		return
	}
	if !r.onlyOne(v, "data", "file", "env") {
		return
	}
	if good && v.field("key") != nil && add(item) {
		r.advise(v.field("key"), "", "the secret %s is in this store twice; the later item counts", displayText(item.Key))
	}
}

func secretFile(f jsonFile, add func(SecretItem) bool) error {
	members, err := f.object()
	if err != nil {
		return err
	}
	for _, m := range members {
		if fault := secretNameFault(m.key); fault != "" {
			return f.errorf(m.off, "the secret's name %s; want %s", fault, wantSecretName)
		}
		text, err := f.string(m)
		if err != nil {
			return err
		}
		add(SecretItem{Key: m.key, Value: newSecret([]byte(text))})
	}
	return nil
}

const wantSecretName = "1 to 255 of the characters A-Z a-z 0-9 _ - ."

// secretNameFault tells what is wrong with the name of a secret or secret store, as the end of a sentence,
// or gives "". It does not repeat the name: somebody may have put the secret there.
func secretNameFault(name string) string {
	if name == "" {
		return "is empty"
	}
	if len(name) > 255 {
		return fmt.Sprintf("has %d bytes", len(name))
	}
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return fmt.Sprintf("holds the character %q", c)
		}
	}
	return ""
}
