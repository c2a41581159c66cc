package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Load reads and checks the manifest at path. It fails with Errors when the file is not right, and
// otherwise with an error that names the path.
func Load(path string) (*Manifest, error) {
	src, err := readFile(path, maxSize)
	if err != nil {
		if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err // the path is said here
		}
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	return Parse(path, src)
}

// Parse checks src, the contents of a manifest, together with the files and the environment variables that
// its [local_server] table names. The name is the manifest's path, for messages and for relative paths (see
// the package comment); the file itself is not opened. The error is of type Errors.
func Parse(name string, src []byte) (*Manifest, error) {
	return parse(name, src, readFile, os.LookupEnv, true)
}

// ParsePackage checks the manifest inside a package that somebody uploads. Unlike Parse it does not look
// at the [local_server] table, which has no meaning there, and so opens no file and reads no environment
// variable of this machine, whatever the manifest says.
func ParsePackage(name string, src []byte) (*Manifest, error) {
	return parse(name, src, nil, nil, false)
}

func parse(name string, src []byte, files fileReader, env func(string) (string, bool), local bool) (*Manifest, error) {
	if name == "" {
		name = "fastly.toml"
	}
	m := &Manifest{Path: name, Version: 3}
	m.LocalServer.defaults()
	r := &reader{name: name, files: files, env: env}
	if len(src) > maxSize {
		return nil, Errors{{Pos: Pos{File: name, Line: 1, Col: 1}, Text: fmt.Sprintf("larger than %d bytes", maxSize), Want: "large contents in data files"}}
	}
	r.doc = newDocument(trimMark(src), r.report, func(off int, key, text string) {
		r.warning(&Problem{Pos: r.pos(off), Key: key, Text: text})
	})
	if r.doc.read() {
		r.manifest(m, r.doc.root, local)
	}
	if len(r.errs) > 0 {
		return nil, Errors(finish(r.errs, r.moreErrs, "problems"))
	}
	m.Warnings = finish(r.warns, r.moreWarns, "warnings")
	return m, nil
}

// finish sorts a list of problems and says how many are missing.
func finish(list []*Problem, more int, what string) []*Problem {
	sortProblems(list)
	if more > 0 {
		list = append(list, &Problem{Pos: list[len(list)-1].Pos, Text: fmt.Sprintf("%d more %s are not listed", more, what)})
	}
	return list
}

func (r *reader) manifest(m *Manifest, root *value, local bool) {
	language := func(v *value) {
		if !r.is(v, kindString) {
			return
		}
		m.Language = strings.ToLower(strings.TrimSpace(v.text))
		switch m.Language {
		case "", "rust", "javascript", "go", "cpp", "python", "other":
		default:
			r.advise(v, "rust, javascript, go, cpp, python or other", "building does not know the language %s", displayText(v.text))
		}
	}
	version := func(v *value) { r.version(m, v, local) }
	localServer := func(*value) {}
	if local {
		localServer = func(v *value) { r.localServer(&m.LocalServer, v) }
	}
	fields := []field{
		key("manifest_version", version),
		key("name", r.string(&m.Name)),
		key("description", r.string(&m.Description)),
		key("authors", r.strings(func(v *value) { m.Authors = append(m.Authors, v.text) })),
		key("language", language),
		key("service_id", r.string(&m.ServiceID)),
		key("cloned_from", r.string(&m.ClonedFrom)),
		key("profile", r.string(&m.Profile)),
		key("scripts", func(v *value) { r.scripts(&m.Scripts, v) }),
		key("setup", func(v *value) { r.setup(&m.Setup, v) }),
		key("local_server", localServer),
	}
	for _, name := range []string{
		"backends", "config_stores", "dictionaries", "kv_stores", "object_stores", "object_store",
		"secret_stores", "acls", "geolocation", "device_detection", "shielding_sites",
	} {
		fields = append(fields, key(name, func(v *value) {
			r.advise(v, "local_server."+name, "without effect at the top level")
		}))
	}
	r.table(root, warn, fields...)
}

// version reads manifest_version. A package may have come from the platform's command line, which takes
// more forms than its local server does: of a float or a string the part before the first point counts,
// where 0 means the newest.
func (r *reader) version(m *Manifest, v *value, local bool) {
	n, known := v.integer, v.kind == kindInteger
	want := "1, 2 or 3 without quotes; 2 and 3 mean the same here"
	if !local && (v.kind == kindString || v.kind == kindFloat) {
		want = "1, 2 or 3"
		major, _, _ := strings.Cut(v.text, ".")
		var err error
		n, err = strconv.ParseInt(major, 10, 64)
		known = err == nil
	}
	switch {
	case !known:
		r.fail(v, want, "this is %s", v.kind)
	case n < 0 || n > 3:
		r.fail(v, want, "version %d is not known", n)
	case n > 0:
		m.Version = int(n)
	}
}

func (r *reader) scripts(s *Scripts, v *value) {
	variable := func(v *value) {
		s.EnvVars = append(s.EnvVars, v.text)
		if name, _, ok := strings.Cut(v.text, "="); !ok || name == "" { // the text may be confidential
			r.advise(v, `"NAME=value"`, "not an environment variable")
		}
	}
	r.table(v, warn,
		key("build", r.string(&s.Build)),
		key("post_build", r.string(&s.PostBuild)),
		key("post_init", r.string(&s.PostInit)),
		key("env_vars", r.strings(variable)),
		key("env_file", r.string(&s.EnvFile)),
	)
}
