package host

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/acl"
	"github.com/edgewasm/wasmedge/host/manifest"
	"github.com/edgewasm/wasmedge/host/ratelimit"
	"github.com/edgewasm/wasmedge/host/telemetry"
)

func TestGuestLooksUpACLs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "office.json")
	if err := os.WriteFile(file, []byte(`{ "entries": [
		{ "op": "create", "prefix": "10.0.0.0/8", "action": "BLOCK" },
		{ "op": "update", "prefix": "10.1.2.3/16", "action": "allow" },
		{ "op": "create", "prefix": "127.0.0.1/32", "action": "loopback" },
		{ "prefix": "2001:db8::/32", "action": "ALLOW" },
		{ "prefix": "2001:db8::/32", "action": "BLOCK" } ]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(filepath.Join(dir, "fastly.toml"), []byte("[local_server]\nacls.office = \"office.json\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		var cfg ServiceConfig
		if err := cfg.UseManifest(m); err != nil {
			t.Fatal(err)
		}
		url := "http://" + listen(t, load(t, h, "rust/limits", cfg), nil)
		for _, tt := range []struct {
			path   string
			status int
			want   string
		}{
			{"/acl/office?ip=10.2.3.4", 200, "10.0.0.0/8 may not come"},
			{"/acl/office?ip=10.1.0.1", 200, "10.1.0.0/16 may come"},
			{"/acl/office?ip=2001:db8::1", 200, "2001:db8::/32 may not come"},
			{"/acl/office?ip=::ffff:10.1.0.1", 200, "no match"},
			{"/acl/office?ip=192.0.2.1", 200, "no match"},
			{"/acl/office", 200, "127.0.0.1/32 loopback"},
			{"/acl/home?ip=10.1.0.1", 404, "no such ACL"},
		} {
			if a := get(t, url+tt.path); a.StatusCode != tt.status || a.body != tt.want+"\n" {
				t.Errorf("%s: %d %q, want %d %q", tt.path, a.StatusCode, a.body, tt.status, tt.want)
			}
		}
	})
}

// What is in a directory can change while guests run.
func TestGuestSeesUpdatesOfACLFiles(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		path := t.TempDir()
		lists, err := acl.OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		url := "http://" + listen(t, load(t, h, "rust/limits", ServiceConfig{ACLs: lists}), nil) + "/acl/clients?ip=192.0.2.1"
		want := func(status int, text string) {
			t.Helper()
			if a := get(t, url); a.StatusCode != status || !strings.Contains(a.body, text) {
				t.Errorf("%d %q, want %d %q", a.StatusCode, a.body, status, text)
			}
		}
		want(404, "no such ACL")
		theirs, err := acl.OpenDir(path) // another process
		if err != nil {
			t.Fatal(err)
		}
		info, err := theirs.Create("clients")
		if err != nil {
			t.Fatal(err)
		}
		want(200, "no match")
		for _, action := range []string{"ALLOW", "slow", "BLOCK"} {
			op := acl.Op{Kind: acl.Update, Entry: acl.Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Action: action}}
			if _, err := theirs.Update(info.ID, []acl.Op{op}); err != nil {
				t.Fatal(err)
			}
			want(200, map[string]string{"ALLOW": "192.0.2.0/24 may come", "slow": "192.0.2.0/24 slow", "BLOCK": "192.0.2.0/24 may not"}[action])
		}
		if err := os.WriteFile(filepath.Join(path, info.ID+".acl.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		want(400, "Unexpected")
		h.logged(t, "ACL cannot be opened")
		if err := theirs.Delete(info.ID); err != nil {
			t.Fatal(err)
		}
		want(404, "no such ACL")
	})
}

// tests' time, which the limiter of a service under test goes by.
type testClock struct{ now atomic.Int64 }

func (c *testClock) limiter() *ratelimit.Limiter {
	c.now.Store(int64(1000 * time.Second))
	return ratelimit.New(ratelimit.Options{Now: func() time.Duration { return time.Duration(c.now.Load()) }})
}

func TestGuestLimitsRates(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		clock := new(testClock)
		s := load(t, h, "rust/limits", ServiceConfig{RateLimiter: clock.limiter()})
		url := "http://" + listen(t, s, nil)
		want := func(path, want string) {
			t.Helper()
			status := 200
			if strings.HasSuffix(want, "Argument") {
				status = 400
			}
			if a := get(t, url+path); a.StatusCode != status || a.body != want+"\n" {
				t.Errorf("%s: %d %q, want %d %q", path, a.StatusCode, a.body, status, want)
			}
		}
		want("/check?entry=a&delta=100&window=10&limit=10&ttl=119", "false")
		want("/penalised?entry=a", "false")
		want("/increment?entry=a&delta=50", "counted")
		want("/rate?entry=a&window=1", "150")
		want("/rate?entry=a&window=10", "15")
		want("/rate?entry=a&window=60", "2")
		for d := 10; d <= 60; d += 10 {
			want(fmt.Sprint("/count?entry=a&duration=", d), "150")
		}
		want("/count?entry=b&duration=60", "0")
		want("/count?entry=a&counter=other&duration=60", "0")
		want("/check?entry=a&delta=0&window=60&limit=10&ttl=60", "false")
		want("/check?entry=a&window=10&limit=10&ttl=119", "true")
		want("/penalised?entry=a", "true")
		want("/penalised?entry=a&box=other", "false")
		want("/check?entry=a&window=60&limit=1000000&ttl=3600", "true") // it is still in the box
		want("/check?entry=b&window=60&limit=1000000&ttl=3600", "false")
		want("/penalise?entry=b&ttl=3600", "penalised")
		want("/penalised?entry=b", "true")
		clock.now.Add(int64(59 * time.Second))
		want("/penalised?entry=a", "true")
		want("/count?entry=a&duration=50", "0")
		want("/count?entry=a&duration=60", "152")
		clock.now.Add(int64(time.Second)) // 119 seconds are one minute
		want("/penalised?entry=a", "false")
		want("/penalised?entry=b", "true")
		want("/count?entry=a&duration=60", "0")
		for _, path := range []string{"/check?ttl=59", "/check?ttl=3601", "/penalise?ttl=59", "/increment?entry=" + strings.Repeat("e", 1025),
			"/rate?counter=" + strings.Repeat("c", 1025), "/penalised?box=" + strings.Repeat("b", 1025)} {
			want(path, "InvalidArgument")
		}
		st := s.Stats().RateLimits
		if st.Counters != 1 || st.Boxes != 1 || st.Penalised != 1 || st.Penalties != 2 || st.Entries != 0 {
			t.Errorf("%+v", st)
		}
		for _, m := range []string{"wasmedge_rate_counters", "wasmedge_penalty_box_entries", "wasmedge_penalties_total"} {
			if !hasMetric(h, s, m) {
				t.Errorf("there is no metric %s", m)
			}
		}
	})
}

func hasMetric(h *testHost, s *Service, name string) bool {
	st := h.Stats()
	for _, m := range st.metrics() {
		if m.Name == name {
			for _, l := range m.Labels {
				if l == (telemetry.Label{Name: "service", Value: s.cfg.Name}) {
					return m.Value > 0
				}
			}
		}
	}
	return false
}

// All sandboxes of a service count together, whatever runs at the same time; another service counts for itself.
func TestSandboxesCountTogether(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s, other := load(t, h, "rust/limits", ServiceConfig{}), load(t, h, "rust/limits", ServiceConfig{Name: "other"})
		url, otherURL := "http://"+listen(t, s, nil), "http://"+listen(t, other, nil)
		start := time.Now()
		var wg sync.WaitGroup
		var blocked atomic.Int64
		for range 8 {
			wg.Go(func() {
				for range 25 {
					if a := get(t, url+"/check?entry=e&window=60&limit=3&ttl=600"); a.body == "true\n" {
						blocked.Add(1)
					} else if a.body != "false\n" {
						t.Errorf("%d %q", a.StatusCode, a.body)
					}
				}
			})
		}
		wg.Wait()
		if time.Since(start) > 50*time.Second {
			t.Skip("too slow: the first requests are forgotten")
		}
		if a := get(t, url+"/count?entry=e&duration=60"); a.body != "200\n" {
			t.Errorf("%q were counted, want 200", a.body)
		}
		// 180 in a minute are not too many, and then nobody gets out of the box.
		if n := blocked.Load(); n != 20 {
			t.Errorf("%d were blocked, want 20", n)
		}
		if a := get(t, otherURL+"/count?entry=e&duration=60"); a.body != "0\n" {
			t.Errorf("another service has counted %q", a.body)
		}
	})
}
