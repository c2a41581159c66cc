package host

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/edgewasm/wasmedge/abi"
	"github.com/edgewasm/wasmedge/host/manifest"
)

func TestRequestsGoThroughShields(t *testing.T) {
	shield := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s at the shield", r.Host, r.URL.Path)
	}))
	defer shield.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	m, err := manifest.Parse("fastly.toml", []byte(`[local_server.shielding_sites]
home = "Local"
far = { encrypted = "`+untrusted.URL+`", unencrypted = "`+shield.URL+`/base" }
`))
	if err != nil {
		t.Fatal(err)
	}
	eachEngine(t, func(t *testing.T, h *testHost) {
		var cfg ServiceConfig
		if err := cfg.UseManifest(m); err != nil {
			t.Fatal(err)
		}
		cfg.ExposeErrors = true
		cfg.Shields["bad"] = abi.Shield{Plain: "ftp://example.com/"}
		url := "http://" + listen(t, load(t, h, "rust/shield", cfg), nil)
		host := strings.TrimPrefix(url, "http://")
		for _, tt := range []struct {
			path   string
			status int
			want   string
		}{
			{"/plain/home", 200, "here"},
			{"/plain/far", 200, host + " /base/plain/far at the shield"},
			{"/plain/nowhere", 404, "INVAL"},
			{"/plain/bad", 502, "INVAL"},
			{"/tls/bad", 502, "INVAL"},
			{"/tls/far", 500, ""}, // nobody trusts its certificate
		} {
			if a := get(t, url+tt.path); a.StatusCode != tt.status || !strings.Contains(strings.ToUpper(a.body), strings.ToUpper(tt.want)) {
				t.Errorf("%s: %d %q, want %d %q", tt.path, a.StatusCode, a.body, tt.status, tt.want)
			}
		}
	})
}
