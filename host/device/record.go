package device

import (
	"slices"
	"strings"

	"github.com/ua-parser/uap-go/uaparser"
)

func (m *matcher) answer(userAgent string) *answer {
	folded := fold(userAgent)
	p := m.parse(userAgent, folded)
	if p.agent.Family == "Roku" {
		// The data take it for a Mac with the version "Roku".
		p.os = uaparser.Os{Family: p.agent.Family, Major: p.agent.Major, Minor: p.agent.Minor}
	}
	a := &answer{agent: Agent{p.agent.Family, p.agent.Major, p.agent.Minor, p.agent.Patch}}
	c := classify(&p, folded)
	if p.agent.Family == other && p.os.Family == other && p.device.Family == other && c == (class{}) {
		return a
	}
	a.record = record(&p, c, folded)
	return a
}

// kind is what a device is in the first place.
type kind uint8

const (
	unknown kind = iota
	desktop
	phone
	featurePhone
	tablet
	console
	tv
	tvPlayer
	reader
	mediaPlayer
	watch
)

// hardware names kinds as the platform's hwtype does.
var hardware = [...]string{
	desktop: "Desktop", phone: "Mobile Phone", featurePhone: "Mobile Phone", tablet: "Tablet", console: "Games Console", tv: "TV",
	tvPlayer: "Set Top Box", reader: "eReader", mediaPlayer: "Media Player", watch: "Wristwatch",
}

// class is what the fields of the record that are no names depend on.
type class struct {
	kind                        kind
	bot, downloader, feedReader bool
}

var (
	downloaders = []string{"curl", "wget", "python requests", "python-requests", "python-urllib", "aiohttp", "go-http-client", "okhttp",
		"apache-httpclient", "libwww-perl", "java", "axios", "httpie", "aria2", "guzzlehttp", "node-fetch"}
	feedReaders = []string{"feedfetcher", "feedly", "feedbin", "newsblur", "inoreader", "netnewswire", "tiny tiny rss", "simplepie",
		"netvibes", "liferea", "akregator", "feeddemon", "feed parser", "feedreader", "newsgator"}
	desktops = []string{"Windows", "Mac OS X", "Mac OS", "Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora", "Red Hat", "CentOS", "SUSE",
		"openSUSE", "Gentoo", "Arch Linux", "Linux Mint", "Kubuntu", "Lubuntu", "Mageia", "Mandriva", "Slackware", "FreeBSD", "OpenBSD", "NetBSD",
		"Solaris"}
	tvWords = []string{"smart-tv", "smarttv", "smart_tv", "hbbtv", "web0s", "webos.tv", "netcast", "googletv", "google tv", "android tv", "bravia",
		"appletv", "inettvbrowser", "viera", "vidaa"}
)

func classify(p *parsed, folded string) (c class) {
	has := func(word string) bool { return strings.Contains(folded, word) }
	any := func(words []string) bool { return slices.ContainsFunc(words, has) }
	family, os := strings.ToLower(p.device.Family), p.os.Family
	c.bot = p.device.Brand == "Spider"
	c.feedReader = any(feedReaders)
	// A program that names a downloader before all else is one; others mention the library that they use.
	c.downloader = slices.ContainsFunc(downloaders, func(d string) bool { return strings.HasPrefix(folded, d+"/") })
	switch {
	case c.bot, c.downloader:
	case strings.HasPrefix(family, "playstation"), strings.HasPrefix(family, "nintendo"), has("xbox"):
		c.kind = console
	case strings.HasPrefix(family, "kindle fire"), has("; kf") && p.device.Brand == "Amazon":
		c.kind = tablet
	case strings.HasPrefix(family, "kindle"), p.device.Brand == "Kobo", strings.Contains(family, "nook"), has("kobo touch"):
		c.kind = reader
	case family == "appletv", strings.HasPrefix(folded, "roku"), has("; aft"), has("chromecast"), has(" crkey/") && !has("smartspeaker"):
		c.kind = tvPlayer
	case p.device.Brand == "Generic_Inettv", any(tvWords), os == "Tizen" && has(" tv "):
		c.kind = tv
	case strings.HasPrefix(family, "ipod"), os == "Chromecast SmartSpeaker":
		c.kind = mediaPlayer
	case strings.Contains(family, "watch"), os == "WatchOS":
		c.kind = watch
	case strings.HasPrefix(family, "ipad"), p.device.Brand == "Generic_Android_Tablet", p.device.Model == "Tablet", has("playbook"),
		has("tablet") && !has("tablet pc"):
		c.kind = tablet
	case p.device.Model == "Feature Phone":
		c.kind = featurePhone
	case os == "Android" && !has("mobile"):
		c.kind = tablet
	case os == "Android", os == "iOS", os == "Windows Phone", os == "Firefox OS", os == "KaiOS", strings.HasPrefix(os, "BlackBerry"),
		strings.HasPrefix(os, "Symbian"), p.device.Model == "Smartphone", strings.HasPrefix(family, "iphone"):
		c.kind = phone
	case slices.Contains(desktops, os):
		c.kind = desktop
	}
	return c
}

