package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/edgewasm/wasmedge/host/backend"
	"github.com/edgewasm/wasmedge/host/manifest"
)

// addBackends takes over the backends of --backend, each NAME=URL. One of the same name in the manifest is replaced as a
// whole. The error lacks the flag's name.
func (s *session) addBackends(definitions []string) error {
	given := make(map[string]bool)
	for _, d := range definitions {
		name, url, ok := strings.Cut(d, "=")
		switch {
		case !ok || name == "" || url == "":
			return fmt.Errorf("want NAME=URL, such as origin=https://example.com")
		case len(name) > 255:
			return fmt.Errorf("a name has at most 255 bytes, this one has %d", len(name))
		case given[name]:
			return fmt.Errorf("%q is defined twice", name)
		}
		given[name] = true
		m, err := manifest.NewBackend(name, url)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		switch m.Scheme {
		case "http", "https", "ws", "wss":
		default:
			return fmt.Errorf("%q: the scheme is %q, want http or https", name, m.Scheme)
		}
		c := backend.FromManifest(&m)
		if err := c.Validate(); err != nil {
			return err
		}
		replaced := false
		for i := range s.conf.Backends {
			if s.conf.Backends[i].Name == name {
				s.conf.Backends[i], replaced = c, true
			}
		}
		if !replaced {
			s.conf.Backends = append(s.conf.Backends, c)
		}
	}
	return nil
}

// probeTime is how long a backend may take to answer at the start.
const probeTime = 5 * time.Second

// probeBackends asks every backend for something, all at once, and warns of those that do not answer. Any answer will do.
func (s *session) probeBackends(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("no answer within %s", probeTime))
	defer cancel()
	var probes sync.WaitGroup
	for _, c := range s.conf.Backends {
		probes.Go(func() {
			s.log.Info(fmt.Sprintf("checking if backend '%s' is up", c.Name))
			if err := probe(ctx, c); err != nil && context.Cause(ctx) != context.Canceled {
				s.log.Warn(fmt.Sprintf("backend '%s' does not answer: %v", c.Name, err))
			}
		})
	}
	probes.Wait()
}

func probe(ctx context.Context, c backend.Config) error {
	c.HealthCheck = nil
	b, err := backend.New(c, backend.Options{})
	if err != nil {
		return err
	}
	defer b.Close()
	resp, err := b.Send(ctx, &backend.Request{URI: "/"})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
