package host

import (
	"errors"
	"time"
)

// Limits bound one sandbox and the sandboxes of one service. A zero field means the default named at it.
type Limits struct {
	Memory     uint64        // bytes of linear memory; 0 means the engine's bound (128 MiB unless configured)
	CPU        time.Duration // computing time of one request, waiting excluded; 0 means 10 s, negative means none
	Wall       time.Duration // from a request's arrival in the sandbox to the guest's end; 0 means 2 minutes
	Concurrent int           // sandboxes of the service at once; 0 means all that the host has (Options.Concurrent)
	Queue      int           // requests that may wait for a sandbox; 0 means four times Concurrent, negative means none
	QueueWait  time.Duration // how long they may wait; 0 means 2 s, negative means not at all
	BodyBuffer int64         // bytes that a sandbox may hold in bodies not sent yet; 0 means 128 MiB
	// BackendRequests bounds the requests that one sandbox may send to backends; 0 means 1000.
	BackendRequests int
	// KVOperations bounds the operations on KV stores that one sandbox may begin; 0 means 10000.
	KVOperations int
	BodyTimeout  time.Duration // how long one read of the client's body may take; 0 means 1 minute

	// RateLimitBytes bounds the memory for rate counters and penalty boxes, of all sandboxes together; 0 means 64 MiB. When it is
	// used up, entries are forgotten (see package ratelimit).
	RateLimitBytes int64

	// Sandboxes whose program asks for another request when it has answered one. Each request has the whole of CPU and
	// Wall.
	SandboxRequests int           // that one may serve; 0 means 100, 1 that none is used again
	SandboxAge      time.Duration // after which one gets no more; 0 means 5 minutes
	SandboxMemory   uint64        // bytes of linear memory beyond which one gets no more; 0 means half of Memory

	// Clients that the program hands off: WebSockets, and what goes by way of a GRIP proxy.
	Tunnels     int           // of the service at once; 0 means 4096
	TunnelIdle  time.Duration // for which nothing may pass; 0 means 10 minutes, negative means for ever
	TunnelTime  time.Duration // from a request's arrival to its tunnel's end; 0 means 24 hours, negative means for ever
	TunnelBytes int64         // that may pass through one WebSocket, both ways together; 0 means any number
}

func (l Limits) withDefaults(slots int) Limits {
	if l.CPU == 0 {
		l.CPU = 10 * time.Second
	} else if l.CPU < 0 {
		l.CPU = 0
	}
	if l.Wall == 0 {
		l.Wall = 2 * time.Minute
	}
	if l.Concurrent <= 0 || l.Concurrent > slots {
		l.Concurrent = slots
	}
	if l.Queue == 0 {
		l.Queue = 4 * l.Concurrent
	} else if l.Queue < 0 {
		l.Queue = 0
	}
	if l.QueueWait < 0 {
		l.Queue = 0
	} else if l.QueueWait == 0 {
		l.QueueWait = 2 * time.Second
	}
	if l.BodyTimeout == 0 {
		l.BodyTimeout = time.Minute
	}
	if l.SandboxRequests <= 0 {
		l.SandboxRequests = 100
	}
	if l.SandboxAge <= 0 {
		l.SandboxAge = 5 * time.Minute
	}
	if l.Tunnels <= 0 {
		l.Tunnels = 4096
	}
	if l.TunnelIdle == 0 {
		l.TunnelIdle = 10 * time.Minute
	}
	if l.TunnelTime == 0 {
		l.TunnelTime = 24 * time.Hour
	}
	return l
}

var (
	// ErrWallTime is why a guest was stopped that ran longer than Limits.Wall.
	ErrWallTime = errors.New("the guest ran longer than its wall-clock limit (setting: Limits.Wall, --timeout)")
	// ErrClientGone is why a guest was stopped whose client went away.
	ErrClientGone = errors.New("the client went away")
	// ErrShutdown is why a guest was stopped when the host closed before the guest ended.
	ErrShutdown = errors.New("the host is shutting down")
)
