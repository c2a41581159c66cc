package backend

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/manifest"
)

func TestTLSNames(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "ca")
	var sni string
	conf := tlsOrigin(t, ca, false, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		sni = h.ServerName
		return nil, nil
	}}, func(w http.ResponseWriter, r *http.Request) {})
	tests := []struct {
		name, certHost string
		sni            *string
		want           string
	}{
		{"SNI is the certificate's name", "origin.test", nil, "origin.test"},
		{"a port does not belong to a name", "origin.test:8443", ptr("origin.test:8443"), "origin.test"},
		{"SNI may differ", "origin.test", ptr("front.test"), "front.test"},
		{"SNI may be left out", "origin.test", ptr(""), ""},
		{"the address counts without a name", "", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := conf
			conf.TLS = &TLS{CertHost: tt.certHost, SNI: tt.sni, CACerts: []*x509.Certificate{ca.cert}}
			mustGet(t, open(t, conf), &Request{})
			if sni != tt.want {
				t.Errorf("SNI %q, want %q", sni, tt.want)
			}
		})
	}
}

func TestTLSVersionsAndCiphers(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "ca")
	conf := tlsOrigin(t, ca, true, &tls.Config{MinVersion: tls.VersionTLS10}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, tls.VersionName(r.TLS.Version)+" "+tls.CipherSuiteName(r.TLS.CipherSuite)+" "+r.Proto)
	})
	tests := []struct {
		name string
		set  func(*TLS)
		want string
	}{
		{"the newest by default", func(*TLS) {}, "TLS 1.3 TLS_AES_128_GCM_SHA256 HTTP/2.0"},
		{"at most 1.2", func(c *TLS) { c.MaxVersion = tls.VersionTLS12 }, "TLS 1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 HTTP/2.0"},
		{"1.1 has no HTTP/2", func(c *TLS) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "TLS 1.1 TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA HTTP/1.1"},
		{"a chosen cipher", func(c *TLS) { c.MaxVersion, c.Ciphers = tls.VersionTLS12, "ECDHE-ECDSA-CHACHA20-POLY1305" },
			"TLS 1.2 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 HTTP/2.0"},
		{"TLS 1.3 ciphers need TLS 1.3", func(c *TLS) { c.Ciphers = "TLS_AES_128_GCM_SHA256" }, "TLS 1.3 TLS_AES_128_GCM_SHA256 HTTP/2.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf, c := conf, *conf.TLS
			tt.set(&c)
			conf.TLS = &c
			if _, body := mustGet(t, open(t, conf), &Request{}); body != tt.want && !strings.Contains(tt.want, "TLS 1.3") {
				t.Errorf("got %s, want %s", body, tt.want)
			} else if strings.Contains(tt.want, "TLS 1.3") && !strings.HasPrefix(body, "TLS 1.3") { // its cipher depends on the machine
				t.Errorf("got %s, want %s", body, tt.want)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	eachVersion := []uint16{tls.VersionTLS12, tls.VersionTLS13}
	ca := newAuthority(t, "ca")
	pair := ca.issue(t, false, "client")
	conf := tlsOrigin(t, ca, true, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].DNSNames[0])
	})
	for _, v := range eachVersion {
		conf, c := conf, *conf.TLS
		c.MaxVersion, c.ClientCert = v, &pair
		conf.TLS = &c
		if _, body := mustGet(t, open(t, conf), &Request{}); body != "client" {
			t.Errorf("the origin saw %q", body)
		}
	}
}

func TestCipherLists(t *testing.T) {
	all := len(suites)
	tests := []struct {
		list string
		n    int // suites
		only bool
		err  string
	}{
		{"", 0, false, ""},
		{"ECDHE-RSA-AES128-GCM-SHA256", 1, false, ""},
		{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 1, false, ""},
		{"ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384 AES128-SHA", 3, false, ""},
		{"ALL", all, false, ""},
		{"ALL:!RC4:!3DES", all - 5, false, ""},
		{"!RC4:ALL", all - 3, false, ""},
		{"ALL:-RC4:RC4-SHA", all - 2, false, ""},
		{"ECDHE+AESGCM", 4, false, ""},
		{"kEECDH+AES128+SHA256:+SHA:@STRENGTH", 4, false, ""},
		{"DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:!aNULL:!eNULL:!EXPORT:!PSK:!CAMELLIA", 1, false, ""},
		{"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256", 0, true, ""},
		{"TLS_AES_128_GCM_SHA256:AES128-SHA", 1, false, ""},
		{"DHE-RSA-AES128-GCM-SHA256", 0, false, "none of these"},
		{"ALL:!ALL", 0, false, "none of these"},
		{"ECDHE-RSA-AES128-GMC-SHA256", 0, false, `"ECDHE-RSA-AES128-GMC-SHA256" is no cipher`},
		{"!nonsense:ALL", 0, false, `"nonsense" is no cipher`},
		{"!", 0, false, "is no cipher"},
	}
	for _, tt := range tests {
		t.Run(tt.list, func(t *testing.T) {
			ids, only, err := parseCiphers(tt.list)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, %v", ids, err)
				}
				return
			}
			if err != nil || len(ids) != tt.n || only != tt.only {
				t.Errorf("got %d suites, %v, %v", len(ids), only, err)
			}
		})
	}
	// What crypto/tls has and this table lacks could not be chosen.
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) && !slices.ContainsFunc(suites, func(x suite) bool { return x.id == s.ID }) {
			t.Errorf("%s is missing", s.Name)
		}
	}
}

