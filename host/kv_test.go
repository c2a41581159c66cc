package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/kvstore"
	"github.com/edgewasm/wasmedge/kvstore/bolt"
	"github.com/edgewasm/wasmedge/kvstore/memory"
)

// kvDrivers open the drivers that need no server.
var kvDrivers = map[string]func(t testing.TB) kvstore.Stores{
	"memory": func(t testing.TB) kvstore.Stores { return memory.New(memory.Options{}) },
	"bolt": func(t testing.TB) kvstore.Stores {
		stores, err := bolt.Open(filepath.Join(t.TempDir(), "kv.db"), bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return stores
	},
}

// kvShop makes a driver's stores with the store "shop".
func kvShop(t testing.TB, driver string) (kvstore.Stores, kvstore.Store) {
	stores := kvDrivers[driver](t)
	t.Cleanup(func() { stores.Close() })
	shop, err := stores.Create(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return stores, shop
}

// eachDriver runs a test with a guest that uses each driver on each engine.
func eachDriver(t *testing.T, test func(t *testing.T, s *Service, shop kvstore.Store)) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for driver := range kvDrivers {
			t.Run(driver, func(t *testing.T) {
				stores, shop := kvShop(t, driver)
				test(t, load(t, h, "rust/kv", ServiceConfig{KVStores: stores}), shop)
			})
		}
	})
}

// send sends a request with a body and reads the answer.
func send(t testing.TB, method, url string, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, plainClient, req)
}

func TestGuestsUseKVStores(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		generation := ""
		for _, step := range []struct {
			method, path, body string
			status             int
			answer             string // "" for any
			metadata           string
		}{
			{"GET", "/item/k", "", 404, "KV Store item not found", ""},
			{"DELETE", "/item/k", "", 404, "KV Store item not found", ""},
			{"GET", "/item/k?store=nowhere", "", 404, `KV Store "nowhere" not found`, ""},
			{"PUT", "/item/k?mode=add", "b", 200, "stored", ""},
			{"PUT", "/item/k?mode=add", "x", 412, "KV Store item precondition failed", ""},
			{"PUT", "/item/k?mode=append", "c", 200, "stored", ""},
			{"PUT", "/item/k?mode=prepend&background=1", "a", 200, "stored", ""},
			{"GET", "/item/k", "", 200, "abc", ""},
			{"PUT", "/item/k?metadata=of-m", "v", 200, "stored", ""},
			{"GET", "/item/k", "", 200, "v", "of-m"},
			{"PUT", "/item/k?generation=7", "x", 412, "KV Store item precondition failed", ""},
			{"PUT", "/item/k?generation=CURRENT", "w", 200, "stored", ""},
			{"PUT", "/item/k?generation=CURRENT", "x", 412, "KV Store item precondition failed", ""},
			{"GET", "/item/k", "", 200, "w", ""},
			{"PUT", "/item/k?metadata=" + strings.Repeat("m", 2000), "", 200, "stored", ""},
			{"GET", "/item/k", "", 200, "", strings.Repeat("m", 2000)},
			{"PUT", "/item/k?metadata=" + strings.Repeat("m", 2001), "x", 400, "KV Store item request was bad", ""},
			{"PUT", "/item/k?ttl=0", "x", 400, "KV Store item request was bad", ""},
			{"PUT", "/item/a%23b", "x", 200, "stored", ""}, // the guest sees the path as it was sent
			{"PUT", "/item/" + strings.Repeat("k", 1024), "long", 200, "stored", ""},
			{"GET", "/item/" + strings.Repeat("k", 1024), "", 200, "long", ""},
			{"PUT", "/item/" + strings.Repeat("k", 1025), "x", 400, "KV Store item request was bad", ""},
			{"PUT", "/item/", "x", 400, "KV Store item request was bad", ""},
			{"GET", "/copy/" + strings.Repeat("k", 1024) + "?to=copy", "", 200, "copied", ""},
			{"GET", "/item/copy", "", 200, "<long>", ""},
			{"DELETE", "/item/k", "", 200, "deleted", ""},
			{"GET", "/item/k", "", 404, "KV Store item not found", ""},
			{"GET", "/async?n=5", "", 200, "4 3 2 1 0 of 5", ""},
			{"GET", "/select", "", 200, "[0, 0, 0, 0, 0] value true", ""},
			{"GET", "/legacy/l", "", 200, "2 0 0 nothing 0 0 first 0 0 0 0 second 0 0 0 10 3 0 0 nothing", ""},
			{"GET", "/list?cursor=nonsense", "", 400, "KV Store item request was bad", ""},
		} {
			path := strings.Replace(step.path, "CURRENT", generation, 1)
			a := send(t, step.method, base+path, strings.NewReader(step.body))
			if a.StatusCode != step.status || step.answer != "" && a.body != step.answer || a.Header.Get("metadata") != step.metadata {
				t.Errorf("%s %.80s: %d %q, metadata %q", step.method, path, a.StatusCode, a.body, a.Header.Get("metadata"))
			}
			if g := a.Header.Get("generation"); g != "" {
				generation = g
			}
		}
		if st := s.Stats().KV; st.Inserts != 20 || st.Deletes != 9 || st.Lookups != 19 || st.Lists != 3 || st.Failures != 0 || st.LeftBehind != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

func TestKeysExpireForGuests(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		begin := time.Now()
		send(t, "PUT", base+"/item/short?ttl=1", strings.NewReader("v"))
		send(t, "PUT", base+"/item/long?ttl=1000", strings.NewReader("v"))
		if a := get(t, base+"/item/short"); a.StatusCode != 200 && time.Since(begin) < time.Second {
			t.Errorf("at once: %d %s", a.StatusCode, a.body)
		}
		time.Sleep(time.Until(begin.Add(1500 * time.Millisecond)))
		if a := get(t, base+"/item/short"); a.StatusCode != 404 {
			t.Errorf("after its time: %d %s", a.StatusCode, a.body)
		}
		if a := get(t, base+"/list"); a.body != "long" {
			t.Errorf("listed: %s", a.body)
		}
		if v, err := shop.Lookup(t.Context(), "long"); err != nil || time.Until(v.Expires).Round(100*time.Second) != 1000*time.Second {
			t.Errorf("expires %v, %v", v.Expires, err)
		}
	})
}

