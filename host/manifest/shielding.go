package manifest

import (
	"errors"
	"net/url"
	"strings"
)

const wantSite = `"Local", or { encrypted = URL, unencrypted = URL }`

func (r *reader) shieldingSite(l *LocalServer, v *value) {
	s := ShieldingSite{Pos: r.pos(v.keyOff), Name: v.name}
	switch v.kind {
	case kindString:
		if !strings.EqualFold(v.text, "local") {
			r.fail(v, wantSite, "%s is not known", displayText(v.text))
			return
		}
		s.Local = true
	case kindTable:
		r.table(v, refuse,
			required("encrypted", "an absolute URL", r.siteURL(&s.Encrypted)),
			required("unencrypted", "an absolute URL", r.siteURL(&s.Unencrypted)),
		)
	default:
		r.fail(v, wantSite, "this is %s", v.kind)
		return
	}
	l.ShieldingSites = append(l.ShieldingSites, s)
}

func (r *reader) siteURL(to *string) func(*value) {
	return func(v *value) {
		if !r.is(v, kindString) {
			return
		}
		normal, err := normalURL(v.text)
		if err != nil {
			r.fail(v, `an absolute URL such as "https://pop.example.com"`, "%s", err) // not the URL: it may hold a password
			return
		}
		*to = normal
	}
}

// normalURL gives an absolute URL in the form that the URL standard gives: scheme and host in lower case,
// no default port, and a path that is at least "/".
func normalURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return "", errors.New("the URL is malformed")
	}
	if u.Scheme == "" {
		return "", errors.New("the URL has no scheme")
	}
	if u.Hostname() == "" {
		return "", errors.New("the URL has no host")
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "" || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}
