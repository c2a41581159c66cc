// Package wire is the downstream edge of the host: the server that clients connect to, and what a
// connection tells about the client behind it.
//
// Server speaks HTTP/1.1, HTTP/2 over TLS and HTTP/2 with prior knowledge in clear text, on top of
// net/http. Between it and the socket it follows the bytes that the client sends, for two reasons. It keeps facts that net/http drops: the header names as they were written, the
// ClientHello, the HTTP/2 connection preface. And it refuses what two HTTP implementations could read in
// two ways (request smuggling), which net/http in part still accepts.
//
// A handler asks with FromRequest. Each method of Facts reports ok=false when the answer is not known, and
// never guesses; behind a plain net/http server only the addresses and the TLS state are known.
//
// WebSockets come as an upgrade of an HTTP/1.1 connection, which the handler may take over, or as an extended CONNECT
// over HTTP/2, which reaches the handler as the same upgrade with a Stream beside it. net/http offers extended CONNECT
// only in programs that import package xconnect.
//
// Promises:
//   - No input makes the package panic, and what it keeps per connection is bounded by Server's limits.
//   - A request of an HTTP/1 connection reaches the handler only if the follower and net/http agree where
//     it begins; otherwise the client gets 400 and the connection ends.
//   - Facts do not change and stay valid after the handler has returned. They are safe for concurrent use.
package wire