func TestGuestsListKVStores(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		if a := get(t, base+"/pages"); a.StatusCode != 200 || a.body != "" {
			t.Errorf("an empty store: %d %q", a.StatusCode, a.body)
		}
		if a := get(t, base+"/fill?n=2345"); a.body != "2345" {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		send(t, "PUT", base+"/item/another", strings.NewReader("v"))
		for query, want := range map[string]string{
			"":                                  "1000 1000 346 ",
			"?prefix=key/":                      "1000 1000 345 ",
			"?prefix=key/&eventual=1&limit=999": "999 999 347 ",
			"?prefix=key/012&limit=30":          "30 30 30 10 ",
			"?prefix=nothing":                   "",
			"?limit=100000":                     "1000 1000 346 ",
		} {
			if a := get(t, base+"/pages"+query); a.StatusCode != 200 || a.body != want {
				t.Errorf("pages%s: %d %q, want %q", query, a.StatusCode, a.body, want)
			}
		}
		first := get(t, base+"/list?limit=2&eventual=1&prefix=key/")
		if h := first.Header; first.body != "key/00000\nkey/00001" || h.Get("limit") != "2" || h.Get("prefix") != "key/" || h.Get("eventual") != "true" {
			t.Errorf("first page: %q %v", first.body, h)
		}
		second := get(t, base+"/list?limit=2&prefix=key/&cursor="+url.QueryEscape(first.Header.Get("cursor")))
		if h := second.Header; second.body != "key/00002\nkey/00003" || h.Get("eventual") != "false" {
			t.Errorf("second page: %q %v", second.body, h)
		}
	})
}

// pattern gives n bytes that differ everywhere.
type pattern struct{ at, n int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.n-p.at)]
	for i := range b {
		at := p.at + int64(i)
		b[i] = byte(at ^ at>>8 ^ at>>16)
	}
	p.at += int64(len(b))
	return len(b), nil
}

func TestLargeValuesStreamBothWays(t *testing.T) {
	const size = 20 << 20
	sum := sha256.New()
	io.Copy(sum, &pattern{n: size})
	want := sum.Sum(nil)
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		for _, way := range []struct {
			name string
			body io.Reader
		}{{"with a length", io.NopCloser(&pattern{n: size})}, {"in chunks", &pattern{n: size}}} {
			req, _ := http.NewRequestWithContext(t.Context(), "PUT", base+"/item/large", way.body)
			if way.name == "with a length" {
				req.ContentLength = size
			}
			if a := fetch(t, plainClient, req); a.StatusCode != 200 {
				t.Fatalf("%s: %d %s", way.name, a.StatusCode, a.body)
			}
			resp, err := plainClient.Get(base + "/item/large")
			if err != nil {
				t.Fatal(err)
			}
			sum.Reset()
			n, err := io.Copy(sum, resp.Body)
			resp.Body.Close()
			if n != size || err != nil || !bytes.Equal(sum.Sum(nil), want) || resp.ContentLength != size {
				t.Errorf("%s: %d of %d bytes came back, %v", way.name, n, resp.ContentLength, err)
			}
		}
		for name, body := range map[string]io.Reader{"a known length": bytes.NewReader(make([]byte, kvstore.DefaultMaxValue+1)), "an unknown length": &pattern{n: kvstore.DefaultMaxValue + 1}} {
			if a := send(t, "PUT", base+"/item/large", body); a.StatusCode != 413 {
				t.Errorf("too large, of %s: %d %s", name, a.StatusCode, a.body)
			}
		}
		if v, err := shop.Lookup(t.Context(), "large"); err != nil || v.Body.Size() != size {
			t.Errorf("then it is %v", err)
		} else {
			v.Body.Close()
		}
		if st := s.Stats().KV; st.BytesRead != 2*size || st.BytesWritten != 2*size {
			t.Errorf("counted %+v", st)
		}
	})
}

