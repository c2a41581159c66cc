package backend

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestHealthChecks(t *testing.T) {
	noLeak(t)
	var status atomic.Int32
	status.Store(204)
	seen := make(chan string, 1)
	conf := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			select {
			case seen <- r.Method + " " + r.Host:
			default:
			}
			w.WriteHeader(int(status.Load()))
			return
		}
		io.WriteString(w, "hello")
	})
	conf.OverrideHost, conf.PathPrefix = "over.test", "/pre"
	conf.HealthCheck = &HealthCheck{Interval: 10 * time.Millisecond, Path: "/up", Method: "HEAD", Status: 204, Window: 4, Threshold: 3, Initial: -1}
	b := open(t, conf)
	if b.Health() != HealthUnhealthy {
		t.Errorf("at the start: %v", b.Health())
	}
	_, _, err := get(b, &Request{})
	if e := detailOf(t, err); e.Detail != DetailDestinationUnavailable {
		t.Errorf("got %v", err)
	}
	eventually(t, "healthy", func() bool { return b.Health() == HealthHealthy })
	if s := b.Stats(); s.Probes < 3 || s.ProbesBad != 0 {
		t.Errorf("%+v", s)
	}
	if got := <-seen; got != "HEAD over.test" {
		t.Errorf("the probe was %s", got)
	}
	mustGet(t, b, &Request{})
	status.Store(500)
	eventually(t, "unhealthy", func() bool { return b.Health() == HealthUnhealthy })
	status.Store(204)
	eventually(t, "healthy again", func() bool { return b.Health() == HealthHealthy })
	b.Close()
	time.Sleep(50 * time.Millisecond)
	n := b.Stats().Probes
	time.Sleep(100 * time.Millisecond)
	if b.Stats().Probes != n {
		t.Error("probes go on after Close")
	}
}

func TestHealthAtTheStart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check *HealthCheck
		fixed Health
		want  Health
	}{
		{"nothing is known", nil, HealthUnknown, HealthUnknown},
		{"the definition says it", nil, HealthUnhealthy, HealthUnhealthy},
		{"by default a probed one is healthy", &HealthCheck{}, HealthUnhealthy, HealthHealthy},
		{"too few initial passes", &HealthCheck{Initial: 2}, HealthHealthy, HealthUnhealthy},
		{"more initial passes than the window holds", &HealthCheck{Initial: 9, Window: 2}, HealthUnknown, HealthHealthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.check != nil {
				tt.check.Interval = time.Hour
			}
			if got := open(t, Config{Host: "127.0.0.1", Port: 1, HealthCheck: tt.check, Health: tt.fixed}).Health(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
