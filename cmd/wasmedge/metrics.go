package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// serveMetrics serves the host's metrics until stop is called.
func (s *session) serveMetrics(addr netip.AddrPort) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, cannotListen(addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.host.MetricsHandler())
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(s.log),
	}
	go server.Serve(listener)
	s.log.Info(fmt.Sprintf("Metrics are at http://%s/metrics", listener.Addr()))
	return func() { server.Close() }, nil
}