// The value is stored piece by piece while the client sends it, and not at all when the client gives up.
func TestValuesAreStoredWhileTheyArrive(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		r, w := io.Pipe()
		done := make(chan answer)
		go func() { done <- send(t, "PUT", base+"/item/k", r) }()
		for range 8 {
			io.CopyN(w, &pattern{n: 1 << 20}, 1<<20)
		}
		if _, err := shop.Lookup(t.Context(), "k"); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("before it has come: %v", err)
		}
		w.Close()
		if a := <-done; a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if v, err := shop.Lookup(t.Context(), "k"); err != nil || v.Body.Size() != 8<<20 {
			t.Errorf("afterwards: %v", err)
		} else {
			v.Body.Close()
		}

		ctx, cancel := context.WithCancel(t.Context())
		r, w = io.Pipe()
		req, _ := http.NewRequestWithContext(ctx, "PUT", base+"/item/broken", r)
		failed := make(chan error)
		go func() {
			_, err := plainClient.Do(req)
			failed <- err
		}()
		io.CopyN(w, &pattern{n: 1 << 20}, 1<<20)
		cancel()
		w.CloseWithError(context.Canceled) // the client waits for its reading to end
		if err := <-failed; err == nil {
			t.Error("the request that was cancelled was answered")
		}
		for range 200 {
			if s.Stats().Sandboxes.InUse == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := shop.Lookup(t.Context(), "broken"); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("what came in part: %v", err)
		}
	})
}

func TestGuestsStoreWhatOriginsAnswer(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, &pattern{n: 3 << 20}) }))
	defer origin.Close()
	eachEngine(t, func(t *testing.T, h *testHost) {
		stores, shop := kvShop(t, "bolt")
		s := load(t, h, "rust/kv", ServiceConfig{KVStores: stores, Backends: []backend.Config{backendAt("origin", origin.Listener.Addr())}})
		base := "http://" + listen(t, s, nil)
		if a := get(t, base+"/fetch/k"); a.body != "stored" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if v, err := shop.Lookup(t.Context(), "k"); err != nil || v.Body.Size() != 3<<20 {
			t.Errorf("%v", err)
		} else {
			v.Body.Close()
		}
	})
}

func TestWritesThatGuestsLeaveBehindAreDone(t *testing.T) {
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		const n = 20
		for i := range n {
			if a := send(t, "PUT", fmt.Sprintf("%s/leave/%d", base, i), strings.NewReader("v")); a.body != "under way" {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		}
		s.Close(t.Context())
		for i := range n {
			if _, err := shop.Lookup(t.Context(), fmt.Sprint(i)); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		if st := s.kvUse.Stats(); st.GivenUp != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

// A program that does not wait for a write may be done long before the client has sent the value.
// sendToTheEnd sends a body whole, whatever the server answers meanwhile. net/http's client gives up 50 ms after a response that
// comes early.
func sendToTheEnd(t *testing.T, base, path string, body io.Reader, size int64) (answer string) {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answered := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(nc)
		answered <- string(b)
	}()
	fmt.Fprintf(nc, "PUT %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", path, size)
	if _, err := io.CopyN(nc, body, size); err != nil {
		t.Errorf("the server does not take the body: %v", err)
	}
	return <-answered
}

func TestClientsBodiesAreStoredForGuestsThatHaveEnded(t *testing.T) {
	const size = 8 << 20
	eachDriver(t, func(t *testing.T, s *Service, shop kvstore.Store) {
		base := "http://" + listen(t, s, nil)
		for i, body := range []io.Reader{&pattern{n: size}, bytes.NewReader(make([]byte, size))} {
			key := fmt.Sprint(i)
			if answer := sendToTheEnd(t, base, "/leave/"+key, body, size); !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(answer, "under way") {
				t.Errorf("%s: %s", key, answer)
			}
			waitFor(t, func() bool {
				v, err := shop.Lookup(t.Context(), key)
				if err != nil {
					return false
				}
				defer v.Body.Close()
				return v.Body.Size() == size
			})
		}

		// What the client does not send to its end is not stored, and holds nothing up.
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "PUT", base+"/leave/broken", r)
		go func() {
			io.CopyN(w, &pattern{n: 1 << 20}, 1<<20)
			cancel()
			w.CloseWithError(context.Canceled)
		}()
		if resp, err := plainClient.Do(req); err == nil {
			resp.Body.Close()
		}
		<-ctx.Done()
		begin := time.Now()
		s.Close(t.Context())
		if d := time.Since(begin); d > 8*time.Second {
			t.Errorf("the service took %s to close", d)
		}
		if _, err := shop.Lookup(t.Context(), "broken"); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("what came in part: %v", err)
		}
	})
}

