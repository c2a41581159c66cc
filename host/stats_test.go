package host

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgewasm/wasmedge/host/engine"
)

func TestStatsTellWhatIsInUse(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		s := load(t, h, "rust/hostile", ServiceConfig{Name: "stats \xff", Version: 7, Limits: Limits{Concurrent: 2, Queue: 1, QueueWait: long}})
		addr := listen(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			go fetchQuietly(ctx, "http://"+addr+"/sleep")
		}
		waitFor(t, func() bool { st := s.Stats().Sandboxes; return st.InUse == 2 && st.Waiting == 1 })
		if a := get(t, "http://"+addr+"/"); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("status %d", a.StatusCode)
		}
		st := h.Stats()
		if st.Engine != h.Engine().Name() || st.Sandboxes.InUse < 2 || st.Sandboxes.Waiting != 1 || st.Sandboxes.Limit != 256 {
			t.Errorf("%+v", st)
		}
		w := httptest.NewRecorder()
		h.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range []string{
			`wasmedge_service_sandboxes{nth="1",service="stats ?",version="7"} 2`,
			`wasmedge_service_sandboxes_limit{nth="1",service="stats ?",version="7"} 2`,
			`wasmedge_service_waiting{nth="1",service="stats ?",version="7"} 1`,
			`wasmedge_service_refused_total{nth="1",reason="service-full",service="stats ?",version="7"} 1`,
			`wasmedge_host_sandboxes_limit 256`,
			`wasmedge_engine_info{engine="` + st.Engine + `"} 1`,
			`go_goroutines `,
		} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
		if w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		cancel()
		// Who waited may have got a place for a moment.
		waitFor(t, func() bool { st := s.Stats(); return st.Ended[CauseClient]+st.Sandboxes.Refused[RefusedGone] == 3 })
		if st := s.Stats(); st.Requests != 4 || st.Sandboxes.Waited != 1 || st.Ended[CauseClient] < 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestServicesOfOneNameAreToldApart(t *testing.T) {
	h := openHost(t, Engines()[0])
	for range 2 {
		load(t, h, "wat/hello", ServiceConfig{Name: "twin"})
	}
	w := httptest.NewRecorder()
	h.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`{nth="1",service="twin",version="0"}`, `{nth="2",service="twin",version="0"}`} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d, the metrics lack %s", w.Code, want)
		}
	}
}

func TestInstancesAreReadyBeforeTheFirstRequest(t *testing.T) {
	h := openHost(t, Engines()[0])
	pool, ok := h.Engine().(engine.Pooled)
	if !ok {
		t.Skip("the engine does not tell")
	}
	if st := pool.Pool(); st.MaxInstances != 256+maxIdle(256) {
		t.Errorf("%+v", st)
	}
	cold := load(t, h, "rust/hello", ServiceConfig{Warm: -1})
	before := pool.Pool().Parked
	warm := load(t, h, "rust/hello", ServiceConfig{Warm: 3})
	if got := pool.Pool().Parked - before; got != 3 {
		t.Skipf("%d instances are parked: this system cannot set instances back", got)
	}
	// They stay when nobody comes, those of the other service do not.
	time.Sleep(5 * time.Second)
	if got := pool.Pool().Parked; got < 3 {
		t.Errorf("%d instances are parked after a while", got)
	}
	for _, s := range []*Service{cold, warm} {
		if a := get(t, "http://"+listen(t, s, nil)+"/"); a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
}

func TestAStartFunctionThatTrapsIsFoundAtOnce(t *testing.T) {
	h := openHost(t, Engines()[0])
	s, err := h.Load(t.Context(), guestBytes(t, "wat/start_traps"), ServiceConfig{})
	if err == nil {
		s.Close(t.Context())
		if h.Engine().Name() == "wasmtime" {
			t.Fatal("it was loaded")
		}
		t.Skip("the engine runs start functions with the first request only")
	}
	var trap *engine.TrapError
	if !errors.As(err, &trap) || trap.Code != engine.TrapUnreachable || !strings.Contains(err.Error(), "start function") {
		t.Errorf("%v", err)
	}
}

func TestASandboxTooSmallForItsProgramIsFoundAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		_, err := h.Load(t.Context(), guestBytes(t, "rust/hello"), ServiceConfig{Limits: Limits{Memory: 1 << 16}})
		var named *LimitError
		if !errors.As(err, &named) || named.Cause != CauseStart || named.Setting != settingMemory {
			t.Errorf("%v", err)
		}
	})
}
