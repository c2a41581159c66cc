package telemetry

// Endpoint takes the messages that guests write to one log endpoint.
type Endpoint interface {
	// Write takes one message, whole. It does not keep msg and is safe for concurrent use.
	Write(msg []byte)
}

// Endpoints gives log endpoints by name. Any name works here: which names a guest may use is for the hostcall to
// say. Implementations are safe for concurrent use.
type Endpoints interface {
	Endpoint(name string) Endpoint
}

// Discard is Endpoints that drop all messages.
var Discard Endpoints = discard{}

type discard struct{}

func (discard) Endpoint(string) Endpoint { return discard{} }
func (discard) Write([]byte)             {}

// Tee gives endpoints whose messages go to each of all, in that order.
func Tee(all ...Endpoints) Endpoints { return tee(all) }

type tee []Endpoints

func (t tee) Endpoint(name string) Endpoint {
	sinks := make(teeEndpoint, len(t))
	for i, endpoints := range t {
		sinks[i] = endpoints.Endpoint(name)
	}
	return sinks
}

type teeEndpoint []Endpoint

func (t teeEndpoint) Write(msg []byte) {
	for _, sink := range t {
		sink.Write(msg)
	}
}
