package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/kvstore"
)

// storesManifest seeds everything that js/stores asks for.
const storesManifest = `manifest_version = 3
[local_server]
acls.office = "acl.json"
kv_stores.empty = []
kv_stores.shop = [{ key = "a", data = "first", metadata = "meta" }, { key = "dir/b", data = '{"n":1}' }]
secret_stores.vault = [{ key = "word", data = "open sésame" }]
config_stores.settings.format = "inline-toml"
config_stores.settings.contents = { greeting = "grüezi", empty = "" }
geolocation.format = "inline-toml"
geolocation.addresses."203.0.113.9" = { city = "Basel", country_code = "CH", latitude = 47.5, as_number = 64500 }
device_detection.format = "inline-toml"
[local_server.device_detection.user_agents."Walkman/1"]
device = { name = "Walkman", brand = "Sony", model = "TPS-L2", hwtype = "Media Player", is_mediaplayer = true, is_mobile = false }
`

const storesACL = `{"entries":[{"op":"create","prefix":"10.0.0.0/8","action":"ALLOW"},{"op":"create","prefix":"10.1.0.0/16","action":"BLOCK"},
{"op":"create","prefix":"2001:db8::/32","action":"BLOCK"}]}`

// loadStores serves js/stores with stores seeded from a manifest.
func loadStores(t *testing.T, h *testHost) (url string, shop kvstore.Store) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"fastly.toml": storesManifest, "acl.json": storesACL} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := manifest.Load(filepath.Join(dir, "fastly.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var cfg ServiceConfig
	if err := cfg.UseManifest(m); err != nil {
		t.Fatal(err)
	}
	shop, err = cfg.KVStores.Open(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + listen(t, load(t, h, "js/stores", cfg), nil), shop
}

func TestJavaScriptUsesStoresAndLookups(t *testing.T) {
	long := func(n int) string { return strings.Repeat("k", n) }
	threw := func(s string) string { return "\x00" + s } // a part of what it threw
	const found = `{"value":"val€","used":[false,true],"metadata":"m€","bytes":[109,226,130,172]}`
	const bare = `"metadata":null,"bytes":null}`
	const refused, unmet, absent = "Invalid argument", "Precondition failed", "Not found"
	put := func(rest string) string { return `{"do":"kv.put","store":"shop","key":` + rest + `}` }
	get := func(rest string) string { return `{"do":"kv.get","store":"shop","key":` + rest + `}` }
	list := func(rest string) string { return `{"do":"kv.list","store":"shop"` + rest + `}` }
	steps := [][2]string{
		// What the manifest seeds, read in each way.
		{get(`"a"`), `{"value":"first","used":[false,true],"metadata":"meta","bytes":[109,101,116,97]}`},
		{get(`"dir/b","as":"json"`), `{"value":{"n":1},"used":[false,true],` + bare},
		{get(`"dir/b","as":"bytes"`), `{"value":[123,34,110,34,58,49,125],"used":[false,true],` + bare},
		{get(`"dir/b","as":"stream"`), `{"value":"{\"n\":1}","used":[false,false],` + bare},
		{get(`"nothing"`), `null`},
		{`{"do":"kv.twice","store":"shop","key":"a"}`, threw("Body has already been consumed")},
		// Values and metadata in each form.
		{put(`"f","value":"val€","metadata":"m€"`), `"stored"`}, {get(`"f"`), found},
		{put(`"f","value":"val€","form":"buffer","metadata":"m€","metadataForm":"buffer"`), `"stored"`}, {get(`"f"`), found},
		{put(`"f","value":"val€","form":"view","metadata":"m€","metadataForm":"view"`), `"stored"`}, {get(`"f"`), found},
		{put(`"f","value":"val€","form":"response"`), `"stored"`}, {get(`"f"`), `{"value":"val€","used":[false,true],` + bare},
		{put(`"f","value":"€","form":"parameters"`), `"stored"`}, {get(`"f"`), `{"value":"value=%E2%82%AC","used":[false,true],` + bare},
		{put(`"e","value":"","metadata":"` + strings.Repeat("m", 2000) + `"`), `"stored"`},
		{put(`"e","value":"","metadata":"` + strings.Repeat("m", 2001) + `"`), threw(refused)},
		{put(`"e","value":"","metadata":""`), threw(refused)},
		// Modes, time to live, generations.
		{put(`"m","value":"b","mode":"add"`), `"stored"`}, {put(`"m","value":"x","mode":"add"`), threw(unmet)},
		{put(`"m","value":"c","mode":"append"`), `"stored"`}, {put(`"m","value":"a","mode":"prepend"`), `"stored"`},
		{get(`"m"`), `{"value":"abc","used":[false,true],` + bare},
		{put(`"m","value":"z","mode":"overwrite","ttl":1000`), `"stored"`}, {put(`"m","value":"x","ttl":0`), threw(refused)},
		{put(`"m","value":"x","ttl":-1`), threw("negative")},
		{put(`"m","value":"x","gen":1`), threw(unmet)}, {put(`"new","value":"x","gen":5`), threw(unmet)},
		{put(`"m","value":"y","gen":GENERATION`), `"stored"`}, {put(`"m","value":"x","gen":0`), threw("gen")},
		{get(`"m"`), `{"value":"y","used":[false,true],` + bare},
		{`{"do":"kv.delete","store":"shop","key":"e"}`, `"deleted"`}, {`{"do":"kv.delete","store":"shop","key":"e"}`, threw(absent)},
		// Keys and stores that are none. What the SDK lets pass, the host refuses.
		{put(`"` + long(1024) + `","value":"v"`), `"stored"`}, {put(`"` + long(1025) + `","value":"v"`), threw("1024")},
		{put(`"a/../b","value":"v"`), threw(refused)}, {get(`"a/../b"`), threw(refused)},
		{`{"do":"kv.delete","store":"shop","key":"a./b"}`, threw(refused)}, {get(`""`), threw("empty")},
		{`{"do":"kv.delete","store":"shop","key":"` + long(1024) + `"}`, `"deleted"`},
		{`{"do":"kv.get","store":"nowhere","key":"k"}`, threw("No KVStore named 'nowhere' exists")},
		// Lists.
		{`{"do":"kv.list","store":"empty"}`, `{"list":[]}`},
		{list(``), `{"list":["a","dir/b","f","m"]}`}, {list(`,"prefix":"dir/"`), `{"list":["dir/b"]}`},
		{list(`,"limit":9,"noSync":true,"prefix":"m"`), `{"list":["m"]}`},
		{list(`,"prefix":""`), threw(refused)}, {list(`,"cursor":""`), threw(refused)}, {list(`,"cursor":"nonsense"`), threw("Bad request")},
		{`{"do":"kv.many","store":"empty","n":200}`, `[100,100]`},
		{`{"do":"kv.walk","store":"empty","limit":30,"prefix":"many/"}`, `[30,30,30,10]`},
		{`{"do":"kv.walk","store":"empty","limit":60,"noSync":true}`, `[60,40]`},
		// Secrets.
		{`{"do":"secret.get","store":"vault","key":"word"}`, `["open sésame",[111,112,101,110,32,115,195,169,115,97,109,101]]`},
		{`{"do":"secret.get","store":"vault","key":"none"}`, `null`},
		{`{"do":"secret.get","store":"nowhere","key":"k"}`, threw("No SecretStore named 'nowhere' exists")},
		{`{"do":"secret.own","bytes":[104,105]}`, `["hi",[104,105]]`}, {`{"do":"secret.own","bytes":[104],"view":true}`, `["h",[104]]`},
		{`{"do":"secret.own","bytes":[]}`, `["",[]]`},
		// Access control lists.
		{`{"do":"acl.lookup","acl":"office","ip":"10.0.0.1"}`, `{"prefix":"10.0.0.0/8","action":"ALLOW"}`},
		{`{"do":"acl.lookup","acl":"office","ip":"10.1.2.3"}`, `{"prefix":"10.1.0.0/16","action":"BLOCK"}`},
		{`{"do":"acl.lookup","acl":"office","ip":"2001:db8::1"}`, `{"prefix":"2001:db8::/32","action":"BLOCK"}`},
		{`{"do":"acl.lookup","acl":"office","ip":"192.0.2.1"}`, `null`},
		{`{"do":"acl.lookup","acl":"office","ip":"nonsense"}`, threw("Invalid address")},
		{`{"do":"acl.lookup","acl":"nowhere","ip":"10.0.0.1"}`, threw(`"nowhere" acl not found`)},
		// Rates and penalties.
		{`{"do":"rate.increment","counter":"c","entry":"e","delta":120}`, `"counted"`},
		{`{"do":"rate.rate","counter":"c","entry":"e","window":60}`, `2`}, {`{"do":"rate.rate","counter":"c","entry":"e","window":10}`, `12`},
		{`{"do":"rate.rate","counter":"c","entry":"other","window":1}`, `0`}, {`{"do":"rate.rate","counter":"c","entry":"e","window":2}`, threw("window")},
		{`{"do":"rate.count","counter":"c","entry":"e","duration":60}`, `120`}, {`{"do":"rate.count","counter":"c","entry":"e","duration":15}`, threw("duration")},
		{`{"do":"box.has","box":"b","entry":"e"}`, `false`}, {`{"do":"box.add","box":"b","entry":"e","ttl":1}`, `"added"`},
		{`{"do":"box.has","box":"b","entry":"e"}`, `true`}, {`{"do":"box.add","box":"b","entry":"e","ttl":0}`, threw("timeToLive")},
		{`{"do":"rate.check","counter":"c2","box":"b2","entry":"e","delta":100,"window":60,"limit":10,"ttl":1}`, `false`},
		{`{"do":"rate.check","counter":"c2","box":"b2","entry":"e","delta":1000,"window":60,"limit":10,"ttl":1}`, `true`},
		{`{"do":"box.has","box":"b2","entry":"e"}`, `true`},
		// Where an address is, and what a client is.
		{`{"do":"geo","ip":"203.0.113.9"}`, `{"as_number":64500,"city":"Basel","country_code":"CH","latitude":47.5}`},
		{`{"do":"geo","ip":"192.0.2.1"}`, `null`}, {`{"do":"geo","ip":"nonsense"}`, threw("Invalid address")},
		{`{"do":"device","agent":"unknown thing"}`, `null`}, {`{"do":"device","agent":""}`, threw("empty")},
	}
	for _, kind := range []string{"config", "dictionary"} {
		named := map[string]string{"config": "ConfigStore", "dictionary": "Dictionary"}[kind]
		ask := func(store, key string) string {
			return fmt.Sprintf(`{"do":"%s.get","store":%q,"key":%q}`, kind, store, key)
		}
		steps = append(steps, [2]string{ask("settings", "greeting"), `"grüezi"`}, [2]string{ask("settings", "empty"), `""`},
			[2]string{ask("settings", "none"), `null`}, [2]string{ask("settings", long(256)), threw("255")},
			[2]string{ask("nowhere", "k"), threw("No " + named + " named 'nowhere' exists")})
	}
	device := map[string]any{"name": "Walkman", "brand": "Sony", "model": "TPS-L2", "hardwareType": "Media Player", "isMediaPlayer": true, "isMobile": false,
		"isDesktop": nil, "isGameConsole": nil, "isSmartTV": nil, "isTablet": nil, "isTouchscreen": nil, "isBot": nil}
	eachEngine(t, func(t *testing.T, h *testHost) {
		url, shop := loadStores(t, h)
		ask := func(step string) (is any, threw string) {
			a := send(t, "POST", url+"/", strings.NewReader(step))
			var got struct {
				Is    any
				Threw string
			}
			if err := json.Unmarshal([]byte(a.body), &got); err != nil {
				t.Errorf("%.100s: %d %q, %v", step, a.StatusCode, a.body, err)
			}
			return got.Is, got.Threw
		}
		for _, step := range steps {
			if strings.Contains(step[0], "GENERATION") {
				v, err := shop.Lookup(t.Context(), "m")
				if err != nil {
					t.Fatal(err)
				}
				v.Body.Close()
				step[0] = strings.Replace(step[0], "GENERATION", fmt.Sprint(v.Generation), 1)
			}
			if strings.Contains(step[0], `"form":"response"`) {
				// The SDK does not wait until a stream is stored.
				if is, _ := ask(step[0]); is != "stored" {
					t.Errorf("%s: %v", step[0], is)
				}
				waitFor(t, func() bool {
					v, err := shop.Lookup(t.Context(), "f")
					return err == nil && v.Metadata == nil && v.Body.Close() == nil
				})
				continue
			}
			is, got := ask(step[0])
			if want, isError := strings.CutPrefix(step[1], "\x00"); isError {
				if is != nil || got == "" || !strings.Contains(got, want) {
					t.Errorf("%.100s: is %v, threw %q, want %q", step[0], is, got, want)
				}
				continue
			}
			var want any
			if err := json.Unmarshal([]byte(step[1]), &want); err != nil {
				t.Fatalf("%s: %v", step[1], err)
			}
			if d := cmp.Diff(want, is); d != "" || got != "" {
				t.Errorf("%.100s: threw %q, %s", step[0], got, d)
			}
		}
		is, _ := ask(`{"do":"geo","ip":"127.0.0.1"}`)
		if m, _ := is.(map[string]any); m["country_code"] != "US" || m["utc_offset"] != -700.0 || len(m) != 18 {
			t.Errorf("the loopback address: %v", is)
		}
		is, _ = ask(`{"do":"device","agent":"Walkman/1"}`)
		got, _ := is.(map[string]any)
		if d := cmp.Diff(any(device), got["json"]); d != "" {
			t.Errorf("device: %s", d)
		}
		delete(got, "json")
		if d := cmp.Diff(device, got); d != "" {
			t.Errorf("device: %s", d)
		}
	})
}

func TestJavaScriptStreamsValues(t *testing.T) {
	const size = 20 << 20
	want, _ := io.ReadAll(&pattern{n: size})
	eachEngine(t, func(t *testing.T, h *testHost) {
		url, shop := loadStores(t, h)
		whole := func(key string) func() bool {
			return func() bool {
				v, err := shop.Lookup(t.Context(), key)
				if err != nil {
					return false
				}
				defer v.Body.Close()
				return v.Body.Size() == size
			}
		}
		// The SDK does not wait until a stream is stored: the guest has ended long before the client has sent it.
		for key, body := range map[string]io.Reader{"whole": bytes.NewReader(want), "pieces": &pattern{n: size}} {
			if a := send(t, "PUT", url+"/kv/shop/"+key, body); a.StatusCode != 200 || a.body != "stored" {
				t.Errorf("%s: %d %q", key, a.StatusCode, a.body)
			}
			waitFor(t, whole(key))
		}
		if a := send(t, "COPY", url+"/kv/shop/pieces?to=copy", nil); a.body != "copied" {
			t.Errorf("copy: %d %q", a.StatusCode, a.body)
		}
		waitFor(t, whole("copy"))
		for _, key := range []string{"whole", "pieces", "copy"} {
			if a := get(t, url+"/kv/shop/"+key); a.body != string(want) || a.ContentLength != size || a.err != nil {
				t.Errorf("%s: %d with %d bytes, %v", key, a.StatusCode, len(a.body), a.err)
			}
		}
		if a := get(t, url+"/kv/shop/a"); a.body != "first" || a.Header.Get("Metadata") != "meta" {
			t.Errorf("a: %q %v", a.body, a.Header)
		}
	})
}
