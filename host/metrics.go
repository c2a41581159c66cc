package host

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/edgewasm/wasmedge/host/ratelimit"
	"github.com/edgewasm/wasmedge/host/telemetry"
)

// MetricsHandler serves Stats in the Prometheus text format. The figures tell about the host's inside: serve them to operators
// alone.
func (h *Host) MetricsHandler() http.Handler {
	return telemetry.MetricsHandler(func() []telemetry.Metric {
		st := h.Stats()
		return st.metrics()
	})
}

// metricList gathers metrics.
type metricList struct {
	list   []telemetry.Metric
	labels []telemetry.Label // of all
}

func (l *metricList) add(counter bool, name, help string, value float64, labels ...telemetry.Label) {
	l.list = append(l.list, telemetry.Metric{Name: "wasmedge_" + name, Help: help, Counter: counter, Value: value,
		Labels: append(slices.Clone(l.labels), labels...)})
}

func (l *metricList) gauge(name, help string, value int, labels ...telemetry.Label) {
	l.add(false, name, help, float64(value), labels...)
}

func (l *metricList) counter(name, help string, value uint64, labels ...telemetry.Label) {
	l.add(true, name, help, float64(value), labels...)
}

func (st *Stats) metrics() []telemetry.Metric {
	var l metricList
	l.gauge("engine_info", "The engine in use.", 1, telemetry.Label{Name: "engine", Value: st.Engine})
	l.sandboxes("host_", "of all services", st.Sandboxes)
	l.gauge("host_sandboxes_idle", "Sandboxes that wait for another request, of all services.", st.Idle)
	l.gauge("host_sandboxes_idle_limit", "Sandboxes that may wait for another request, of all services.", st.IdleLimit)
	l.tunnels("host_", "of all services", st.Tunnels)
	if st.Pool.MaxInstances > 0 {
		l.gauge("engine_instances", "Slots of the engine's pool that are taken, each with its memory, stack and tables.", st.Pool.Instances)
		l.gauge("engine_instances_limit", "Slots of the engine's pool.", st.Pool.MaxInstances)
		l.gauge("engine_instances_parked", "Instances that were set back and wait for a request.", st.Pool.Parked)
		l.gauge("engine_parked_bytes", "Written memory that parked instances hold.", int(st.Pool.ParkedBytes))
		l.gauge("engine_parked_bytes_limit", "Written memory that parked instances may hold.", int(st.Pool.MaxParkedBytes))
		l.gauge("engine_computing", "Guests that compute at this moment.", st.Pool.Computing)
	}
	for _, m := range []struct {
		source string
		n      uint64
	}{{"cache", st.Modules.Cached}, {"compiler", st.Modules.Compiled}, {"failed", st.Modules.Failed}} {
		l.counter("modules_loaded_total", "Modules loaded, by where their code came from.", m.n, telemetry.Label{Name: "source", Value: m.source})
	}
	nth := 0
	for i := range st.Services {
		s := &st.Services[i]
		if i > 0 && st.Services[i-1].Name == s.Name {
			nth++
		} else {
			nth = 1
		}
		l.labels = []telemetry.Label{
			{Name: "service", Value: strings.ToValidUTF8(s.Name, "?")},
			{Name: "version", Value: strconv.Itoa(s.Version)},
			{Name: "nth", Value: strconv.Itoa(nth)}, // of its name
		}
		l.service(s)
	}
	return l.list
}

// sandboxes adds a bound of sandboxes.
func (l *metricList) sandboxes(prefix, of string, s SandboxStats) {
	l.gauge(prefix+"sandboxes", "Sandboxes in use, "+of+".", s.InUse)
	l.gauge(prefix+"sandboxes_limit", "Sandboxes that there may be at once, "+of+".", s.Limit)
	l.gauge(prefix+"waiting", "Requests that wait for a sandbox, "+of+".", s.Waiting)
	l.gauge(prefix+"waiting_limit", "Requests that may wait for a sandbox, "+of+".", s.WaitLimit)
	l.counter(prefix+"waited_total", "Requests that had to wait for a sandbox, "+of+".", s.Waited)
	for _, why := range slices.Sorted(maps.Keys(s.Refused)) {
		l.counter(prefix+"refused_total", "Requests that got no sandbox, "+of+", by reason.", s.Refused[why],
			telemetry.Label{Name: "reason", Value: why})
	}
}