// record writes the guest ABI's record: sorted keys, without those of which nothing is known.
func record(p *parsed, c class, folded string) string {
	var w writer
	w.open("device")
	brand, model, name := known(p.device.Brand), known(p.device.Model), known(p.device.Family)
	if strings.HasPrefix(brand, "Generic") {
		brand = ""
	}
	// Browsers that tell less name every Android device K.
	if strings.Contains(folded, "; k)") && model == "K" {
		model, name = "", ""
	}
	if c.bot {
		brand, model, name = "", "", ""
	}
	w.text("brand", brand)
	if k := c.kind; k != unknown {
		w.text("hwtype", hardware[k])
		w.bool("is_desktop", k == desktop)
		w.bool("is_ereader", k == reader)
		w.bool("is_gameconsole", k == console)
		w.bool("is_mediaplayer", k == mediaPlayer)
		w.bool("is_mobile", k == phone || k == featurePhone)
		w.bool("is_smarttv", k == tv)
		w.bool("is_tablet", k == tablet)
		switch k {
		case phone, tablet, watch:
			w.bool("is_touchscreen", true)
		case desktop, tv, tvPlayer, featurePhone:
			w.bool("is_touchscreen", false)
		case mediaPlayer:
			w.bool("is_touchscreen", name == "iPod" || strings.HasPrefix(name, "iPod touch"))
		}
		w.bool("is_tvplayer", k == tvPlayer)
	}
	w.text("model", model)
	w.text("name", name)
	w.open("os")
	if o := p.os; known(o.Family) != "" {
		w.text("major", o.Major)
		w.text("minor", o.Minor)
		w.text("name", o.Family)
		w.text("patch", o.Patch)
		w.text("patch_minor", o.PatchMinor)
	}
	w.open("user_agent")
	agent := p.agent
	if known(agent.Family) == "" {
		agent = uaparser.UserAgent{}
	}
	if c.bot {
		w.text("bot_name", agent.Family)
	}
	w.bool("identified", agent.Family != "" && known(p.os.Family) != "" && c.kind != unknown)
	w.bool("is_bot", c.bot)
	w.bool("is_downloader", c.downloader)
	w.bool("is_feedreader", c.feedReader)
	w.text("major", agent.Major)
	w.text("minor", agent.Minor)
	w.text("name", agent.Family)
	w.text("patch", agent.Patch)
	return w.end()
}

func known(s string) string {
	if s == other {
		return ""
	}
	return s
}

// writer writes an object of objects.
type writer struct {
	b     []byte
	comma bool
}

func (w *writer) open(name string) {
	if w.b == nil {
		w.b = append(make([]byte, 0, 768), '{')
	} else {
		w.b = append(w.b, '}', ',')
	}
	w.b = append(append(append(w.b, '"'), name...), `":{`...)
	w.comma = false
}

func (w *writer) key(name string) {
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
	w.b = append(append(append(w.b, '"'), name...), `":`...)
}

func (w *writer) text(name, v string) {
	if v == "" {
		return
	}
	w.key(name)
	w.b = append(w.b, '"')
	for i := range len(v) {
		switch c := v[i]; {
		case c == '"' || c == '\\':
			w.b = append(w.b, '\\', c)
		case c < ' ':
			const hex = "0123456789abcdef"
			w.b = append(append(w.b, `\u00`...), hex[c>>4], hex[c&15])
		default:
			w.b = append(w.b, c)
		}
	}
	w.b = append(w.b, '"')
}

func (w *writer) bool(name string, v bool) {
	w.key(name)
	if v {
		w.b = append(w.b, "true"...)
	} else {
		w.b = append(w.b, "false"...)
	}
}

func (w *writer) end() string { return string(append(w.b, '}', '}')) }
