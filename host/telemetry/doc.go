// Package telemetry carries what guests and the host have to say to people and machines: log endpoints,
// guests' standard output, the server's own log and access records.
//
// What it promises:
//   - One guest write to a log endpoint is one line in one write(2); lines of different goroutines never mix.
//   - Guest bytes cannot forge a line: newlines inside a message are escaped, so are those of endpoint names, and
//     continuation lines of the server log are indented.
//   - Writing never fails for the caller. What a sink could not take is counted (Lines.Dropped, Files.Dropped).
//   - Writing a line allocates nothing: lines are built in pooled buffers.
//   - Sinks are written synchronously. A reader that stops reading stops the writers, as with any program.
package telemetry
