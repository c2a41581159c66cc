package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metric is one figure of a scrape. All metrics of a name have the same Help, Counter and names of labels.
type Metric struct {
	Name, Help string
	Counter    bool // as opposed to a gauge
	Value      float64
	Labels     []Label
}

// Label tells metrics of one name apart.
type Label struct{ Name, Value string }

// MetricsHandler serves in the Prometheus text format what read gives at each scrape, and figures of the process. At most
// four scrapes are answered at once.
func MetricsHandler(read func() []Metric) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector(read), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// collector makes Prometheus metrics of ours. Which there are is only known when they are read.
type collector func() []Metric

// Describe implements prometheus.Collector: to describe nothing means just that.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c() {
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		names, values := make([]string, len(m.Labels)), make([]string, len(m.Labels))
		for i, l := range m.Labels {
			names[i], values[i] = l.Name, l.Value
		}
		desc := prometheus.NewDesc(m.Name, m.Help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, kind, m.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		out <- metric
	}
}
