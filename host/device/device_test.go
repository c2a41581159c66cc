package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/edgewasm/wasmedge/host/manifest"
)

// Texts of real programs, with what the record should say of each: hwtype, is_touchscreen, brand, name, model, system, program.
var agents = []struct {
	name, text, want string
}{
	{"iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
		"Mobile Phone true|Apple|iPhone|iPhone|iOS 17.5|Mobile Safari 17.5"},
	{"iPad", "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
		"Tablet true|Apple|iPad|iPad|iOS 16.6|Mobile Safari 16.6"},
	{"iPod", "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Mobile/15E148 Safari/604.1",
		"Media Player true|Apple|iPod|iPod|iOS 12.0|Mobile Safari 12.0"},
	{"Pixel", "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
		"Mobile Phone true|Google|Pixel 8|Pixel 8|Android 14|Chrome Mobile 126.0"},
	{"an Android phone whose browser tells little", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
		"Mobile Phone true||||Android 10|Chrome Mobile 126.0"},
	{"an Android tablet whose browser tells little", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"Tablet true||||Android 10|Chrome 126.0"},
	{"Galaxy Tab", "Mozilla/5.0 (Linux; Android 12; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/80.0.3987.119 Safari/537.36",
		"Tablet true|Samsung|Samsung SM-X906C|SM-X906C|Android 12|Chrome 80.0"},
	{"Chrome on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"Desktop false||||Windows 10|Chrome 126.0"},
	{"Safari on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
		"Desktop false|Apple|Mac|Mac|Mac OS X 10.15|Safari 17.5"},
	{"Firefox on Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
		"Desktop false||||Linux|Firefox 127.0"},
	{"Kindle", "Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like Gecko) Version/5.0 Safari/533.2+ Kindle/3.0+",
		"eReader <nil>|Amazon|Kindle|Kindle 3.0|Kindle 3.0|Kindle 3.0"},
	{"PlayStation 5", "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
		"Games Console <nil>|Sony|PlayStation 5|PlayStation 5||Safari 13.0"},
	{"Nintendo Switch", "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/601.6 (KHTML, like Gecko) NF/4.0.0.5.10 NintendoBrowser/5.1.0.13343",
		"Games Console <nil>|Nintendo|Nintendo Switch|Switch||"},
	{"a Samsung television", "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) Version/6.0 TV Safari/537.36",
		"TV false|Samsung|Samsung SMART-TV|SMART-TV|Tizen 6.0|Safari 6.0"},
	{"an LG television", "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36 WebAppManager",
		"TV false|LG|LG Web0S SmartTV|Web0S SmartTV|Web0S|Chrome 94.0"},
	{"Fire TV", "Mozilla/5.0 (Linux; Android 5.1; AFTS Build/LMY47O) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/41.99900.2250.0242 Safari/537.36",
		"Set Top Box false||AFTS|AFTS|Android 5.1|Chrome Mobile WebView 41.99900"},
	{"Chromecast", "Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000",
		"Set Top Box false|Google|Chromecast|Chromecast|Chromecast Linux 1.56|Chrome 90.0"},
	{"Roku", "Roku/DVP-9.10 (519.10E04111A)", "Set Top Box false||Roku|Roku|Roku 9.10|Roku 9.10"},
	{"Apple TV", "AppleTV11,1/11.1", "Set Top Box false|Apple|AppleTV|AppleTV|ATV OS X|"},
	{"Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "<nil> <nil>|||||Googlebot 2.1 bot(Googlebot)"},
	{"curl", "curl/8.5.0", "<nil> <nil>|||||curl 8.5 downloader"},
	{"Python", "python-requests/2.31", "<nil> <nil>|||||Python Requests 2.31 downloader"},
	{"Feedly", "Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", "<nil> <nil>||||| feedreader"},
	{"nothing that anybody knows", "whoopty doopty doo", ""},
	{"a number", "0.8437591047361", ""},
	{"nothing", "", ""},
	{"a text that is too long", "curl/8.5.0 " + strings.Repeat("x", MaxUserAgent), ""},
}

type fields = map[string]any

// summary puts what agents want to say of a record in one line.
func summary(t *testing.T, record string) string {
	t.Helper()
	var r struct {
		Device, OS fields
		UserAgent  fields `json:"user_agent"`
	}
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		t.Fatalf("%v: %s", err, record)
	}
	version := func(f fields) string {
		s, _ := f["name"].(string)
		if major, ok := f["major"]; ok {
			s += fmt.Sprint(" ", major)
			if minor, ok := f["minor"]; ok {
				s += fmt.Sprint(".", minor)
			}
		}
		return s
	}
	str := func(v any) string { s, _ := v.(string); return s }
	line := fmt.Sprintf("%v %v|%s|%s|%s|%s|%s", r.Device["hwtype"], r.Device["is_touchscreen"], str(r.Device["brand"]), str(r.Device["name"]),
		str(r.Device["model"]), version(r.OS), version(r.UserAgent))
	if r.UserAgent["is_bot"] == true {
		line += fmt.Sprintf(" bot(%v)", r.UserAgent["bot_name"])
	}
	if r.UserAgent["is_downloader"] == true {
		line += " downloader"
	}
	if r.UserAgent["is_feedreader"] == true {
		line += " feedreader"
	}
	// The flags say the same as hwtype, all of them, or none.
	flags := map[string]string{"is_desktop": "Desktop", "is_ereader": "eReader", "is_gameconsole": "Games Console", "is_mediaplayer": "Media Player",
		"is_mobile": "Mobile Phone", "is_smarttv": "TV", "is_tablet": "Tablet", "is_tvplayer": "Set Top Box"}
	for flag, hwtype := range flags {
		v, ok := r.Device[flag]
		if ok != (r.Device["hwtype"] != nil) || ok && v.(bool) != (r.Device["hwtype"] == hwtype) {
			t.Errorf("%s is %v beside %v", flag, v, r.Device["hwtype"])
		}
	}
	identified := r.Device["hwtype"] != nil && r.OS["name"] != nil && r.UserAgent["name"] != nil
	if r.UserAgent["identified"] != identified {
		t.Errorf("identified is %v: %s", r.UserAgent["identified"], record)
	}
	return line
}

func TestRecordsOfKnownPrograms(t *testing.T) {
	var d Detector
	for _, a := range agents {
		for range 2 { // the second from the cache
			record, ok := d.Lookup(a.text)
			if ok != (a.want != "") || ok != (record != "") {
				t.Errorf("%s: %v, %q", a.name, ok, record)
				continue
			}
			if !ok {
				continue
			}
			if got := summary(t, record); got != a.want {
				t.Errorf("%s:\n got %s\nwant %s", a.name, got, a.want)
			}
			var v any
			if err := json.Unmarshal([]byte(record), &v); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil || strings.TrimSpace(b.String()) != record {
				t.Errorf("%s: keys are not sorted: %s", a.name, record)
			}
		}
	}
}

func TestNamesOfPrograms(t *testing.T) {
	var d Detector
	for text, want := range map[string]Agent{
		agents[0].text:                    {"Mobile Safari", "17", "5", ""},
		"curl/8.5.0":                      {"curl", "8", "5", "0"},
		"":                                {Family: "Other"},
		"whoopty":                         {Family: "Other"},
		strings.Repeat("curl/8.5.0", 200): {Family: "Other"},
	} {
		if got := d.Parse(text); got != want {
			t.Errorf("%.40q: %+v, want %+v", text, got, want)
		}
	}
}

// same checks that the words of the expressions leave out none that would have matched.
func same(t *testing.T, text string) {
	t.Helper()
	m := sharedMatcher()
	got := m.parse(text, fold(text))
	// The library keeps answers by text and cannot forget them, but its cache here has one place.
	if want := *m.parser.ParseUserAgent(text); got.agent != want {
		t.Errorf("%q: %+v, want %+v", text, got.agent, want)
	}
	if want := *m.parser.ParseOs(text); got.os != want {
		t.Errorf("%q: %+v, want %+v", text, got.os, want)
	}
	if want := *m.parser.ParseDevice(text); got.device != want {
		t.Errorf("%q: %+v, want %+v", text, got.device, want)
	}
}

func TestAnswersAreThoseOfTheLibrary(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, a := range agents {
		if len(a.text) > MaxUserAgent {
			continue
		}
		same(t, a.text)
		same(t, strings.ToUpper(a.text))
		same(t, strings.ReplaceAll(strings.ReplaceAll(a.text, "k", "\u212a"), "s", "\u017f"))
		for range 3 { // parts of two
			b := agents[random.Intn(len(agents)-1)].text
			same(t, a.text[random.Intn(len(a.text)+1):]+b[:random.Intn(len(b)+1)])
		}
	}
}

func FuzzLookup(f *testing.F) {
	for _, a := range agents {
		f.Add(a.text)
	}
	var d Detector
	f.Fuzz(func(t *testing.T, text string) {
		record, ok := d.Lookup(text)
		if ok && !json.Valid([]byte(record)) {
			t.Errorf("%q: %s", text, record)
		}
		if len(text) <= MaxUserAgent {
			same(t, text)
		}
	})
}

func TestNothingIsLoadedBeforeTheFirstQuestion(t *testing.T) {
	var d Detector
	f := Finder{Detector: &d, Overrides: NewOverrides(&manifest.DeviceDetection{UserAgents: map[string]json.RawMessage{"mine": json.RawMessage(`{"device":{}}`)}})}
	if f.Ready() {
		t.Error("ready before it was asked")
	}
	if record, ok := f.Device("mine"); !ok || record != `{"device":{}}` {
		t.Errorf("%v %s", ok, record)
	}
	if _, ok := f.Device(""); ok || f.Ready() {
		t.Error("an override, or an empty text, has loaded the expressions")
	}
	if _, ok := f.Device("curl/8"); !ok || !f.Ready() {
		t.Error("not ready after it was asked")
	}
}

func TestAFloodOfTextsIsBounded(t *testing.T) {
	var d Detector
	d.Lookup("curl/8")
	cache := d.loaded.Load().cache
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewSource(int64(w)))
			filler := strings.Repeat("x", 900)
			for range 4000 {
				d.Lookup(fmt.Sprint(random.Int63(), filler))
			}
		})
	}
	wg.Wait()
	cache.CleanUp()
	if n := cache.WeightedSize(); n > maxCache || n < maxCache/4 {
		t.Errorf("the cache weighs %d, its bound is %d", n, maxCache)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 100<<20 {
		t.Errorf("the heap has %d MiB", m.HeapAlloc>>20)
	}
}

func TestOverridesComeFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "devices.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"curl/8.5.0": {"device": {"name": "mine"}}}`)
	var d Detector
	f := Finder{Detector: &d, Overrides: NewOverrides(&manifest.DeviceDetection{File: file})}
	var warnings []string
	f.Overrides.OnProblem(func(err error) { warnings = append(warnings, err.Error()) })
	for _, step := range []struct{ text, want string }{
		{"curl/8.5.0", `{"device":{"name":"mine"}}`},
		{"curl/8.5.1", `"is_downloader":true`},
		{"CURL/8.5.0", `"is_downloader":true`}, // not the exact text
	} {
		if got, _ := f.Device(step.text); !strings.Contains(got, step.want) {
			t.Errorf("%s: %s", step.text, got)
		}
	}
	write(`{"curl/8.5.0": {"device": {"name": "changed"}}}`)
	if got, _ := f.Device("curl/8.5.0"); got != `{"device":{"name":"changed"}}` {
		t.Errorf("after a change: %s", got)
	}
	if family, major, minor, patch := f.Program("curl/8.5.0"); family != "curl" || major+minor+patch != "850" {
		t.Errorf("the program is %s %s %s %s", family, major, minor, patch)
	}
	write(`{"curl/8.5.0": 1}`)
	for range 3 {
		if got, _ := f.Device("curl/8.5.0"); got != `{"device":{"name":"changed"}}` {
			t.Errorf("after a bad change: %s", got)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], file+":1:") {
		t.Errorf("warnings %q", warnings)
	}
	if family, _, _, _ := new(Finder).Program("curl/8"); family != "Other" || !new(Finder).Ready() {
		t.Error("the zero Finder")
	}
}

var sink string

func BenchmarkLookup(b *testing.B) {
	var d Detector
	b.Run("hit", func(b *testing.B) {
		d.Lookup(agents[0].text)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				d.Lookup(agents[0].text)
			}
		})
	})
	m := sharedMatcher()
	for _, i := range []int{0, 3, 7, 9, 19, 20} {
		b.Run("miss "+agents[i].name, func(b *testing.B) {
			for b.Loop() {
				sink = m.answer(agents[i].text).record
			}
		})
	}
	random := make([]byte, MaxUserAgent)
	for i := range random {
		random[i] = byte(32 + rand.Intn(95))
	}
	// As many words as a text can hold: what the words can be made to cost.
	words := ""
	for _, list := range m.devic.words {
		for _, w := range list {
			if len(words)+len(w.text)+2 <= MaxUserAgent {
				words += "; " + w.text
			}
		}
	}
	for name, text := range map[string]string{"random bytes": string(random), "words": words,
		"a prefix over and over": strings.Repeat("Mozilla/5.0 (Linux; Android 10; ", 32)} {
		b.Run("miss "+name, func(b *testing.B) {
			for b.Loop() {
				sink = m.answer(text).record
			}
		})
	}
}