func TestKVOperationsAreLimited(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		stores, _ := kvShop(t, "memory")
		s := load(t, h, "rust/kv", ServiceConfig{Name: "limited", KVStores: stores, Limits: Limits{KVOperations: 100}})
		base := "http://" + listen(t, s, nil)
		if a := get(t, base+"/fill?n=100"); a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if a := get(t, base+"/fill?n=101"); a.StatusCode != 500 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		h.logged(t, "Limits.KVOperations")
	})
}

func TestManifestSeedsKVStores(t *testing.T) {
	parse := func(t *testing.T, text string) *manifest.Manifest {
		m, err := manifest.Parse("edge.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const text = `manifest_version = 3
[local_server.kv_stores]
empty = []
shop = [{ key = "a", data = "1", metadata = "m" }, { key = "b", data = "2" }]
`
	lookup := func(t *testing.T, stores kvstore.Stores, key string) string {
		shop, err := stores.Open(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		v, err := shop.Lookup(t.Context(), key)
		if err != nil {
			return err.Error()
		}
		b, _ := io.ReadAll(v.Body)
		v.Body.Close()
		return string(b) + " " + string(v.Metadata)
	}
	t.Run("in memory", func(t *testing.T) {
		var cfg ServiceConfig
		if err := cfg.UseManifest(parse(t, text)); err != nil {
			t.Fatal(err)
		}
		if a, b := lookup(t, cfg.KVStores, "a"), lookup(t, cfg.KVStores, "b"); a != "1 m" || b != "2 " {
			t.Errorf("found %q, %q", a, b)
		}
		if names, err := cfg.KVStores.Names(t.Context()); err != nil || fmt.Sprint(names) != "[empty shop]" {
			t.Errorf("stores %v, %v", names, err)
		}
	})
	t.Run("what is there stays", func(t *testing.T) {
		stores, shop := kvShop(t, "bolt")
		shop.Insert(t.Context(), "a", strings.NewReader("changed"), kvstore.InsertOptions{})
		shop.Insert(t.Context(), "c", strings.NewReader("3"), kvstore.InsertOptions{})
		cfg := ServiceConfig{KVStores: stores}
		if err := cfg.UseManifest(parse(t, text)); err != nil {
			t.Fatal(err)
		}
		if a, b, c := lookup(t, stores, "a"), lookup(t, stores, "b"), lookup(t, stores, "c"); a != "changed " || b != "2 " || c != "3 " {
			t.Errorf("found %q, %q, %q", a, b, c)
		}
	})
	t.Run("too large", func(t *testing.T) {
		var cfg ServiceConfig
		m := parse(t, text)
		m.LocalServer.KVStores[1].Items[1].Value = make([]byte, kvstore.DefaultMaxValue+1)
		err := cfg.UseManifest(m)
		if !errors.Is(err, kvstore.ErrTooLarge) || !strings.HasPrefix(err.Error(), `edge.toml:4: KV store "shop": key "b": `) {
			t.Errorf("the error is %v", err)
		}
	})
}

// BenchmarkKVLookup is a guest's lookup of a small value and the wait for it, by the SDK, inside requests that do a
// thousand of them.
func BenchmarkKVLookup(b *testing.B) {
	for _, engineName := range Engines() {
		for driver := range kvDrivers {
			b.Run(engineName+"/"+driver, func(b *testing.B) {
				h := openHost(b, engineName)
				stores, shop := kvShop(b, driver)
				if _, err := shop.Insert(b.Context(), "key", strings.NewReader("a small value"), kvstore.InsertOptions{}); err != nil {
					b.Fatal(err)
				}
				s := load(b, h, "rust/kv", ServiceConfig{KVStores: stores})
				const each = 1000
				r := httptest.NewRequest("GET", fmt.Sprintf("http://x.example/gets/key?n=%d", each), nil)
				for b.Loop() {
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					if w.Code != 200 {
						b.Fatal(w.Code, w.Body)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/get")
			})
		}
	}
}