func FuzzCiphers(f *testing.F) {
	f.Add("ECDHE+AESGCM:!RC4:@STRENGTH")
	f.Add("-:+:!:ALL+:+ALL")
	f.Fuzz(func(t *testing.T, list string) {
		ids, only, err := parseCiphers(list)
		if err == nil && strings.TrimSpace(list) != "" && len(ids) == 0 && !only {
			t.Errorf("%q gives no cipher and no error", list)
		}
	})
}

func TestValidate(t *testing.T) {
	ca := newAuthority(t, "ca")
	one, two := ca.issue(t, false, "a"), ca.issue(t, false, "b")
	mixed := tls.Certificate{Certificate: one.Certificate, PrivateKey: two.PrivateKey}
	tests := []struct {
		name, field string
		conf        Config
	}{
		{"no host", "Host", Config{}},
		{"a URL as host", "Host", Config{Host: "http://h"}},
		{"a port in the host", "Host", Config{Host: "h:80"}},
		{"an override that would end the line", "OverrideHost", Config{Host: "h", OverrideHost: "a\r\nb"}},
		{"an override with a path", "OverrideHost", Config{Host: "h", OverrideHost: "a/b"}},
		{"a long override", "OverrideHost", Config{Host: "h", OverrideHost: strings.Repeat("a", 1025)}},
		{"a prefix with a query", "PathPrefix", Config{Host: "h", PathPrefix: "/a?b"}},
		{"a prefix that would end the line", "PathPrefix", Config{Host: "h", PathPrefix: "/a b"}},
		{"a minimum above the maximum", "TLS.MinVersion", Config{Host: "h", TLS: &TLS{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}}},
		{"SSL", "TLS.MinVersion", Config{Host: "h", TLS: &TLS{MinVersion: 0x300}}},
		{"gRPC needs TLS 1.2", "TLS.MaxVersion", Config{Host: "h", GRPC: true, TLS: &TLS{MaxVersion: tls.VersionTLS11}}},
		{"an unknown cipher", "TLS.Ciphers", Config{Host: "h", TLS: &TLS{Ciphers: "AES129"}}},
		{"a name that is none", "TLS.CertHost", Config{Host: "h", TLS: &TLS{CertHost: "a b"}}},
		{"an SNI that is none", "TLS.SNI", Config{Host: "h", TLS: &TLS{SNI: ptr("a/b")}}},
		{"another one's certificate", "TLS.ClientCert", Config{Host: "h", TLS: &TLS{ClientCert: &mixed}}},
		{"a certificate without key", "TLS.ClientCert", Config{Host: "h", TLS: &TLS{ClientCert: &tls.Certificate{Certificate: one.Certificate}}}},
		{"a window too large", "HealthCheck.Window", Config{Host: "h", HealthCheck: &HealthCheck{Window: 16}}},
		{"a threshold above the window", "HealthCheck.Threshold", Config{Host: "h", HealthCheck: &HealthCheck{Window: 2, Threshold: 3}}},
		{"a path without slash", "HealthCheck.Path", Config{Host: "h", HealthCheck: &HealthCheck{Path: "x"}}},
		{"a method that is none", "HealthCheck.Method", Config{Host: "h", HealthCheck: &HealthCheck{Method: "A B"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.conf, Options{})
			var e *ConfigError
			if !errors.As(err, &e) || e.Field != tt.field {
				t.Fatalf("got %v", err)
			}
			if (e.Detail == DetailTLSConfigurationError) != strings.HasPrefix(tt.field, "TLS") {
				t.Errorf("detail %v", e.Detail)
			}
		})
	}
	for _, host := range []string{"h", "::1", "fe80::1%eth0", "1.2.3.4", "a_b.example"} {
		if _, err := New(Config{Host: host, OverrideHost: "h:8080", TLS: &TLS{ClientCert: &one}, PathPrefix: "/a%20b"}, Options{}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	ca := newAuthority(t, "ca")
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	if list, err := ParseCertificates([]byte("text\n" + one + one)); err != nil || len(list) != 2 {
		t.Errorf("got %d, %v", len(list), err)
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", strings.Repeat(one, 200)} {
		if list, err := ParseCertificates([]byte(bad)); err == nil {
			t.Errorf("%.40q gave %d", bad, len(list))
		}
	}
}

func TestFromManifest(t *testing.T) {
	c := FromManifest(&manifest.Backend{Name: "n", TLS: true, Host: "h", Port: 8443, PathPrefix: "/p", OverrideHost: "o", CertHost: "c", UseSNI: false,
		GRPC: true, Health: manifest.HealthUnhealthy, FirstByteTimeout: time.Second})
	b := open(t, c)
	got := b.Config()
	if got.Name != "n" || got.Addr() != "h:8443" || got.PathPrefix != "/p" || got.OverrideHost != "o" || got.TLS.CertHost != "c" || *got.TLS.SNI != "" ||
		!got.GRPC || b.Health() != HealthUnhealthy || got.FirstByteTimeout != time.Second || got.BetweenBytesTimeout != -1 || got.ConnectTimeout != time.Second {
		t.Errorf("%+v", got)
	}
}
