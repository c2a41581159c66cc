// Package host runs programs built for the Fastly Compute guest ABI. It is what an embedder imports.
//
// A Host owns an engine and a cache of compiled modules. Load compiles a program and gives a Service, which is
// an http.Handler: mount it on any mux or server. Each request gets a sandbox of its own, a fresh instance with
// empty handle tables, that is thrown away when the guest returns.
//
//	h, err := host.New(host.Options{})
//	...
//	svc, err := h.Load(ctx, wasm, host.ServiceConfig{Name: "hello"})
//	...
//	http.Handle("/hello/", svc)
//
// Promises: a guest reaches nothing but what its ServiceConfig holds; whatever it does ends in a status, a
// killed sandbox or a refused request, never in a panic of the process; a client can always tell a complete
// response from one that was broken off.
package host
