// Package readthrough sends requests to origins by way of a cache: what package httpcache says of HTTP caching, done with the
// objects of package cache and the origins of package backend.
//
// Send takes the place of backend.Backend.Send. What it promises:
//   - A stored response answers as it would have come from the origin, with its Age, as a 304, a part or to HEAD where the request asks
//     for that. Every answer says in X-Cache and X-Cache-Hits where it came from; on request Cache-Status says why.
//   - Of the requests that miss the same response at once, one goes to the origin; the others get its answer while it comes. If it
//     turns out that the response may not be shared they all go at once, and so do those of the next two minutes. The
//     same holds when the origin cannot be reached.
//   - A response that may be used only after asking the origin (no-cache, or none of its lifetime left) is kept apart, and asking does not make
//     requests wait for each other.
//   - A stale response is served while one request in the background asks for a newer one (stale-while-revalidate; their number is bounded), and
//     instead of an error (stale-if-error).
//   - A response that is being stored is read to its end even if its client goes away.
//   - Unsafe methods go through, and their success drops what is stored for their address.
package readthrough