// tunnels adds the clients that were handed off.
func (l *metricList) tunnels(prefix, of string, t TunnelStats) {
	l.gauge(prefix+"tunnels", "Clients that are handed off to an origin, "+of+".", t.Open)
	l.gauge(prefix+"tunnels_limit", "Clients that may be handed off at once, "+of+".", t.Limit)
	l.counter(prefix+"tunnels_opened_total", "Clients that were handed off, "+of+".", t.Opened)
	l.counter(prefix+"tunnels_refused_total", "Clients that were not handed off because there were too many, "+of+".", t.Refused)
	l.counter(prefix+"tunnels_failed_total", "Clients that were handed off to an origin which gave no answer, "+of+".", t.Failed)
	l.counter(prefix+"tunnels_ended_total", "WebSockets that a limit or the shutdown ended, "+of+".", t.Ended)
	l.counter(prefix+"websockets_total", "WebSockets that were opened, "+of+".", t.Switched)
	l.counter(prefix+"websocket_sent_bytes_total", "Bytes that went to clients through WebSockets, "+of+".", t.Sent)
	l.counter(prefix+"websocket_received_bytes_total", "Bytes that came from clients through WebSockets, "+of+".", t.Received)
}

func (l *metricList) service(s *ServiceStats) {
	l.counter("service_requests_total", "Requests that arrived.", s.Requests)
	l.sandboxes("service_", "of the service", s.Sandboxes)
	l.gauge("service_sandboxes_idle", "Sandboxes that wait for another request.", s.Idle)
	l.counter("service_requests_reused_total", "Requests that went to a sandbox which had served before.", s.Reused)
	l.tunnels("service_", "of the service", s.Tunnels)
	l.gauge("service_memory_limit_bytes", "Linear memory that a sandbox may have.", int(s.Memory))
	for _, c := range causes {
		l.counter("service_ended_total", "Guests that did not end well, by cause; cpu, wall, memory, stack, body and start are limits.", s.Ended[c],
			telemetry.Label{Name: "cause", Value: string(c)})
	}
	l.counter("service_slow_bodies_total", "Bodies of clients that came too slowly.", s.SlowBodies)
	for _, op := range []struct {
		name string
		n    uint64
	}{{"lookup", s.KV.Lookups}, {"insert", s.KV.Inserts}, {"delete", s.KV.Deletes}, {"list", s.KV.Lists}} {
		l.counter("service_kv_operations_total", "Operations on KV stores that guests began.", op.n, telemetry.Label{Name: "operation", Value: op.name})
	}
	l.counter("service_kv_failures_total", "Operations on KV stores that failed because of the store.", s.KV.Failures)
	l.counter("service_kv_read_bytes_total", "Bytes of values that guests looked up.", s.KV.BytesRead)
	l.counter("service_kv_written_bytes_total", "Bytes of values that guests stored.", s.KV.BytesWritten)
	l.counter("service_kv_left_behind_total", "Writes to KV stores that were under way when their guest ended.", s.KV.LeftBehind)
	l.counter("service_kv_given_up_total", "Of the writes that were left behind, those that took too long.", s.KV.GivenUp)
	l.gauge("service_dynamic_backends", "Backends that guests have defined.", s.Dynamic)
	l.gauge("service_dynamic_backends_limit", "Backends that guests may have defined at once.", s.DynamicLimit)
	l.rateLimits(&s.RateLimits)
	for i := range s.Backends {
		b := &s.Backends[i]
		name := telemetry.Label{Name: "backend", Value: strings.ToValidUTF8(b.Name, "?")}
		l.counter("backend_requests_total", "Requests to the backend.", b.Requests, name)
		l.counter("backend_failures_total", "Requests to the backend that failed.", b.Failures, name)
		l.counter("backend_connections_total", "Connections made to the backend.", b.Connections, name)
		l.counter("backend_retries_total", "Requests sent again over another connection.", b.Retries, name)
		l.gauge("backend_connections_open", "Open connections to the backend.", b.Open, name)
		l.gauge("backend_connections_idle", "Open connections to the backend without use.", b.Idle, name)
		l.gauge("backend_in_flight", "Exchanges with the backend under way.", b.InFlight, name)
	}
}

// rateLimits adds the rate counters and penalty boxes.
func (l *metricList) rateLimits(r *ratelimit.Stats) {
	l.gauge("rate_counters", "Rate counters in use.", r.Counters)
	l.gauge("rate_counter_entries", "Entries of rate counters with events in the last minute.", r.Entries)
	l.counter("rate_counter_evicted_total", "Entries of rate counters that were forgotten for want of memory.", r.Evicted)
	l.gauge("penalty_boxes", "Penalty boxes in use.", r.Boxes)
	l.gauge("penalty_box_entries", "Entries of penalty boxes.", r.Penalised)
	l.counter("penalties_total", "Times that an entry was put in a penalty box.", r.Penalties)
	l.counter("penalties_evicted_total", "Entries of penalty boxes that left before their time for want of memory.", r.EvictedPenalties)
	l.gauge("rate_limit_bytes", "Memory that rate counters and penalty boxes take.", int(r.Bytes))
	l.gauge("rate_limit_bytes_limit", "Memory that rate counters and penalty boxes may take.", int(r.MaxBytes))
}
