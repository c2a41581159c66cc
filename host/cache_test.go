package host

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// numbering is an origin whose bodies count its answers.
func numbering(t *testing.T, control string) *httptest.Server {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", control)
		fmt.Fprintf(w, "answer %d", n.Add(1))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestProgramsReadThroughTheCache(t *testing.T) {
	for _, tt := range []struct {
		name, control string
		cfg           ServiceConfig
		want          [3]string // bodies and X-Cache
	}{
		{"a lifetime", "max-age=60", ServiceConfig{}, [3]string{"answer 1 MISS", "answer 1 HIT", "answer 1 HIT"}},
		{"private", "private", ServiceConfig{}, [3]string{"answer 1 MISS", "answer 2 MISS", "answer 3 MISS"}},
		{"no-store as the platform", "no-store", ServiceConfig{FastlyCache: true}, [3]string{"answer 1 MISS", "answer 1 HIT", "answer 1 HIT"}},
		{"switched off", "max-age=60", ServiceConfig{NoReadThrough: true}, [3]string{"answer 1 ", "answer 2 ", "answer 3 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, h *testHost) {
				origin := numbering(t, tt.control)
				cfg := tt.cfg
				cfg.Backends = append(cfg.Backends, backendAt("origin", origin.Listener.Addr()))
				front := listen(t, load(t, h, "rust/proxy", cfg), nil)
				for i, want := range tt.want {
					a := get(t, "http://"+front+"/send/page")
					if got := a.body + " " + a.Header.Get("X-Cache"); got != want {
						t.Errorf("request %d: %q, want %q", i+1, got, want)
					}
				}
			})
		})
	}
}

func TestServicesDoNotShareWhatTheyCache(t *testing.T) {
	h := openHost(t, "")
	origin := numbering(t, "max-age=60")
	for i, id := range []string{"", "", "one", "one", "two"} {
		cfg := ServiceConfig{ID: id}
		cfg.Backends = append(cfg.Backends, backendAt("origin", origin.Listener.Addr()))
		front := listen(t, load(t, h, "rust/proxy", cfg), nil)
		want := []string{"answer 1", "answer 2", "answer 3", "answer 3", "answer 4"}[i] // the third and fourth are versions of one
		req, err := http.NewRequest("GET", "http://"+front+"/send/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		if a := fetch(t, plainClient, req); a.body != want {
			t.Errorf("service %d: %q, want %q", i, a.body, want)
		}
	}
}
