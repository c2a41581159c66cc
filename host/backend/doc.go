// Package backend talks to origins: the servers that a guest sends requests to. It knows nothing of guests and
// hostcalls, so anything that needs an origin can use it.
//
// A Backend is made from a Config, the definition of one origin, and owns its connections: a pool of HTTP/1.1 and
// HTTP/2 connections, made on demand, reused, and bounded in number, uses and age. Send gives one request to the
// origin and returns at the response's head; bodies stream both ways with back-pressure and nothing is held in memory
// beyond a few buffers per connection. Dial and Upgrade hand out whole connections, for WebSockets and the like.
// A Set holds the named backends of a service. A Registry shares the backends that are defined while programs run,
// so that equal definitions use the same connections.
//
// What it promises:
//   - The request line's path and query, and header values, go out as given, never encoded anew. Nothing is invented:
//     no User-Agent, no Accept-Encoding, no cookies; redirects are answers like any other. Fields that concern one
//     connection (RFC 9110 section 7.6.1) pass neither way, and framing is computed from the body.
//   - A request is sent once. Only one without a body, with a safe or idempotent method, is sent again, and only if
//     a reused connection broke before the first byte of a response.
//   - Every failure is a *SendError with the detail that guests are told. Before the head it is Send's result; later
//     it comes from the response body and matches io.ErrUnexpectedEOF when the message was cut short.
//   - Timeouts: making a connection (DNS, TCP and TLS together), silence before the first byte of a response, and
//     silence between two pieces of its body. Time that the reader of a body or the writer of a request takes for
//     itself does not count.
//   - Origins are hostile: head sizes, interim responses, connections and waiting are bounded.
//
// All exported types are safe for concurrent use except Request, Response and Config, which are plain values. Header
// lines with different names reach the caller in alphabetical order, for net/http keeps them in a map; repeats of one
// name keep their order.
package backend
