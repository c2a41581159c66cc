package backend

import (
	"context"
	"io"
	"math/rand/v2"
	"time"

	"github.com/edgewasm/wasmedge/host/httpfield"
)

// maxProbeBody is how much of a probe's response is read, so that its connection can be used again.
const maxProbeBody = 64 << 10

func (h *HealthCheck) window() int {
	if h.Window == 0 {
		return 5
	}
	return h.Window
}

func (h *HealthCheck) threshold() int {
	if h.Threshold == 0 {
		return min(3, h.window())
	}
	return h.Threshold
}

func (h *HealthCheck) withDefaults(c *Config) HealthCheck {
	d := *h
	if d.Interval == 0 {
		d.Interval = 15 * time.Second
	}
	// Whoever defines a backend must not make a flood of the probes.
	d.Interval = max(d.Interval, 10*time.Millisecond)
	if d.Timeout == 0 {
		d.Timeout = 5 * time.Second
	}
	if d.Host == "" {
		d.Host = c.OverrideHost
	}
	if d.Method == "" {
		d.Method = "GET"
	}
	if d.Path == "" {
		d.Path = "/"
	}
	if d.Status == 0 {
		d.Status = 200
	}
	d.Window, d.Threshold = h.window(), h.threshold()
	switch {
	case d.Initial == 0:
		d.Initial = 4
	case d.Initial < 0:
		d.Initial = -1
	}
	d.Initial = min(d.Initial, d.Window)
	return d
}

// checker probes one backend until it is closed.
type checker struct {
	b      *Backend
	probes *Backend // the same origin without pool, prefix and override: probes must not wait for requests
	h      HealthCheck
	passed []bool // the last Window results, the oldest first
}

func newChecker(b *Backend) *checker {
	c := &checker{b: b, h: *b.conf.HealthCheck}
	conf := b.conf
	conf.HealthCheck, conf.DontPool, conf.PathPrefix, conf.OverrideHost = nil, true, "", c.h.Host
	conf.FirstByteTimeout, conf.BetweenBytesTimeout, conf.Pool = -1, -1, PoolLimits{}
	c.probes = newBackend(conf, b.opts)
	c.passed = make([]bool, c.h.Window)
	for i := range max(c.h.Initial, 0) {
		c.passed[len(c.passed)-1-i] = true // so that they are the last to be forgotten
	}
	c.publish()
	return c
}

func (c *checker) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer c.probes.Close()
	go func() {
		<-c.b.closed
		cancel()
	}()
	// The first probe comes soon, but those of many backends do not come all at once.
	wait := time.NewTimer(rand.N(min(c.h.Interval, time.Second)))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		ok := c.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		c.b.stats.probes.Add(1)
		if !ok {
			c.b.stats.probesBad.Add(1)
		}
		copy(c.passed, c.passed[1:])
		c.passed[len(c.passed)-1] = ok
		c.publish()
		spread := c.h.Interval / 10
		wait.Reset(c.h.Interval - spread + rand.N(2*spread+1))
	}
}

// publish sets the backend's health by the window.
func (c *checker) publish() {
	n := 0
	for _, ok := range c.passed {
		if ok {
			n++
		}
	}
	health := HealthUnhealthy
	if n >= c.h.Threshold {
		health = HealthHealthy
	}
	c.b.health.Store(uint32(health))
}

// probe asks once.
func (c *checker) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.h.Timeout)
	defer cancel()
	var h httpfield.List
	h.Add("user-agent", "wasmedge-health-check")
	resp, err := c.probes.Send(ctx, &Request{Method: c.h.Method, URI: c.h.Path, Header: &h})
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxProbeBody))
	_ = resp.Body.Close()
	return resp.Status == c.h.Status
}
